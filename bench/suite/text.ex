defmodule Bench.Text do
  @moduledoc false
  # Figures as people read them.

  # A ratio and how far the rounds are apart.
  def ratio(ratios) when is_list(ratios), do: ratios |> Bench.Stats.spread() |> ratio()

  def ratio(%{median: median, low: low, high: high}) do
    "#{String.pad_leading(decimal(median, 2), 6)} x (#{decimal(low, 2)} to #{decimal(high, 2)})"
  end

  def decimal(value, digits \\ 1), do: :erlang.float_to_binary(value * 1.0, decimals: digits)

  def number(n) do
    n
    |> round()
    |> Integer.to_charlist()
    |> Enum.reverse()
    |> Enum.chunk_every(3)
    |> Enum.intersperse(~c",")
    |> Enum.concat()
    |> Enum.reverse()
    |> List.to_string()
  end

  def bytes(n) when n >= 1_000_000_000, do: "#{decimal(n / 1_000_000_000)} GB"
  def bytes(n), do: "#{number(n / 1_000_000)} MB"

  def processes(1), do: "1 process"
  def processes(n), do: "#{number(n)} processes"
end
