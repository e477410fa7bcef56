defmodule Bench.Stats do
  @moduledoc false
  # From the figures of several rounds to the ones that are shown.

  def median(values), do: percentile(values, 50)

  def percentile(values, percent) do
    sorted = Enum.sort(values)
    Enum.at(sorted, div(percent * (length(sorted) - 1), 100))
  end

  # The median and how far the rounds are apart.
  def spread(values) do
    {low, high} = Enum.min_max(values)
    %{median: median(values), low: low, high: high}
  end

  # What `value` is by `own`. A call may be as fast as the empty loop, on a busy machine faster.
  def ratio(_value, own) when own <= 0, do: 0.0
  def ratio(value, own), do: value / own
end
