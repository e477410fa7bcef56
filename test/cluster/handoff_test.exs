defmodule PartitionedEts.HandoffTest do
  # Nodes that join and leave, with data and under load.
  use ExUnit.Case, async: false
  @moduletag :clustered
  @moduletag timeout: 120_000

  import PartitionedEts.Test.Cluster

  alias PartitionedEts.Test.Load

  setup context, do: {:ok, name: context.test}

  defp start_all(nodes, name, opts \\ []), do: start_tables(nodes, [name: name] ++ opts)

  defp owned(node, name), do: length(table(node, :owned_slots, [name]))

  test "a node that joins gets its share with the data", %{name: name} do
    [a, b] = start_cluster(2)
    start_all([a], name)
    table(a, :insert, [name, for(i <- 1..10_000, do: {i, i})])
    start_all([b], name)
    settle([a, b], name)

    assert owned(a, name) + owned(b, name) == 4096
    assert_in_delta owned(b, name), 2048, 200

    for node <- [a, b] do
      assert table(node, :info, [name, :size]) == 10_000
      assert call(node, Load, :missing, [name, 1..10_000]) == []
    end
  end

  test "shares follow the number of partitions", %{name: name} do
    [a, b] = nodes = start_cluster(2)
    start_all([a], name, partitions: 1)
    start_all([b], name, partitions: 3)
    settle(nodes, name)
    assert_in_delta owned(b, name), 3072, 200
  end

  test "every node gives the same owner for a key", %{name: name} do
    nodes = start_cluster(3)
    start_all(nodes, name)
    settle(nodes, name)

    for key <- 1..200 do
      assert [owner] = Enum.uniq(for node <- nodes, do: table(node, :place, [name, key]))
      assert owner in Enum.map(nodes, & &1.name)
    end
  end

  test "a node that leaves in order hands over everything", %{name: name} do
    [a, b] = start_cluster(2)
    [_, owner] = start_all([a, b], name)
    table(b, :insert, [name, for(i <- 1..10_000, do: {i, i})])
    stop_table(b, owner)
    assert owned(a, name) == 4096
    assert table(a, :info, [name, :size]) == 10_000
    assert call(a, Load, :missing, [name, 1..10_000]) == []
  end

  test "a node that is stopped as a whole hands over everything", %{name: name} do
    [a, b] = start_cluster(2)
    start_all([a, b], name)
    table(b, :insert, [name, for(i <- 1..10_000, do: {i, i})])
    stop(b)
    assert call(a, Load, :missing, [name, 1..10_000]) == []
  end

  test "counters incremented from every node while nodes join and leave are exact", context do
    %{name: name} = context
    [a, b, c, d] = start_cluster(4)
    [_, _, owner] = start_all([a, b, c], name)

    loads =
      for node <- [a, b], _ <- 1..2 do
        {node, call(node, Load, :start_counting, [name, 500])}
      end

    start_all([d], name)
    stop_table(c, owner)
    settle([a, b, d], name)

    counted = for {node, pid} <- loads, do: call(node, Load, :stop_counting, [pid])
    assert Enum.min(counted) > 0
    assert call(a, Load, :sum, [name]) == Enum.sum(counted)
  end

  for type <- [:bag, :duplicate_bag] do
    test "a #{type} filled from every node while nodes join and leave keeps all, in order",
         context do
      %{name: name} = context
      opts = [table_opts: [:named_table, :public, unquote(type)]]
      [a, b, c, d] = start_cluster(4)
      [_, _, owner] = start_all([a, b, c], name, opts)

      loads =
        for node <- [a, b], i <- 1..2 do
          writer = {node.name, i}
          {node, writer, call(node, Load, :start_filling, [name, 300, writer])}
        end

      start_all([d], name, opts)
      stop_table(c, owner)
      settle([a, b, d], name)

      filled =
        for {node, writer, pid} <- loads, do: {writer, call(node, Load, :stop_counting, [pid])}

      assert filled |> Enum.map(&elem(&1, 1)) |> Enum.min() > 0
      assert call(a, Load, :wrongly_filled, [name, 300, filled]) == []
    end
  end

  test "an ordered table is in order over all nodes while they join and leave", %{name: name} do
    keys = 1..2_000
    opts = [table_opts: [:named_table, :public, :ordered_set]]
    [a, b, c, d] = start_cluster(4)
    [_, _, owner] = start_all([a, b, c], name, opts)
    settle([a, b, c], name)
    table(a, :insert, [name, for(key <- keys, do: {key, :stays})])
    assert table(b, :first, [name]) == 1
    assert table(c, :last, [name]) == 2_000
    assert table(c, :next, [name, 7.5]) == 8

    loads =
      for node <- [a, b], load <- [:start_walking, :start_coming_and_going] do
        {node, call(node, Load, load, [name, keys])}
      end

    start_all([d], name, opts)
    stop_table(c, owner)
    settle([a, b, d], name)
    done = for {node, pid} <- loads, do: call(node, Load, :stop_counting, [pid])
    assert Enum.min(done) > 0

    assert table(d, :delete_all_objects, [name])
    assert table(a, :first, [name]) == :"$end_of_table"
    assert table(b, :tab2list, [name]) == []
  end

  test "a node that is killed takes only its own slots with it", %{name: name} do
    [a, b] = start_cluster(2)
    start_all([a, b], name)
    table(a, :insert, [name, for(i <- 1..1_000, do: {i, i})])
    kept = for i <- 1..1_000, table(a, :owner?, [name, i]), do: i
    kill(b)
    until(fn -> owned(a, name) == 4096 end)
    assert call(a, Load, :missing, [name, 1..1_000]) == Enum.to_list(1..1_000) -- kept
    assert table(a, :insert, [name, for(i <- 1..1_000, do: {i, i})])
    assert call(a, Load, :missing, [name, 1..1_000]) == []
  end

  test "subscribers hear of slots that come and go", %{name: name} do
    [a, b] = start_cluster(2)
    start_all([a], name)
    heard = call(a, Load, :start_hearing, [name])
    start_all([b], name)
    settle([a, b], name)
    gone = table(b, :owned_slots, [name])
    assert Enum.sort(call(a, Load, :heard, [heard, :released, length(gone)])) == gone
  end

  test "all nodes can be stopped at once", %{name: name} do
    [a, b] = start_cluster(2)
    owners = start_all([a, b], name)
    table(a, :insert, [name, {:a, 1}])
    started = System.monotonic_time(:millisecond)
    stops = for {n, o} <- Enum.zip([a, b], owners), do: Task.async(fn -> stop_table(n, o) end)
    Task.await_many(stops, 60_000)
    assert System.monotonic_time(:millisecond) - started < 20_000
  end
end
