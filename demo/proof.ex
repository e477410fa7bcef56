defmodule Demo.Proof do
  @moduledoc """
  The plain count by a single process, and the comparison of the table with it.
  """

  alias Demo.Words

  @enforce_keys [:lost, :doubled, :words, :examples]
  defstruct [:lost, :doubled, :words, :examples]

  @typedoc """
  How the table differs: increments that are missing or too many, the number of different words,
  and some `{word, expected, found}` that differ.
  """
  @type t :: %__MODULE__{
          lost: non_neg_integer(),
          doubled: non_neg_integer(),
          words: non_neg_integer(),
          examples: [{binary(), non_neg_integer(), integer()}]
        }

  @shown 5

  @doc "Counts the texts in one process; the texts are whole here, not cut into chunks."
  @spec count([binary()], pos_integer()) :: %{binary() => pos_integer()}
  def count(texts, passes) do
    table = :ets.new(:reference, [:set, :private])

    Enum.each(texts, fn text ->
      Enum.each(Words.split(text), &:ets.update_counter(table, &1, {2, passes}, {&1, 0}))
    end)

    counts = Map.new(:ets.tab2list(table))
    :ets.delete(table)
    counts
  end

  @doc "Compares the objects of the table with the expected counts, word by word."
  @spec compare(%{binary() => non_neg_integer()}, [{binary(), integer()}]) :: t()
  def compare(expected, objects) do
    # A word that were there twice would be too many increments.
    found =
      Enum.reduce(objects, %{}, fn {word, n}, acc -> Map.update(acc, word, n, &(&1 + n)) end)

    unknown = for {word, n} <- found, not is_map_key(expected, word), do: {word, 0, n}

    different =
      for {word, n} <- expected, count = Map.get(found, word, 0), count != n, do: {word, n, count}

    differences = different ++ unknown

    %__MODULE__{
      lost: Enum.sum(for {_, expected, found} <- differences, do: max(expected - found, 0)),
      doubled: Enum.sum(for {_, expected, found} <- differences, do: max(found - expected, 0)),
      words: map_size(expected),
      examples: Enum.take(differences, @shown)
    }
  end

  @doc "Whether there is no difference."
  @spec right?(t()) :: boolean()
  def right?(proof), do: proof.lost == 0 and proof.doubled == 0 and proof.examples == []
end
