defmodule Demo.Report do
  @moduledoc """
  The figures of a run, as they are shown.
  """

  alias Demo.{Proof, Screen, Table}

  @frequent 10

  @typedoc "A handoff: what was moved and how long it took."
  @type moved :: %{
          what: String.t(),
          seconds: float(),
          slots: non_neg_integer(),
          objects: non_neg_integer(),
          bytes: non_neg_integer(),
          pause_us: non_neg_integer()
        }

  @doc """
  The live line; at most 79 characters with four nodes. It is more than 100 % of the text when that
  is counted more than once.
  """
  @spec live([{String.t(), map()}], pos_integer(), Demo.Feeder.progress(), integer()) ::
          String.t()
  def live(figures, bytes, progress, rate) do
    objects =
      Enum.map_join(figures, " ", fn {label, figures} ->
        "#{String.trim_leading(label, "demo")}: #{Screen.short(figures.objects)}"
      end)

    percent = div(100 * progress.bytes, bytes)
    sum = fn key -> Enum.sum(for {_label, figures} <- figures, do: figures[key]) end

    "#{String.pad_leading("#{percent}", 3)}% " <>
      "#{String.pad_leading(Screen.short(rate), 5)} words/s | #{objects} | " <>
      "#{sum.(:moving)} moving #{sum.(:received_slots)} moved"
  end

  @doc "A handoff in words."
  @spec moved(moved()) :: String.t()
  def moved(moved) do
    "#{Screen.number(moved.slots)} slots with #{Screen.number(moved.objects)} objects moved in " <>
      "#{Screen.decimal(moved.seconds, 2)} s"
  end

  @doc "The share of each node, and the nodes that are gone."
  @spec shares(Screen.t(), %{String.t() => Demo.PeerNode.t()}, [{String.t(), String.t()}]) ::
          Screen.t()
  def shares(screen, nodes, gone) do
    figures = for {label, peer} <- Enum.sort(nodes), do: {label, Table.figures!(peer.node)}

    rows =
      for {label, figures} <- figures, do: [label | numbers([figures.slots, figures.objects])]

    gone = for {label, how} <- gone, do: ["#{label} #{how}" | numbers([0, 0])]
    sum = fn key -> Enum.sum(for {_label, figures} <- figures, do: figures[key]) end
    all = ["all" | numbers([sum.(:slots), sum.(:objects)])]
    Screen.table(screen, ["node", "slots", "objects"], rows ++ gone ++ [all])
  end

  @doc "The words that occur most often."
  @spec frequent(Screen.t(), [{binary(), integer()}]) :: Screen.t()
  def frequent(screen, objects) do
    rows =
      objects
      |> Enum.sort_by(fn {word, n} -> {-n, word} end)
      |> Enum.take(@frequent)
      |> Enum.map(fn {word, n} -> [word, Screen.number(n)] end)

    screen |> Screen.line("") |> Screen.table(["most frequent words", "times"], rows)
  end

  @doc "How many operations stayed on their node."
  @spec operations(Screen.t(), Demo.Feeder.progress()) :: Screen.t()
  def operations(screen, progress) do
    seconds = max(progress.elapsed_ms, 1) / 1000
    local = round(progress.words * progress.local / max(progress.sampled, 1))

    row = fn what, operations ->
      percent = Screen.decimal(100 * operations / max(progress.words, 1))
      [what, Screen.number(operations), "#{percent} %", Screen.number(operations / seconds)]
    end

    screen
    |> Screen.line("")
    |> Screen.table(
      ["update_counter/4 (by a sample)", "number", "share", "each second"],
      [
        row.("local", local),
        row.("remote", progress.words - local),
        row.("all", progress.words)
      ]
    )
  end

  @doc "What the handoffs moved, and what a writer felt of them."
  @spec handoffs(Screen.t(), [moved()], non_neg_integer()) :: Screen.t()
  def handoffs(screen, handoffs, slowest_us) do
    rows =
      for moved <- handoffs do
        [
          moved.what,
          Screen.number(moved.slots),
          Screen.number(moved.objects),
          Screen.decimal(moved.seconds, 2),
          Screen.number(moved.objects / moved.seconds),
          Screen.decimal(moved.bytes / moved.seconds / 1_000_000),
          Screen.decimal(moved.pause_us / 1000)
        ]
      end

    screen
    |> Screen.line("")
    |> Screen.table(["handoff", "slots", "objects", "s", "objects/s", "MB/s", "pause ms"], rows)
    |> Screen.line("  pause: the longest so far in which the writers of a slot had to wait.")
    |> Screen.line(
      "  The slowest update of all took its caller #{Screen.decimal(slowest_us / 1000)} ms."
    )
  end

  @doc "The comparison, with some of the words that are counted wrong."
  @spec proof(Screen.t(), Proof.t(), Demo.Feeder.progress(), float()) :: Screen.t()
  def proof(screen, proof, progress, seconds) do
    again =
      if progress.passes > 1,
        do: " The nodes counted the text #{progress.passes} times over, to be busy throughout.",
        else: ""

    screen
    |> Screen.line("")
    |> Screen.event(
      "A single process counted the text in #{Screen.decimal(seconds, 2)} s.#{again} Compared: " <>
        "#{Screen.number(proof.words)} different words, #{Screen.number(progress.words)} " <>
        "increments."
    )
    |> examples(proof)
  end

  @doc "Some of the words that are counted wrong."
  @spec examples(Screen.t(), Proof.t()) :: Screen.t()
  def examples(screen, proof) do
    for {word, expected, found} <- proof.examples, reduce: screen do
      screen -> Screen.line(screen, "    #{inspect(word)}: expected #{expected}, found #{found}")
    end
  end

  @doc "The last line."
  @spec verdict(Screen.t(), Proof.t()) :: Screen.t()
  def verdict(screen, proof) do
    word = if Proof.right?(proof), do: "every count is right", else: "the counts are wrong"
    Screen.line(screen, "lost #{proof.lost}, doubled #{proof.doubled}: #{word}")
  end

  defp numbers(numbers), do: Enum.map(numbers, &Screen.number/1)
end
