defmodule Bench.Groups.Shapes do
  @moduledoc false
  # Ten shapes of objects, one process: what encoding and decoding cost.

  alias Bench.{Calls, Comparison, Keys, Loops, Shapes, Subject, Tables}

  # A term that everybody may read can be had as a literal, too; not millions of them.
  @persistent_rows 1_000

  def about, do: "ten shapes of objects, one process"

  def notes do
    """
    One process, a table of 1,000 rows and one of 1,000,000, uniform keys. `int` is `{int, int}`, `16 B key`
    `{binary, int}`, `tuple key` `{{atom, int}, int}`; the others have an integer as their key and behind it a list of 8
    integers, five elements of several kinds, a map of 3 or 20 keys, or one binary. `insert` overwrites; `delete + insert` is
    the time of both calls. A process that puts a binary into `:ets` shares it with the table, however large it is; a term
    in another table is a copy. `:persistent_term` is read as `:persistent_term.get({table, key})`.
    """
  end

  def settings(:full),
    do: %{shapes: Shapes.names(), rows: [1_000, 1_000_000], rounds: 7, calls: 100_000}

  def settings(:quick),
    do: %{
      shapes: ["int", "16 B key", "map of 3", "map of 20", "4 KB"],
      rows: [1_000],
      rounds: 3,
      calls: 2_000
    }

  def run(settings) do
    cases = for rows <- settings.rows, name <- settings.shapes, do: %{shape: name, rows: rows}
    Tables.each(cases, &measure(&1, settings))
  end

  defp measure(%{shape: name, rows: rows} = conditions, settings) do
    shape = Shapes.fetch!(name)
    count = Shapes.calls(shape, settings.calls)
    persistent = if rows <= @persistent_rows, do: [Subject.persistent()], else: []
    labels = Subject.plain() ++ persistent

    Tables.with_filled(labels, rows, shape.bytes, &Shapes.object(shape, &1, 0), fn subjects ->
      key = Keys.sampler(:uniform, rows)
      Calls.prepare(1, count, fn i -> call(shape, key.(), i) end)

      for operation <- operations(shape) do
        subjects =
          Enum.filter(subjects, &(operation == :lookup or &1.label != Subject.persistent()))

        conditions =
          Map.merge(conditions, %{operation: Loops.words(operation), processes: 1, keys: :uniform})

        Comparison.of_calls(conditions, subjects, 1, count, settings.rounds, loop: operation)
      end
    end)
  end

  defp operations(%{counter: true}), do: operations(%{counter: false}) ++ [:update_counter]
  defp operations(_shape), do: [:lookup, :member, :insert, :delete_insert]

  defp call(shape, n, i) do
    object = Shapes.object(shape, n, i)
    {elem(object, 0), object}
  end
end
