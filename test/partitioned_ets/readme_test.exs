defmodule PartitionedEts.ReadmeTest do
  use ExUnit.Case, async: true

  @readme File.read!("README.md")

  test "the option table is that of the documentation" do
    # Only the links to callbacks differ: the README is read outside the documentation, too.
    options = String.replace(PartitionedEts.Options.docs(), "`c:PartitionedEts.", "`")

    for row <- String.split(options, "\n", trim: true) do
      assert @readme =~ row, "the README lacks: #{row}"
    end
  end

  test "the example does what it says" do
    {:ok, ast} =
      ~r/```elixir\n(children.*?)```/s
      |> Regex.run(@readme, capture: :all_but_first)
      |> hd()
      |> Code.string_to_quoted()

    {[{"hello", 2}], _} = Code.eval_quoted(ast)
  end
end
