defmodule PartitionedEts.TableTest do
  use ExUnit.Case, async: true

  alias PartitionedEts.Table
  alias PartitionedEts.Test.{Custom, Plain}

  test "every function of the facade that takes a table is there less its table argument" do
    {:docs_v1, _, _, _, _, _, docs} = Code.fetch_docs(PartitionedEts)

    takes_table =
      for {{:function, name, arity}, _, [signature], %{}, _} <- docs,
          arguments = arguments(signature),
          position = Enum.find_index(arguments, &(&1 == "table")),
          # One entry stands for all arities that default arguments make.
          missing <- 0..Enum.count(arguments, &(&1 == :default)),
          do: {name, arity - missing, position}

    assert Enum.sort(takes_table) == Enum.sort(Table.functions())

    Code.ensure_loaded!(Plain)

    for {name, arity, _} <- Table.functions() do
      assert function_exported?(Plain, name, arity - 1), "#{name}/#{arity - 1} is missing"
    end
  end

  defp arguments(signature) do
    {_, _, arguments} = Code.string_to_quoted!(signature)

    Enum.map(arguments, fn
      {:\\, _, _} -> :default
      {name, _, _} -> Atom.to_string(name)
    end)
  end

  test "the table is named after its module" do
    start_supervised!(Plain)
    assert Plain.insert({:a, 1})
    assert Plain.lookup(:a) == [{:a, 1}]
    assert PartitionedEts.lookup(Plain, :a) == [{:a, 1}]
    assert Plain.foldl(fn {_, n}, sum -> n + sum end, 0) == 1
    assert Plain.status().partitions == 4
    assert Plain.members() == [node()]
  end

  test "options can be overridden when it is started, its name cannot" do
    start_supervised!({Custom, partitions: 3})
    assert Custom.status().table == :custom_table
    assert Custom.status().partitions == 3
    assert Custom.insert({1, :key})
    assert Custom.lookup(:key) == [{1, :key}]

    assert_raise ArgumentError, ~r/is fixed: give :name to use PartitionedEts/, fn ->
      Custom.start_link(name: :other)
    end

    assert_raise ArgumentError, ~r/unknown option :partition,.*Custom.start_link\/1/, fn ->
      Custom.start_link(partition: 1)
    end
  end

  test "the child specification starts it through the module" do
    spec = Plain.child_spec(shutdown: 9)
    assert %{id: {PartitionedEts, Plain}, restart: :permanent, shutdown: 9} = spec
    assert spec.start == {Plain, :start_link, [[shutdown: 9]]}
  end

  test "callbacks have defaults and can be overridden" do
    assert Plain.node_added(:a@b) == :ok
    assert Plain.node_removed(:a@b) == :ok
    assert Plain.__partitioned_ets__(:callbacks) == []
    assert Custom.node_added(:a@b) == :added
    assert Enum.sort(Custom.__partitioned_ets__(:callbacks)) == [hash: 2, node_added: 1]
  end

  test "the default hash/2 finds the shard of a key" do
    defmodule Hashed do
      use PartitionedEts, table_opts: [:named_table, :public], partitions: 12
    end

    start_supervised!(Hashed)
    shards = Enum.sort(for i <- 0..11, do: {node(), :"#{Hashed}_p#{i}"})
    assert PartitionedEts.Shards.all(Hashed) == shards
    key = "some key"
    partition = div(PartitionedEts.key_slot(Hashed, key) * 12, 4096)
    assert Hashed.hash(key, shards) == {node(), :"#{Hashed}_p#{partition}"}
    assert Hashed.hash(key, [{:other@host, :t}]) == {:other@host, :t}
  end
end
