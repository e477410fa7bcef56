defmodule Bench.Rounds do
  @moduledoc false
  # One interleaved run: all subjects in turn within each round, in another order in each, so that a
  # busy or throttled machine hits all of them alike. The first round warms up and is not counted.

  # What each subject measured in each round, as a list of maps.
  def interleave(subjects, rounds, measure) do
    [_warm_up | counted] =
      for _ <- 0..rounds, do: subjects |> Enum.shuffle() |> Map.new(&{&1, measure.(&1)})

    counted
  end

  # Nanoseconds until all processes are through with their function, which gets the process's
  # number. They start together.
  def elapsed(processes, function) do
    parent = self()

    workers =
      for i <- 1..processes do
        spawn_monitor(fn ->
          send(parent, :ready)

          receive do
            :go -> function.(i)
          end
        end)
      end

    for _ <- workers, do: receive(do: (:ready -> :ok))
    started = System.monotonic_time(:nanosecond)
    for {pid, _} <- workers, do: send(pid, :go)

    for {pid, monitor} <- workers do
      receive do
        {:DOWN, ^monitor, :process, ^pid, reason} -> :normal = reason
      end
    end

    System.monotonic_time(:nanosecond) - started
  end
end
