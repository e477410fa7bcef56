defmodule Bench.Groups.Contention do
  @moduledoc false
  # From one process to 256, all options of `:ets`: what they cost each other. The last operation
  # has one key for everybody.

  alias Bench.{Calls, Comparison, Keys, Shapes, Subject, Tables}

  @operations [
    {"lookup", :lookup, :uniform},
    {"member", :member, :uniform},
    {"insert", :insert, :uniform},
    {"update_counter", :update_counter, :uniform},
    {"delete + insert", :delete_insert, :uniform},
    {"one hot counter", :update_counter, :hot}
  ]
  @persistent_rows 1_000

  def about, do: "1 to 256 processes, all options of `:ets`"

  def notes do
    """
    `{int, int}`, every key one of the table's, uniformly chosen; `one hot counter` is `update_counter` of the same key by
    everybody. The time is that of one call on one scheduler: with two schedulers and 8 processes, the elapsed time, times
    two, by the number of all calls. Perfect scaling is a flat row of bars.
    """
  end

  def settings(:full) do
    %{rows: [1_000, 1_000_000], processes: [1, 2, 8, 32, 256], rounds: 7, calls: 100_000}
  end

  def settings(:quick), do: %{rows: [1_000], processes: [1, 8], rounds: 3, calls: 5_000}

  def run(settings) do
    cases = for rows <- settings.rows, do: %{shape: "int", rows: rows}
    Tables.each(cases, &measure(&1, settings))
  end

  defp measure(%{rows: rows} = conditions, settings) do
    shape = Shapes.fetch!("int")
    persistent = if rows <= @persistent_rows, do: [Subject.persistent()], else: []
    labels = Subject.concurrent() ++ persistent

    Tables.with_filled(labels, rows, shape.bytes, &Shapes.object(shape, &1, 0), fn subjects ->
      for keys <- [:uniform, :hot],
          processes <- settings.processes,
          count = prepare(keys, rows, processes, settings),
          {operation, loop, ^keys} <- @operations do
        subjects = Enum.filter(subjects, &(loop == :lookup or &1.label != Subject.persistent()))

        conditions =
          Map.merge(conditions, %{operation: operation, processes: processes, keys: keys})

        Comparison.of_calls(conditions, subjects, processes, count, settings.rounds, loop: loop)
      end
    end)
  end

  defp prepare(keys, rows, processes, settings) do
    key = Keys.sampler(keys, rows)
    count = div(settings.calls, processes)

    Calls.prepare(processes, count, fn i ->
      n = key.()
      {n, {n, i}}
    end)

    count
  end
end
