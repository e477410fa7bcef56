defmodule PartitionedEts.SharedBinaryTest do
  # Large binaries are handed out without a copy: they stay what they are when their object does not.
  use ExUnit.Case, async: true

  @sizes [512, 520, 1_000, 1_024, 4_096, 65_536, 300_001]

  setup context do
    name = :"#{context.test}"
    start_supervised!({PartitionedEts, name: name, table_opts: [:named_table, :public]}, id: name)
    %{table: name}
  end

  defp binary(size, n), do: binary_part(:binary.copy(<<n::64>>, div(size, 8) + 1), 0, size)

  test "a binary outlives its object, its table, and the process that looked it up", %{
    table: table
  } do
    for size <- @sizes do
      PartitionedEts.insert(table, {size, binary(size, 1)})
      [{^size, found}] = PartitionedEts.lookup(table, size)
      part = binary_part(found, div(size, 2), 100)
      parent = self()

      {_pid, monitor} =
        spawn_monitor(fn ->
          [{_, found}] = PartitionedEts.lookup(table, size)
          send(parent, {:found, found, {:within, [part, found]}})
        end)

      receive do: ({:DOWN, ^monitor, :process, _, :normal} -> :ok)

      for n <- 2..700, do: PartitionedEts.insert(table, {size, binary(min(size, 70_000), n)})
      :erlang.garbage_collect()
      assert found == binary(size, 1)
      assert part == binary_part(binary(size, 1), div(size, 2), 100)
      assert_received {:found, ^found, {:within, [^part, ^found]}}
      PartitionedEts.delete(table, size)
      assert found == binary(size, 1)
    end

    PartitionedEts.insert(table, {:last, binary(100_000, 3)})
    [{:last, last}] = PartitionedEts.lookup(table, :last)
    :ok = stop_supervised(table)
    :erlang.garbage_collect()
    assert last == binary(100_000, 3)
  end

  test "a binary stays what it is when its object is overwritten with nearly the same", context do
    %{table: table} = context

    for size <- @sizes do
      old = :binary.copy("A", size)
      PartitionedEts.insert(table, {size, old})
      [{^size, found}] = PartitionedEts.lookup(table, size)

      for at <- [0, 8, 9, 200, size - 1] do
        new = binary_part(old, 0, at) <> "B" <> binary_part(old, at + 1, size - at - 1)
        PartitionedEts.insert(table, {size, new})
        assert PartitionedEts.lookup(table, size) == [{size, new}]
        assert found == :binary.copy("A", size)
        PartitionedEts.insert(table, {size, old})
      end
    end
  end

  test "binaries in other terms come back as they were", %{table: table} do
    object = {:k, %{a: binary(2_000, 5), b: [binary(700, 6), {binary(66, 7)}], c: 1.5}}
    PartitionedEts.insert(table, object)
    assert PartitionedEts.lookup(table, :k) == [object]
    assert PartitionedEts.lookup_element(table, :k, 2) == elem(object, 1)
    PartitionedEts.insert(table, {binary(2_000, 8), 1})
    assert PartitionedEts.lookup(table, binary(2_000, 8)) == [{binary(2_000, 8), 1}]
    assert PartitionedEts.take(table, :k) == [object]
  end

  test "readers never see a part of one version and a part of another", %{table: table} do
    sizes = [600, 2_048, 70_000]
    for size <- sizes, do: PartitionedEts.insert(table, {size, 0, binary(size, 0)})

    readers =
      for _ <- 1..4 do
        Task.async(fn ->
          Enum.reduce(1..3_000, [], fn n, kept ->
            size = Enum.at(sizes, rem(n, 3))
            [{^size, version, found}] = PartitionedEts.lookup(table, size)
            if rem(n, 100) == 0, do: :erlang.garbage_collect()
            Enum.take([{size, version, found} | kept], 50)
          end)
          |> Enum.all?(fn {size, version, found} -> found == binary(size, version) end)
        end)
      end

    for version <- 1..2_000, size <- sizes do
      PartitionedEts.insert(table, {size, version, binary(size, version)})
    end

    assert Task.await_many(readers, 60_000) == [true, true, true, true]
  end
end
