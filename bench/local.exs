# PartitionedEts against :ets on one node: mix run bench/local.exs [--quick]
#
# bench/README.md says how to read it.

Code.require_file("support.exs", __DIR__)

defmodule Bench.Local.Loops do
  # One loop for each operation, compiled for each of the two modules: what is measured is the call
  # as a user's module makes it.
  defmacro __using__(tables) do
    quote do
      def lookup([{key, _} | rest], table) do
        unquote(tables).lookup(table, key)
        lookup(rest, table)
      end

      def lookup([], _table), do: :ok

      def member([{key, _} | rest], table) do
        unquote(tables).member(table, key)
        member(rest, table)
      end

      def member([], _table), do: :ok

      def insert([object | rest], table) do
        unquote(tables).insert(table, object)
        insert(rest, table)
      end

      def insert([], _table), do: :ok

      def update_counter([{key, _} | rest], table) do
        unquote(tables).update_counter(table, key, 1)
        update_counter(rest, table)
      end

      def update_counter([], _table), do: :ok

      def delete_insert([{key, _} = object | rest], table) do
        unquote(tables).delete(table, key)
        unquote(tables).insert(table, object)
        delete_insert(rest, table)
      end

      def delete_insert([], _table), do: :ok
    end
  end
end

defmodule Bench.Local.Ets do
  use Bench.Local.Loops, :ets
end

defmodule Bench.Local.Pets do
  use Bench.Local.Loops, PartitionedEts
end

defmodule Bench.Local.Empty do
  # What the loops cost without their call.
  def loop([{_key, _} | rest], table), do: loop(rest, table)
  def loop([], _table), do: :ok
end

