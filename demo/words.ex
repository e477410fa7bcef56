defmodule Demo.Words do
  @moduledoc """
  What the demo takes for a word: a longest run of letters, digits and apostrophes, in which the
  letters A to Z are made small.

  Other letters than those of ASCII are taken as they are, in UTF-8. The text may hold anything:
  bytes that are no UTF-8 are letters as well.
  """

  @doc "Returns the words of a text in their order."
  @spec split(binary()) :: [binary()]
  def split(text), do: text |> plain(<<>>) |> :binary.split(" ", [:global, :trim_all])

  # Small letters, and one blank for everything that is not in a word.
  defp plain(<<char, rest::binary>>, acc) when char in ?a..?z or char in ?0..?9 or char == ?',
    do: plain(rest, <<acc::binary, char>>)

  defp plain(<<char, rest::binary>>, acc) when char in ?A..?Z,
    do: plain(rest, <<acc::binary, char + 32>>)

  # The signs of Latin-1, the blocks of punctuation and symbols from U+2000 on, and U+3000 to
  # U+303F; everything else beyond ASCII is near enough to a letter.
  defp plain(<<0xC2, _, rest::binary>>, acc), do: plain(rest, <<acc::binary, ?\s>>)
  defp plain(<<0xE2, _, _, rest::binary>>, acc), do: plain(rest, <<acc::binary, ?\s>>)
  defp plain(<<0xE3, 0x80, _, rest::binary>>, acc), do: plain(rest, <<acc::binary, ?\s>>)

  defp plain(<<char, rest::binary>>, acc) when char >= 128,
    do: plain(rest, <<acc::binary, char>>)

  defp plain(<<_, rest::binary>>, acc), do: plain(rest, <<acc::binary, ?\s>>)
  defp plain(<<>>, acc), do: acc
end
