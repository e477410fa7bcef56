defmodule PartitionedEts.OwnerTest do
  use ExUnit.Case, async: true

  alias PartitionedEts.{Native, Owner}
  alias PartitionedEts.Test.Cluster

  @options [table_opts: [:named_table, :public], distributed: false]

  setup context, do: {:ok, name: context.test, options: [name: context.test] ++ @options}

  defp owner(name), do: Process.whereis(Owner.registered_name(name))

  # The supervisor has started the next one when the old one is gone and there is one.
  defp kill_and_await_restart(name) do
    old = owner(name)
    monitor = Process.monitor(old)
    Process.exit(old, :kill)
    assert_receive {:DOWN, ^monitor, :process, ^old, :killed}
    Cluster.until(fn -> owner(name) not in [nil, old] && owner(name) end)
  end

  test "the table is there when start_link returns", %{name: name, options: options} do
    start_supervised!({PartitionedEts, options})
    assert PartitionedEts.insert(name, {:a, 1})
    assert PartitionedEts.lookup(name, :a) == [{:a, 1}]
    assert Native.table_info(name, :owner) == owner(name)
  end

  test "a second owner learns of the first", %{options: options} do
    {:ok, pid} = PartitionedEts.start_link(options)
    assert PartitionedEts.start_link(options) == {:error, {:already_started, pid}}
  end

  test "an owner that is killed finds its data again", %{name: name, options: options} do
    start_supervised!({PartitionedEts, options})
    PartitionedEts.insert(name, {:a, 1})
    pid = kill_and_await_restart(name)
    assert PartitionedEts.lookup(name, :a) == [{:a, 1}]
    Cluster.until(fn -> Native.table_info(name, :owner) == pid end)
  end

  test "a table that is stopped in order is gone with its data", %{name: name, options: options} do
    start_supervised!({PartitionedEts, options})
    PartitionedEts.insert(name, {:a, 1})
    stop_supervised!({PartitionedEts, name})
    assert Native.table_config(name) == nil
    assert_raise ArgumentError, fn -> PartitionedEts.members(name) end

    start_supervised!({PartitionedEts, options})
    assert PartitionedEts.lookup(name, :a) == []
  end

  test "the data of a crashed owner is not given to a table of another kind", context do
    %{name: name, options: options} = context
    Process.flag(:trap_exit, true)
    {:ok, pid} = PartitionedEts.start_link(options)
    Process.exit(pid, :kill)
    assert_receive {:EXIT, ^pid, :killed}

    other = Keyword.put(options, :table_opts, [:named_table, :public, keypos: 2])
    assert {:error, reason} = PartitionedEts.start_link(other)
    assert reason =~ "table #{inspect(name)} holds the data of an owner that crashed"
    assert reason =~ "which had :keypos 1; it cannot be taken over with 2"

    assert {:ok, _pid} = PartitionedEts.start_link(options)
  end

  test "child_spec/1", %{name: name, options: options} do
    spec = PartitionedEts.child_spec(options)
    assert %{id: {PartitionedEts, ^name}, restart: :permanent, shutdown: 60_000} = spec
    assert PartitionedEts.child_spec(options ++ [shutdown: 7]).shutdown == 7

    assert_raise ArgumentError, ~r/in PartitionedEts.child_spec/, fn ->
      PartitionedEts.child_spec([])
    end
  end

  test "whoever asks about a table that is just being stopped gets an ArgumentError, and nothing else" do
    options = [name: :asked_to_the_end, table_opts: [:named_table, :public]]

    questions = [
      &PartitionedEts.status/1,
      &PartitionedEts.members/1,
      &PartitionedEts.owned_slots/1,
      &PartitionedEts.place(&1, :key),
      &PartitionedEts.info/1,
      &PartitionedEts.tab2list/1,
      &PartitionedEts.insert(&1, [{1, 1}, {2, 2}]),
      &PartitionedEts.update_counter(&1, :key, 1, {:key, 0})
    ]

    asking =
      for question <- questions do
        Task.async(fn -> ask_until_stopped(question, :asked_to_the_end) end)
      end

    for _ <- 1..100 do
      {:ok, owner} = PartitionedEts.start_link(options)
      :ok = GenServer.stop(owner)
    end

    for %Task{pid: pid} <- asking, do: send(pid, :stop)
    assert Enum.uniq(Task.await_many(asking)) == [:ok]
  end

  defp ask_until_stopped(question, table) do
    receive do
      :stop -> :ok
    after
      0 ->
        try do
          question.(table)
        rescue
          ArgumentError -> :not_there
        end

        ask_until_stopped(question, table)
    end
  end
end
