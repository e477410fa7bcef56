defmodule Bench.Groups.Growth do
  @moduledoc false
  # From a thousand rows to ten million: what caches and the tables' growth cost.

  alias Bench.{Calls, Comparison, Keys, Loops, Shapes, Subject, Tables}

  @labels Subject.plain() ++ [":ets tid rc wc auto"]

  def about, do: "from 1,000 to 10,000,000 rows"

  def notes do
    """
    `{int, int}`, uniform keys, one process and 8: the larger the table, the more of a call is waiting for memory.
    """
  end

  def settings(:full) do
    %{
      rows: [1_000, 10_000, 100_000, 1_000_000, 10_000_000],
      processes: [1, 8],
      rounds: 7,
      calls: 200_000
    }
  end

  def settings(:quick),
    do: %{rows: [1_000, 10_000, 100_000], processes: [1, 8], rounds: 3, calls: 5_000}

  def run(settings) do
    cases = for rows <- settings.rows, do: %{shape: "int", rows: rows}
    Tables.each(cases, &measure(&1, settings))
  end

  defp measure(%{rows: rows} = conditions, settings) do
    shape = Shapes.fetch!("int")

    Tables.with_filled(@labels, rows, shape.bytes, &Shapes.object(shape, &1, 0), fn subjects ->
      for processes <- settings.processes,
          count = prepare(processes, rows, settings),
          loop <- [:lookup, :insert, :update_counter, :delete_insert] do
        conditions =
          Map.merge(conditions, %{
            operation: Loops.words(loop),
            processes: processes,
            keys: :uniform
          })

        Comparison.of_calls(conditions, subjects, processes, count, settings.rounds, loop: loop)
      end
    end)
  end

  defp prepare(processes, rows, settings) do
    key = Keys.sampler(:uniform, rows)
    count = div(settings.calls, processes)

    Calls.prepare(processes, count, fn i ->
      n = key.()
      {n, {n, i}}
    end)

    count
  end
end
