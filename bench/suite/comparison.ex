defmodule Bench.Comparison do
  @moduledoc false
  # One case, such as lookups of small integers in a table of a million rows by eight processes,
  # with all subjects.

  alias Bench.{Calls, Loops, Rounds, Stats, Subject, Text}

  # Measures the prepared calls of a case, nanoseconds for one call on one scheduler: with two
  # schedulers and 8 processes, the elapsed time, times two, by the number of all calls. What the
  # bare loop takes is taken off within each round. Options: `:loop`, the function of the loops,
  # and `:per_call`, by how much more to divide, where a call does more than one thing.
  def of_calls(conditions, subjects, processes, count, rounds, options) do
    loop = Keyword.fetch!(options, :loop)
    empty = if loop == :mix, do: :mix, else: :other
    by_label = Map.new(subjects, &{&1.label, &1})
    divisor = processes * count * Keyword.get(options, :per_call, 1)
    schedulers = min(processes, System.schedulers_online())

    measure = fn subject ->
      {module, function, table} =
        case by_label[subject] do
          nil -> {Loops.Empty, empty, nil}
          %{loops: loops, table: table} -> {loops, loop, table}
        end

      elapsed = Rounds.elapsed(processes, &apply(module, function, [Calls.of(&1), table]))
      elapsed * schedulers / divisor
    end

    labels = Enum.map(subjects, & &1.label)

    samples =
      for sample <- Rounds.interleave([:empty | labels], rounds, measure),
          do: Map.new(labels, &{&1, sample[&1] - sample.empty})

    of_samples(conditions, labels, samples, "ns")
  end

  # Figures of each subject, and of each other one by PartitionedEts', from the rounds' samples.
  def of_samples(conditions, labels, samples, unit) do
    own = Subject.own()

    figures =
      for label <- labels do
        figure = Stats.spread(Enum.map(samples, & &1[label]))
        ratios = for sample <- samples, do: Stats.ratio(sample[label], sample[own])
        figure = Map.put(figure, :subject, label)
        if label == own, do: figure, else: Map.put(figure, :ratio, Stats.spread(ratios))
      end

    comparison = %{case: conditions, unit: unit, figures: figures}
    show(comparison)
    comparison
  end

  # The words of a case, in the order in which people say them.
  def title(conditions) do
    [
      conditions[:operation],
      conditions[:type],
      conditions[:mix],
      conditions[:stage],
      conditions[:shape],
      conditions[:keys] && "#{conditions.keys} keys",
      conditions[:chunk] && "lists of #{Text.number(conditions.chunk)}",
      conditions[:rows] && "#{Text.number(conditions.rows)} rows",
      conditions[:processes] && Text.processes(conditions.processes)
    ]
    |> Enum.reject(&is_nil/1)
    |> Enum.join(", ")
  end

  defp show(%{case: conditions, unit: unit, figures: figures}) do
    IO.puts("\n#{title(conditions)}")
    rivals = Enum.filter(figures, & &1[:ratio])
    best = Enum.min_by(rivals, & &1.median, fn -> %{subject: nil} end).subject

    for figure <- figures do
      ratio = if figure[:ratio], do: "  #{Text.ratio(figure.ratio)}", else: ""
      mark = if figure.subject == best and length(rivals) > 1, do: "  the best of them", else: ""
      time = String.pad_leading(Text.decimal(figure.median), 12)
      IO.puts("  #{String.pad_trailing(figure.subject, 22)}#{time} #{unit}#{ratio}#{mark}")
    end
  end
end
