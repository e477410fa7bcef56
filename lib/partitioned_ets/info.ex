defmodule PartitionedEts.Info do
  # What `:ets.info/1,2` and `:ets.whereis/1` tell.
  @moduledoc false

  alias PartitionedEts.{Failure, Native, Scan}

  @items [
    :id,
    :decentralized_counters,
    :read_concurrency,
    :write_concurrency,
    :compressed,
    :memory,
    :owner,
    :heir,
    :name,
    :size,
    :node,
    :named_table,
    :type,
    :keypos,
    :protection
  ]
  @word_bytes 8

  @spec all(term()) :: keyword() | :undefined
  def all(table) do
    case config!(table, {:info, [table]}) do
      nil ->
        :undefined

      config ->
        {size, bytes} = Scan.count(table)
        counted = %{size: size, memory: words(bytes)}
        for item <- @items, do: {item, Map.get_lazy(counted, item, fn -> value(item, config) end)}
    end
  end

  @spec one(term(), term()) :: term()
  def one(table, item) do
    case config!(table, {:info, [table, item]}) do
      nil -> :undefined
      _config when item == :size -> table |> Scan.count() |> elem(0)
      _config when item == :memory -> table |> Scan.count() |> elem(1) |> words()
      config when item in @items -> value(item, config)
      _config when item in [:fixed, :safe_fixed, :safe_fixed_monotonic_time] -> false
      _config -> Failure.badarg(:info, [table, item], :none)
    end
  end

  @spec whereis(term()) :: atom()
  def whereis(table) do
    if config!(table, {:whereis, [table]}), do: table, else: :undefined
  end

  defp config!(table, _stack) when is_atom(table), do: Native.table_config(table)
  defp config!(_table, {function, arguments}), do: Failure.badarg(function, arguments, :type)

  defp value(:id, config), do: config.name
  defp value(:name, config), do: config.name
  defp value(:named_table, _config), do: true
  defp value(:node, _config), do: node()
  defp value(:heir, _config), do: :none
  defp value(:type, config), do: config.type
  defp value(:protection, _config), do: :public
  defp value(:keypos, config), do: config.keypos
  defp value(:owner, config), do: Native.table_info(config.name, :owner)

  # Accepted and shown as they were given: the table reads and writes concurrently in any case.
  defp value(:compressed, config), do: :compressed in config.options

  defp value(option, config),
    do: List.keyfind(config.options, option, 0, {option, false}) |> elem(1)

  defp words(bytes), do: div(bytes + @word_bytes - 1, @word_bytes)
end
