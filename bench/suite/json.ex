defmodule Bench.Json do
  @moduledoc false
  # Writes JSON. The oldest supported releases of Elixir and OTP have nothing for that.

  # Maps become objects, with their keys in order; keyword lists do not: a list is an array.
  def encode(nil), do: "null"
  def encode(value) when is_boolean(value), do: Atom.to_string(value)
  def encode(value) when is_atom(value), do: value |> Atom.to_string() |> encode()
  def encode(value) when is_integer(value), do: Integer.to_string(value)
  def encode(value) when is_float(value), do: value |> Float.round(4) |> Float.to_string()
  def encode(value) when is_binary(value), do: [?", escape(value), ?"]
  def encode(list) when is_list(list), do: [?[, list |> Enum.map(&encode/1) |> join(), ?]]

  def encode(%{} = map) when not is_struct(map) do
    pairs =
      for {key, value} <- map |> Enum.map(fn {k, v} -> {to_string(k), v} end) |> Enum.sort(),
          do: [encode(key), ?:, encode(value)]

    [?{, join(pairs), ?}]
  end

  defp join(parts), do: Enum.intersperse(parts, ?,)

  defp escape(text) do
    for <<character::utf8 <- text>> do
      case character do
        ?" -> ~S(\")
        ?\\ -> ~S(\\)
        c when c < 0x20 -> ["\\u", c |> Integer.to_string(16) |> String.pad_leading(4, "0")]
        c -> <<c::utf8>>
      end
    end
  end
end
