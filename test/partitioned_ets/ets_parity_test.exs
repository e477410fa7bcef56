defmodule PartitionedEts.EtsParityTest do
  # Random programs of operations on a table and on an `:ets` table: the same results, the same
  # exceptions with the same causes, the same contents.
  use ExUnit.Case, async: true

  import Bitwise

  alias PartitionedEts.Test.Terms

  @programs 300
  @calls 120

  setup do: %{repeat: Terms.seed(__ENV__.file)}

  for {type, partitions, keypos} <- [
        {:set, 1, 1},
        {:set, 8, 1},
        {:set, 3, 2},
        {:ordered_set, 1, 1},
        {:ordered_set, 8, 2},
        {:bag, 8, 1},
        {:duplicate_bag, 8, 1},
        {:bag, 1, 2}
      ] do
    @tag timeout: 180_000
    test "a #{type} with #{partitions} partitions and key position #{keypos}",
         %{repeat: repeat} do
      {type, partitions, keypos} = {unquote(type), unquote(partitions), unquote(keypos)}
      table = :"parity_#{type}_#{partitions}_#{keypos}"
      options = [:named_table, :public, type, keypos: keypos]

      start_supervised!(
        {PartitionedEts, name: table, table_opts: options, partitions: partitions}
      )

      oracle = :ets.new(:oracle, [:public, type, keypos: keypos])
      assert PartitionedEts.info(table, :type) == type

      for _ <- 1..@programs do
        PartitionedEts.delete_all_objects(table)
        :ets.delete_all_objects(oracle)
        keys = [1, 1.0, :a, "b" | for(_ <- 1..4, do: Terms.term(2))]

        for _ <- 1..@calls do
          {function, arguments} = call(:rand.uniform(15), keys)
          expected = outcome(:ets, function, [oracle | arguments])
          actual = outcome(PartitionedEts, function, [table | arguments])

          assert actual === expected,
                 "#{function}(#{inspect(arguments)}) gave #{inspect(actual)}, " <>
                   ":ets gives #{inspect(expected)}; #{repeat}"
        end

        [contents, keys] = [PartitionedEts.tab2list(table), keys_of(table)]
        found = for key <- keys, do: :ets.lookup(oracle, key)
        assert PartitionedEts.lookup_many(table, keys) === found, repeat
        compare_order(PartitionedEts.info(table, :type), table, oracle, keys, repeat)

        for {actual, expected} <- [
              {contents, :ets.tab2list(oracle)},
              {keys, keys_of(oracle, :ets)},
              {[PartitionedEts.info(table, :size)], [length(contents)]}
            ] do
          # Frequencies tell 1 from 1.0, as sorted lists do not.
          assert Enum.frequencies(actual) == Enum.frequencies(expected),
                 "#{inspect(actual)} instead of #{inspect(expected)}; #{repeat}"
        end
      end
    end
  end

  # In both directions, from keys that are there and from others.
  defp compare_order(:ordered_set, table, oracle, keys, repeat) do
    fold = &apply(&1, &2, [fn object, acc -> [object | acc] end, [], &3])

    for {function, arguments} <-
          [{:first, []}, {:last, []}, {:tab2list, []}] ++
            for(
              key <- keys ++ for(_ <- 1..5, do: Terms.term(2)),
              f <- [:next, :prev],
              do: {f, [key]}
            ) do
      expected = apply(:ets, function, [oracle | arguments])
      actual = apply(PartitionedEts, function, [table | arguments])

      assert actual === expected,
             "#{function}(#{inspect(arguments)}) gave #{inspect(actual)}, " <>
               ":ets gives #{inspect(expected)}; #{repeat}"
    end

    for module <- [:ets, PartitionedEts], function <- [:next, :prev] do
      name = if module == :ets, do: oracle, else: table
      assert_raise ArgumentError, fn -> apply(module, function, [name, :"$end_of_table"]) end
    end

    for function <- [:foldl, :foldr] do
      assert fold.(PartitionedEts, function, table) === fold.(:ets, function, oracle), repeat
    end
  end

  defp compare_order(_type, _table, _oracle, _keys, _repeat), do: :ok

  defp keys_of(table, module \\ PartitionedEts) do
    table
    |> module.first()
    |> Stream.iterate(&module.next(table, &1))
    |> Enum.take_while(&(&1 != :"$end_of_table"))
  end

  defp outcome(module, function, arguments) do
    {:ok, apply(module, function, arguments)}
  rescue
    error in ArgumentError ->
      [{_, _, _, info} | _] = __STACKTRACE__
      {:raised, error.__struct__, get_in(info, [:error_info, :cause]) || :none}
  end

  defp call(1, keys), do: {:insert, [object(keys)]}
  defp call(2, keys), do: {:insert, [objects(keys)]}
  defp call(3, keys), do: {:insert_new, [object(keys)]}
  defp call(4, keys), do: {:insert_new, [objects(keys)]}
  defp call(5, keys), do: {:lookup, [key(keys)]}
  defp call(6, keys), do: {:lookup_element, [key(keys), position()]}
  defp call(7, keys), do: {:lookup_element, [key(keys), position(), :default]}
  defp call(8, keys), do: {:member, [key(keys)]}
  defp call(9, keys), do: {:delete, [key(keys)]}
  defp call(10, keys), do: {:delete_object, [object(keys)]}
  defp call(11, keys), do: {:take, [key(keys)]}
  defp call(12, keys), do: {:update_counter, [key(keys), counters()]}
  defp call(13, keys), do: {:update_counter, [key(keys), counters(), default(keys)]}
  defp call(14, keys), do: {:update_element, [key(keys), elements()]}
  defp call(15, keys), do: {:update_element, [key(keys), elements(), default(keys)]}

  defp key(keys), do: Enum.random(keys)

  defp object(keys) do
    case :rand.uniform(30) do
      1 ->
        Enum.random([:no_tuple, {}, {1}, "x"])

      _ ->
        List.to_tuple([key(keys), value(keys) | for(_ <- 1..:rand.uniform(3), do: value(keys))])
    end
  end

  # With the key at position 2 the first element must not decide, so both are keys at times.
  defp value(keys) do
    case :rand.uniform(4) do
      1 -> key(keys)
      2 -> :rand.uniform(5) * Enum.random([1, 1 <<< 58, -(1 <<< 70)])
      3 -> Terms.term(1)
      4 -> :rand.uniform(100)
    end
  end

  defp objects(keys) do
    case :rand.uniform(20) do
      1 -> [object(keys) | :improper]
      _ -> for _ <- 1..(:rand.uniform(5) - 1)//1, do: object(keys)
    end
  end

  # A default as long as the key position: a shorter one is a known fault of `:ets` itself.
  defp default(keys) do
    case :rand.uniform(15) do
      1 -> :no_tuple
      _ -> {key(keys), :rand.uniform(9), :rand.uniform(9), key(keys)}
    end
  end

  defp position, do: Enum.random([1, 2, 2, 3, 3, 4, 5, 0, -1, :x, 1 <<< 70])

  defp counters do
    case :rand.uniform(8) do
      n when n <= 3 -> increment()
      n when n <= 7 -> counter()
      _ -> Enum.random([[], :x, [{2, 1} | {3, 1}], for(_ <- 1..3, do: counter())])
    end
  end

  defp counter do
    Enum.random([
      {position(), increment()},
      {position(), increment(), increment(), increment()},
      {2, increment()},
      {3, increment()},
      {2},
      {3, :x}
    ])
  end

  defp increment, do: Enum.random([1, -1, 0, 5, (1 <<< 59) - 1, 1 <<< 64, -(1 <<< 59), :x, 1.5])

  defp elements do
    case :rand.uniform(5) do
      1 -> Enum.random([[], :x, [{3, 1} | {4, 1}], {3}])
      2 -> for _ <- 1..3, do: {position(), Terms.term(1)}
      _ -> {position(), Terms.term(1)}
    end
  end
end
