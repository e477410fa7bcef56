defmodule PartitionedEts.OptionsTest do
  use ExUnit.Case, async: true

  alias PartitionedEts.{Options, Test}

  @valid [name: :t, table_opts: [:named_table, :public]]

  defp new(opts), do: Options.new!(opts, "PartitionedEts.start_link/1")

  defp message(opts), do: Exception.message(catch_error(new(opts)))

  defp refused(extra), do: message(Keyword.merge(@valid, extra))

  test "fills in the defaults" do
    options = new(@valid)

    assert %{partitions: 1, callbacks: nil, distributed: true, timeout: 5_000} = options
    assert %{shutdown: 60_000, keypos: 1, type: :set, callback_functions: []} = options
  end

  test "takes all options" do
    options =
      new(
        @valid ++
          [
            partitions: 16,
            callbacks: Test.Callbacks,
            distributed: false,
            timeout: 100,
            shutdown: :infinity
          ]
      )

    assert %{partitions: 16, distributed: false, timeout: 100, shutdown: :infinity} = options
    assert options.callback_functions == [node_added: 1, node_removed: 1]
    refute Options.hash?(options)
  end

  test "says what is expected instead of what it got" do
    in_start = "(in PartitionedEts.start_link/1)"

    assert refused(partitions: "8") ==
             ~s(expected :partitions to be a positive integer, got: "8" #{in_start})

    assert refused(partitions: 0) ==
             "expected :partitions to be a positive integer, got: 0 #{in_start}"

    assert refused(partitions: 5000) ==
             "expected :partitions to be at most 4096, the number of slots, got: 5000 #{in_start}"

    assert refused(distributed: nil) =~ "expected :distributed to be a boolean, got: nil"
    assert refused(timeout: :infinity) =~ "expected :timeout to be milliseconds from 1 to"
    assert refused(shutdown: -1) =~ "to be milliseconds, :infinity or :brutal_kill, got: -1"
    assert refused(name: "t") =~ "expected :name to be an atom that names the table"
    assert refused(name: nil) =~ "expected :name to be an atom that names the table, got: nil"
    assert refused(callbacks: "m") =~ "expected :callbacks to be a module or nil"
    assert message(:t) =~ "expected the options to be a keyword list, got: :t"
  end

  test "suggests the option that was meant" do
    assert refused(partition: 8) =~ "unknown option :partition, did you mean :partitions?"
    assert refused(tabel_opts: []) =~ "unknown option :tabel_opts, did you mean :table_opts?"
    assert refused(colour: 1) =~ "unknown option :colour, the options are :name, :table_opts"
  end

  test "asks for the required options, and for each only once" do
    assert message(table_opts: [:named_table, :public]) =~ "option :name is required"

    assert message(name: :t) =~
             "option :table_opts is required, such as [:named_table, :public]"

    assert message(@valid ++ [partitions: 1, partitions: 2]) =~ "given more than once"
  end

  test "names that leave no room for those of the partitions are refused" do
    name = String.to_atom(String.duplicate("n", 231))
    assert refused(name: name) =~ "an atom of at most 230 bytes"
  end

  describe "table_opts" do
    test "takes any key position and what tunes :ets" do
      options =
        new(
          name: :t,
          table_opts: [
            :set,
            :named_table,
            :public,
            :compressed,
            {:keypos, 2},
            {:keypos, 3},
            {:read_concurrency, true},
            {:write_concurrency, :auto},
            {:decentralized_counters, false},
            {:heir, :none}
          ]
        )

      assert options.keypos == 3
    end

    test "must hold :named_table and :public" do
      assert refused(table_opts: [:public]) =~ "expected :table_opts to hold :named_table"
      assert refused(table_opts: [:named_table]) =~ "expected :table_opts to hold :public"
      assert refused(table_opts: :public) =~ "a list of options as for :ets.new/2"
      assert refused(table_opts: [:public | :named_table]) =~ "expected :table_opts to be a list"
    end

    test "refuses what cannot be" do
      for access <- [:private, :protected] do
        assert refused(table_opts: [:named_table, access]) =~ "cannot be #{inspect(access)}"
      end

      assert refused(table_opts: [:named_table, :public, keypos: 0]) =~ "expected :keypos"
      assert refused(table_opts: [:named_table, :public, :fast]) =~ "unknown option :fast"
      assert refused(table_opts: [:named_table, :public, {:heir, self(), 1}]) =~ "outlives"

      assert refused(table_opts: [:named_table, :public, read_concurrency: 1]) =~
               "expected :read_concurrency in :table_opts to be a boolean, got: 1"
    end

    test "takes a type as :ets does" do
      for {types, type} <- [
            {[], :set},
            {[:ordered_set], :ordered_set},
            {[:bag], :bag},
            {[:bag, :set], :bag},
            {[:bag, :duplicate_bag], :duplicate_bag},
            {[:duplicate_bag, :bag], :bag}
          ] do
        assert new(name: :t, table_opts: [:named_table, :public | types]).type == type
      end
    end
  end

  describe "callbacks" do
    test "must be a module that is there and defines one" do
      assert refused(callbacks: NoSuchModule) =~ "a module that is there, got: NoSuchModule"
      assert refused(callbacks: Enum) =~ "expected Enum in :callbacks to define any of hash/2"
    end

    test "of the module form are those that it defines itself" do
      assert new(@valid ++ [callbacks: Test.Plain]).callback_functions == []

      custom = new(@valid ++ [callbacks: Test.Custom])
      assert Enum.sort(custom.callback_functions) == [hash: 2, node_added: 1]
      assert Options.hash?(custom)
    end
  end

  test "all options are documented" do
    for key <- [:name, :table_opts, :partitions, :callbacks, :distributed, :timeout, :shutdown] do
      assert Options.docs() =~ "| `#{inspect(key)}` |"
    end
  end
end
