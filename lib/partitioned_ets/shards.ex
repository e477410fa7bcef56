defmodule PartitionedEts.Shards do
  @moduledoc false
  # The names of partitions, and the shards that a `hash/2` callback chooses from.

  alias PartitionedEts.{Members, Native}

  @slots 4096

  # One partition has the table's own name, more of them are numbered.
  @spec partition_tables(atom(), pos_integer()) :: [atom()]
  def partition_tables(table, 1), do: [table]

  def partition_tables(table, partitions),
    do: for(i <- 0..(partitions - 1), do: :"#{table}_p#{i}")

  # All shards of a table, sorted, the same on every member.
  @spec all(atom()) :: [PartitionedEts.shard()]
  def all(table), do: of(table, Members.weights(table))

  # The same for nodes with these numbers of partitions.
  @spec of(atom(), [{node(), pos_integer()}]) :: [PartitionedEts.shard()]
  def of(table, weights) do
    shards =
      for {node, partitions} <- weights,
          partition <- partition_tables(table, partitions),
          do: {node, partition}

    Enum.sort(shards)
  end

  # What `hash/2` answers where nobody overrides it: the shard where the library itself puts the
  # key, the partitions of a node being contiguous ranges of slots. A module that calls it from a
  # `hash/2` of its own gets what follows from the shards alone, and moves few keys when they change.
  @spec default(atom(), term(), [PartitionedEts.shard(), ...]) :: PartitionedEts.shard()
  def default(table, key, shards) do
    if Native.view_state(table),
      do: Enum.max_by(shards, &:erlang.phash2({key, &1})),
      else: by_slot(table, key, shards)
  end

  defp by_slot(table, key, shards) do
    slot = Native.key_slot(table, key)
    owner = Native.slot_owner(table, slot) || node()

    case for({^owner, _partition} = shard <- shards, do: shard) do
      [] -> Enum.at(shards, div(slot * length(shards), @slots))
      own -> in_partition_order(table, own, div(slot * length(own), @slots))
    end
  end

  # Sorted as names `t_p10` stands before `t_p2`.
  defp in_partition_order(table, [{owner, _} | _] = own, index) do
    shard = {owner, Enum.at(partition_tables(table, length(own)), index)}
    if shard in own, do: shard, else: Enum.at(own, index)
  end
end
