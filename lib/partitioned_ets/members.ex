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

  # The nodes of a table that is placed by a callback that do not count as its members any more,
  # but may still have objects of it.
  @spec leaving(atom()) :: [node()]
  def leaving(table), do: row(table, 4)

  # Of a table that is placed by a callback: which start of the table it is that a node is a member
  # with, sorted by node.
  @spec instances(atom()) :: [{node(), integer()}]
  def instances(table), do: row(table, 5)

  # Whether that was news.
  @spec put(atom(), [{node(), pos_integer()}], [{node(), String.t()}], [node()], [
          {node(), integer()}
        ]) :: boolean()
  def put(table, weights, refused, leaving \\ [], instances \\ []) do
    row =
      {table, Enum.sort(weights), Enum.sort(refused), Enum.sort(leaving), Enum.sort(instances)}

    news? = :ets.lookup(__MODULE__, table) != [row]
    if news?, do: :ets.insert(__MODULE__, row)
    news?
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
