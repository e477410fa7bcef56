defmodule PartitionedEts.PlacedViewTest do
  # Tables that are placed by a callback, on one node and without a second one.
  use ExUnit.Case, async: true

  alias PartitionedEts.{Call, Native, Options, Placed, Rehash, Shards}
  alias PartitionedEts.Test.Modulo

  defp options(name, opts \\ []) do
    opts =
      Keyword.merge([name: name, table_opts: [:named_table, :public], callbacks: Modulo], opts)

    Options.new!(opts, "test")
  end

  defp start!(name, opts \\ []) do
    options = [
      name: name,
      table_opts: [:named_table, :public],
      callbacks: Modulo,
      distributed: false
    ]

    start_supervised!({PartitionedEts, Keyword.merge(options, opts)})
    name
  end

  # Takes a table into a view that it stays in, closed.
  defp close(table, version), do: :ok = Native.view_close(table, version)

  test "a view's version follows from its shards, in whatever order they come" do
    weights = [{:b@host, 2}, {:a@host, 1}]
    view = Placed.new(options(:placed_version), weights)

    assert view.shards == [
             a@host: :placed_version,
             b@host: :placed_version_p0,
             b@host: :placed_version_p1
           ]

    assert view.members == [:a@host, :b@host]
    assert Placed.new(options(:placed_version), Enum.reverse(weights)).version == view.version
    assert view.version > 0 and view.version < Bitwise.bsl(1, 58)

    # A node that has started the table again has nothing of what it had.
    instances = [a@host: 1, b@host: 2]
    again = [a@host: 1, b@host: 3]
    version = Placed.new(options(:placed_version), weights, instances).version
    assert Placed.new(options(:placed_version), weights, again).version != version

    assert Placed.new(options(:placed_version), weights, Enum.reverse(instances)).version ==
             version

    for other <- [[{:a@host, 1}], [{:a@host, 1}, {:b@host, 3}], [{:a@host, 2}, {:b@host, 1}]] do
      assert Placed.new(options(:placed_version), other).version != view.version
    end
  end

  test "objects are grouped by the node that the callback chooses" do
    view = Placed.new(options(:placed_groups), a@host: 1, b@host: 1)
    objects = for key <- 1..20, do: {key, :x}
    assert {:ok, [a@host: on_a, b@host: on_b]} = Placed.group(:placed_groups, view, objects)
    assert Enum.sort(on_a ++ on_b) == objects
    assert on_a == Enum.filter(objects, &(Placed.choose(view, elem(&1, 0)) == {:ok, :a@host}))
    assert Placed.group(:placed_groups, view, [{1, 2}, :x]) == {:badarg, :none}
    assert Placed.group(:placed_groups, view, [{1, 2} | {3, 4}]) == {:badarg, :none}
    assert Placed.group(:placed_groups, view, [{}]) == {:badarg, :none}
    assert Placed.group(:placed_groups, view, []) == {:ok, []}
  end

  test "every operation gives what it gives on a table without the callback" do
    table = start!(:placed_operations, table_opts: [:named_table, :public, keypos: 2])
    assert PartitionedEts.insert(table, [{0, :a, 1}, {0, :b, 2}])
    assert PartitionedEts.insert(table, {0, :c, 3})
    refute PartitionedEts.insert_new(table, {0, :c, 4})
    refute PartitionedEts.insert_new(table, [{0, :d, 4}, {0, :c, 4}])
    assert PartitionedEts.update_counter(table, :a, [{1, 1}, {3, 2, 2, 0}]) == [1, 0]
    assert PartitionedEts.update_element(table, :b, {3, "b"})
    assert PartitionedEts.take(table, :c) == [{0, :c, 3}]
    assert Enum.sort(PartitionedEts.tab2list(table)) == [{0, :b, "b"}, {1, :a, 0}]
    assert PartitionedEts.foldl(fn {_, _, _}, n -> n + 1 end, 0, table) == 2
    assert PartitionedEts.info(table, :size) == 2
    assert PartitionedEts.info(table, :memory) > 0
    assert PartitionedEts.status(table).settled?
    first = PartitionedEts.first(table)
    assert Enum.sort([first, PartitionedEts.next(table, first)]) == [:a, :b]
    assert_raise ArgumentError, fn -> PartitionedEts.update_counter(table, :nobody, 1) end
    assert_raise ArgumentError, fn -> PartitionedEts.insert(table, {1}) end
    assert PartitionedEts.delete(table)
    assert_raise ArgumentError, fn -> PartitionedEts.lookup(table, :a) end
  end

  test "objects of a megabyte pass" do
    table = start!(:placed_large)
    large = {:large, Enum.to_list(1..100_000)}
    assert PartitionedEts.insert(table, large)
    assert PartitionedEts.lookup(table, :large) == [large]
    assert PartitionedEts.take(table, :large) == [large]
    assert PartitionedEts.take(table, :large) == []
  end

  test "operations wait while the view is closed, and go on when it opens" do
    table = start!(:placed_waiting)
    view = Placed.view(table)
    assert Native.view_state(table) == {view.version, true}
    close(table, view.version)
    refute Rehash.settled?(table)
    read = Task.async(fn -> PartitionedEts.lookup(table, 1) end)
    write = Task.async(fn -> PartitionedEts.insert(table, {1, :written}) end)
    refute Task.yield(write, 50)
    refute Task.yield(read, 0)
    assert Native.view_open(table, view.version)
    assert Task.await(write)
    assert Task.await(read) in [[], [{1, :written}]]
    assert PartitionedEts.lookup(table, 1) == [{1, :written}]
  end

  test "an operation that waits for longer than the time-out fails, and is not carried out" do
    table = start!(:placed_timeout, timeout: 50)
    view = Placed.view(table)
    close(table, view.version)

    assert_raise PartitionedEts.Error, ~r/no answer came in time/, fn ->
      PartitionedEts.insert(table, {1, 1})
    end

    assert Native.view_open(table, view.version)
    assert PartitionedEts.lookup(table, 1) == []
  end

  test "an operation of another view is refused when it has waited" do
    table = start!(:placed_refused)
    view = Placed.view(table)
    under = {view.version + 1, :open}
    ask = Task.async(fn -> Call.outcome_under(table, nil, under, :insert, {{1, 1}}, 5_000) end)
    assert {:error, :moved, _node} = await_reopening(ask, table, view.version)
    assert PartitionedEts.lookup(table, 1) == []
  end

  test "what moves keys is let in while the view is closed, and keeps what is there" do
    table = start!(:placed_merge)
    %{version: version} = Placed.view(table)
    PartitionedEts.insert(table, {1, :here})
    close(table, version)
    objects = [{1, :sent}, {2, :sent}]

    merge = fn ->
      Call.outcome_under(table, nil, {version, :closed}, :insert_many, {objects}, 100)
    end

    assert merge.() == {:ok, 1}
    assert merge.() == {:ok, 0}
    assert Native.view_open(table, version)
    assert Enum.sort(PartitionedEts.tab2list(table)) == [{1, :here}, {2, :sent}]
    assert {:error, :timeout, _} = merge.()
  end

  test "a view that has passed is not opened" do
    table = start!(:placed_passed)
    %{version: version} = Placed.view(table)
    close(table, version)
    refute Native.view_open(table, version + 1)
    assert Native.view_state(table) == {version, false}
    assert Native.view_open(table, version)
  end

  test "tables that are placed by slots have no view" do
    start!(:placed_by_slot, callbacks: nil)
    assert Native.view_state(:placed_by_slot) == nil
    assert Placed.view(:placed_by_slot) == nil
    assert_raise ArgumentError, fn -> Native.view_close(:placed_by_slot, 1) end
  end

  test "the library's own choice follows from the key and the shards" do
    table = start!(:placed_default)
    shards = Shards.of(table, a@host: 2, b@host: 2)
    chosen = for key <- 1..400, do: Shards.default(table, key, shards)
    assert Enum.uniq(Enum.sort(chosen)) == shards
    # Few of them move when a node comes.
    more = Shards.of(table, a@host: 2, b@host: 2, c@host: 2)

    moved =
      for {key, old} <- Enum.zip(1..400, chosen), Shards.default(table, key, more) != old, do: key

    assert length(moved) in 60..220
    for key <- moved, do: assert({:c@host, _} = Shards.default(table, key, more))
  end

  # Any change of the view has what waits tried again; so has a tick, and it waits no longer then.
  defp await_reopening(task, table, version) do
    case Task.yield(task, 5) do
      {:ok, answer} ->
        answer

      nil ->
        assert Native.view_open(table, version)
        await_reopening(task, table, version)
    end
  end
end
