defmodule PartitionedEts.Ordered do
  # The objects of an ordered table of several nodes in one order: each node gives its own in order,
  # and what they give is merged. A slot that is on its way to another node is asked for on its own,
  # so that nothing is missed and nothing comes twice.
  @moduledoc false

  alias PartitionedEts.{Call, Failure, Native}

  @typedoc "Behind which key: `[key]`; `[]` is the beginning."
  @type position :: [] | [term()]

  defmodule Source do
    # Slots that are asked for together, and what they have given.
    @moduledoc false
    # `target`: the node, or nil for the one slot wherever it is. `after`: behind which key the next
    # objects come, nil when there are no more.
    defstruct [:target, :slots, :after, objects: []]
  end

  defmodule Merge do
    @moduledoc false
    defstruct [:table, :keypos, :ascending, :limit, :stack, :sources]
  end

  # Objects of one answer: the nodes have their own limit, too.
  @limit 2048

  @doc "The first key behind a position."
  @spec key(atom(), boolean(), position(), {atom(), [term()]}) :: term()
  def key(table, ascending, position, stack) do
    merge = start(table, ascending, position, 1, stack)

    case first(merge) do
      nil -> :"$end_of_table"
      object -> elem(object, merge.keypos - 1)
    end
  end

  @doc "Calls `chunk.(objects, acc)` with the objects behind a position, in order."
  @spec chunks(atom(), boolean(), position(), acc, ([tuple()], acc -> acc), {atom(), [term()]}) ::
          acc
        when acc: term()
  def chunks(table, ascending, position, acc, chunk, stack) do
    table |> start(ascending, position, @limit, stack) |> run(acc, chunk)
  end

  @doc "Merges lists that are in order each."
  @spec merge([[tuple()]], pos_integer(), boolean()) :: [tuple()]
  def merge([list], _keypos, _ascending), do: list

  def merge(lists, keypos, true),
    do: Enum.reduce(lists, [], &:lists.keymerge(keypos, &1, &2))

  def merge(lists, keypos, false),
    do: lists |> Enum.map(&:lists.reverse/1) |> merge(keypos, true) |> :lists.reverse()

  defp start(table, ascending, position, limit, {function, arguments} = stack) do
    config = Native.table_config(table)
    owners = config && Native.slots_by_owner(table)
    owners || Failure.badarg(function, arguments, :id)

    sources =
      Enum.flat_map(owners, fn
        {nil, slots} -> alone(slots, position)
        {node, slots} -> [%Source{target: node, slots: slots, after: position}]
      end)

    %Merge{
      table: table,
      keypos: config.keypos,
      ascending: ascending,
      limit: limit,
      stack: stack,
      sources: sources
    }
  end

  defp alone(slots, position), do: for(slot <- slots, do: %Source{slots: [slot], after: position})

  defp first(merge) do
    case step(merge) do
      {[object | _], _merge} -> object
      {[], merge} -> first(merge)
      :done -> nil
    end
  end

  defp run(merge, acc, chunk) do
    case step(merge) do
      {objects, merge} -> run(merge, chunk.(objects, acc), chunk)
      :done -> acc
    end
  end

  # The next objects of all sources: as far as the one that has given least.
  defp step(merge) do
    case Enum.flat_map(merge.sources, &fill(merge, &1)) do
      [] ->
        :done

      sources ->
        bounds = for %Source{after: [_]} = source <- sources, do: last_key(merge, source)
        {given, sources} = sources |> Enum.map(&take(merge, &1, bounds)) |> Enum.unzip()
        {merge(given, merge.keypos, merge.ascending), %{merge | sources: sources}}
    end
  end

  defp last_key(merge, source), do: source.objects |> List.last() |> elem(merge.keypos - 1)

  defp take(_merge, source, []), do: {source.objects, %{source | objects: []}}

  defp take(merge, source, bounds) do
    bound = if merge.ascending, do: Enum.min(bounds), else: Enum.max(bounds)
    {given, objects} = Enum.split_while(source.objects, &reached?(merge, &1, bound))
    {given, %{source | objects: objects}}
  end

  defp reached?(%Merge{ascending: true, keypos: n}, object, bound),
    do: elem(object, n - 1) <= bound

  defp reached?(%Merge{keypos: n}, object, bound), do: elem(object, n - 1) >= bound

  # The source with objects, and those that it was split into; nothing when it has no more.
  defp fill(_merge, %Source{objects: [_ | _]} = source), do: [source]
  defp fill(_merge, %Source{after: nil}), do: []
  defp fill(_merge, %Source{slots: []}), do: []

  defp fill(merge, source) do
    case ask(merge, source) do
      {:ok, {objects, position, unserved}} ->
        rest = %{
          source
          | objects: objects,
            after: if(position == [], do: nil, else: position),
            slots: source.slots -- unserved
        }

        Enum.flat_map([rest | alone(unserved, source.after)], &fill(merge, &1))

      :gone ->
        source.slots |> alone(source.after) |> Enum.flat_map(&fill(merge, &1))
    end
  end

  defp ask(merge, %Source{target: nil} = source) do
    {:ok, Call.run(merge.table, :scan_ordered_slot, arguments(merge, source), merge.stack)}
  end

  defp ask(merge, source) do
    arguments = arguments(merge, source)

    case Call.outcome_on(source.target, merge.table, :scan_ordered, arguments) do
      {:ok, result} -> {:ok, result}
      {:error, reason, _node} when reason in [:node_down, :no_table, :not_connected] -> :gone
      failure -> Call.raise_failure(failure, merge.table, merge.stack)
    end
  end

  defp arguments(merge, source), do: {source.slots, source.after, merge.limit, merge.ascending}
end
