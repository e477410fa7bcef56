defmodule PartitionedEts.Test.Terms do
  @moduledoc """
  Random terms of every type, from the process's random state: `:rand.seed/2` repeats them.
  """

  import Bitwise

  @atoms [:a, :b, :ok, :"", :"with space", :ångström, :漢字, true, false, nil, :a_longer_atom_name]

  @doc """
  Seeds the process's random state, from `PETS_SEED` where that is set; returns the command that
  repeats the tests of `file` with the same terms.
  """
  @spec seed(Path.t()) :: String.t()
  def seed(file) do
    seed = System.get_env("PETS_SEED", "#{System.unique_integer([:positive])}")
    :rand.seed(:exsss, String.to_integer(seed))
    "repeat with PETS_SEED=#{seed} mix test #{Path.relative_to_cwd(file)}"
  end

  @doc "A random term; `size` bounds how large it gets."
  @spec term(non_neg_integer()) :: term()
  def term(size \\ 6)
  def term(0), do: leaf(:rand.uniform(14))

  def term(size) do
    case :rand.uniform(10) do
      1 -> List.to_tuple(terms(size))
      2 -> terms(size)
      3 -> improper(terms(size), leaf(:rand.uniform(14)))
      4 -> map(size)
      5 -> {term(size - 1), term(size - 1)}
      6 -> [term(size - 1)]
      _ -> leaf(:rand.uniform(14))
    end
  end

  @doc "A random term that is near another one, so that comparisons go deep."
  @spec like(term()) :: term()
  def like(term) do
    case {:rand.uniform(4), term} do
      {1, _} -> term(2)
      {_, [head | tail]} when is_list(tail) -> [like(head) | tail]
      {_, tuple} when is_tuple(tuple) and tuple_size(tuple) > 0 -> like_tuple(tuple)
      {2, integer} when is_integer(integer) -> integer + :rand.uniform(3) - 2
      {3, integer} when is_integer(integer) and abs(integer) < 1.0e300 -> integer * 1.0
      {2, float} when is_float(float) and abs(float) < 1.0e15 -> trunc(float)
      _ -> term
    end
  end

  defp like_tuple(tuple) do
    index = :rand.uniform(tuple_size(tuple)) - 1
    put_elem(tuple, index, like(elem(tuple, index)))
  end

  defp terms(size), do: for(_ <- 1..(:rand.uniform(4) - 1)//1, do: term(size - 1))

  defp improper([], tail), do: [leaf(4) | proper_free(tail)]
  defp improper(elements, tail), do: append(elements, proper_free(tail))

  defp append([last], tail), do: [last | tail]
  defp append([head | rest], tail), do: [head | append(rest, tail)]

  defp proper_free(tail) when is_list(tail), do: :tail
  defp proper_free(tail), do: tail

  # Small maps and those beyond the 32 keys where the VM changes its layout.
  defp map(size) do
    pairs = if :rand.uniform(20) == 1, do: 40, else: :rand.uniform(5) - 1
    for _ <- 1..pairs//1, into: %{}, do: {term(min(size - 1, 2)), leaf(:rand.uniform(14))}
  end

  defp leaf(1), do: :rand.uniform(21) - 11
  defp leaf(2), do: sign() * :rand.uniform(1 <<< 62)
  defp leaf(3), do: sign() * ((1 <<< 59) + :rand.uniform(5) - 3)
  defp leaf(4), do: Enum.random(@atoms)
  defp leaf(5), do: sign() * Integer.pow(:rand.uniform(1 <<< 60), :rand.uniform(6))

  defp leaf(6),
    do: Enum.random([0.0, -0.0, 1.0, -1.5, 1.0e300, 5.0e-324, 576_460_752_303_423_488.0])

  defp leaf(7), do: :rand.normal() * Enum.random([1, 1.0e10, 1.0e-10])
  defp leaf(8), do: :rand.bytes(:rand.uniform(20) - 1)
  defp leaf(9), do: :rand.bytes(Enum.random([0, 7, 8, 9, 63, 64, 65, 300]))
  defp leaf(10), do: bits(:rand.uniform(30))
  defp leaf(11), do: self()
  # An ordinary reference, and one that carries the pid of its process.
  defp leaf(12), do: Enum.random([make_ref(), :erlang.alias()])
  defp leaf(13), do: Enum.random([[], {}, %{}, "", <<>>])

  defp leaf(14),
    do: Enum.random([&Enum.map/2, &__MODULE__.term/0, fun(:rand.uniform(3)), remote()])

  defp fun(n), do: fn -> n end

  defp bits(size) do
    <<bits::bitstring-size(^size), _::bitstring>> = :rand.bytes(8)
    bits
  end

  # A pid, a port and a reference of another node, as they come over the wire.
  defp remote do
    node = <<119, 9, "far@there">>
    id = <<:rand.uniform(1000)::32>>
    pid = <<131, 88, node::binary, id::binary, 0::32, 7::32>>
    port = <<131, 120, node::binary, 0::32, id::binary, 7::32>>
    reference = <<131, 90, 3::16, node::binary, 7::32, id::binary, 1::32, 2::32>>
    :erlang.binary_to_term(Enum.random([pid, port, reference]))
  end

  defp sign, do: Enum.random([1, -1])
end
