defmodule Bench.Node do
  @moduledoc false
  # Other VMs on this machine.

  # Names this VM, as the hub of the others. The VM starts EPMD by itself only with a name on its
  # command line.
  def distribute! do
    {_, 0} = System.cmd("epmd", ["-daemon"])
    Application.put_env(:kernel, :inet_dist_use_interface, {127, 0, 0, 1})
    {:ok, _} = :net_kernel.start(:"bench-#{System.pid()}@127.0.0.1", %{name_domain: :longnames})
    Node.set_cookie(:"bench#{System.unique_integer([:positive])}#{System.os_time()}")
    Logger.configure(level: :error)
    :ok
  end

  # Another VM, which ends with this one; it runs the application and knows the given modules.
  def start!(label, modules) do
    {control, node} =
      start(
        %{name: ~c"#{label}-#{System.pid()}", host: ~c"127.0.0.1", longnames: true},
        [~c"-setcookie", Atom.to_charlist(Node.get_cookie()), ~c"-kernel"] ++
          [~c"inet_dist_use_interface", ~c"{127,0,0,1}"],
        modules
      )

    # The first call by `:erpc` would connect the nodes as well, but in the time of that call.
    true = Node.connect(node)
    {control, node}
  end

  # The same without a name: it is asked by `:peer.call/4`, through its standard input and output.
  def start_alone!(modules), do: start(%{}, [], modules)

  defp start(naming, arguments, modules) do
    paths = for path <- :code.get_path(), not List.starts_with?(path, :code.root_dir()), do: path
    connection = %{connection: :standard_io, args: arguments ++ [~c"-pa" | paths]}
    {:ok, control, node} = :peer.start_link(Map.merge(naming, connection))

    for {module, code} <- modules do
      {:module, ^module} = :peer.call(control, :code, :load_binary, [module, ~c"bench", code])
    end

    :ok = :peer.call(control, Logger, :configure, [[level: :error]])
    {:ok, _} = :peer.call(control, Application, :ensure_all_started, [:partitioned_ets])
    {control, node}
  end

  # Starts a table there that outlives this call. Returns its owner.
  def start_table!(node, options), do: :erpc.call(node, __MODULE__, :start_table, [options])

  def start_table(options) do
    {:ok, owner} = PartitionedEts.start_link(options)
    Process.unlink(owner)
    owner
  end

  # A plain table there, kept by a process of its own.
  def start_ets(name) do
    parent = self()

    spawn(fn ->
      :ets.new(name, [:named_table, :public, read_concurrency: true])
      send(parent, {:made, self()})
      receive(do: (:never -> :ok))
    end)

    receive(do: ({:made, _} -> :ok))
  end
end
