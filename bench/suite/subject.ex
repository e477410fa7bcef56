defmodule Bench.Subject do
  @moduledoc false
  # What is compared: a table, and the module whose loops call it.

  alias Bench.Loops

  defstruct [:label, :loops, :table, :drop]

  @own "PartitionedEts"
  @persistent ":persistent_term"
  @name :bench_pets

  @ets [
    {":ets named", [:named_table]},
    {":ets tid", []},
    {":ets tid rc", [read_concurrency: true]},
    {":ets tid wc", [write_concurrency: true]},
    {":ets tid wc auto", [write_concurrency: :auto]},
    {":ets tid rc wc", [read_concurrency: true, write_concurrency: true]},
    {":ets tid rc wc auto", [read_concurrency: true, write_concurrency: :auto]}
  ]
  @sharded [
    {":ets #{Bench.Sharded.shards()} shards", []},
    {":ets #{Bench.Sharded.shards()} shards rc wc",
     [read_concurrency: true, write_concurrency: true]}
  ]

  # The label of PartitionedEts, which the others are compared with.
  def own, do: @own

  def persistent, do: @persistent

  # For one process: the concurrency options only cost then.
  def plain, do: [@own, ":ets named", ":ets tid"]

  # For several.
  def concurrent,
    do: [@own | Enum.map(@ets ++ @sharded, &elem(&1, 0))]

  # The calling process owns the table. Raises what the library raises when it refuses the type.
  def start(label, type \\ :set)

  def start(@own, type) do
    {:ok, owner} =
      PartitionedEts.start_link(
        name: @name,
        table_opts: [:named_table, :public, type],
        distributed: false,
        shutdown: :brutal_kill
      )

    drop = fn ->
      GenServer.stop(owner)
      Bench.Resident.await_reclaimed()
    end

    %__MODULE__{label: @own, loops: Loops.Pets, table: @name, drop: drop}
  end

  # Holds what is loaded into it: a term that was there would be replaced.
  def start(@persistent, _type) do
    %__MODULE__{
      label: @persistent,
      loops: Loops.Persistent,
      table: :bench_persistent,
      drop: &erase_persistent/0
    }
  end

  def start(label, type) do
    case {List.keyfind(@ets, label, 0), List.keyfind(@sharded, label, 0)} do
      {{_, options}, nil} ->
        table = :ets.new(:bench_ets, [type, :public | options])

        %__MODULE__{
          label: label,
          loops: Loops.Ets,
          table: table,
          drop: fn -> :ets.delete(table) end
        }

      {nil, {_, options}} ->
        tables = Bench.Sharded.new([type, :public | options])

        %__MODULE__{
          label: label,
          loops: Loops.Sharded,
          table: tables,
          drop: fn -> Bench.Sharded.drop(tables) end
        }
    end
  end

  def stop(%__MODULE__{drop: drop}), do: drop.()

  # Fills it with the objects that `object` makes of the numbers from 1 to `rows`.
  def fill(%__MODULE__{} = subject, rows, object) do
    # Small lists, so that a process with few objects makes them.
    chunk = 100

    1..rows//chunk
    |> Task.async_stream(
      &insert(subject, for(n <- &1..min(&1 + chunk - 1, rows), do: object.(n))),
      max_concurrency: 1,
      timeout: :infinity
    )
    |> Stream.run()

    subject
  end

  defp insert(%{label: @persistent, table: table}, objects) do
    for object <- objects, do: :persistent_term.put({table, elem(object, 0)}, object)
  end

  defp insert(%{loops: loops, table: table}, objects), do: loops.insert([{nil, objects}], table)

  defp erase_persistent do
    for {{:bench_persistent, _} = key, _} <- :persistent_term.get(),
        do: :persistent_term.erase(key)

    :ok
  end
end
