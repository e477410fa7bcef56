defmodule PartitionedEts.KeeperTest do
  # Sets the grace time of the application.
  use ExUnit.Case, async: false

  import PartitionedEts.Test.Cluster, only: [until: 1]

  alias PartitionedEts.{Keeper, Native, Owner}

  setup context do
    grace_ms = context[:owner_grace_ms] || 5_000
    Application.put_env(:partitioned_ets, :owner_grace_ms, grace_ms)
    on_exit(fn -> Application.delete_env(:partitioned_ets, :owner_grace_ms) end)
    options = [name: context.test, table_opts: [:named_table, :public], distributed: false]
    {:ok, name: context.test, options: options}
  end

  defp owner(name), do: Process.whereis(Owner.registered_name(name))

  defp kill(pid) do
    monitor = Process.monitor(pid)
    Process.exit(pid, :kill)
    assert_receive {:DOWN, ^monitor, :process, ^pid, :killed}
  end

  @tag owner_grace_ms: 20
  test "a table that no owner comes back for is deleted", %{name: name, options: options} do
    start_supervised!({PartitionedEts, options}, restart: :temporary)
    kill(owner(name))
    until(fn -> Native.table_config(name) == nil end)

    # The name is free again.
    start_supervised!({PartitionedEts, options})
    assert PartitionedEts.lookup(name, :a) == []
  end

  @tag owner_grace_ms: 20
  test "a brutal kill by the supervisor leaks nothing", %{name: name, options: options} do
    start_supervised!({PartitionedEts, options ++ [shutdown: :brutal_kill]})
    stop_supervised!({PartitionedEts, name})
    until(fn -> Native.table_config(name) == nil end)
  end

  test "an orderly stop leaves nothing to keep", %{name: name, options: options} do
    start_supervised!({PartitionedEts, options})
    stop_supervised!({PartitionedEts, name})
    until(fn -> not is_map_key(:sys.get_state(Keeper), name) end)
  end

  test "when it crashes it finds the owners again", %{name: name, options: options} do
    start_supervised!({PartitionedEts, options})
    PartitionedEts.insert(name, {:a, 1})
    keeper = Process.whereis(Keeper)
    kill(keeper)
    until(fn -> Process.whereis(Keeper) not in [nil, keeper] end)

    owner = owner(name)
    assert :sys.get_state(Keeper)[name].owner == owner
    kill(owner)
    until(fn -> owner(name) not in [nil, owner] end)
    assert PartitionedEts.lookup(name, :a) == [{:a, 1}]
  end

  @tag owner_grace_ms: 20
  test "when it crashes it deletes what has no owner", %{name: name, options: options} do
    start_supervised!({PartitionedEts, options}, restart: :temporary)
    :sys.suspend(Keeper)
    kill(owner(name))
    kill(Process.whereis(Keeper))
    until(fn -> Native.table_config(name) == nil end)
  end
end
