defmodule Bench.Resident do
  @moduledoc false
  # The memory that this VM holds of the operating system, and the threads that give it back.

  @looks 10
  @look_ms 100
  # The name of the threads that free large tables in the background.
  @reclaimer "pets_reclaim"

  def bytes do
    [_, kb] = Regex.run(~r/^VmRSS:\s+(\d+) kB/m, File.read!("/proc/self/status"))
    String.to_integer(kb) * 1024
  end

  # What falls within a look and is less than this is not the table.
  @noise_bytes 262_144

  # Tables are freed in the background: waits until memory has not fallen for a second.
  def settled_bytes do
    await_reclaimed()
    settled(bytes(), 0)
  end

  defp settled(lowest, looks) when looks >= @looks, do: lowest

  defp settled(lowest, looks) do
    for pid <- Process.list(), do: :erlang.garbage_collect(pid)
    pause(@look_ms)

    case bytes() do
      now when now < lowest - @noise_bytes -> settled(now, 0)
      now -> settled(min(now, lowest), looks + 1)
    end
  end

  # Waits until no thread frees a table any more: it would take its core away from what is measured
  # next.
  def await_reclaimed do
    if reclaiming?() do
      pause(1)
      await_reclaimed()
    else
      :ok
    end
  end

  defp reclaiming? do
    "/proc/self/task/*/comm"
    |> Path.wildcard()
    |> Enum.any?(&match?({:ok, @reclaimer <> _}, File.read(&1)))
  end

  defp pause(ms) do
    receive do
    after
      ms -> :ok
    end
  end
end
