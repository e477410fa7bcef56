defmodule PartitionedEts.MembershipTest do
  use ExUnit.Case, async: false
  @moduletag :clustered
  @moduletag timeout: 120_000

  import PartitionedEts.Test.Cluster

  alias PartitionedEts.{Membership, Native, Test}

  setup context, do: {:ok, name: context.test}

  defp names(nodes), do: nodes |> Enum.map(& &1.name) |> Enum.sort()

  defp assert_members(nodes, table, members \\ nil) do
    expected = names(members || nodes)
    for node <- nodes, do: until(fn -> table(node, :members, [table]) == expected end)
  end

  test "nodes that start the same table are its members", %{name: name} do
    [a, b, c] = nodes = start_cluster(3)
    for node <- nodes, do: {:ok, _} = start_table(node, name: name, partitions: 2)
    assert_members(nodes, name)
    assert table(a, :status, [name]).refused == %{}
    assert call(b, Native, :table_config, [name]).role == :joiner
    assert call(c, Native, :table_config, [name]).role == :joiner
    assert call(a, Native, :table_config, [name]).role == :founder
  end

  test "the peers know of a table when start_link returns", %{name: name} do
    [a, b] = start_cluster(2)
    {:ok, _} = start_table(a, name: name)
    {:ok, _} = start_table(b, name: name)
    assert table(a, :members, [name]) == names([a, b])
  end

  test "of nodes that start a table at the same time one founds it", %{name: name} do
    nodes = start_cluster(4)

    for round <- 1..5 do
      table = :"#{name} #{round}"
      starts = for node <- nodes, do: Task.async(fn -> start_table(node, name: table) end)
      for {:ok, _pid} <- Task.await_many(starts, 30_000), do: :ok
      roles = for node <- nodes, do: call(node, Native, :table_config, [table]).role
      assert Enum.sort(roles) == [:founder, :joiner, :joiner, :joiner]
      assert_members(nodes, table)
    end
  end

  test "nodes that meet after they started a table become its members", %{name: name} do
    a = start_node()
    b = start_node()
    {:ok, _} = start_table(a, name: name)
    {:ok, _} = start_table(b, name: name)
    assert table(a, :members, [name]) == [a.name]
    connect(a, b)
    assert_members([a, b], name)
  end

  test "a node that stops the table, or is killed, is no member any more", %{name: name} do
    [a, b, c] = nodes = start_cluster(3)
    [_, {:ok, owner}, _] = for node <- nodes, do: start_table(node, name: name)
    stop_table(b, owner)
    assert table(a, :members, [name]) == names([a, c])
    kill(c)
    assert_members([a], name)
    {:ok, _} = start_table(b, name: name)
    assert_members([a, b], name)
  end

  test "a node that is stopped hands over and leaves", %{name: name} do
    [a, b] = start_cluster(2)
    {:ok, _} = start_table(a, name: name)
    {:ok, _} = start_table(b, name: name)
    stop(b)
    assert_members([a], name)
  end

  test "a table of another kind is not joined, and both sides say why", %{name: name} do
    [a, b] = start_cluster(2)
    {:ok, _} = start_table(a, name: name, table_opts: [:named_table, :public, keypos: 1])
    {:ok, _} = start_table(b, name: name, table_opts: [:named_table, :public, keypos: 2])
    assert table(a, :members, [name]) == [a.name]
    assert table(b, :members, [name]) == [b.name]
    assert table(a, :status, [name]).refused == %{b.name => "keypos is 2 there and 1 here"}
    assert table(b, :status, [name]).refused == %{a.name => "keypos is 1 there and 2 here"}
    assert call(b, Native, :table_config, [name]).role == :founder
  end

  test "callbacks run on every member, away from the table's processes", %{name: name} do
    [a, b] = start_cluster(2)
    for node <- [a, b], do: call(node, Test.Callbacks, :tell, [proxy(node)])
    {:ok, _} = start_table(a, name: name, callbacks: Test.Callbacks)
    {:ok, owner} = start_table(b, name: name, callbacks: Test.Callbacks)
    {a_name, b_name} = {a.name, b.name}
    assert_receive {:node_added, ^a_name, ^b_name, runner}, 10_000
    assert_receive {:node_added, ^b_name, ^a_name, _}, 10_000
    assert runner not in [call(a, Process, :whereis, [Membership]), owner]
    stop_table(b, owner)
    assert_receive {:node_removed, ^a_name, ^b_name, _}, 10_000
  end

  # The test process, connected with the node.
  defp proxy(node) do
    connect(node, node())
    self()
  end

  test "messages that make no sense are ignored, unknown versions refused", %{name: name} do
    [a, b] = start_cluster(2)
    {:ok, _} = start_table(a, name: name)
    membership = call(a, Process, :whereis, [Membership])

    for message <- [
          :garbage,
          {:partitioned_ets},
          {:partitioned_ets, 1, b.name, :garbage},
          {:partitioned_ets, 1, b.name, %{tables: %{name => 1}}},
          {:partitioned_ets, 1, :stranger@nowhere, %{}},
          {:partitioned_ets, 1, "name", nil},
          {:partitioned_ets, 99, :stranger@nowhere, %{}}
        ],
        do: call(b, :erlang, :send, [{Membership, a.name}, message])

    # The calls above and this start go the same way, one after the other.
    {:ok, _} = start_table(b, name: name)
    assert_members([a, b], name)
    assert call(a, Process, :whereis, [Membership]) == membership

    call(b, :erlang, :send, [{Membership, a.name}, {:partitioned_ets, 99, b.name, %{}}])
    until(fn -> call(a, :sys, :get_state, [Membership]).peers[b.name].status == :refused end)
    assert call(a, Process, :whereis, [Membership]) == membership
  end

  test "a membership process that crashes finds its tables and peers again", %{name: name} do
    [a, b] = start_cluster(2)
    {:ok, _} = start_table(a, name: name)
    {:ok, _} = start_table(b, name: name)
    old = call(a, Process, :whereis, [Membership])
    call(a, Process, :exit, [old, :kill])
    until(fn -> call(a, Process, :whereis, [Membership]) not in [nil, old] end)
    assert_members([a, b], name)
    c = start_node(connect: [a, b])
    {:ok, _} = start_table(c, name: name)
    assert_members([a, b, c], name)
  end

  test "members/1 answers while the membership process is busy", %{name: name} do
    [a, b] = start_cluster(2)
    for node <- [a, b], do: {:ok, _} = start_table(node, name: name)
    assert_members([a, b], name)
    :ok = call(a, :sys, :suspend, [Membership])
    assert table(a, :members, [name]) == names([a, b])
    :ok = call(a, :sys, :resume, [Membership])
  end

  test "a node that does not answer delays the start of a table, no more", %{name: name} do
    [a, b] = start_cluster(2)
    :ok = call(a, :sys, :suspend, [Membership])
    {:ok, _} = start_table(b, name: name)
    assert table(b, :members, [name]) == [b.name]
    :ok = call(a, :sys, :resume, [Membership])
    {:ok, _} = start_table(a, name: name)
    assert_members([a, b], name)
  end

  test "nodes whose names look like those of C-nodes are members, too", %{name: name} do
    a = start_node(name: "pets_shop")
    b = start_node(connect: [a])
    for node <- [a, b], do: {:ok, _} = start_table(node, name: name)
    assert_members([a, b], name)
  end

  test "delete/1 deletes the table on every node", %{name: name} do
    [a, b] = start_cluster(2)
    {:ok, _} = start_table(a, name: name)
    {:ok, owner} = start_table(b, name: name)
    assert table(a, :delete, [name])
    assert call(a, Native, :table_config, [name]) == nil
    assert call(b, Native, :table_config, [name]) == nil
    stop_table(b, owner)
  end

  test "a table that is not distributed stays on its node", %{name: name} do
    [a, b] = start_cluster(2)
    for node <- [a, b], do: {:ok, _} = start_table(node, name: name, distributed: false)
    assert table(a, :members, [name]) == [a.name]
    assert table(b, :members, [name]) == [b.name]
    assert table(a, :await_settled, [name]) == :ok
  end

  test "a node without this library does not keep a table from starting", %{name: name} do
    a = start_node()
    # The test's own node may have peers that do not run it: here it is stopped.
    connect(a, node())
    call(a, Application, :stop, [:partitioned_ets])
    b = start_node(connect: [a])
    {:ok, _} = start_table(b, name: name)
    assert table(b, :members, [name]) == [b.name]
  end
end
