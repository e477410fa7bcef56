defmodule PartitionedEts.RemoteTest do
  # Many callers of other nodes' keys at once.
  use ExUnit.Case, async: false
  @moduletag :clustered
  @moduletag timeout: 120_000

  import PartitionedEts.Test.Cluster

  alias PartitionedEts.Test.Load

  @keys 1..2_000
  @callers 64

  setup context do
    nodes = start_cluster(2)
    name = context.test
    start_tables(nodes, name: name, timeout: context[:timeout_ms] || 60_000)
    table(hd(nodes), :insert, [name, for(i <- @keys, do: {i, i})])
    {:ok, nodes: nodes, name: name}
  end

  test "each of many callers gets its own answers", %{nodes: [a, b], name: name} do
    results =
      [a, b]
      |> Enum.map(
        &Task.async(fn -> call(&1, Load, :missing_to_many, [name, @keys, @callers]) end)
      )
      |> Task.await_many(60_000)

    assert results == [[], []]

    for node <- [a, b],
        do: assert(call(node, PartitionedEts.Native, :node_info, []).calls_in_flight == 0)
  end

  test "no answer is lost when the process that sends them on is killed", context do
    %{nodes: [a, _b], name: name} = context
    looking = Task.async(fn -> call(a, Load, :missing_to_many, [name, @keys, @callers]) end)
    :ok = call(a, Load, :stop_courier, [:kill])
    assert Task.await(looking, 30_000) == []
  end

  @tag timeout_ms: 1_000
  test "callers look for their answers themselves when that process does not run", context do
    %{nodes: [a, _b], name: name} = context
    stopped = call(a, :erlang, :spawn, [Load, :stop_courier, [:leave]])
    assert call(a, Load, :missing_to_many, [name, 1..10, @callers]) == []
    call(a, Process, :exit, [stopped, :kill])
  end

  test "objects of up to 60 MB travel", %{nodes: [a, b], name: name} do
    # Those of this node do not.
    [key | _] = for key <- @keys, table(b, :owner?, [name, key]), do: key

    for megabytes <- [17, 50] do
      size = megabytes * 1_000_000
      assert call(a, Load, :insert_large, [name, key, size])
      assert call(b, Load, :size_of_value, [name, key]) == size
    end
  end

  @tag timeout_ms: 1
  test "callers that give up, or die, cost the others nothing", context do
    %{nodes: [a, _b], name: name} = context
    {found, gave_up} = call(a, Load, :look_up_in_a_hurry, [name, @keys, @callers, 2_000])
    assert found + gave_up == @callers * 2_000
    assert found > 0
    # The last of those who died may still be about to be answered.
    until(fn -> call(a, PartitionedEts.Native, :node_info, []).calls_in_flight == 0 end)
    # A millisecond may be too short on a busy machine for these, too.
    until(fn -> nothing_missing?(a, name) end)
  end

  defp nothing_missing?(node, name) do
    call(node, Load, :missing, [name, 1..10]) == []
  rescue
    error in PartitionedEts.Error -> error.reason != :timeout && reraise(error, __STACKTRACE__)
  end
end
