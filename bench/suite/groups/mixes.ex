defmodule Bench.Groups.Mixes do
  @moduledoc false
  # Reads and overwrites in one loop, uniform and Zipf-distributed keys.

  alias Bench.{Calls, Comparison, Keys, Shapes, Subject, Tables}

  # How many of a hundred calls read.
  @mixes [{"reads", 100}, {"90:10", 90}, {"50:50", 50}, {"writes", 0}]

  def about, do: "reads and writes together, uniform and Zipf keys"

  def notes do
    """
    Lookups and overwrites of `{int, int}` in one loop. With Zipf-distributed keys (exponent 0.99) a few keys are in most of
    the calls: of a million keys, the first is in 6.5 % of them.
    """
  end

  def settings(:full) do
    %{
      rows: [1_000_000],
      processes: [1, 8, 32],
      keys: [:uniform, :zipf],
      rounds: 7,
      calls: 100_000
    }
  end

  def settings(:quick),
    do: %{rows: [10_000], processes: [8], keys: [:uniform, :zipf], rounds: 3, calls: 4_000}

  def run(settings) do
    cases = for rows <- settings.rows, do: %{shape: "int", rows: rows}
    Tables.each(cases, &measure(&1, settings))
  end

  defp measure(%{rows: rows} = conditions, settings) do
    shape = Shapes.fetch!("int")
    object = &Shapes.object(shape, &1, 0)

    Tables.with_filled(Subject.concurrent(), rows, shape.bytes, object, fn subjects ->
      for keys <- settings.keys,
          processes <- settings.processes,
          {mix, reads} <- @mixes do
        count = div(settings.calls, processes)
        key = Keys.sampler(keys, rows)
        Calls.prepare(processes, count, &call(key.(), &1, reads))

        conditions =
          Map.merge(conditions, %{
            operation: "lookup and insert",
            mix: mix,
            keys: keys,
            processes: processes
          })

        Comparison.of_calls(conditions, subjects, processes, count, settings.rounds, loop: :mix)
      end
    end)
  end

  defp call(n, i, reads) do
    if :rand.uniform(100) <= reads, do: {n, nil}, else: {n, {n, i}}
  end
end
