defmodule Bench.Groups.Growth do
  @moduledoc false
  # From a thousand rows to ten million, one process: what caches and the tables' growth cost.

  alias Bench.{Calls, Comparison, Keys, Loops, Shapes, Subject, Tables}

  def about, do: "from 1,000 to 10,000,000 rows, one process"

  def notes do
    """
    One process, `{int, int}`, uniform keys: the larger the table, the more of a call is waiting for memory.
    """
  end

  def settings(:full) do
    %{rows: [1_000, 10_000, 100_000, 1_000_000, 10_000_000], rounds: 7, calls: 200_000}
  end

  def settings(:quick), do: %{rows: [1_000, 10_000, 100_000], rounds: 3, calls: 5_000}

  def run(settings) do
    cases = for rows <- settings.rows, do: %{shape: "int", rows: rows}
    Tables.each(cases, &measure(&1, settings))
  end

  defp measure(%{rows: rows} = case, settings) do
    shape = Shapes.fetch!("int")

    Tables.with_filled(
      Subject.plain(),
      rows,
      shape.bytes,
      &Shapes.object(shape, &1, 0),
      fn subjects ->
        key = Keys.sampler(:uniform, rows)

        Calls.prepare(1, settings.calls, fn i ->
          n = key.()
          {n, {n, i}}
        end)

        for operation <- [:lookup, :insert, :update_counter, :delete_insert] do
          case =
            Map.merge(case, %{operation: Loops.words(operation), processes: 1, keys: :uniform})

          Comparison.of_calls(case, subjects, 1, settings.calls, settings.rounds, loop: operation)
        end
      end
    )
  end
end
