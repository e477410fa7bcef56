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
  def all(table) do
    shards =
      for {node, partitions} <- Members.weights(table),
          partition <- partition_tables(table, partitions),
          do: {node, partition}

    Enum.sort(shards)
  end

  # What `hash/2` answers where nobody overrides it: the shard where the library itself puts the
  # key, the partitions of a node being contiguous ranges of slots.
  @spec default(atom(), term(), [PartitionedEts.shard(), ...]) :: PartitionedEts.shard()
  def default(table, key, shards) do
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
