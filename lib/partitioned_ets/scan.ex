defmodule PartitionedEts.Scan do
  # Work over a whole table: each slot is visited exactly once, on the node that serves it. Where
  # that is this node for all of them, they are simply gone through. Otherwise the slots are taken
  # node by node, in chunks; a slot that is on its way to another node is then asked for on its own,
  # an operation that waits for the slot as any other does.
  @moduledoc false

  import Bitwise

  alias PartitionedEts.{Call, Failure, Native, Ordered, Placed, PlacedScan}

  @slots 4096
  # Where a slot's scan starts: hashes are never 0.
  @start 0
  # The slot of a hash is in its upper bits.
  @slot_shift 52

  @spec to_list(atom()) :: [tuple()]
  def to_list(table) do
    # Chunks are prepended whole: each object is copied once.
    table
    |> chunks([], &[&1 | &2], true, {:tab2list, [table]})
    |> :lists.reverse()
    |> :lists.append()
  end

  @doc "Folds over all objects; `ascending` tells the direction where keys have an order."
  @spec reduce(atom(), acc, (tuple(), acc -> acc), boolean(), {atom(), [term()]}) :: acc
        when acc: term()
  def reduce(table, acc, function, ascending, stack) do
    chunks(table, acc, &:lists.foldl(function, &2, &1), ascending, stack)
  end

  @spec delete_all(atom()) :: true
  def delete_all(table) do
    if Placed.view(table),
      do: PlacedScan.delete_all(table),
      else: visit(table, true, &delete_slots/5, {:delete_all_objects, [table]})
  end

  @doc "Number of objects and bytes, over all nodes; zero when the table is not there."
  @spec count(atom()) :: {non_neg_integer(), non_neg_integer()}
  def count(table) do
    if Placed.view(table),
      do: PlacedScan.count(table),
      else: visit(table, {0, 0}, &count_slots/5, {:info, [table]})
  end

  @doc "The first key, or the last one: `function` is the one of `:ets`."
  @spec first(atom(), :first | :last) :: term()
  def first(table, function) do
    stack = {function, [table]}

    cond do
      Placed.view(table) -> PlacedScan.first(table, function)
      ordered?(table) -> Ordered.key(table, function == :first, [], stack)
      true -> first_from(table, 0, stack)
    end
  end

  @doc "The key after another one, or before it."
  @spec next(atom(), term(), :next | :prev) :: term()
  def next(table, key, function) do
    stack = {function, [table, key]}

    cond do
      key == :"$end_of_table" and ordered?(table) -> Failure.badarg(function, [table, key], :none)
      Placed.view(table) -> PlacedScan.next(table, key, function)
      ordered?(table) -> Ordered.key(table, function == :next, [key], stack)
      true -> follow(table, Call.run(table, :next_after, {key}, stack), stack)
    end
  end

  @spec ordered?(term()) :: boolean()
  def ordered?(table) when is_atom(table),
    do: match?(%{type: :ordered_set}, Native.table_config(table))

  def ordered?(_table), do: false

  defp first_from(_table, @slots, _stack), do: :"$end_of_table"

  defp first_from(table, slot, stack) do
    follow(table, Call.run(table, :first_from, {slot}, stack), stack)
  end

  defp follow(_table, {:key, key}, _stack), do: key
  defp follow(table, {:continue, slot}, stack), do: first_from(table, slot, stack)

  defp chunks(table, acc, chunk, ascending, stack) do
    cond do
      Placed.view(table) -> table |> PlacedScan.chunks(ascending, stack) |> List.foldr(acc, chunk)
      ordered?(table) -> ordered_chunks(table, ascending, [], acc, chunk, stack)
      true -> hash_chunks(table, @start, acc, chunk, stack)
    end
  end

  # On this node as long as it has all slots, and from there on wherever they are.
  defp hash_chunks(table, from, acc, chunk, stack) do
    case Native.table_scan(table, from) do
      {objects, nil} -> chunk.(objects, acc)
      {objects, from} -> hash_chunks(table, from, chunk.(objects, acc), chunk, stack)
      _slow -> visit(table, acc, &scan_slots(&1, &2, &3, &4, &5, chunk), stack, from)
    end
  end

  defp ordered_chunks(table, ascending, position, acc, chunk, stack) do
    case Native.table_scan_ordered(table, ascending, position) do
      {objects, []} ->
        chunk.(objects, acc)

      {objects, next} ->
        ordered_chunks(table, ascending, next, chunk.(objects, acc), chunk, stack)

      _slow ->
        Ordered.chunks(table, ascending, position, acc, chunk, stack)
    end
  end

  # Calls `visitor.(table, target, slots, acc, stack)` for the slots of each node, then for each
  # slot that was not served there. The visitor returns `{acc, slots it has to be asked again for}`.
  # With `from`, what lies before this hash is left out.
  defp visit(table, acc, visitor, {function, arguments} = stack, from \\ @start) do
    case Native.slots_by_owner(table) do
      nil ->
        Failure.badarg(function, arguments, :id)

      owners ->
        begun = from >>> @slot_shift
        first = if from == @start, do: [], else: [{begun, from}]
        owners = if from == @start, do: owners, else: behind(owners, begun)

        {acc, left} =
          Enum.reduce(owners, {acc, [first]}, fn
            {nil, slots}, {acc, left} ->
              {acc, [Enum.map(slots, &{&1, @start}) | left]}

            {node, slots}, {acc, left} ->
              {acc, refused} = visitor.(table, node, slots, acc, stack)
              {acc, [refused | left]}
          end)

        for {slot, from} <- Enum.concat(left), reduce: acc do
          acc ->
            {acc, []} = visitor.(table, {:slot, from}, [slot], acc, stack)
            acc
        end
    end
  end

  defp behind(owners, slot),
    do: for({node, slots} <- owners, do: {node, Enum.filter(slots, &(&1 > slot))})

  defp scan_slots(table, target, slots, acc, stack, chunk) do
    scan_slots(table, target, slots, from(target), acc, stack, chunk, [])
  end

  defp scan_slots(_table, _target, [], _from, acc, _stack, _chunk, refused), do: {acc, refused}

  defp scan_slots(table, target, slots, from, acc, stack, chunk, refused) do
    case ask(table, target, :scan, slots, from, stack) do
      {:ok, {objects, visited, from, unserved}} ->
        refused = unserved ++ refused
        slots = Enum.drop(slots, visited)
        scan_slots(table, target, slots, from, chunk.(objects, acc), stack, chunk, refused)

      :gone ->
        [slot | rest] = slots
        {acc, [{slot, from} | Enum.map(rest, &{&1, @start})] ++ refused}
    end
  end

  defp delete_slots(table, target, slots, acc, stack) do
    case ask(table, target, :delete, slots, @start, stack) do
      {:ok, unserved} -> {acc, unserved}
      :gone -> {acc, Enum.map(slots, &{&1, @start})}
    end
  end

  defp count_slots(table, target, slots, {size, bytes} = acc, stack) do
    case ask(table, target, :count, slots, @start, stack) do
      {:ok, {more, more_bytes, unserved}} ->
        {{size + more, bytes + more_bytes}, unserved}

      :gone ->
        {acc, Enum.map(slots, &{&1, @start})}
    end
  end

  defp from({:slot, from}), do: from
  defp from(_node), do: @start

  # One slot is asked for like a key: wherever it is served, after waiting for it if need be.
  defp ask(table, {:slot, _}, what, slots, from, stack) do
    {:ok, Call.run(table, one_slot(what), {slots, from}, stack)}
  end

  defp ask(table, node, what, slots, from, stack) do
    case Call.outcome_on(node, table, many_slots(what), {slots, from}) do
      {:ok, result} -> {:ok, result}
      {:error, reason, _node} when reason in [:node_down, :no_table, :not_connected] -> :gone
      failure -> Call.raise_failure(failure, table, stack)
    end
  end

  defp one_slot(:scan), do: :scan_slot
  defp one_slot(:delete), do: :delete_slot
  defp one_slot(:count), do: :count_slot

  defp many_slots(:scan), do: :scan_slots
  defp many_slots(:delete), do: :delete_slots
  defp many_slots(:count), do: :count_slots
end
