defmodule Bench.Groups.Load do
  @moduledoc false
  # Empty tables that are filled by inserts of lists. The time is that of one object.

  alias Bench.{Calls, Comparison, Rounds, Shapes, Subject, Tables}

  # Without `:ets` options that do nothing for writers.
  @labels [
    "PartitionedEts",
    ":ets named",
    ":ets tid",
    ":ets tid wc",
    ":ets tid wc auto",
    ":ets 16 shards"
  ]

  def about, do: "filling a table by inserts of lists"

  def notes do
    """
    An empty table is filled by `insert/2` of lists of 1 to 1,000 objects, by one process or by 8 with keys of their own. The time is that of
    one object, the growth of the table included. The 16 shards have to take each list apart by key.
    """
  end

  def settings(:full) do
    %{
      shapes: ["int", "map of 3"],
      rows: 1_000_000,
      chunks: [1, 10, 100, 1_000],
      processes: [1, 8],
      rounds: 3
    }
  end

  def settings(:quick),
    do: %{shapes: ["int"], rows: 10_000, chunks: [1, 100, 1_000], processes: [1, 8], rounds: 3}

  def run(settings) do
    cases =
      for shape <- settings.shapes,
          processes <- settings.processes,
          chunk <- settings.chunks,
          do: %{
            operation: :load,
            shape: shape,
            rows: settings.rows,
            chunk: chunk,
            processes: processes
          }

    Tables.each(cases, &measure(&1, settings))
  end

  defp measure(%{rows: rows, processes: processes} = conditions, settings) do
    shape = Shapes.fetch!(conditions.shape)

    # The objects and one table.
    case Tables.refusal(2 * rows * shape.bytes) do
      nil ->
        share = div(rows, processes)
        prepare(shape, share, conditions)
        objects = share * processes
        schedulers = min(processes, System.schedulers_online())

        measure = fn label ->
          subject = Subject.start(label)

          elapsed =
            Rounds.elapsed(processes, &subject.loops.insert(Calls.of(&1), subject.table))

          Subject.stop(subject)
          elapsed * schedulers / objects
        end

        samples = Rounds.interleave(@labels, settings.rounds, measure)
        Calls.drop()
        {[Comparison.of_samples(conditions, @labels, samples, "ns")], []}

      reason ->
        {[], [reason]}
    end
  end

  # Each process has keys of its own, in ascending order.
  defp prepare(shape, share, %{processes: processes, chunk: chunk}) do
    Calls.prepare_lists(processes, fn i ->
      (share * (i - 1) + 1)..(share * i)
      |> Stream.map(&Shapes.object(shape, &1, 0))
      |> Enum.chunk_every(chunk)
      |> Enum.map(&{nil, &1})
    end)
  end
end
