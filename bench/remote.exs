# Operations on another node's keys, against :erpc.call of the same :ets operation:
# mix run bench/remote.exs [--quick]
#
# bench/README.md says how to read it.

{modules, _} = Code.eval_file("suite.exs", __DIR__)

defmodule Bench.Remote do
  @table :bench_remote
  @ets :bench_remote_ets
  @keys 1_000
  @value :binary.copy("v", 32)

  def main(arguments, modules) do
    {options, []} = OptionParser.parse!(arguments, strict: [quick: :boolean])

    settings =
      if options[:quick],
        do: %{rounds: 3, calls: %{1 => 1_000, 8 => 4_000, 64 => 16_000}},
        else: %{rounds: 9, calls: %{1 => 5_000, 8 => 20_000, 64 => 80_000}}

    Bench.Node.distribute!()
    {_control, peer} = Bench.Node.start!("peer", modules)
    keys = set_up(peer)

    IO.puts("""
    #{Bench.Machine.describe()}
    #{settings.rounds} rounds, both in turn in each. Calls by callers: #{inspect(settings.calls)}.
    p50: half of the calls took at most this long. x: PartitionedEts against :erpc, median (lowest
    to highest round). {int, int, 32 bytes}, all keys owned by the other node.
    """)

    for operation <- [:lookup, :update_counter], callers <- [1, 8, 64] do
      compare(operation, callers, peer, keys, settings)
    end
  end

  defp set_up(peer) do
    options = [name: @table, table_opts: [:named_table, :public]]
    Bench.Node.start_table!(peer, options)
    {:ok, _} = PartitionedEts.start_link(options)
    :ok = PartitionedEts.await_settled(@table, 30_000)
    :ok = :erpc.call(peer, PartitionedEts, :await_settled, [@table, 30_000])
    :ok = :erpc.call(peer, Bench.Node, :start_ets, [@ets])

    keys =
      1
      |> Stream.iterate(&(&1 + 1))
      |> Stream.filter(&(PartitionedEts.place(@table, &1) == peer))
      |> Enum.take(@keys)

    for key <- keys do
      PartitionedEts.insert(@table, {key, 0, @value})
      :erpc.call(peer, :ets, :insert, [@ets, {key, 0, @value}])
    end

    keys
  end

  defp compare(operation, callers, peer, keys, settings) do
    share = div(settings.calls[callers], callers)

    measure = &measure(&1, operation, callers, share, peer, keys)
    rounds = Bench.Rounds.interleave([:pets, :erpc], settings.rounds, measure)
    IO.puts("#{operation}, #{callers} #{if callers == 1, do: "caller", else: "callers"}")

    for {label, subject} <- [{"PartitionedEts", :pets}, {":erpc", :erpc}] do
      p50 = Bench.Stats.median(for sample <- rounds, do: sample[subject].p50_us)
      rate = Bench.Stats.median(for sample <- rounds, do: sample[subject].rate)

      IO.puts(
        "  #{String.pad_trailing(label, 16)}" <>
          "p50 #{String.pad_leading(Bench.Text.decimal(p50), 8)} us" <>
          "  #{String.pad_leading(Bench.Text.number(rate), 10)} calls/s"
      )
    end

    p50s = for sample <- rounds, do: sample.pets.p50_us / sample.erpc.p50_us
    rates = for sample <- rounds, do: sample.pets.rate / sample.erpc.rate
    IO.puts("  p50#{Bench.Text.ratio(p50s)}   throughput#{Bench.Text.ratio(rates)}\n")
  end

  defp measure(subject, operation, callers, share, peer, keys) do
    parent = self()

    workers =
      for i <- 1..callers do
        own_keys = keys |> Stream.cycle() |> Stream.drop(i * 7) |> Enum.take(share)

        Task.async(fn ->
          send(parent, :ready)

          receive do
            :go -> calls(subject, operation, own_keys, peer, [])
          end
        end)
      end

    for _ <- workers, do: receive(do: (:ready -> :ok))
    started = System.monotonic_time()
    for task <- workers, do: send(task.pid, :go)
    times = workers |> Task.await_many(:infinity) |> Enum.concat()
    elapsed = System.monotonic_time() - started
    second = System.convert_time_unit(1, :second, :native)
    p50 = Bench.Stats.median(times) * 1_000_000 / second
    %{p50_us: p50, rate: length(times) * second / elapsed}
  end

  # A loop for each, so that no choice is made between two calls.
  defp calls(_subject, _operation, [], _peer, times), do: times

  defp calls(:pets, :lookup, [key | keys], peer, times) do
    before = System.monotonic_time()
    [{^key, _, _}] = PartitionedEts.lookup(@table, key)
    calls(:pets, :lookup, keys, peer, [System.monotonic_time() - before | times])
  end

  defp calls(:erpc, :lookup, [key | keys], peer, times) do
    before = System.monotonic_time()
    [{^key, _, _}] = :erpc.call(peer, :ets, :lookup, [@ets, key])
    calls(:erpc, :lookup, keys, peer, [System.monotonic_time() - before | times])
  end

  defp calls(:pets, :update_counter, [key | keys], peer, times) do
    before = System.monotonic_time()
    PartitionedEts.update_counter(@table, key, 1)
    calls(:pets, :update_counter, keys, peer, [System.monotonic_time() - before | times])
  end

  defp calls(:erpc, :update_counter, [key | keys], peer, times) do
    before = System.monotonic_time()
    :erpc.call(peer, :ets, :update_counter, [@ets, key, 1])
    calls(:erpc, :update_counter, keys, peer, [System.monotonic_time() - before | times])
  end
end

Bench.Remote.main(System.argv(), modules)
