defmodule Bench.Groups.Types do
  @moduledoc false
  # Tables of the other types. Says so where the library refuses one.

  alias Bench.{Calls, Comparison, Keys, Loops, Subject, Tables}

  # About what an object of two integers takes, with the links of a tree or a chain.
  @bytes 100
  # Keys of bags have so many objects each.
  @per_key 4

  @operations [
    ordered_set: [:lookup, :next, :insert, :delete_insert],
    bag: [:lookup, :insert, :delete_object_insert],
    duplicate_bag: [:lookup, :delete_object_insert]
  ]
  @labels ["PartitionedEts", ":ets named", ":ets tid", ":ets tid rc wc"]

  def about, do: "`ordered_set`, `bag` and `duplicate_bag`"

  def notes do
    """
    Objects are `{int, int}`; a key of a bag has four of them. `insert` of an object that is there: a new value in an ordered
    set, nothing new in a bag. `delete_object + insert` takes one out and puts it back.
    """
  end

  def settings(:full) do
    %{rows: [1_000, 1_000_000], processes: [1, 8], rounds: 5, calls: 100_000}
  end

  def settings(:quick), do: %{rows: [1_000], processes: [1, 8], rounds: 3, calls: 4_000}

  def run(settings) do
    for {type, _operations} <- @operations, reduce: {[], []} do
      {results, skipped} ->
        {more, left_out} =
          case refusal(type) do
            nil -> Tables.each(cases(type, settings), &measure(&1, settings))
            reason -> {[], [Tables.skip(%{type: type}, reason)]}
          end

        {results ++ more, skipped ++ left_out}
    end
  end

  # Why the library has no tables of this type; nil if it has.
  defp refusal(type) do
    Subject.own() |> Subject.start(type) |> Subject.stop()
    nil
  rescue
    error in ArgumentError -> "PartitionedEts refuses the type: #{Exception.message(error)}"
  end

  defp cases(type, settings), do: for(rows <- settings.rows, do: %{type: type, rows: rows})

  defp measure(%{type: type, rows: rows} = conditions, settings) do
    per_key = if type == :ordered_set, do: 1, else: @per_key
    object = fn n -> {div(n - 1, per_key) + 1, rem(n - 1, per_key)} end

    Tables.with_filled(
      @labels,
      rows,
      @bytes,
      object,
      fn subjects ->
        for processes <- settings.processes,
            count = prepare(processes, rows, per_key, settings),
            operation <- @operations[type] do
          conditions =
            Map.merge(conditions, %{
              operation: Loops.words(operation),
              processes: processes,
              keys: :uniform
            })

          options = [loop: operation]
          Comparison.of_calls(conditions, subjects, processes, count, settings.rounds, options)
        end
      end,
      type
    )
  end

  # Objects that the tables have.
  defp prepare(processes, rows, per_key, settings) do
    key = Keys.sampler(:uniform, div(rows, per_key))
    count = div(settings.calls, processes)

    Calls.prepare(processes, count, fn i ->
      n = key.()
      {n, {n, if(per_key == 1, do: i, else: rem(i, per_key))}}
    end)

    count
  end
end
