defmodule PartitionedEts.Test.Cluster do
  @moduledoc """
  Real nodes for tests: each is an operating system process on 127.0.0.1, controlled over its
  standard input and output, so that it can be reached whatever happens to its distribution.
  """

  import ExUnit.Callbacks, only: [on_exit: 1]

  defmodule Node do
    @moduledoc "A node that was started for a test."
    @enforce_keys [:name, :peer, :os_pid]
    defstruct [:name, :peer, :os_pid]

    @type t :: %__MODULE__{name: node(), peer: pid(), os_pid: String.t()}
  end

  @host ~c"127.0.0.1"
  @boot_ms 30_000
  @call_ms 30_000
  @settle_ms 30_000

  @doc "Gives the test's own VM a name, and EPMD with it."
  @spec start_distribution!() :: :ok
  def start_distribution! do
    {_, 0} = System.cmd("epmd", ["-daemon"])
    # Tests cut single connections on purpose; `global` would cut the others to match.
    Application.put_env(:kernel, :prevent_overlapping_partitions, false)
    Application.put_env(:kernel, :inet_dist_use_interface, {127, 0, 0, 1})

    unless Elixir.Node.alive?() do
      {:ok, _} = Elixir.Node.start(:"origin-#{System.pid()}@127.0.0.1", :longnames)
    end

    :ok
  end

  @doc """
  Starts a node that runs the application, connected to nobody unless `connect:` names nodes.

  With `distributed: false` it has no name. It is stopped at the end of the test.
  """
  @spec start_node(keyword()) :: Node.t()
  def start_node(opts \\ []) do
    # The name need only be new to EPMD, of which a machine has one.
    name = :"#{opts[:name] || "node"}-#{System.pid()}-#{System.unique_integer([:positive])}"
    naming = %{name: name, host: @host, longnames: true}
    naming = if Keyword.get(opts, :distributed, true), do: naming, else: %{}

    {:ok, peer, node} =
      :peer.start(
        Map.merge(naming, %{
          connection: :standard_io,
          wait_boot: @boot_ms,
          args: arguments()
        })
      )

    on_exit(fn -> stop_peer(peer) end)
    os_pid = :peer.call(peer, System, :pid, [], @call_ms)
    cluster_node = %Node{name: node, peer: peer, os_pid: os_pid}
    :ok = call(cluster_node, __MODULE__, :boot, [])
    for other <- List.wrap(opts[:connect]), do: connect(cluster_node, other)
    cluster_node
  end

  @doc "Starts several nodes that are connected with each other."
  @spec start_cluster(pos_integer()) :: [Node.t()]
  def start_cluster(size) do
    for i <- 1..size, reduce: [] do
      nodes -> nodes ++ [start_node(name: "node#{i}", connect: nodes)]
    end
  end

  @doc "Connects two nodes."
  @spec connect(Node.t(), Node.t() | node()) :: true
  def connect(node, other), do: true = call(node, Elixir.Node, :connect, [name(other)])

  @doc "Cuts the connection between two nodes."
  @spec disconnect(Node.t(), Node.t() | node()) :: true
  def disconnect(node, other), do: true = call(node, Elixir.Node, :disconnect, [name(other)])

  @doc "Stops a node in order, as `System.stop/0` does, and returns when it is gone."
  @spec stop(Node.t()) :: :ok
  def stop(%Node{} = node) do
    monitor = Process.monitor(node.peer)
    :ok = call(node, :init, :stop, [])
    await_down(monitor)
  end

  @doc "Kills a node with SIGKILL and returns when it is gone."
  @spec kill(Node.t()) :: :ok
  def kill(%Node{} = node) do
    monitor = Process.monitor(node.peer)
    {_, 0} = System.cmd("kill", ["-KILL", node.os_pid])
    await_down(monitor)
  end

  @doc "Stops a node's process with SIGSTOP, and lets it go on."
  @spec pause(Node.t()) :: :ok
  def pause(%Node{} = node), do: signal(node, "-STOP")

  @spec resume(Node.t()) :: :ok
  def resume(%Node{} = node), do: signal(node, "-CONT")

  @doc "Runs a function of a module on a node."
  @spec call(Node.t(), module(), atom(), [term()], timeout()) :: term()
  def call(%Node{peer: peer}, module, function, arguments, timeout \\ @call_ms) do
    :peer.call(peer, module, function, arguments, timeout)
  end

  @doc "Runs a function of the facade on a node."
  @spec table(Node.t(), atom(), [term()]) :: term()
  def table(%Node{} = node, function, arguments) do
    call(node, PartitionedEts, function, arguments)
  end

  @doc "Runs a function of the facade on a node; an exception is returned as `{:error, exception}`."
  @spec rescued(Node.t(), atom(), [term()]) :: term()
  def rescued(%Node{} = node, function, arguments) do
    call(node, __MODULE__, :rescue_here, [function, arguments])
  end

  @doc false
  def rescue_here(function, arguments) do
    apply(PartitionedEts, function, arguments)
  rescue
    exception -> {:error, exception}
  end

  @doc "Starts a table on a node, under a supervisor there."
  @spec start_table(Node.t(), keyword() | module()) :: DynamicSupervisor.on_start_child()
  def start_table(%Node{} = node, opts) when is_list(opts) do
    start_child(
      node,
      {PartitionedEts, Keyword.put_new(opts, :table_opts, [:named_table, :public])}
    )
  end

  def start_table(%Node{} = node, module), do: start_child(node, module)

  @doc "Starts a table on several nodes and waits until it has settled. Returns its owners."
  @spec start_tables([Node.t()], keyword()) :: [pid()]
  def start_tables(nodes, opts) do
    owners =
      for node <- nodes do
        {:ok, owner} = start_table(node, opts)
        owner
      end

    settle(nodes, opts[:name])
    owners
  end

  @doc "Waits until a table has settled on all of these nodes."
  @spec settle([Node.t()], atom()) :: :ok
  def settle(nodes, name) do
    Enum.each(nodes, fn node -> :ok = table(node, :await_settled, [name, @settle_ms]) end)
  end

  @doc "Stops a table on a node in order: its data goes to the other members."
  @spec stop_table(Node.t(), pid()) :: :ok
  def stop_table(%Node{} = node, owner) do
    :ok = call(node, DynamicSupervisor, :terminate_child, [__MODULE__.Tables, owner])
  end

  @doc """
  Waits until a function returns something true, and returns that.

  For what sends no event; each look is a few milliseconds after the last.
  """
  @spec until((-> result), timeout()) :: result when result: term()
  def until(function, timeout_ms \\ 10_000) do
    deadline = System.monotonic_time(:millisecond) + timeout_ms
    until_deadline(function, deadline)
  end

  @doc false
  def boot do
    # What a node logs is not the test's output; a test that cares captures its own node's log.
    Application.put_env(:logger, :level, :none)
    {:ok, _} = Application.ensure_all_started(:partitioned_ets)

    {:ok, supervisor} =
      DynamicSupervisor.start_link(name: __MODULE__.Tables, strategy: :one_for_one)

    # Its starter is the process of this call.
    Process.unlink(supervisor)
    :ok
  end

  defp start_child(node, child) do
    call(node, DynamicSupervisor, :start_child, [__MODULE__.Tables, child])
  end

  defp arguments do
    paths = for path <- :code.get_path(), path != ~c".", argument <- [~c"-pa", path], do: argument

    [
      ~c"-setcookie",
      Atom.to_charlist(Elixir.Node.get_cookie()),
      ~c"-kernel",
      ~c"prevent_overlapping_partitions",
      ~c"false",
      ~c"inet_dist_use_interface",
      ~c"{127,0,0,1}",
      ~c"logger_level",
      ~c"none"
    ] ++ paths
  end

  defp name(%Node{name: name}), do: name
  defp name(node) when is_atom(node), do: node

  defp signal(node, signal) do
    {_, 0} = System.cmd("kill", [signal, node.os_pid])
    :ok
  end

  defp stop_peer(peer) do
    :peer.stop(peer)
  catch
    :exit, _gone -> :ok
  end

  defp await_down(monitor) do
    receive do
      {:DOWN, ^monitor, :process, _peer, _reason} -> :ok
    after
      @call_ms -> raise "the node does not stop"
    end
  end

  defp until_deadline(function, deadline) do
    cond do
      result = function.() ->
        result

      System.monotonic_time(:millisecond) > deadline ->
        raise "it did not become true in time: #{inspect(function)}"

      true ->
        receive after: (5 -> until_deadline(function, deadline))
    end
  end
end
