defmodule PartitionedEts.DocumentationTest do
  use ExUnit.Case, async: true

  {:ok, modules} = :application.get_key(:partitioned_ets, :modules)
  @modules Enum.reject(modules, &String.starts_with?(inspect(&1), "PartitionedEts.Test"))

  defp docs(module) do
    {:docs_v1, _, _, _, module_doc, _, docs} = Code.fetch_docs(module)
    {module_doc, docs}
  end

  test "every module says what it is, or that it is internal" do
    for module <- @modules do
      {module_doc, _} = docs(module)
      assert module_doc != :none, "#{inspect(module)} has no @moduledoc"
    end
  end

  test "every function of a public module has a @doc and a @spec" do
    for module <- @modules, {module_doc, docs} = docs(module), is_map(module_doc) do
      {:ok, specs} = Code.Typespec.fetch_specs(module)
      specified = for {function, _} <- specs, do: function

      for {{:function, name, arity}, _, _, doc, _} <- docs, doc != :hidden do
        function = "#{inspect(module)}.#{name}/#{arity}"
        assert callback?(module, name, arity) or is_map(doc), "#{function} has no @doc"

        assert callback?(module, name, arity) or {name, arity} in specified,
               "#{function} has no @spec"
      end

      for {{:type, name, _}, _, _, doc, _} <- docs do
        assert is_map(doc), "type #{inspect(module)}.#{name} has no @typedoc"
      end
    end
  end

  # Their behaviour documents them.
  defp callback?(module, name, arity) do
    behaviours =
      module.module_info(:attributes) |> Keyword.get_values(:behaviour) |> Enum.concat()

    known = for b <- behaviours, function <- b.behaviour_info(:callbacks), do: function
    {name, arity} in [{:exception, 1} | known]
  end
end
