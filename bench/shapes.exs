# Reading and overwriting objects of many shapes, against :ets by tid, one process:
# mix run bench/shapes.exs [--quick] [--only PART_OF_A_SHAPE'S_NAME]
#
# bench/README.md says how to read it.

for file <- ~w(machine stats text), do: Code.require_file("suite/#{file}.ex", __DIR__)

defmodule Bench.ShapesByTid.Loops do
  # One loop for each operation, compiled for each of the two modules, as in local.exs.
  defmacro __using__(tables) do
    quote do
      def get([object | rest], table) do
        unquote(tables).lookup(table, :erlang.element(1, object))
        get(rest, table)
      end

      def get([], _table), do: :ok

      def put([object | rest], table) do
        unquote(tables).insert(table, object)
        put(rest, table)
      end

      def put([], _table), do: :ok
    end
  end
end

defmodule Bench.ShapesByTid.Ets do
  use Bench.ShapesByTid.Loops, :ets
end

defmodule Bench.ShapesByTid.Pets do
  use Bench.ShapesByTid.Loops, PartitionedEts
end

defmodule Bench.ShapesByTid.Empty do
  # What the loops cost without their call.
  def get([object | rest], table) do
    _ = :erlang.element(1, object)
    get(rest, table)
  end

  def get([], _table), do: :ok

  def put([_object | rest], table), do: put(rest, table)
  def put([], _table), do: :ok
end

