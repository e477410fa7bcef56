defmodule Demo.Table do
  @moduledoc """
  The table as the coordinator sees it, which asks the nodes that host it.
  """

  alias Demo.{Host, PeerNode}

  # What a handoff may take here at most.
  @settle_ms 60_000

  @typedoc "What has been moved between some nodes since the beginning."
  @type traffic :: %{
          slots: non_neg_integer(),
          objects: non_neg_integer(),
          bytes: non_neg_integer(),
          pause_us: non_neg_integer()
        }

  @doc "Waits until no slot is on its way to or from these nodes."
  @spec settle!([node()]) :: :ok
  def settle!(nodes) do
    Enum.each(nodes, &PeerNode.call!(&1, Host, :await_settled, [@settle_ms], 2 * @settle_ms))
  end

  @doc "Takes the table off a node in order and returns its last figures."
  @spec stop!(PeerNode.t()) :: Host.figures()
  def stop!(peer), do: PeerNode.call!(peer.node, Host, :stop_table, [], @settle_ms)

  @doc "Returns all objects, as the node sees them."
  @spec content(PeerNode.t()) :: [{binary(), integer()}]
  def content(peer) do
    PeerNode.call!(peer.node, PartitionedEts, :tab2list, [Host.table()], @settle_ms)
  end

  @doc "Returns what a node has of the table, and what it has sent and received."
  @spec figures!(node()) :: Host.figures()
  def figures!(node), do: PeerNode.call!(node, Host, :figures, [])

  @doc "Returns the figures of those of the nodes that answer soon."
  @spec sample(%{String.t() => PeerNode.t()}) :: [{String.t(), Host.figures()}]
  def sample(nodes) do
    {labels, peers} = nodes |> Enum.sort() |> Enum.unzip()
    answers = :erpc.multicall(Enum.map(peers, & &1.node), Host, :figures, [], 2_000)
    for {label, {:ok, figures}} <- Enum.zip(labels, answers), do: {label, figures}
  end

  @doc "Adds up what the nodes have moved."
  @spec traffic([node()]) :: traffic()
  def traffic(nodes), do: nodes |> Enum.map(&figures!/1) |> traffic_in()

  @doc "Adds up figures. Receivers know slots and objects, and only senders bytes and pauses."
  @spec traffic_in([Host.figures()]) :: traffic()
  def traffic_in(figures) do
    sum = fn key -> figures |> Enum.map(&Map.fetch!(&1, key)) |> Enum.sum() end

    %{
      slots: sum.(:received_slots),
      objects: sum.(:received_objects),
      bytes: sum.(:sent_bytes),
      pause_us: figures |> Enum.map(& &1.longest_pause_us) |> Enum.max()
    }
  end
end
