defmodule Bench.Calls do
  @moduledoc false
  # The calls that processes will make, prepared as literals, which neither the collector nor a
  # message copies.

  @key {__MODULE__, :calls}

  # Each process gets `count` calls, which `call` makes with a random state of its own: the same
  # ones in each run.
  def prepare(processes, count, call) do
    prepare_lists(processes, fn i ->
      :rand.seed(:exsss, {processes, count, i})
      for j <- 1..count, do: call.(j)
    end)
  end

  # Each process gets the calls that `list` makes of its number.
  def prepare_lists(processes, list) do
    # A process that ends leaves no garbage behind.
    Task.await(
      Task.async(fn ->
        :persistent_term.put(@key, List.to_tuple(Enum.map(1..processes, list)))
      end),
      :infinity
    )
  end

  def of(i), do: elem(:persistent_term.get(@key), i - 1)
  def drop, do: :persistent_term.erase(@key)
end
