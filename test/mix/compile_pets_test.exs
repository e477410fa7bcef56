defmodule Mix.Tasks.Compile.PetsTest do
  # Changes PATH and the current Mix project.
  use ExUnit.Case, async: false

  import ExUnit.CaptureIO

  alias Mix.Tasks.Compile.Pets

  # A project of the same shape with a cargo that writes what the test wants.
  setup do
    unique = System.unique_integer([:positive])
    dir = Path.join(System.tmp_dir!(), "compile_pets-#{System.pid()}-#{unique}")
    on_exit(fn -> File.rm_rf!(dir) end)
    bin = Path.join(dir, "bin")
    project = Path.join(dir, "project")
    File.mkdir_p!(bin)
    File.mkdir_p!(Path.join(project, "native/pets_nif/src"))
    File.write!(Path.join(project, "Cargo.toml"), "")
    File.write!(Path.join(project, "native/pets_nif/src/lib.rs"), "first")

    File.write!(Path.join(project, "mix.exs"), """
    defmodule Scratch#{unique}.MixProject do
      use Mix.Project
      def project, do: [app: :scratch#{unique}, version: "0.0.0"]
    end
    """)

    shell = Mix.shell()
    path = System.get_env("PATH")
    target = System.get_env("CARGO_TARGET_DIR")
    Mix.shell(Mix.Shell.Quiet)
    System.put_env("PATH", "#{bin}:#{path}")
    System.delete_env("CARGO_TARGET_DIR")

    on_exit(fn ->
      Mix.shell(shell)
      System.put_env("PATH", path)
      if target, do: System.put_env("CARGO_TARGET_DIR", target)
    end)

    # Mix remembers a project by its application.
    Process.put(:app, :"scratch#{unique}")
    library = Path.join(project, "priv/native/pets_nif.so")
    {:ok, dir: dir, bin: bin, project: project, library: library}
  end

  defp cargo(bin, script) do
    path = Path.join(bin, "cargo")
    File.write!(path, "#!/bin/sh\n" <> script)
    File.chmod!(path, 0o755)
  end

  # Counts its calls, and makes a library of the source.
  @builds """
  echo called >>calls
  mkdir -p target/release
  cp native/pets_nif/src/lib.rs target/release/libpets_nif.so
  cp native/pets_nif/src/lib.rs target/release/libpets_nif.dylib
  echo "   Compiling pets_nif"
  """

  defp compile(project, args \\ []) do
    Mix.Project.in_project(Process.get(:app), project, fn _ ->
      with_io(fn -> Pets.run(args) end)
    end)
  end

  defp calls(project), do: project |> Path.join("calls") |> File.read!() |> String.split()

  test "builds, and asks cargo again only after a change", context do
    %{bin: bin, project: project, library: library} = context
    cargo(bin, @builds)

    assert {{:ok, []}, "   Compiling pets_nif\n"} = compile(project)
    assert File.read!(library) == "first"
    assert {{:noop, []}, ""} = compile(project)
    assert length(calls(project)) == 1

    File.write!(Path.join(project, "native/pets_nif/src/lib.rs"), "second one")
    assert {{:ok, []}, _} = compile(project)
    assert File.read!(library) == "second one"
    assert {{:noop, []}, _} = compile(project)
    assert {{:ok, []}, _} = compile(project, ["--force"])
    assert length(calls(project)) == 3
  end

  test "never writes into a library that may be in use", context do
    %{bin: bin, project: project, library: library} = context
    cargo(bin, @builds)
    compile(project)
    before = File.stat!(library)

    # Same content: the file is left as it is.
    compile(project, ["--force"])
    assert File.stat!(library).inode == before.inode

    {:ok, in_use} = File.open(library)
    File.write!(Path.join(project, "native/pets_nif/src/lib.rs"), "other")
    compile(project)
    assert File.stat!(library).inode != before.inode
    assert IO.read(in_use, :eof) == "first"
    assert Path.wildcard("#{library}*") == [library]
  end

  test "a library that was removed is built again, and clean removes it", context do
    %{bin: bin, project: project, library: library} = context
    cargo(bin, @builds)
    compile(project)
    File.rm!(library)
    assert {{:ok, []}, _} = compile(project)
    assert File.exists?(library)

    Mix.Project.in_project(Process.get(:app), project, fn _ -> Pets.clean() end)
    refute File.exists?(Path.dirname(library))
    assert {{:ok, []}, _} = compile(project)
    assert File.exists?(library)
  end

  test "puts the library into the build, too", %{bin: bin, project: project} do
    cargo(bin, @builds)
    compile(project)

    built =
      Mix.Project.in_project(Process.get(:app), project, fn _ ->
        Path.join(Mix.Project.app_path(), "priv/native/pets_nif.so")
      end)

    assert File.read!(built) == "first"
  end

  test "errors of the compiler become diagnostics", %{bin: bin, project: project} do
    cargo(bin, """
    cat <<'END'
    warning: unused variable: `x`
     --> native/pets_nif/src/lib.rs:3:9
      |
    error[E0308]: mismatched types
      --> native/pets_nif/src/lib.rs:10:5
    END
    exit 101
    """)

    assert {{:error, [warning, error]}, _} = compile(project)
    file = Path.join(project, "native/pets_nif/src/lib.rs")
    assert %{severity: :warning, message: "unused variable: `x`", position: {3, 9}} = warning
    assert %{severity: :error, message: "mismatched types", position: {10, 5}} = error
    assert error.file == file
    assert error.compiler_name == "pets"
  end

  test "a failure that points nowhere is an error as well", %{bin: bin, project: project} do
    cargo(bin, "echo 'error: failed to get `scc` as a dependency'; exit 101")
    assert {{:error, [diagnostic]}, _} = compile(project)
    assert diagnostic.severity == :error
    assert diagnostic.message =~ "exit status 101"
  end

  test "a missing cargo is an instruction", %{dir: dir, project: project} do
    empty = Path.join(dir, "empty")
    File.mkdir_p!(empty)
    System.put_env("PATH", empty)

    assert_raise Mix.Error, ~r/cargo not found.*install\s+Rust 1.91 or later/s, fn ->
      compile(project)
    end
  end
end
