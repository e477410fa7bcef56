defmodule Bench.Run do
  @moduledoc false
  # The command: which groups run, where their results go.

  alias Bench.{Groups, Json, Machine, Text}

  @groups [
    {"shapes", Groups.Shapes},
    {"growth", Groups.Growth},
    {"contention", Groups.Contention},
    {"mixes", Groups.Mixes},
    {"load", Groups.Load},
    {"scan", Groups.Scan},
    {"types", Groups.Types},
    {"memory", Groups.Memory}
  ]
  @root Path.expand("../..", __DIR__)
  # Where results, charts and tables go: published, or with --quick.
  @guides "guides"
  @unpublished "_build/bench"
  @run "_build/bench/run.json"

  # Returns the exit status.
  def main(arguments, modules) do
    switches = [quick: :boolean, into: :string, redraw: :boolean, help: :boolean]

    case OptionParser.parse(arguments, strict: switches) do
      {[help: true], [], []} -> help(0)
      {options, names, []} -> if known?(names), do: run(options, names, modules), else: help(2)
      {_, _, [{switch, _} | _]} -> refuse("unknown option #{switch}")
    end
  end

  # What a group measures, as a map that is made to be written.
  def measure({name, group}, scale, modules, command) do
    settings = group.settings(scale)
    started = System.monotonic_time(:second)
    {results, skipped} = group.run(Map.put(settings, :modules, modules))

    %{
      name: name,
      about: group.about(),
      notes: group.notes(),
      quick: scale == :quick,
      command: command,
      date: Date.to_iso8601(Date.utc_today()),
      seconds: System.monotonic_time(:second) - started,
      settings: settings,
      machine: Machine.facts(),
      results: results,
      skipped: skipped
    }
  end

  def groups, do: @groups

  defp run(options, names, modules) do
    scale = if options[:quick], do: :quick, else: :full
    default = if scale == :quick, do: @unpublished, else: @guides
    directory = Path.expand(options[:into] || default, @root)

    if options[:redraw] do
      report(Path.expand(options[:into] || @guides, @root), [])
    else
      quick = if scale == :quick, do: ["--quick"], else: []
      command = Enum.join(["mix bench" | names] ++ quick, " ")
      intro(scale)

      groups =
        for {name, group} <- @groups, names == [] or name in names do
          IO.puts("\n== #{name}: #{group.about()}")
          measured = measure({name, group}, scale, modules, command)
          IO.puts("\n#{name} took #{Text.number(measured.seconds)} s")
          measured
        end

      run = Path.join(@root, @run)
      File.mkdir_p!(Path.dirname(run))
      File.write!(run, Json.encode(%{groups: groups}))
      report(directory, [run])
    end
  end

  defp intro(scale) do
    IO.puts("""
    #{Machine.describe()}
    ns: time of one call on one scheduler, the loop around it taken off (median of the rounds).
    x: how many times as long as with PartitionedEts, median (lowest to highest round).
    rc: read_concurrency, wc: write_concurrency.\
    """)

    if scale == :quick,
      do: IO.puts("--quick: shows that it works, its figures are worth nothing.")
  end

  # Adds a run to the results, and draws charts and tables of all of them.
  defp report(directory, run) do
    IO.puts("\nDrawing with bench/report (cargo)")
    manifest = Path.join(@root, "bench/report/Cargo.toml")
    target = Path.join(@root, "target/bench_report")

    cargo =
      ~w(run --quiet --release --locked --manifest-path #{manifest} --target-dir #{target} --)

    arguments = cargo ++ [directory | run]
    {_, status} = System.cmd("cargo", arguments, cd: @root, into: IO.stream())
    if status == 0, do: IO.puts("See #{Path.join(directory, "benchmarks.md")}")
    status
  end

  defp known?(names), do: Enum.all?(names, &List.keymember?(@groups, &1, 0))

  defp refuse(reason) do
    IO.puts(:stderr, "mix bench: #{reason}\n")
    help(2)
  end

  defp help(status) do
    groups =
      for {name, group} <- @groups, do: "  #{String.pad_trailing(name, 12)}#{group.about()}\n"

    IO.puts("""
    usage: mix bench [GROUP ...] [--quick] [--into DIRECTORY]
           mix bench --redraw [--into DIRECTORY]

    Without groups all of them run, which takes about half an hour. Run nothing beside it.

    #{groups}
      --quick   a run of a minute or two that shows that everything works
      --into    where benchmarks.md, its charts and the figures go: #{@guides}, with --quick
                #{@unpublished}. Groups that were not run stay as they are there
      --redraw  makes charts and tables of the figures again, without measuring\
    """)

    status
  end
end
