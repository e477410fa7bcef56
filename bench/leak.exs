# Whether memory returns: four times 10 million mixed operations and 1,000 tables that are made and
# ended.
# mix run bench/leak.exs [--quick]; the exit status is 1 when it does not.
#
# bench/README.md says how to read it.

Code.require_file("suite.exs", __DIR__)

defmodule Bench.Leak do
  @table :bench_leak
  @keys 50_000
  @processes 4
  @rounds 4
  # A leak of one byte in three operations, or of 3 KB for each table, would be more.
  @tolerance_kb 8_192

  def main(arguments) do
    {options, []} = OptionParser.parse!(arguments, strict: [quick: :boolean])
    {operations, tables} = if options[:quick], do: {1_000_000, 100}, else: {10_000_000, 1_000}
    IO.puts(Bench.Machine.describe())

    # Allocators keep what they once had: what the first round leaves is the start.
    [first | later] =
      for round <- 1..@rounds do
        work(operations, tables)
        kb = div(Bench.Resident.settled_bytes(), 1024)

        IO.puts(
          "resident after round #{round} of #{Bench.Text.number(operations)} operations and " <>
            "#{Bench.Text.number(tables)} tables: #{Bench.Text.number(kb)} KB"
        )

        kb
      end

    difference = List.last(later) - first
    IO.puts("difference: #{difference} KB, tolerance #{@tolerance_kb} KB")
    if difference > @tolerance_kb, do: 1, else: 0
  end

  defp work(operations, tables) do
    with_table(fn ->
      1..@processes
      |> Task.async_stream(&operate(&1, div(operations, @processes)), timeout: :infinity)
      |> Stream.run()
    end)

    for i <- 1..tables do
      with_table(rem(i, 2) == 0, fn ->
        PartitionedEts.insert(@table, for(key <- 1..100, do: object(key, i)))
      end)
    end
  end

  defp with_table(distributed? \\ true, function) do
    {:ok, owner} =
      PartitionedEts.start_link(
        name: @table,
        table_opts: [:named_table, :public],
        distributed: distributed?
      )

    function.()
    GenServer.stop(owner)
  end

  # Objects of all shapes and sizes come, change and go.
  defp operate(process, count) do
    :rand.seed(:exsss, {process, count, 0})
    for i <- 1..count, do: operation(:rand.uniform(20), key(:rand.uniform(@keys)), i)
    :ok
  end

  defp operation(n, key, i) when n <= 5, do: PartitionedEts.insert(@table, object(key, i))
  defp operation(n, key, _) when n <= 9, do: PartitionedEts.lookup(@table, key)

  defp operation(n, key, _) when n <= 12,
    do: PartitionedEts.update_counter(@table, key, 1, {key, 0})

  defp operation(13, key, i), do: PartitionedEts.insert_new(@table, object(key, i))
  defp operation(14, key, i), do: PartitionedEts.update_element(@table, key, {2, i})
  defp operation(15, key, _), do: PartitionedEts.take(@table, key)
  defp operation(16, key, _), do: PartitionedEts.member(@table, key)
  defp operation(17, key, _), do: PartitionedEts.lookup_element(@table, key, 2, nil)
  defp operation(18, key, i), do: PartitionedEts.delete_object(@table, {key, i})
  defp operation(_, key, _), do: PartitionedEts.delete(@table, key)

  # A third of the keys are no integers. The element after the key is always an integer.
  defp key(n) when rem(n, 3) == 0, do: "key #{n}"
  defp key(n), do: n

  defp object(key, i) when rem(i, 7) == 0, do: {key, i, :binary.copy("x", rem(i, 2_000))}
  defp object(key, i) when rem(i, 7) == 1, do: {key, i, %{i: i, list: [1, 2.5, :atom]}}
  defp object(key, i) when rem(i, 7) == 2, do: {key, i, self(), make_ref(), Bitwise.bsl(i, 80)}
  defp object(key, i), do: {key, i}
end

System.halt(Bench.Leak.main(System.argv()))