defmodule Bench.Local do
  alias Bench.Local.{Empty, Ets, Pets}

  @operations [:lookup, :member, :insert, :update_counter, :delete_insert]
  @rivals [
    {"named", [:named_table]},
    {"tid", []},
    {"tid rc", [read_concurrency: true]},
    {"tid wc", [write_concurrency: true]},
    {"tid wc auto", [write_concurrency: :auto]},
    {"tid rc wc", [read_concurrency: true, write_concurrency: true]},
    {"tid rc wc auto", [read_concurrency: true, write_concurrency: :auto]}
  ]

  def main(arguments) do
    {options, []} = OptionParser.parse!(arguments, strict: [quick: :boolean])

    settings =
      if options[:quick],
        do: %{rows: [1_000], processes: [1, 2], rounds: 3, calls: 100_000},
        else: %{rows: [1_000, 1_000_000], processes: [1, 2, 8, 32], rounds: 7, calls: 200_000}

    IO.puts("""
    #{Bench.Machine.describe()}
    #{settings.rounds} rounds of #{settings.calls} calls, all tables in turn in each round.
    ns: time of one call on one scheduler, the loop around it taken off (median of the rounds).
    x: how many times as long the call takes with :ets, median (lowest to highest round).
    rc: read_concurrency, wc: write_concurrency. {int, int}, uniform keys.
    """)

    summary =
      for rows <- settings.rows do
        subjects = subjects(rows)

        lines =
          for processes <- settings.processes, do: compare(subjects, rows, processes, settings)

        drop(subjects)
        lines
      end

    IO.puts("""

    | rows | processes | operation | ns | named | by tid | best :ets | which is |
    | --- | --- | --- | --- | --- | --- | --- | --- |\
    """)

    summary |> List.flatten() |> Enum.each(&IO.puts/1)
  end

  defp subjects(rows) do
    name = :bench_local

    {:ok, owner} =
      PartitionedEts.start_link(
        name: name,
        table_opts: [:named_table, :public],
        distributed: false,
        shutdown: :brutal_kill
      )

    pets = {"PartitionedEts", Pets, name, owner}

    ets =
      for {label, options} <- @rivals,
          do: {label, Ets, :ets.new(:bench_local_ets, [:set, :public | options]), nil}

    objects = for key <- 1..rows, do: {key, key}

    for {_label, module, table, _owner} <- [pets | ets], do: module.insert(objects, table)
    [pets | ets]
  end

  defp drop(subjects) do
    for {_label, module, table, owner} <- subjects do
      if module == Pets, do: GenServer.stop(owner), else: :ets.delete(table)
    end
  end

  defp compare(subjects, rows, processes, settings) do
    share = div(settings.calls, processes)
    # Literals, which neither the collector nor a message copies.
    for i <- 1..processes do
      :rand.seed(:exsss, {rows, processes, i})
      objects = for _ <- 1..share, do: {:rand.uniform(rows), i}
      :persistent_term.put({:bench, i}, objects)
    end

    for operation <- @operations do
      samples =
        for round <- 0..settings.rounds do
          # Another order in each round; round 0 warms up.
          order = Enum.shuffle([:empty | subjects])
          {round, Map.new(order, &{label(&1), measure(&1, operation, processes, share)})}
        end

      report(operation, rows, processes, for({round, sample} <- samples, round > 0, do: sample))
    end
  end

  defp label(:empty), do: :empty
  defp label({label, _, _, _}), do: label

  # Nanoseconds for one call on one scheduler.
  defp measure(subject, operation, processes, share) do
    {module, function, table} =
      case subject do
        :empty -> {Empty, :loop, nil}
        {_, module, table, _} -> {module, operation, table}
      end

    parent = self()

    workers =
      for i <- 1..processes do
        spawn_monitor(fn ->
          objects = :persistent_term.get({:bench, i})
          send(parent, :ready)

          receive do
            :go -> apply(module, function, [objects, table])
          end
        end)
      end

    for _ <- workers, do: receive(do: (:ready -> :ok))
    started = System.monotonic_time(:nanosecond)
    for {pid, _} <- workers, do: send(pid, :go)

    for {pid, monitor} <- workers do
      receive do
        {:DOWN, ^monitor, :process, ^pid, reason} -> :normal = reason
      end
    end

    elapsed = System.monotonic_time(:nanosecond) - started
    elapsed * min(processes, System.schedulers_online()) / (processes * share)
  end

  defp report(operation, rows, processes, samples) do
    head =
      "#{operation}, #{rows} rows, #{processes} " <>
        if(processes == 1, do: "process", else: "processes")

    empty = Bench.Stats.median(Enum.map(samples, & &1.empty))
    own = Bench.Stats.median(Enum.map(samples, &(&1["PartitionedEts"] - &1.empty)))
    IO.puts("\n#{head} (empty loop #{Bench.Stats.decimal(empty)} ns)")
    IO.puts("  #{String.pad_trailing("PartitionedEts", 16)}#{ns(own)} ns")

    rivals =
      for {label, _} <- @rivals do
        times = Enum.map(samples, &(&1[label] - &1.empty))
        ratios = Enum.map(samples, &((&1[label] - &1.empty) / (&1["PartitionedEts"] - &1.empty)))
        {label, Bench.Stats.median(times), ratios}
      end

    {best, _, _} = Enum.min_by(rivals, &elem(&1, 1))
    ratio = fn label -> rivals |> List.keyfind!(label, 0) |> elem(2) |> Bench.Stats.median() end

    for {label, time, ratios} <- rivals do
      mark = if label == best, do: "  the best :ets", else: ""

      IO.puts(
        "  #{String.pad_trailing(label, 16)}#{ns(time)} ns  #{Bench.Stats.ratio(ratios)}#{mark}"
      )
    end

    ratios =
      for label <- ["named", "tid", best], do: "#{Bench.Stats.decimal(ratio.(label), 2)} x"

    cells = [rows, processes, operation, Bench.Stats.decimal(own)] ++ ratios ++ [best]
    "| #{Enum.join(cells, " | ")} |"
  end

  defp ns(time), do: String.pad_leading(Bench.Stats.decimal(time), 8)
end

Bench.Local.main(System.argv())
