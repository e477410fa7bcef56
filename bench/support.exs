# What the benchmarks share: the machine, the figures, other nodes.

defmodule Bench.Machine do
  def describe do
    "#{cpu()}, #{System.schedulers_online()} schedulers, OTP #{otp()}, " <>
      "Elixir #{System.version()}, #{Date.utc_today()}"
  end

  defp cpu do
    with {:ok, text} <- File.read("/proc/cpuinfo"),
         [_, model] <- Regex.run(~r/^model name\s*: (.+)$/m, text) do
      model
    else
      _ -> to_string(:erlang.system_info(:system_architecture))
    end
  end

  defp otp do
    release = System.otp_release()

    case File.read(Path.join([:code.root_dir(), "releases", release, "OTP_VERSION"])) do
      {:ok, version} -> String.trim(version)
      {:error, _} -> release
    end
  end
end

defmodule Bench.Stats do
  def median(values), do: percentile(values, 50)

  def percentile(values, percent) do
    sorted = Enum.sort(values)
    Enum.at(sorted, div(percent * (length(sorted) - 1), 100))
  end

  # A ratio and how far the rounds are apart.
  def ratio(ratios) do
    {low, high} = Enum.min_max(ratios)

    "#{String.pad_leading(decimal(median(ratios), 2), 6)} x " <>
      "(#{decimal(low, 2)} to #{decimal(high, 2)})"
  end

  def decimal(value, digits \\ 1), do: :erlang.float_to_binary(value * 1.0, decimals: digits)

  def number(n) do
    n
    |> round()
    |> Integer.to_charlist()
    |> Enum.reverse()
    |> Enum.chunk_every(3)
    |> Enum.intersperse(~c",")
    |> Enum.concat()
    |> Enum.reverse()
    |> List.to_string()
  end
end

defmodule Bench.Node do
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
    paths = for path <- :code.get_path(), not List.starts_with?(path, :code.root_dir()), do: path

    {:ok, control, node} =
      :peer.start_link(%{
        name: ~c"#{label}-#{System.pid()}",
        host: ~c"127.0.0.1",
        longnames: true,
        connection: :standard_io,
        args:
          [~c"-setcookie", Atom.to_charlist(Node.get_cookie()), ~c"-kernel"] ++
            [~c"inet_dist_use_interface", ~c"{127,0,0,1}", ~c"-pa" | paths]
      })

    for {module, code} <- modules do
      {:module, ^module} = :erpc.call(node, :code, :load_binary, [module, ~c"bench", code])
    end

    :ok = :erpc.call(node, Logger, :configure, [[level: :error]])
    {:ok, _} = :erpc.call(node, Application, :ensure_all_started, [:partitioned_ets])
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

defmodule Bench.Probe do
  # Runs on the nodes that hold the table.

  def fill(table, rows) do
    for chunk <- Enum.chunk_every(1..rows, 1_000) do
      PartitionedEts.insert(table, Enum.map(chunk, &{&1, 0}))
    end

    :ok
  end

  def figures(table), do: PartitionedEts.status(table).ownership.transfers

  # Stops the table and returns its last figures, which it takes with it.
  def stop_table(table, owner, timeout_ms) do
    figures = figures(table)
    {_pid, monitor} = spawn_monitor(fn -> GenServer.stop(owner, :shutdown, timeout_ms) end)
    last_figures(table, monitor, figures)
  end

  defp last_figures(table, monitor, last) do
    receive do
      {:DOWN, ^monitor, :process, _pid, :normal} -> last
    after
      1 -> last_figures(table, monitor, latest(table) || last)
    end
  end

  defp latest(table) do
    figures(table)
  rescue
    ArgumentError -> nil
  end

  def key_of_each_slot(table), do: key_of_each_slot(table, 1, %{})

  defp key_of_each_slot(_table, _key, keys) when map_size(keys) == 4096, do: Map.values(keys)

  defp key_of_each_slot(table, key, keys) do
    key_of_each_slot(table, key + 1, Map.put_new(keys, PartitionedEts.key_slot(table, key), key))
  end

  # A process that writes the keys again and again, until it is asked for its longest call.
  def start(table, keys) do
    keys = Enum.shuffle(keys)
    spawn(fn -> write(keys, keys, table, System.monotonic_time(), 0) end)
  end

  def stop(pid) do
    monitor = Process.monitor(pid)
    send(pid, {:stop, self()})

    receive do
      {:longest_us, ^pid, longest_us} ->
        Process.demonitor(monitor, [:flush])
        longest_us

      {:DOWN, ^monitor, :process, ^pid, reason} ->
        raise "a process that writes failed: #{Exception.format_exit(reason)}"
    end
  end

  defp write([key | rest], keys, table, before, longest) do
    PartitionedEts.update_counter(table, key, 1)
    now = System.monotonic_time()
    write(rest, keys, table, now, max(longest, now - before))
  end

  defp write([], keys, table, before, longest) do
    receive do
      {:stop, from} ->
        send(
          from,
          {:longest_us, self(), System.convert_time_unit(longest, :native, :microsecond)}
        )
    after
      0 -> write(keys, keys, table, before, longest)
    end
  end
end
