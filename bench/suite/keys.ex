defmodule Bench.Keys do
  @moduledoc false
  # Which keys a caller asks for.
  #
  # A distribution is `:uniform`, `:zipf` or `:hot`. A sampler is made once for a number of rows and
  # draws from the random state of its process.

  # The exponent that YCSB uses: of a million keys the first is in 6.5 % of all calls.
  @exponent 0.99
  # Carries neighbouring ranks far apart: the commonest keys must not be those loaded first, which
  # lie side by side in memory.
  @scatter 2_654_435_761

  def sampler(:hot, _rows), do: fn -> 1 end
  def sampler(:uniform, rows), do: fn -> :rand.uniform(rows) end

  def sampler(:zipf, rows) do
    1 = Integer.gcd(@scatter, rows)
    rank = zipf(rows, @exponent)
    fn -> rem(rank.() * @scatter, rows) + 1 end
  end

  # Draws ranks from 1 to `n`, rank k with a probability proportional to k^-s, in constant time and
  # memory: rejection-inversion (Hörmann and Derflinger, "Rejection-inversion to generate variates
  # from monotone discrete distributions", 1996). `s` must not be 1.
  def zipf(n, s) do
    h = fn x -> (:math.pow(x, 1 - s) - 1) / (1 - s) end
    inverse = fn y -> :math.pow(1 + y * (1 - s), 1 / (1 - s)) end
    density = fn x -> :math.pow(x, -s) end
    # The area under the curve, its first bar made as wide as it is high.
    low = h.(1.5) - 1
    high = h.(n + 0.5)
    # Ranks this near to what was drawn are taken without a look at the bar.
    near = 2 - inverse.(h.(2.5) - density.(2))
    fn -> draw(n, low, high, near, h, inverse, density) end
  end

  defp draw(n, low, high, near, h, inverse, density) do
    y = high + :rand.uniform() * (low - high)
    x = inverse.(y)
    k = x |> round() |> max(1) |> min(n)

    if k - x <= near or y >= h.(k + 0.5) - density.(k),
      do: k,
      else: draw(n, low, high, near, h, inverse, density)
  end
end
