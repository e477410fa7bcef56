defmodule Bench.Tables do
  @moduledoc false
  # The tables of a case: all subjects with the same objects, if they fit into memory together.

  alias Bench.{Machine, Subject, Text}

  # Leaves room for the calls, and for what the system does beside.
  @share 0.7

  # Fills a table of each label with `rows` objects, which `object` makes of their numbers, and
  # returns {results, []} of `measure`, a list; or {[], [what was left out and why]}.
  def with_filled(labels, rows, bytes_per_row, object, measure, type \\ :set) do
    case refusal(rows * bytes_per_row * length(labels)) do
      nil ->
        subjects =
          for label <- labels, do: label |> Subject.start(type) |> Subject.fill(rows, object)

        try do
          {measure.(subjects), []}
        after
          Enum.each(subjects, &Subject.stop/1)
          Bench.Calls.drop()
        end

      reason ->
        {[], [reason]}
    end
  end

  # The same for several cases. `run` gets each and returns what `with_filled` does; what was left
  # out is told with its case.
  def each(cases, run) do
    {results, skipped} =
      cases
      |> Enum.map(fn conditions ->
        {results, reasons} = run.(conditions)
        {results, Enum.map(reasons, &skip(conditions, &1))}
      end)
      |> Enum.unzip()

    {Enum.concat(results), Enum.concat(skipped)}
  end

  def skip(conditions, reason) do
    IO.puts("\n#{Bench.Comparison.title(conditions)}: left out, #{reason}")
    %{case: conditions, reason: reason}
  end

  # Why so many bytes cannot be had; nil if they can, or if nobody knows.
  def refusal(bytes, available \\ Machine.available_bytes()) do
    if available && bytes > @share * available do
      "the tables would take about #{Text.bytes(bytes)}, which is more than " <>
        "#{round(100 * @share)} % of the #{Text.bytes(available)} that are free"
    end
  end
end