defmodule Bench.ShapesByTid do
  alias Bench.ShapesByTid.{Empty, Ets, Pets}

  @rows 1_000

  # An object's shape, from its number and the version of its value. No two versions have a word of
  # their values in common, but for what keeps the shape.
  defp shapes do
    [
      {"int => int", &{&1, number(&1, &2)}},
      {"bin16 => int", &{text(&1, 0, 16), number(&1, &2)}},
      {"int => atom, float", &{&1, Enum.at([:a, :b], &2), number(&1, &2) * 1.5}},
      {"int => bin20", &{&1, text(&1, &2, 20)}},
      {"tuple2 => map3", &{{&1, :key}, atom_map(3, &1, &2)}},
      {"int => tuples", &{&1, nested(number(&1, &2))}},
      {"int => list10", &{&1, list(10, &1, &2)}},
      {"int => list100", &{&1, list(100, &1, &2)}},
      {"int => list20 of tuples", &{&1, for(n <- list(20, &1, &2), do: {n, n + 1})}},
      {"int => map3", &{&1, atom_map(3, &1, &2)}},
      {"int => map20", &{&1, atom_map(20, &1, &2)}},
      {"int => map3, binary keys", &{&1, binary_map(3, &1, &2)}},
      {"int => map20, binary keys", &{&1, binary_map(20, &1, &2)}},
      {"int => record of all", &{&1, record(&1, &2)}},
      {"int => bin1K", &{&1, text(&1, &2, 1024)}},
      {"int => bin4K", &{&1, text(&1, &2, 4096)}},
      {"int => bin64K", &{&1, text(&1, &2, 65_536)}}
    ]
  end

  defp number(row, version), do: 2 * row + version

  defp nested(n), do: {{n, n + 1}, {:node, {n + 2, {n + 3, n + 4}}, n + 5}}

  defp list(length, row, version), do: for(i <- 1..length, do: number(row, version) + 7 * i)

  # Made anew for each object: a copy that another table could share is in nobody's hands.
  defp text(row, version, bytes) do
    start = "#{row}:#{version}:"
    start <> String.duplicate(<<?a + version>>, bytes - byte_size(start))
  end

  defp atom_map(size, row, version) do
    for i <- 1..size, into: %{}, do: {:"field_#{i}", number(row, version) + i}
  end

  defp binary_map(size, row, version) do
    for i <- 1..size, into: %{}, do: {"field_#{i}", number(row, version) + i}
  end

  defp record(row, version) do
    %{
      id: number(row, version),
      name: text(row, version, 24),
      tags: ["new", text(row, version, 12), :local],
      score: number(row, version) * 0.25,
      position: {number(row, version), -number(row, version)},
      meta: %{"source" => "import", seen: number(row, version)}
    }
  end

  def main(arguments) do
    {options, []} = OptionParser.parse!(arguments, strict: [quick: :boolean, only: :string])

    settings =
      if options[:quick],
        do: %{rounds: 15, slice: 1_000_000},
        else: %{rounds: 151, slice: 1_000_000}

    IO.puts("""
    #{Bench.Machine.describe()}
    One process, #{@rows} rows, #{settings.rounds} short rounds, both tables in turn in each round.
    ns: time of one call, the loop around it taken off (median of the rounds).
    x: how many times as long the call takes with :ets by tid, median (and the middle half of the rounds).

    | shape | get ns | get x | put ns | put x |
    | --- | --- | --- | --- | --- |\
    """)

    for {name, shape} <- shapes(),
        name =~ (options[:only] || ""),
        do: compare(name, shape, settings)
  end

  defp compare(name, shape, settings) do
    :rand.seed(:exsss, 1)

    # Literals, which neither the collector nor a message copies; an overwrite always brings the
    # other version.
    for version <- 0..1 do
      objects = for row <- Enum.shuffle(1..@rows), do: shape.(row, version)
      :persistent_term.put({:bench, version}, objects)
    end

    {:ok, owner} =
      PartitionedEts.start_link(
        name: :bench_shapes,
        table_opts: [:named_table, :public],
        distributed: false,
        shutdown: :brutal_kill
      )

    ets = :ets.new(:bench_shapes_ets, [:set, :public])
    subjects = [pets: {Pets, :bench_shapes}, ets: {Ets, ets}]

    for {_label, {module, table}} <- subjects,
        do: module.put(:persistent_term.get({:bench, 0}), table)

    cells = for operation <- [:get, :put], do: measure(operation, subjects, settings)
    IO.puts("| #{name} | #{Enum.join(cells, " | ")} |")
    GenServer.stop(owner)
    :ets.delete(ets)
  end

  defp measure(operation, subjects, settings) do
    subjects = [{:empty, {Empty, nil}} | subjects]
    # As many passes over the rows as a subject gets done in a slice of nanoseconds: so short that
    # most rounds are over before the operating system gives the core to somebody else.
    passes = fn subject ->
      max(2, 2 * round(settings.slice / (run(subject, operation, 2) * @rows) / 2))
    end

    subjects = for {label, subject} <- subjects, do: {label, subject, passes.(subject)}

    samples =
      for _round <- 1..settings.rounds do
        Map.new(Enum.shuffle(subjects), fn {label, subject, passes} ->
          {label, run(subject, operation, passes)}
        end)
      end

    own = Bench.Stats.median(Enum.map(samples, &(&1.pets - &1.empty)))
    ratios = for sample <- samples, do: (sample.ets - sample.empty) / (sample.pets - sample.empty)
    [low, middle, high] = for percent <- [25, 50, 75], do: Bench.Stats.percentile(ratios, percent)

    "#{Bench.Text.decimal(own)} | #{Bench.Text.decimal(middle, 2)} " <>
      "(#{Bench.Text.decimal(low, 2)} to #{Bench.Text.decimal(high, 2)})"
  end

  # Nanoseconds for one call, in a process of its own.
  defp run({module, table}, operation, passes) do
    parent = self()

    {pid, monitor} =
      spawn_monitor(fn ->
        versions = {:persistent_term.get({:bench, 0}), :persistent_term.get({:bench, 1})}
        # Its heap grows to what it needs.
        pass(2, versions, &apply(module, operation, [&1, table]))
        started = System.monotonic_time(:nanosecond)
        pass(passes, versions, &apply(module, operation, [&1, table]))
        send(parent, {:elapsed, self(), System.monotonic_time(:nanosecond) - started})
      end)

    receive do
      {:elapsed, ^pid, elapsed} ->
        receive do: ({:DOWN, ^monitor, :process, ^pid, :normal} -> elapsed / (passes * @rows))
    end
  end

  defp pass(0, _versions, _work), do: :ok

  # The table has version 0 first.
  defp pass(left, {one, other}, work) do
    work.(other)
    pass(left - 1, {other, one}, work)
  end
end

Bench.ShapesByTid.main(System.argv())
