defmodule PartitionedEts.EventsTest do
  # Kills a process that all tables share.
  use ExUnit.Case, async: false

  alias PartitionedEts.Events

  @options [table_opts: [:named_table, :public]]

  setup context do
    start_supervised!({PartitionedEts, [name: context.test] ++ @options})
    {:ok, name: context.test}
  end

  # As the native part sends it.
  defp tell(table, event), do: send(Events, {:pets_event, table, event})

  test "a subscriber is told each event once", %{name: name} do
    assert PartitionedEts.subscribe(name) == :ok
    assert PartitionedEts.subscribe(name) == :ok
    tell(name, {:released, 7})
    tell(name, {:acquired, 8})
    assert_receive {:partitioned_ets, ^name, {:acquired, 8}}
    assert_received {:partitioned_ets, ^name, {:released, 7}}
    refute_received {:partitioned_ets, ^name, {:released, 7}}
  end

  test "a subscription can be ended, more than once", %{name: name} do
    PartitionedEts.subscribe(name)
    assert PartitionedEts.unsubscribe(name) == :ok
    assert PartitionedEts.unsubscribe(name) == :ok
    tell(name, {:released, 7})
    :sys.get_state(Events)
    refute_received {:partitioned_ets, ^name, {:released, 7}}
  end

  test "a subscriber that ends is forgotten", %{name: name} do
    {:ok, pid} = Task.start(fn -> PartitionedEts.subscribe(name) end)
    monitor = Process.monitor(pid)
    assert_receive {:DOWN, ^monitor, _, _, _}

    PartitionedEts.Test.Cluster.until(fn ->
      not is_map_key(:sys.get_state(Events)[name].subscribers, pid)
    end)
  end

  test "subscriptions survive a crash of the process that serves them", %{name: name} do
    PartitionedEts.subscribe(name)
    old = Process.whereis(Events)
    Process.exit(old, :kill)
    PartitionedEts.Test.Cluster.until(fn -> Process.whereis(Events) not in [nil, old] end)
    tell(name, {:acquired, 9})
    assert_receive {:partitioned_ets, ^name, {:acquired, 9}}
  end

  test "await_settled/2", %{name: name} do
    assert PartitionedEts.await_settled(name) == :ok
    assert PartitionedEts.await_settled(name, :infinity) == :ok

    assert_raise ArgumentError, ~r/to be milliseconds/, fn ->
      PartitionedEts.await_settled(name, -1)
    end
  end

  test "a table that is not there" do
    for {function, arguments} <- [
          subscribe: [],
          unsubscribe: [],
          await_settled: [],
          status: [],
          members: [],
          place: [1],
          owner?: [1],
          key_slot: [1],
          owned_slots: []
        ] do
      assert_raise ArgumentError, ~r/the table :not_there does not exist on this node/, fn ->
        apply(PartitionedEts, function, [:not_there | arguments])
      end

      assert_raise ArgumentError, ~r/expected the name of a table, an atom, got: "t"/, fn ->
        apply(PartitionedEts, function, ["t" | arguments])
      end
    end
  end
end
