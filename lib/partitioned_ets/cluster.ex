defmodule PartitionedEts.Cluster do
  @moduledoc false
  # What the facade tells about a table as a member of a cluster. Nothing here is on the road of a
  # read or a write.

  alias PartitionedEts.{Departure, Error, Events, Failure, Members, Native, Placed, Rehash}

  @delete_timeout_ms 15_000

  # Deletes the table on every node that hosts it. A node that goes down meanwhile takes its part
  # of the table with it, which is what was wanted.
  @spec delete(PartitionedEts.table()) :: true
  def delete(table) do
    config = Native.table_config(table) || Failure.badarg(:delete, [table], :id)
    nodes = if config.distributed, do: nodes(table), else: [node()]

    for {node, {:error, {:erpc, :timeout}}} <-
          Enum.zip(nodes, :erpc.multicall(nodes, Departure, :drop, [table], @delete_timeout_ms)) do
      raise Error, reason: :timeout, table: table, node: node
    end

    true
  end

  @spec status(PartitionedEts.table()) :: map()
  def status(table) do
    config = config!(table)
    # It may be stopped between the two.
    ownership = Native.ownership_status(table) || no_table!(table)

    %{
      table: table,
      node: node(),
      members: nodes(table),
      partitions: config.partitions,
      distributed: config.distributed,
      settled?: settled?(table, config, ownership),
      refused: Map.new(Members.refused(table)),
      ownership: ownership
    }
  end

  @spec members(PartitionedEts.table()) :: [node()]
  def members(table) do
    config!(table)
    nodes(table)
  end

  @spec place(PartitionedEts.table(), PartitionedEts.key()) :: node() | nil
  def place(table, key) do
    case Placed.view(table) do
      nil -> slot_owner(table, key_slot(table, key))
      view -> Placed.choose!(table, view, key)
    end
  end

  @spec owner?(PartitionedEts.table(), PartitionedEts.key()) :: boolean()
  def owner?(table, key), do: place(table, key) == node()

  @spec key_slot(PartitionedEts.table(), PartitionedEts.key()) :: PartitionedEts.slot()
  def key_slot(table, key) do
    config!(table)
    Native.key_slot(table, key)
  end

  @spec owned_slots(PartitionedEts.table()) :: [PartitionedEts.slot()]
  def owned_slots(table) do
    config!(table)
    Native.owned_slots(table)
  end

  @spec await_settled(PartitionedEts.table(), timeout()) :: :ok
  def await_settled(table, timeout) do
    if not (timeout == :infinity or timeout in 0..0xFFFFFFFF) do
      raise ArgumentError,
            "expected the timeout to be milliseconds or :infinity, got: #{inspect(timeout)} " <>
              "(in PartitionedEts.await_settled/2)"
    end

    config = config!(table)

    if config.distributed do
      case Events.await_settled(table, timeout) do
        :ok -> :ok
        :no_table -> no_table!(table)
        reason -> raise Error, reason: reason, table: table
      end
    else
      :ok
    end
  end

  @spec subscribe(PartitionedEts.table()) :: :ok
  def subscribe(table) do
    config!(table)
    if Events.subscribe(table, self()) == :no_table, do: no_table!(table), else: :ok
  end

  @spec unsubscribe(PartitionedEts.table()) :: :ok
  def unsubscribe(table) do
    config!(table)
    Events.unsubscribe(table, self())
  end

  # A table that has not met its cluster has one member, this node.
  defp nodes(table) do
    case Members.nodes(table) do
      [] -> [node()]
      nodes -> nodes
    end
  end

  defp slot_owner(table, slot) do
    # Before the node has a name it is its own whole cluster.
    if Node.alive?(), do: Native.slot_owner(table, slot), else: node()
  end

  defp settled?(table, config, ownership) do
    cond do
      Placed.view(table) -> Rehash.settled?(table) == true
      config.distributed -> ownership.settled?
      true -> true
    end
  end

  defp config!(table) do
    (is_atom(table) && Native.table_config(table)) || no_table!(table)
  end

  @spec no_table!(term()) :: no_return()
  defp no_table!(table) when is_atom(table) do
    raise ArgumentError,
          "the table #{inspect(table)} does not exist on this node; start it with " <>
            "PartitionedEts.start_link/1 or in a supervision tree"
  end

  defp no_table!(other) do
    raise ArgumentError, "expected the name of a table, an atom, got: #{inspect(other)}"
  end
end
