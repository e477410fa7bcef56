defmodule PartitionedEts.ErrorTest do
  use ExUnit.Case, async: true
  doctest PartitionedEts.Error

  alias PartitionedEts.Error

  test "every reason has a sentence, with and without a node" do
    {:ok, types} = Code.Typespec.fetch_types(Error)
    {:type, {:reason, {:type, _, :union, atoms}, []}} = List.keyfind(reasons(types), :type, 0)

    for {:atom, _, reason} <- atoms, node <- [nil, :"b@127.0.0.1"] do
      message = Exception.message(%Error{reason: reason, table: :words, node: node})
      assert message =~ "table :words: "
      refute message =~ "failed with the reason", "#{inspect(reason)} has no sentence"
    end
  end

  test "a reason that is not known is shown" do
    assert Exception.message(%Error{reason: :odd, table: :words}) ==
             "table :words: failed with the reason :odd"
  end

  defp reasons(types), do: Enum.filter(types, &match?({:type, {:reason, _, _}}, &1))
end
