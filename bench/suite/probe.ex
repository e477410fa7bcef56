defmodule Bench.Probe do
  @moduledoc false
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
