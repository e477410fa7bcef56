defmodule Bench.Sharded do
  @moduledoc false
  # What people build when one `:ets` table is too slow: several of them, the table of a key chosen
  # by its hash. As much of `:ets` as the loops call.

  @shards 16

  def shards, do: @shards

  def new(options) do
    List.to_tuple(for _ <- 1..@shards, do: :ets.new(:bench_shard, options))
  end

  def drop(tables), do: tables |> Tuple.to_list() |> Enum.each(&:ets.delete/1)

  def lookup(tables, key), do: :ets.lookup(shard(tables, key), key)
  def member(tables, key), do: :ets.member(shard(tables, key), key)
  def delete(tables, key), do: :ets.delete(shard(tables, key), key)
  def update_counter(tables, key, n), do: :ets.update_counter(shard(tables, key), key, n)

  def insert(tables, objects) when is_list(objects) do
    objects
    |> Enum.group_by(&:erlang.phash2(elem(&1, 0), @shards))
    |> Enum.each(fn {shard, objects} -> :ets.insert(elem(tables, shard), objects) end)
  end

  def insert(tables, object), do: :ets.insert(shard(tables, elem(object, 0)), object)

  def delete_object(tables, object),
    do: :ets.delete_object(shard(tables, elem(object, 0)), object)

  def foldl(function, acc, tables) do
    tables |> Tuple.to_list() |> Enum.reduce(acc, &:ets.foldl(function, &2, &1))
  end

  def tab2list(tables), do: tables |> Tuple.to_list() |> Enum.flat_map(&:ets.tab2list/1)

  # Walks one shard after the other.
  def first(tables), do: first(tables, 0)

  defp first(_tables, @shards), do: :"$end_of_table"

  defp first(tables, shard) do
    case :ets.first(elem(tables, shard)) do
      :"$end_of_table" -> first(tables, shard + 1)
      key -> key
    end
  end

  def next(tables, key) do
    shard = :erlang.phash2(key, @shards)

    case :ets.next(elem(tables, shard), key) do
      :"$end_of_table" -> first(tables, shard + 1)
      next -> next
    end
  end

  defp shard(tables, key), do: elem(tables, :erlang.phash2(key, @shards))
end
