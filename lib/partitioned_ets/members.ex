defmodule PartitionedEts.Members do
  @moduledoc false
  # Who hosts which table, as `Membership` last saw it: readable by everyone while that process is
  # busy. Written by `Membership` only.

  @type refusal :: %{required(:difference) => String.t()}

  @spec new() :: :ok
  def new do
    :ets.new(__MODULE__, [:named_table, :public, :set, read_concurrency: true])
    :ok
  end

  # The nodes of a table with the number of partitions of each, sorted by node.
  @spec weights(atom()) :: [{node(), pos_integer()}]
  def weights(table), do: row(table, 2)

  @spec nodes(atom()) :: [node()]
  def nodes(table), do: for({node, _weight} <- weights(table), do: node)

  # The nodes whose table of this name cannot be joined, each with a sentence on the difference.
  @spec refused(atom()) :: [{node(), String.t()}]
  def refused(table), do: row(table, 3)

  @spec put(atom(), [{node(), pos_integer()}], [{node(), String.t()}]) :: :ok
  def put(table, weights, refused) do
    :ets.insert(__MODULE__, {table, Enum.sort(weights), Enum.sort(refused)})
    :ok
  end

  @spec delete(atom()) :: :ok
  def delete(table) do
    :ets.delete(__MODULE__, table)
    :ok
  end

  # Empty also when the application is not running.
  defp row(table, position) do
    :ets.lookup_element(__MODULE__, table, position, [])
  rescue
    ArgumentError -> []
  end
end
