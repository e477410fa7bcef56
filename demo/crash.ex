defmodule Demo.Crash do
  @moduledoc """
  What becomes of the table when a node is killed: the words of its slots are gone, the others keep
  their counts, and all slots serve again.
  """

  alias Demo.{Host, PeerNode, Proof, Report, Screen, Table}

  # Until then every word must have been written and read.
  @recover_ms 15_000

  @enforce_keys [:label, :witness, :slots, :objects, :lost, :kept, :expected]
  defstruct [:label, :witness, :slots, :objects, :lost, :kept, :expected]

  @typedoc "The node, who tells of it, what goes with it, and which words go and which stay."
  @type t :: %__MODULE__{
          label: String.t(),
          witness: PeerNode.t(),
          slots: non_neg_integer(),
          objects: non_neg_integer(),
          lost: [binary()],
          kept: [binary()],
          expected: %{binary() => non_neg_integer()}
        }

  @typedoc "What `Demo.Host.probe/2` returned for each kind of words."
  @type probes :: [{:kept | :lost, {:ok, non_neg_integer()} | {:error, Exception.t()}}]

  @doc "Notes what a node has that is going to be killed."
  @spec prepare(PeerNode.t(), PeerNode.t(), %{binary() => non_neg_integer()}) :: t()
  def prepare(peer, witness, expected) do
    figures = Table.figures!(peer.node)
    own = MapSet.new(PeerNode.call!(peer.node, PartitionedEts, :owned_slots, [Host.table()]))
    words = Map.keys(expected)
    slots = PeerNode.call!(witness.node, Host, :key_slots, [words])
    {lost, kept} = words |> Enum.zip(slots) |> Enum.split_with(fn {_, slot} -> slot in own end)

    %__MODULE__{
      label: peer.label,
      witness: witness,
      slots: figures.slots,
      objects: figures.objects,
      lost: Enum.map(lost, &elem(&1, 0)),
      kept: Enum.map(kept, &elem(&1, 0)),
      expected: expected
    }
  end

  @doc "Writes and reads all words, those first that the crash should not concern."
  @spec probe(t()) :: probes()
  def probe(crash) do
    for {kind, words} <- [kept: crash.kept, lost: crash.lost] do
      arguments = [words, @recover_ms]
      {kind, PeerNode.call!(crash.witness.node, Host, :probe, arguments, 2 * @recover_ms)}
    end
  end

  @doc "Shows what has happened, and tells whether it is what should have."
  @spec report(Screen.t(), t(), probes(), %{String.t() => PeerNode.t()}) ::
          {Screen.t(), boolean()}
  def report(screen, crash, probes, nodes) do
    status = PeerNode.call!(crash.witness.node, PartitionedEts, :status, [Host.table()])

    # A word of a lost slot starts anew; the probe has added nothing to it.
    proof =
      crash.lost
      |> Enum.reduce(crash.expected, &Map.put(&2, &1, 0))
      |> Proof.compare(Table.content(crash.witness))

    members = Enum.map_join(status.members, ", ", &PeerNode.label/1)

    screen =
      screen
      |> Screen.event(
        "#{crash.witness.label} says: members #{members}; settled: #{status.settled?}; slots " <>
          "without an owner: #{status.ownership.orphaned}."
      )
      |> probes(crash, probes)
      |> Screen.line("")
      |> Report.shares(nodes, [{crash.label, "was killed"}])
      |> Screen.line("")
      |> Screen.event(
        "#{Screen.number(length(crash.kept))} words of the other nodes: lost #{proof.lost}, " <>
          "doubled #{proof.doubled}. #{Screen.number(length(crash.lost))} words are gone and " <>
          "start at 0."
      )
      |> Report.examples(proof)

    {screen, Proof.right?(proof) and Enum.all?(probes, &match?({_kind, {:ok, _ms}}, &1))}
  end

  defp probes(screen, crash, probes) do
    for {kind, result} <- probes, reduce: screen do
      screen ->
        {words, whose} =
          if kind == :kept,
            do: {crash.kept, "the other nodes' slots"},
            else: {crash.lost, "the lost slots"}

        Screen.event(screen, probe(length(words), whose, result))
    end
  end

  defp probe(words, whose, {:ok, ms}) do
    "#{Screen.number(words)} words of #{whose} were written and read within #{ms} ms."
  end

  defp probe(_words, whose, {:error, error}) do
    "#{whose} do not serve: #{Exception.message(error)}."
  end
end
