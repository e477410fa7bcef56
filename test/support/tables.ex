defmodule PartitionedEts.Test.Callbacks do
  @moduledoc "A callback module that tells a process what it was called with."

  @behaviour PartitionedEts

  @doc "Names the process, on whatever node, that is told."
  @spec tell(pid()) :: :ok
  def tell(pid), do: :persistent_term.put(__MODULE__, pid)

  @impl true
  def node_added(node), do: tell_of({:node_added, node(), node, self()})

  @impl true
  def node_removed(node), do: tell_of({:node_removed, node(), node, self()})

  defp tell_of(message) do
    with pid when is_pid(pid) <- :persistent_term.get(__MODULE__, nil), do: send(pid, message)
  end
end

defmodule PartitionedEts.Test.Crashing do
  @moduledoc "A callback module that crashes."

  @behaviour PartitionedEts

  @impl true
  def node_added(node), do: raise("no room for #{node}")
end

defmodule PartitionedEts.Test.Plain do
  @moduledoc "A table in the module form that overrides nothing."
  use PartitionedEts, table_opts: [:named_table, :public], partitions: 4
end

defmodule PartitionedEts.Test.Custom do
  @moduledoc "A table in the module form with callbacks of its own."
  use PartitionedEts, table_opts: [:named_table, :public, keypos: 2], name: :custom_table

  @impl true
  def hash(key, shards), do: super(key, shards)

  @impl true
  def node_added(_node), do: :added
end

defmodule PartitionedEts.Test.Modulo do
  @moduledoc "A callback module that places keys so that most of them move with each change."

  @behaviour PartitionedEts

  @impl true
  def hash(:raises, _shards), do: raise("no place for this key")
  def hash(:nowhere, _shards), do: :nowhere
  # Raises as soon as there is more than one node.
  def hash({:alone, _}, [{_node, _partition} = shard]), do: shard
  def hash(key, shards), do: Enum.at(shards, :erlang.phash2(key, length(shards)))

  @impl true
  def node_added(node), do: PartitionedEts.Test.Callbacks.node_added(node)

  @impl true
  def node_removed(node), do: PartitionedEts.Test.Callbacks.node_removed(node)
end
