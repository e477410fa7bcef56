defmodule Mix.Tasks.Compile.Pets do
  @shortdoc "Builds the native library of PartitionedEts with cargo"
  @moduledoc """
  Builds the native library of PartitionedEts with cargo.

  A Mix compiler: it runs with `mix compile`, also when PartitionedEts is a dependency of another
  project. It runs `cargo build --release --locked -p pets_nif` and puts the library where the
  VM looks for it, `priv/native`. It asks cargo only when a source changed since the last time.

  Cargo builds in `target` beside PartitionedEts' own `mix.exs`, or where the environment variable
  `CARGO_TARGET_DIR` says.
  """

  use Mix.Task.Compiler

  alias Mix.Task.Compiler.Diagnostic

  # Part of the manifest: another layout of it is a reason to ask cargo again.
  @manifest_version 1
  @sources [
    "Cargo.toml",
    "Cargo.lock",
    "rust-toolchain.toml",
    ".cargo/config.toml",
    "native/**/*"
  ]
  # What changes the result of a build beside the sources.
  @environment ~w(CARGO_TARGET_DIR CARGO_BUILD_TARGET RUSTFLAGS CARGO_ENCODED_RUSTFLAGS)

  @impl true
  def run(args) do
    {opts, _, _} = OptionParser.parse(args, switches: [force: :boolean])
    root = root()
    library = library(root)

    if not Keyword.get(opts, :force, false) and read_manifest() == state(root, library) do
      {:noop, []}
    else
      build(root, library)
    end
  end

  @impl true
  def manifests, do: [manifest()]

  @impl true
  def clean do
    File.rm_rf!(Path.dirname(library(root())))
    File.rm(manifest())
    :ok
  end

  defp build(root, library) do
    cargo = System.find_executable("cargo") || Mix.raise(no_cargo())
    Mix.shell().info("Compiling the native library (cargo build --release)")
    args = ~w(build --release --locked -p pets_nif)
    {status, output} = run_cargo(cargo, args, root)
    diagnostics = diagnostics(output, root)

    if status == 0 do
      built = Path.join([target_dir(root), "release", cargo_name()])

      if not File.regular?(built) do
        Mix.raise("cargo succeeded but left no library at #{built}")
      end

      install(built, library)
      # The first build of a fresh checkout makes `priv`, which is not yet known in `_build`.
      Mix.Project.build_structure()
      write_manifest(state(root, library))
      {:ok, diagnostics}
    else
      {:error, with_an_error(diagnostics, status, root)}
    end
  end

  # A VM may have the old library mapped: writing into that file would change the code under its
  # feet. A new file under the old name leaves the mapped one alone.
  defp install(built, library) do
    if not same_content?(built, library) do
      File.mkdir_p!(Path.dirname(library))
      temporary = "#{library}.#{System.pid()}"
      File.cp!(built, temporary)
      File.rename!(temporary, library)
    end
  end

  defp same_content?(a, b) do
    with {:ok, %{size: size}} <- File.stat(a),
         {:ok, %{size: ^size}} <- File.stat(b),
         {:ok, content} <- File.read(a),
         {:ok, ^content} <- File.read(b) do
      true
    else
      _ -> false
    end
  end

  # Shows what cargo says as it says it, and keeps it to make diagnostics of.
  defp run_cargo(cargo, args, root) do
    port =
      Port.open({:spawn_executable, cargo}, [
        :binary,
        :exit_status,
        :stderr_to_stdout,
        :hide,
        args: args,
        cd: root
      ])

    collect(port, [])
  end

  defp collect(port, output) do
    receive do
      {^port, {:data, data}} ->
        IO.write(data)
        collect(port, [output | data])

      {^port, {:exit_status, status}} ->
        {status, IO.iodata_to_binary(output)}
    end
  end

  defp diagnostics(output, root) do
    ~r/^(error|warning)(?:\[\w+\])?: ([^\n]+)\n\s*--> ([^\n]+?):(\d+):(\d+)/m
    |> Regex.scan(output, capture: :all_but_first)
    |> Enum.map(fn [severity, message, file, line, column] ->
      diagnostic(
        if(severity == "error", do: :error, else: :warning),
        message,
        Path.expand(file, root),
        {String.to_integer(line), String.to_integer(column)}
      )
    end)
  end

  # Not every failure of cargo points at a line: a missing network or a stale lock file does not.
  defp with_an_error(diagnostics, status, root) do
    if Enum.any?(diagnostics, &(&1.severity == :error)) do
      diagnostics
    else
      message = "cargo build ended with the exit status #{status}; its output is above"
      [diagnostic(:error, message, Path.join(root, "Cargo.toml"), 0) | diagnostics]
    end
  end

  defp diagnostic(severity, message, file, position) do
    %Diagnostic{
      compiler_name: "pets",
      severity: severity,
      message: message,
      file: file,
      position: position
    }
  end

  # The task may run on behalf of a project that depends on this one; Mix has entered this
  # project's own directory then.
  defp root, do: Path.dirname(Mix.Project.project_file())

  defp library(root), do: Path.join([root, "priv", "native", vm_name()])

  # The VM adds the extension itself, `.so` on macOS as well.
  defp vm_name do
    case :os.type() do
      {:win32, _} -> "pets_nif.dll"
      _ -> "pets_nif.so"
    end
  end

  defp cargo_name do
    case :os.type() do
      {:win32, _} -> "pets_nif.dll"
      {:unix, :darwin} -> "libpets_nif.dylib"
      _ -> "libpets_nif.so"
    end
  end

  defp target_dir(root) do
    case System.get_env("CARGO_TARGET_DIR") do
      unset when unset in [nil, ""] -> Path.join(root, "target")
      dir -> Path.expand(dir, root)
    end
  end

  defp manifest, do: Path.join(Mix.Project.manifest_path(), "compile.pets")

  # By content: an edit within the second keeps a file's time, and a checkout changes it for
  # nothing. The sources are small.
  defp state(root, library) do
    sources =
      for pattern <- @sources,
          path <- Path.wildcard(Path.join(root, pattern), match_dot: true),
          {:ok, content} <- [File.read(path)],
          do: {path, :erlang.md5(content)}

    environment = for name <- @environment, do: {name, System.get_env(name)}
    {@manifest_version, sources, environment, file_state(library)}
  end

  defp file_state(path) do
    case File.stat(path, time: :posix) do
      {:ok, %File.Stat{mtime: mtime, size: size, inode: inode}} -> {mtime, size, inode}
      {:error, _} -> nil
    end
  end

  defp read_manifest do
    case File.read(manifest()) do
      {:ok, binary} -> :erlang.binary_to_term(binary)
      {:error, _} -> nil
    end
  rescue
    ArgumentError -> nil
  end

  defp write_manifest(state) do
    File.mkdir_p!(Path.dirname(manifest()))
    File.write!(manifest(), :erlang.term_to_binary(state))
  end

  defp no_cargo do
    """
    cargo not found. PartitionedEts has a native part that is built on your machine: install
    Rust 1.91 or later (https://rustup.rs, or your distribution's packages) and put cargo on
    the PATH. If it is installed already, run: . "$HOME/.cargo/env"
    """
  end
end
