defmodule Bench.Groups.Scan do
  @moduledoc false
  # One process that goes over the whole table. The time is that of one object.

  alias Bench.{Calls, Comparison, Loops, Shapes, Subject, Tables}

  # Small tables are scanned several times.
  @objects 1_000_000

  def about, do: "going over a whole table"

  def notes do
    """
    One process: `foldl/3` that counts, `tab2list/1`, and `first/1` with `next/2` to the end. The time is that of one
    object.
    """
  end

  def settings(:full), do: %{shapes: ["int", "map of 3"], rows: [1_000, 1_000_000], rounds: 5}
  def settings(:quick), do: %{shapes: ["int"], rows: [1_000, 10_000], rounds: 3}

  def run(settings) do
    cases = for rows <- settings.rows, name <- settings.shapes, do: %{shape: name, rows: rows}
    Tables.each(cases, &measure(&1, settings))
  end

  defp measure(%{shape: name, rows: rows} = conditions, settings) do
    shape = Shapes.fetch!(name)
    labels = Subject.plain() ++ [":ets 16 shards"]

    # A list of the whole table needs as much again.
    Tables.with_filled(labels, rows, 2 * shape.bytes, &Shapes.object(shape, &1, 0), fn subjects ->
      count = max(1, div(min(@objects, 100 * rows), rows))
      Calls.prepare(1, count, fn _ -> {nil, nil} end)

      for operation <- [:foldl, :tab2list, :first_next] do
        conditions = Map.merge(conditions, %{operation: Loops.words(operation), processes: 1})
        options = [loop: operation, per_call: rows]
        Comparison.of_calls(conditions, subjects, 1, count, settings.rounds, options)
      end
    end)
  end
end
