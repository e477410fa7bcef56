defmodule PartitionedEts.ErlangMessageTest do
  # A node that knows nothing of this library asks the C-node of one that hosts the table.
  use ExUnit.Case, async: true

  alias PartitionedEts.Test.Cluster

  @moduletag :clustered
  @table :asked_by_message

  setup do
    [one, two] = Cluster.start_cluster(2)
    for node <- [one, two], do: {:ok, _} = Cluster.start_table(node, name: @table)
    for node <- [one, two], do: :ok = Cluster.table(node, :await_settled, [@table, 10_000])
    %{name: cnode} = Cluster.call(one, PartitionedEts.Native, :node_info, [])
    %{one: one, two: two, cnode: String.to_atom(cnode)}
  end

  defp ask(cnode, table, operation, arguments) do
    ref = make_ref()
    send({:partitioned_ets, cnode}, {table, self(), ref, operation, arguments})

    receive do
      {^ref, outcome} -> outcome
    after
      5_000 -> flunk("no answer from #{cnode}")
    end
  end

  test "operations are answered wherever their slot is", context do
    for key <- 1..200 do
      assert ask(context.cnode, @table, :insert, {{key, self(), %{n: key}}}) == {:ok, true}
    end

    for key <- 1..200 do
      object = {key, self(), %{n: key}}
      assert ask(context.cnode, @table, :lookup, {key}) == {:ok, [object]}
      assert Cluster.table(context.two, :lookup, [@table, key]) == [object]
    end

    # Some of them were the other node's.
    owned = Cluster.table(context.one, :owned_slots, [@table])
    assert length(owned) in 1..4095
  end

  test "what makes no sense is answered, or dropped, and harms nobody", context do
    assert ask(context.cnode, :no_such_table, :lookup, {1}) == {:error, :no_table}
    assert ask(context.cnode, @table, :update_counter, {:missing, 1}) == {:badarg, :badkey}
    assert ask(context.cnode, @table, :lookup, {1, 2, 3}) == {:badarg, :none}

    for junk <- [:junk, {}, {@table, self(), make_ref(), :no_such_operation, {}}, {1, 2, 3, 4, 5}] do
      send({:partitioned_ets, context.cnode}, junk)
      send({:somebody_else, context.cnode}, junk)
    end

    assert ask(context.cnode, @table, :member, {1}) == {:ok, false}
    refute_received _anything
  end

  test "the C-node answers a ping and is a hidden node", context do
    assert :net_adm.ping(context.cnode) == :pong
    assert context.cnode in Node.list(:hidden)
    refute context.cnode in Node.list()
  end
end
