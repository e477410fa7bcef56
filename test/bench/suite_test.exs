{modules, _} = Code.eval_file("bench/suite.exs")

defmodule Bench.SuiteTest do
  # Measures, and takes a fixed name for its table.
  use ExUnit.Case, async: false

  import ExUnit.CaptureIO

  alias Bench.{
    Comparison,
    Groups,
    Json,
    Keys,
    Rounds,
    Run,
    Shapes,
    Sharded,
    Stats,
    Subject,
    Tables
  }

  @modules modules

  describe "figures" do
    test "the median is the middle one, of an even number the lower of two" do
      assert Stats.median([30, 10, 20]) == 20
      assert Stats.median([40, 10, 30, 20]) == 20
      assert Stats.median([7]) == 7
    end

    test "a spread has the median, the lowest and the highest" do
      assert Stats.spread([5.0, 1.0, 9.0]) == %{median: 5.0, low: 1.0, high: 9.0}
    end

    test "a percentile is one of the values" do
      assert Stats.percentile(Enum.to_list(1..100), 50) == 50
      assert Stats.percentile(Enum.to_list(1..100), 99) == 99
      assert Stats.percentile(Enum.to_list(1..100), 100) == 100
    end

    test "a ratio is made within a round, and its median is told" do
      samples = [
        %{"PartitionedEts" => 10.0, "x" => 40.0},
        %{"PartitionedEts" => 20.0, "x" => 20.0},
        %{"PartitionedEts" => 40.0, "x" => 80.0}
      ]

      {comparison, output} =
        with_io(fn ->
          Comparison.of_samples(%{operation: "test"}, ["PartitionedEts", "x"], samples, "ns")
        end)

      assert [own, rival] = comparison.figures
      assert %{subject: "PartitionedEts", median: 20.0, low: 10.0, high: 40.0} = own
      refute Map.has_key?(own, :ratio)
      # Of the medians it would be 40 by 20, too; the spread tells them apart.
      assert %{median: 40.0, ratio: %{median: 2.0, low: 1.0, high: 4.0}} = rival
      assert output =~ "2.00 x (1.00 to 4.00)"
    end

    test "a call that took no time has no ratio to divide by" do
      assert Stats.ratio(10.0, 0.0) == 0.0
      assert Stats.ratio(10.0, -1.0) == 0.0
    end
  end

  describe "rounds" do
    test "each has all subjects, in changing order, and the first is not counted" do
      :rand.seed(:exsss, 1)
      {:ok, log} = Agent.start_link(fn -> [] end)

      measure = fn subject ->
        Agent.get_and_update(log, &{length(&1), [subject | &1]})
      end

      rounds = Rounds.interleave([:a, :b, :c], 20, measure)
      order = log |> Agent.get(&Enum.reverse/1) |> Enum.chunk_every(3)
      assert length(rounds) == 20
      assert Enum.all?(order, &(Enum.sort(&1) == [:a, :b, :c]))
      assert order |> Enum.uniq() |> length() > 1
      assert rounds |> Enum.flat_map(&Map.values/1) |> Enum.min() == 3
    end

    test "a process that fails fails the measurement" do
      Process.flag(:trap_exit, true)

      assert_raise MatchError, fn ->
        capture_log(fn -> Rounds.elapsed(2, fn i -> if i == 2, do: exit(:boom) end) end)
      end
    end
  end

  describe "keys" do
    test "uniform ones are all there are" do
      key = Keys.sampler(:uniform, 10)
      assert Enum.uniq(for(_ <- 1..1_000, do: key.())) |> Enum.sort() == Enum.to_list(1..10)
    end

    test "Zipf ranks are as frequent as their formula says" do
      :rand.seed(:exsss, 7)
      {n, s, draws} = {1_000, 0.99, 200_000}
      rank = Keys.zipf(n, s)
      counts = Enum.frequencies(for _ <- 1..draws, do: rank.())
      assert counts |> Map.keys() |> Enum.min_max() == {1, n}
      weights = Map.new(1..n, &{&1, :math.pow(&1, -s)})
      total = weights |> Map.values() |> Enum.sum()

      for k <- [1, 2, 3, 10, 100] do
        expected = draws * weights[k] / total
        # Five standard deviations.
        assert_in_delta counts[k], expected, 5 * :math.sqrt(expected)
      end

      tail = for({k, count} <- counts, k > 500, do: count) |> Enum.sum()
      expected = draws * Enum.sum(for k <- 501..n, do: weights[k]) / total
      assert_in_delta tail, expected, 5 * :math.sqrt(expected)
    end

    test "the commonest keys are not the first ones, and none comes twice for two ranks" do
      for rows <- [1_000, 10_000, 1_000_000] do
        key = Keys.sampler(:zipf, rows)
        :rand.seed(:exsss, 3)
        keys = for _ <- 1..5_000, do: key.()
        assert Enum.all?(keys, &(&1 in 1..rows))
        rank = Keys.zipf(rows, 0.99)
        :rand.seed(:exsss, 3)
        ranks = for _ <- 1..5_000, do: rank.()
        assert keys |> Enum.uniq() |> length() == ranks |> Enum.uniq() |> length()
      end

      key = Keys.sampler(:zipf, 1_000_000)

      {commonest, _} =
        1..5_000 |> Enum.frequencies_by(fn _ -> key.() end) |> Enum.max_by(&elem(&1, 1))

      assert commonest > 1_000
    end
  end

  describe "objects" do
    test "of each shape have keys of their own and change with the second number" do
      for name <- Shapes.names(), shape = Shapes.fetch!(name) do
        objects = for n <- 1..50, do: Shapes.object(shape, n, 1)
        assert objects |> Enum.uniq_by(&elem(&1, 0)) |> length() == 50
        assert elem(hd(objects), 0) == Shapes.key(shape, 1)
        assert Shapes.object(shape, 1, 2) != hd(objects)
        assert shape.counter == is_integer(elem(hd(objects), 1))
      end
    end

    test "large ones are prepared as far as they fit" do
      assert Shapes.calls(Shapes.fetch!("int"), 100_000) == 100_000
      assert Shapes.calls(Shapes.fetch!("64 KB"), 100_000) < 2_000
    end
  end

  test "tables that would not fit are left out, and it is said why" do
    assert Tables.refusal(100, 1_000) == nil
    assert Tables.refusal(100, nil) == nil
    assert Tables.refusal(20_000_000_000, 24_000_000_000) =~ "20.0 GB"
  end

  test "shards together are one table" do
    tables = Sharded.new([:public])
    Sharded.insert(tables, for(n <- 1..100, do: {n, n}))
    assert Sharded.lookup(tables, 7) == [{7, 7}]
    assert Sharded.update_counter(tables, 7, 1) == 8
    Sharded.delete(tables, 7)
    refute Sharded.member(tables, 7)
    assert Sharded.foldl(fn _, count -> count + 1 end, 0, tables) == 99
    keys = tables |> Sharded.first() |> Stream.iterate(&Sharded.next(tables, &1))
    walked = Enum.take_while(keys, &(&1 != :"$end_of_table"))
    assert Enum.sort(walked) == Enum.to_list(1..100) -- [7]
    Sharded.drop(tables)
  end

  test "each subject holds what it is filled with" do
    for label <- [Subject.persistent() | Subject.concurrent()] do
      subject = label |> Subject.start() |> Subject.fill(250, &{&1, &1})
      assert :ok = subject.loops.lookup([{250, nil}, {1, nil}], subject.table)

      if label != Subject.persistent() do
        # Of a key that is not there a counter cannot be counted up.
        assert :ok = subject.loops.update_counter(for(n <- 1..250, do: {n, nil}), subject.table)

        assert_raise ArgumentError, fn ->
          subject.loops.update_counter([{251, nil}], subject.table)
        end
      end

      Subject.stop(subject)
    end
  end

  describe "JSON" do
    test "values" do
      assert json(nil) == "null"
      assert json(true) == "true"
      assert json(:uniform) == ~S("uniform")
      assert json(1_000) == "1000"
      assert json(1.0) == "1.0"
      assert json(2.00004) == "2.0"
      assert json([1, [], %{}]) == "[1,[],{}]"
      assert json(%{"b" => 1, a: %{c: "d"}}) == ~S({"a":{"c":"d"},"b":1})
    end

    test "text is escaped" do
      assert json("a\"b\\c\nd\te\u0001") == ~S("a\"b\\c\u000Ad\u0009e\u0001")
      assert json("größer ≥ 𝄞") == ~S("größer ≥ 𝄞")
    end

    # Newer releases can read it.
    if Code.ensure_loaded?(:json) do
      test "is what a reader of the standard reads" do
        value = %{
          "text" => "a\"b\\c\nd\u0001 größer",
          "list" => [1, -2.5, 1.0e20, true, nil, []],
          "object" => %{"x" => %{}}
        }

        assert :json.decode(json(value)) ==
                 put_in(value["list"], [1, -2.5, 1.0e20, true, :null, []])
      end
    end

    defp json(value), do: value |> Json.encode() |> IO.iodata_to_binary()
  end

  describe "mix bench" do
    @tag :tmp_dir
    @tag timeout: 300_000
    test "--quick measures, and makes charts and tables", %{tmp_dir: tmp_dir} do
      output =
        capture_io(fn ->
          assert Run.main(["growth", "types", "--quick", "--into", tmp_dir], @modules) == 0
        end)

      assert output =~ "lookup, int, uniform keys, 1,000 rows, 1 process"
      assert output =~ "growth took"
      guide = File.read!(Path.join(tmp_dir, "benchmarks.md"))

      assert guide =~ "These figures are worth nothing" or
               guide =~ "these figures are worth nothing"

      assert guide =~ "](benchmarks/growth.svg)"
      assert File.read!(Path.join(tmp_dir, "benchmarks/growth.svg")) =~ "lower is better"
      assert File.read!(Path.join(tmp_dir, "benchmarks/results.json")) =~ ~S("name":"types")
    end

    test "what it does not know it says, and measures nothing" do
      assert capture_io(fn -> assert Run.main(["nothing"], @modules) == 2 end) =~ "usage:"
      assert capture_io(fn -> assert Run.main(["--help"], @modules) == 0 end) =~ "contention"

      refused =
        capture_io(:stderr, fn ->
          capture_io(fn -> assert Run.main(["--fast"], @modules) == 2 end)
        end)

      assert refused =~ "unknown option --fast"
    end
  end

  test "a type is measured, or its refusal is told" do
    settings = %{rows: [40], processes: [2], rounds: 1, calls: 200}
    {{results, skipped}, output} = with_io(fn -> Groups.Types.run(settings) end)

    for type <- [:ordered_set, :bag, :duplicate_bag] do
      measured = Enum.filter(results, &(&1.case.type == type))
      refused = Enum.filter(skipped, &(&1.case.type == type))

      if measured == [] do
        assert [%{reason: "PartitionedEts refuses the type" <> _}] = refused
      else
        assert refused == []
        for %{figures: figures} <- measured, do: assert(length(figures) == 4)
      end
    end

    assert output =~ "ordered_set"
  end

  test "every group has settings of both sizes and says what it measures" do
    for {_name, group} <- Run.groups() do
      assert %{rounds: _} = group.settings(:full)
      assert %{rounds: _} = group.settings(:quick)
      assert group.about() =~ ~r/\S/
      assert group.notes() =~ ~r/\S/
    end
  end

  defp capture_log(function), do: ExUnit.CaptureLog.capture_log(function)
end
