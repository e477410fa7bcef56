# How fast a table moves when a node joins and leaves, and what a writer feels of it:
# mix run bench/handoff.exs [--quick]
#
# bench/README.md says how to read it.

{modules, _} = Code.eval_file("suite.exs", __DIR__)

defmodule Bench.Handoff do
  @table :bench_handoff
  @options [name: @table, table_opts: [:named_table, :public], shutdown: 120_000]
  @timeout_ms 120_000
  @probers 2

  def main(arguments, modules) do
    {options, []} = OptionParser.parse!(arguments, strict: [quick: :boolean])
    {rows, rounds} = if options[:quick], do: {100_000, 1}, else: {1_000_000, 5}
    Bench.Node.distribute!()
    {_control, first} = Bench.Node.start!("first", modules)
    {_control, second} = Bench.Node.start!("second", modules)
    true = :erpc.call(second, Node, :connect, [first])

    Bench.Node.start_table!(first, @options)
    :ok = :erpc.call(first, Bench.Probe, :fill, [@table, rows])
    probes = :erpc.call(first, Bench.Probe, :key_of_each_slot, [@table])

    IO.puts("""
    #{Bench.Machine.describe()}
    #{Bench.Text.number(rows)} objects {int, int} on one node; a second one joins and leaves,
    #{rounds} times in quiet, #{rounds} times while #{@probers} processes write a key of each slot.
    pause: the longest that the sender has kept the writers of a slot waiting, in any round so far.
    call: the longest call of the processes that write.

    #{row(["", "objects", "slots", "s", "objects/s", "MB/s", "pause ms", "call ms"])}
    """)

    for probers <- [0, @probers], _ <- 1..rounds do
      round(first, second, Enum.take(List.duplicate(probes, @probers), probers))
    end
  end

  defp round(first, second, probes) do
    kind = if probes == [], do: "quiet", else: "written"
    none = %{received_slots: 0, received_objects: 0, sent_bytes: 0}
    before = figures(first)

    {owner, seconds, call_us} =
      timed(first, probes, fn ->
        owner = Bench.Node.start_table!(second, @options)
        settle([first, second])
        owner
      end)

    report("join, #{kind}", {before, figures(first)}, {none, figures(second)}, seconds, call_us)

    objects = size(first)
    before = {figures(second), figures(first)}

    {last, seconds, call_us} =
      timed(first, probes, fn ->
        last = :erpc.call(second, Bench.Probe, :stop_table, [@table, owner, @timeout_ms])
        settle([first])
        last
      end)

    report(
      "leave, #{kind}",
      {elem(before, 0), last},
      {elem(before, 1), figures(first)},
      seconds,
      call_us
    )

    if size(first) != objects, do: raise("#{objects} objects became #{size(first)}")
  end

  # What the change returns, how long it took, and the longest call of the processes that write.
  defp timed(node, probes, change) do
    writers = for keys <- probes, do: :erpc.call(node, Bench.Probe, :start, [@table, keys])
    started = System.monotonic_time(:microsecond)
    result = change.()
    seconds = (System.monotonic_time(:microsecond) - started) / 1_000_000
    {result, seconds, writers |> Enum.map(&Bench.Probe.stop/1) |> Enum.max(fn -> nil end)}
  end

  # Slots and objects are what the receiver has; only the sender knows bytes and pauses.
  defp report(label, {sender, sender_later}, {receiver, receiver_later}, seconds, call_us) do
    objects = receiver_later.received_objects - receiver.received_objects

    IO.puts(
      row([
        label,
        Bench.Text.number(objects),
        Bench.Text.number(receiver_later.received_slots - receiver.received_slots),
        Bench.Text.decimal(seconds, 2),
        Bench.Text.number(objects / seconds),
        Bench.Text.decimal((sender_later.sent_bytes - sender.sent_bytes) / seconds / 1_000_000),
        Bench.Text.decimal(sender_later.longest_pause_us / 1000),
        if(call_us, do: Bench.Text.decimal(call_us / 1000), else: "-")
      ])
    )
  end

  defp figures(node), do: :erpc.call(node, Bench.Probe, :figures, [@table])
  defp size(node), do: :erpc.call(node, PartitionedEts, :info, [@table, :size])

  defp settle(nodes) do
    for node <- nodes,
        do: :ok = :erpc.call(node, PartitionedEts, :await_settled, [@table, @timeout_ms])
  end

  defp row([label | cells]) do
    Enum.join([String.pad_trailing(label, 14) | Enum.map(cells, &String.pad_leading(&1, 10))])
  end
end

Bench.Handoff.main(System.argv(), modules)
