defmodule PartitionedEts.Error do
  @moduledoc """
  What can go wrong with a table because it lives on more than one node.

  Misuse raises `ArgumentError`, as `:ets` does. This exception is for what only a cluster can do.
  Its `:reason` says what happened, `:table` and `:node` where.

      iex> error = PartitionedEts.Error.exception(reason: :node_down, table: :words, node: :b@host)
      iex> Exception.message(error)
      "table :words: node :b@host went down before it answered; whether the operation was " <>
        "carried out is not known"
  """

  @typedoc """
  Why an operation failed.

    * `:timeout`: no answer came in time; the operation may have been carried out or not.
    * `:node_down`: the node went down before it answered; the operation may have been carried
      out or not.
    * `:overloaded`: too much is under way to the node; nothing was done there.
    * `:no_table`: the node does not host the table any more; nothing was done there.
    * `:no_owner`: no node serves the key's slot at the moment; nothing was done.
    * `:not_distributed`: the table lives on one node only.
    * `:incompatible`: the node hosts another kind of table under this name.
    * `:too_large`: the request or the answer does not fit into one message.
    * `:protocol`: the node sent an answer that makes no sense.
    * `:shutting_down`: the table is being stopped here; nothing was done.
    * `:not_started`: the `:partitioned_ets` application is not running.
  """
  @type reason ::
          :timeout
          | :node_down
          | :overloaded
          | :no_table
          | :no_owner
          | :not_distributed
          | :incompatible
          | :too_large
          | :protocol
          | :shutting_down
          | :not_started

  @typedoc "The exception."
  @type t :: %__MODULE__{reason: reason(), table: atom(), node: node() | nil}

  defexception [:reason, :table, :node]

  @doc """
  Describes the error in one sentence.

      iex> PartitionedEts.Error.message(%PartitionedEts.Error{reason: :timeout, table: :words})
      "table :words: no answer came in time; whether the operation was carried out is not known"
  """
  @impl true
  @spec message(t()) :: String.t()
  def message(%__MODULE__{reason: reason, table: table, node: node}) do
    "table #{inspect(table)}: #{sentence(reason, peer(node))}"
  end

  defp peer(nil), do: nil
  defp peer(node), do: "node #{inspect(node)}"

  @unknown "whether the operation was carried out is not known"

  defp sentence(:timeout, nil), do: "no answer came in time; #{@unknown}"
  defp sentence(:timeout, peer), do: "no answer came from #{peer} in time; #{@unknown}"

  defp sentence(:node_down, peer),
    do: "#{peer || "the owner"} went down before it answered; #{@unknown}"

  defp sentence(:overloaded, peer),
    do: "too much is under way to #{peer || "the owner"}; nothing was done there"

  defp sentence(:no_table, peer),
    do: "#{peer || "the owner"} does not host the table any more; nothing was done there"

  defp sentence(:no_owner, _peer), do: "no node serves the key's slot now; nothing was done"
  defp sentence(:not_distributed, _peer), do: "the table was started with distributed: false"

  defp sentence(:incompatible, peer),
    do: "#{peer || "another node"} hosts a different kind of table under this name"

  defp sentence(:too_large, _peer), do: "the request or its answer is too large for one message"
  defp sentence(:protocol, peer), do: "#{peer || "the owner"} sent an answer that makes no sense"
  defp sentence(:shutting_down, _peer), do: "the table is being stopped; nothing was done"

  defp sentence(:not_started, _peer),
    do: "the :partitioned_ets application is not running; start it first"

  defp sentence(reason, nil), do: "failed with the reason #{inspect(reason)}"
  defp sentence(reason, peer), do: "failed with the reason #{inspect(reason)} on #{peer}"
end
