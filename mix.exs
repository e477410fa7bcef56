defmodule PartitionedEts.MixProject do
  use Mix.Project

  @version "0.1.0"

  def project do
    [
      app: :partitioned_ets,
      version: @version,
      elixir: "~> 1.15",
      elixirc_paths: elixirc_paths(Mix.env()),
      # The native compiler is a module of this project, so it runs after the Elixir one.
      compilers: Mix.compilers() ++ [:pets],
      start_permanent: Mix.env() == :prod,
      aliases: aliases(),
      deps: [],
      description: "An :ets-shaped table in Rust, spread over nodes without losing a write",
      docs: docs()
    ]
  end

  def application do
    [
      extra_applications: [:logger],
      mod: {PartitionedEts.Application, []}
    ]
  end

  def cli, do: [preferred_envs: [ci: :test]]

  defp elixirc_paths(:test), do: ["lib", "test/support"]
  defp elixirc_paths(_env), do: ["lib"]

  defp docs do
    [
      main: "PartitionedEts",
      source_ref: "v#{@version}",
      extras: ["README.md", "CHANGELOG.md"] ++ Path.wildcard("guides/**/*.md"),
      # The charts of guides/benchmarks.md.
      assets: %{"guides/benchmarks" => "benchmarks"},
      groups_for_extras: [Internals: ~r"guides/internals/"]
    ]
  end

  defp aliases do
    [
      # The gate: reads, builds and tests, and changes no file.
      ci: [
        "format --check-formatted",
        cargo(~w(fmt --all --check)),
        "compile --warnings-as-errors",
        cargo(~w(clippy --locked --workspace --all-targets -- -D warnings)),
        cargo(~w(test --locked --workspace)),
        cargo(~w(doc --locked --workspace --no-deps --document-private-items), [
          {"RUSTDOCFLAGS", "-D warnings -A rustdoc::private-intra-doc-links"}
        ]),
        bench_report(~w(fmt), ~w(--check)),
        bench_report(~w(clippy --locked --all-targets), ~w(-- -D warnings)),
        bench_report(~w(test --locked), []),
        "test"
      ],
      fix: ["format", cargo(~w(fmt --all)), bench_report(~w(fmt), [])],
      # For this repository's developers; a project that depends on this one never sees it.
      bench: ["run bench/bench.exs"]
    ]
  end

  defp cargo([command | _] = args, env \\ []) do
    fn _args ->
      line = Enum.join(["cargo" | args], " ")

      if command in ~w(fmt clippy) and not component?(command) do
        Mix.shell().info("* #{line}: skipped, this Rust toolchain comes without it")
      else
        Mix.shell().info("* #{line}")
        args = List.insert_at(args, 1, "--quiet")
        into = IO.stream()
        {_, status} = System.cmd("cargo", args, env: env, into: into, stderr_to_stdout: true)
        status == 0 || Mix.raise("#{line} failed")
      end
    end
  end

  # The crate that draws the benchmarks' charts is a workspace of its own.
  defp bench_report([command | _] = args, more) do
    target = if command == "fmt", do: [], else: ~w(--target-dir target/bench_report)
    cargo(args ++ ~w(--manifest-path bench/report/Cargo.toml) ++ target ++ more)
  end

  defp component?(command) do
    {_, status} = System.cmd("cargo", [command, "--version"], stderr_to_stdout: true)
    status == 0
  end
end
