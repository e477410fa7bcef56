defmodule PartitionedEts.NativeTermsTest do
  # Terms through the native library: they come back as they were, and the order and the two
  # equalities of the encoded form are the VM's own.
  use ExUnit.Case, async: true

  import Bitwise

  alias PartitionedEts.Native
  alias PartitionedEts.Test.Terms

  @round_trips 1_000_000
  @pairs 200_000
  @depth 100_000

  setup do: %{repeat: Terms.seed(__ENV__.file)}

  @tag timeout: 300_000
  test "a million random terms survive the round trip", %{repeat: repeat} do
    # Each process draws from a state of its own, derived from the test's.
    tasks =
      for _ <- 1..System.schedulers_online() do
        seed = :rand.uniform(1 <<< 58)
        Task.async(fn -> round_trips(seed, div(@round_trips, System.schedulers_online())) end)
      end

    for task <- tasks, {:changed, term, back} <- [Task.await(task, :infinity)] do
      flunk("#{inspect(term)} came back as #{inspect(back)}; #{repeat}")
    end
  end

  defp round_trips(seed, count) do
    :rand.seed(:exsss, seed)

    Enum.find_value(1..count, :same, fn _ ->
      term = Terms.term()
      back = Native.debug_roundtrip(term)
      if back !== term, do: {:changed, term, back}
    end)
  end

  test "order and equalities are the VM's", %{repeat: repeat} do
    for _ <- 1..@pairs do
      left = Terms.term(3)
      right = if :rand.uniform(2) == 1, do: Terms.like(left), else: Terms.term(3)
      {order, equal?, same?} = Native.debug_compare(left, right)

      assert {equal?, same?} == {left == right, left === right},
             "#{inspect({left, right})}; #{repeat}"

      unless maps_within?(left) do
        expected = if left < right, do: -1, else: if(left == right, do: 0, else: 1)
        assert order == expected, "#{inspect({left, right})}; #{repeat}"
      end
    end
  end

  # The VM orders the keys of a map by when their atoms were made where the keys are maps
  # themselves: an order that differs from node to node, which is not followed.
  defp maps_within?(term) when is_map(term) do
    Enum.any?(term, fn {key, value} ->
      contains_map?(key) or contains_map?(value) or is_number(key)
    end)
  end

  defp maps_within?([head | tail]), do: maps_within?(head) or maps_within?(tail)
  defp maps_within?(tuple) when is_tuple(tuple), do: maps_within?(Tuple.to_list(tuple))
  defp maps_within?(_leaf), do: false

  defp contains_map?(term) when is_map(term), do: true
  defp contains_map?([head | tail]), do: contains_map?(head) or contains_map?(tail)
  defp contains_map?(tuple) when is_tuple(tuple), do: contains_map?(Tuple.to_list(tuple))
  defp contains_map?(_leaf), do: false

  test "terms nested 100,000 deep are stored, found, and handed back" do
    start_supervised!({PartitionedEts, name: :nested_terms, table_opts: [:named_table, :public]})

    for nest <- [&{&1}, &[&1], &[0 | {&1}], &%{k: &1}] do
      deep = Enum.reduce(1..@depth, :bottom, fn _, term -> nest.(term) end)
      assert Native.debug_roundtrip(deep) === deep
      assert PartitionedEts.insert(:nested_terms, {deep, deep})
      assert PartitionedEts.lookup(:nested_terms, deep) === [{deep, deep}]
      assert PartitionedEts.delete(:nested_terms, deep)
    end
  end

  test "a panic in the library is an error in the caller, and nothing more" do
    assert_raise ErlangError, ~r/nif_panicked/, fn -> Native.debug_panic() end
    assert Native.debug_roundtrip(:still_there) == :still_there
  end
end
