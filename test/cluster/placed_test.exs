defmodule PartitionedEts.PlacedTest do
  # Tables whose keys are placed by a `hash/2` callback, on nodes that join, leave and die.
  use ExUnit.Case, async: false
  @moduletag :clustered
  @moduletag timeout: 120_000

  import PartitionedEts.Test.Cluster

  alias PartitionedEts.{Native, Shards}
  alias PartitionedEts.Test.{Callbacks, Load, Modulo}

  @settle_ms 30_000

  setup context, do: {:ok, name: context.test}

  defp start_all(nodes, name, opts \\ []),
    do: start_tables(nodes, [name: name, callbacks: Modulo] ++ opts)

  defp stored(node, name), do: call(node, Load, :stored, [name])

  # Every key is on the node where the callback says, and nowhere else.
  defp assert_placed(nodes, name) do
    shards = call(hd(nodes), Shards, :all, [name])

    assert Enum.uniq(Enum.map(shards, &elem(&1, 0))) ==
             nodes |> Enum.map(& &1.name) |> Enum.sort()

    for node <- nodes, key <- stored(node, name) do
      {place, _partition} = Modulo.hash(key, shards)
      assert place == node.name
    end
  end

  test "the callback says which node has a key", %{name: name} do
    [a, b, c] = nodes = start_cluster(3)
    start_all(nodes, name, partitions: 2)
    assert table(a, :insert, [name, for(i <- 1..3_000, do: {i, i})])
    assert_placed(nodes, name)
    assert Enum.all?(nodes, &(stored(&1, name) != []))

    for node <- nodes do
      assert table(node, :info, [name, :size]) == 3_000
      assert call(node, Load, :missing, [name, 1..3_000]) == []
    end

    shards = call(b, Shards, :all, [name])
    assert shards == Enum.sort(for n <- nodes, p <- 0..1, do: {n.name, :"#{name}_p#{p}"})

    for key <- 1..50 do
      {place, _partition} = Modulo.hash(key, shards)
      for node <- nodes, do: assert(table(node, :place, [name, key]) == place)
      assert table(c, :owner?, [name, key]) == (place == c.name)
    end
  end

  test "all operations go where the callback says", %{name: name} do
    [a, b] = nodes = start_cluster(2)
    start_all(nodes, name)

    for key <- 1..20 do
      assert table(a, :insert_new, [name, {key, 0, :x}])
      refute table(b, :insert_new, [name, {key, 1, :y}])
      assert table(b, :update_counter, [name, key, {2, 5}]) == 5
      assert table(a, :update_counter, [name, {:new, key}, 2, {:any, 40}]) == 42
      assert table(b, :update_element, [name, key, {3, :z}])
      assert table(a, :lookup, [name, key]) == [{key, 5, :z}]
      assert table(a, :lookup_element, [name, key, 3]) == :z
      assert table(a, :lookup_element, [name, -key, 3, :none]) == :none
      assert table(b, :member, [name, key])
      assert table(b, :delete_object, [name, {key, 6, :z}])
      assert table(a, :take, [name, {:new, key}]) == [{{:new, key}, 42}]
    end

    refute table(a, :insert_new, [name, [{:fresh, 1}, {7, 1}]])
    refute table(b, :member, [name, :fresh])
    assert table(a, :insert_new, [name, for(key <- 21..40, do: {key, key})])
    assert_placed(nodes, name)

    keys = walk(a, name, table(a, :first, [name]), [])
    assert Enum.sort(keys) == Enum.to_list(1..40)
    assert keys == walk(b, name, table(b, :first, [name]), [])
    assert table(a, :tab2list, [name]) |> Enum.map(&elem(&1, 0)) == keys

    assert table(b, :delete, [name, 1])
    assert {:error, %ArgumentError{}} = rescued(a, :next, [name, 1])
    assert {:error, %ArgumentError{}} = rescued(a, :update_counter, [name, 1, 1])
    assert {:error, %ArgumentError{}} = rescued(a, :insert, [name, {}])
    assert {:error, %ArgumentError{}} = rescued(a, :insert, [name, [{2, 2}, :no]])
    assert table(a, :delete_all_objects, [name])
    for node <- nodes, do: assert(stored(node, name) == [])
  end

  defp walk(_node, _name, :"$end_of_table", keys), do: Enum.reverse(keys)

  defp walk(node, name, key, keys),
    do: walk(node, name, table(node, :next, [name, key]), [key | keys])

  test "counters are exact while a node joins and others leave", %{name: name} do
    [a, b, c, d] = start_cluster(4)
    [_, _, owner] = start_all([a, b, c], name)
    table(a, :insert, [name, for(i <- 1..5_000, do: {{:counter, -i}, 0})])

    loads =
      for node <- [a, b], _ <- 1..2, do: {node, call(node, Load, :start_counting, [name, 500])}

    until(fn -> call(a, Load, :sum, [name]) > 1_000 end)

    [d_owner] = start_all([d], name)
    settle([a, b, c, d], name)
    until_more(a, name)
    stop_table(c, owner)
    settle([a, b, d], name)
    until_more(a, name)
    # Both changes at once.
    joining = Task.async(fn -> start_all([c], name) end)
    stop_table(d, d_owner)
    Task.await(joining, @settle_ms)
    settle([a, b, c], name)
    until_more(a, name)

    counted = for {node, pid} <- loads, do: call(node, Load, :stop_counting, [pid])
    assert Enum.min(counted) > 0
    assert call(a, Load, :sum, [name]) == Enum.sum(counted)
    for node <- [a, b, c], do: assert(table(node, :info, [name, :size]) in 5_001..5_500)
    assert_placed([a, b, c], name)
  end

  test "counters are exact while nodes join and leave faster than they settle", %{name: name} do
    [a | others] = nodes = start_cluster(4)
    start_all([a], name, timeout: 20_000)
    table(a, :insert, [name, for(i <- 1..10_000, do: {{:counter, -i}, 0})])
    loads = for _ <- 1..3, do: call(a, Load, :start_counting, [name, 2_000])

    # The order is that of ExUnit's seed.
    owners =
      for _ <- 1..30, reduce: %{} do
        owners ->
          node = Enum.random(others)

          case owners do
            %{^node => owner} ->
              stop_table(node, owner)
              Map.delete(owners, node)

            _ ->
              {:ok, owner} = start_table(node, name: name, callbacks: Modulo, timeout: 20_000)
              Map.put(owners, node, owner)
          end
      end

    counted = for load <- loads, do: call(a, Load, :stop_counting, [load])
    assert call(a, Load, :sum, [name]) == Enum.sum(counted)
    members = Enum.filter(nodes, &(&1 == a or is_map_key(owners, &1)))
    settle(members, name)
    assert_placed(members, name)
  end

  defp until_more(node, name) do
    sum = call(node, Load, :sum, [name])
    until(fn -> call(node, Load, :sum, [name]) > sum + 200 end)
  end

  test "a node that is stopped as a whole hands over everything", %{name: name} do
    [a, b] = start_cluster(2)
    start_all([a, b], name)
    table(b, :insert, [name, for(i <- 1..5_000, do: {i, i})])
    stop(b)
    assert call(a, Load, :missing, [name, 1..5_000]) == []
    assert_placed([a], name)
  end

  test "all nodes can be stopped at once", %{name: name} do
    [a, b] = start_cluster(2)
    owners = start_all([a, b], name)
    table(a, :insert, [name, {:a, 1}])
    started = System.monotonic_time(:millisecond)
    stops = for {n, o} <- Enum.zip([a, b], owners), do: Task.async(fn -> stop_table(n, o) end)
    Task.await_many(stops, 60_000)
    assert System.monotonic_time(:millisecond) - started < 10_000
  end

  test "a node that is killed amid a transition holds up nobody", %{name: name} do
    [a, b, c, d] = start_cluster(4)
    start_all([a, b, c], name)
    table(a, :insert, [name, for(i <- 1..3_000, do: {i, i})])
    # It cannot say that it is through: the table stays closed until it is known to be dead.
    pause(c)
    {:ok, _} = start_table(d, name: name, callbacks: Modulo)
    until(fn -> match?({_, false}, call(a, Native, :view_state, [name])) end)
    kill(c)
    settle([a, b, d], name)
    assert table(d, :members, [name]) == Enum.sort([a.name, b.name, d.name])
    missing = call(d, Load, :missing, [name, 1..3_000])
    assert length(missing) in 1..1_500
    assert table(b, :insert, [name, for(i <- missing, do: {i, i})])
    assert call(a, Load, :missing, [name, 1..3_000]) == []
    assert_placed([a, b, d], name)
  end

  test "a connection that breaks and comes back costs no key", %{name: name} do
    [a, b, c] = nodes = start_cluster(3)
    start_all(nodes, name)
    table(a, :insert, [name, for(i <- 1..1_000, do: {i, i})])
    disconnect(a, b)
    connect(a, b)
    until(fn -> Enum.all?(nodes, &(length(table(&1, :members, [name])) == 3)) end)
    settle(nodes, name)
    for node <- nodes, do: assert(call(node, Load, :missing, [name, 1..1_000]) == [])
    assert table(c, :info, [name, :size]) == 1_000
    assert_placed(nodes, name)
  end

  test "the process behind it may crash", %{name: name} do
    [a, b] = nodes = start_cluster(2)
    start_all(nodes, name)
    load = call(a, Load, :start_counting, [name, 50])
    rehash = call(b, Process, :whereis, [PartitionedEts.Rehash])
    true = call(b, Process, :exit, [rehash, :kill])
    until(fn -> call(b, Process, :whereis, [PartitionedEts.Rehash]) not in [nil, rehash] end)
    settle(nodes, name)
    until_more(b, name)
    counted = call(a, Load, :stop_counting, [load])
    assert call(b, Load, :sum, [name]) == counted
  end

  test "a callback that fails is named, and its key stays where it is", %{name: name} do
    [a, b] = start_cluster(2)
    start_all([a], name)
    assert table(a, :insert, [name, [{{:alone, 1}, 1}, {2, 2}]])

    assert {:error, %ArgumentError{message: message}} = rescued(a, :lookup, [name, :raises])
    assert message =~ "PartitionedEts.Test.Modulo.hash/2 failed for the key :raises"
    assert message =~ "no place for this key"
    assert {:error, %ArgumentError{message: message}} = rescued(a, :insert, [name, {:nowhere, 1}])
    assert message =~ "hash/2 answered :nowhere for the key :nowhere"

    # It tells one node from two: another key fails to be placed when the second comes.
    start_all([b], name)
    assert table(b, :lookup, [name, 2]) == [{2, 2}]
    assert table(b, :info, [name, :size]) == 2
  end

  test "nodes are told of others after the handoff", %{name: name} do
    [a, b] = start_cluster(2)
    Callbacks.tell(self())
    collector = self()
    # The nodes are hidden from the test's own VM otherwise.
    connect(a, node())
    :ok = call(a, Callbacks, :tell, [collector])
    start_all([a], name)
    [owner] = start_all([b], name)
    a_name = a.name
    b_name = b.name
    assert_receive {:node_added, ^a_name, ^b_name, _}, 5_000
    stop_table(b, owner)
    assert_receive {:node_removed, ^a_name, ^b_name, _}, 5_000
  end

  test "a table of one node is placed as well", %{name: name} do
    [a] = start_cluster(1)
    start_all([a], name, distributed: false, partitions: 3)
    assert table(a, :insert, [name, for(i <- 1..100, do: {i, i})])
    assert call(a, Load, :missing, [name, 1..100]) == []
    assert table(a, :place, [name, 1]) == a.name
    assert {:error, %ArgumentError{}} = rescued(a, :member, [name, :nowhere])
  end
end
