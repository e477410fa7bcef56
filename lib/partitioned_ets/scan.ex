defmodule PartitionedEts.Scan do
  # Work over a whole table: each slot is visited exactly once, on the node that serves it. The
  # slots are first taken node by node, in chunks; a slot that is on its way to another node is
  # then asked for on its own, an operation that waits for the slot as any other does.
  @moduledoc false

  alias PartitionedEts.{Call, Failure, Native, Placed, PlacedScan}

  @slots 4096
  # Where a slot's scan starts: hashes are never 0.
  @start 0

  @spec to_list(atom()) :: [tuple()]
  def to_list(table) do
    # Chunks are prepended whole: each object is copied once.
    table |> chunks([], &[&1 | &2], {:tab2list, [table]}) |> :lists.reverse() |> :lists.append()
  end

  @spec reduce(atom(), acc, (tuple(), acc -> acc), {atom(), [term()]}) :: acc when acc: term()
  def reduce(table, acc, function, stack) do
    chunks(table, acc, &:lists.foldl(function, &2, &1), stack)
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

  @spec first(atom(), atom()) :: term()
  def first(table, function) do
    if Placed.view(table),
      do: PlacedScan.first(table, function),
      else: first_from(table, 0, {function, [table]})
  end

  @spec next(atom(), term(), atom()) :: term()
  def next(table, key, function) do
    if Placed.view(table) do
      PlacedScan.next(table, key, function)
    else
      stack = {function, [table, key]}
      follow(table, Call.run(table, :next_after, {key}, stack), stack)
    end
  end

  defp first_from(_table, @slots, _stack), do: :"$end_of_table"

  defp first_from(table, slot, stack) do
    follow(table, Call.run(table, :first_from, {slot}, stack), stack)
  end

  defp follow(_table, {:key, key}, _stack), do: key
  defp follow(table, {:continue, slot}, stack), do: first_from(table, slot, stack)

  defp chunks(table, acc, chunk, stack) do
    if Placed.view(table),
      do: table |> PlacedScan.chunks(stack) |> List.foldr(acc, chunk),
      else: visit(table, acc, &scan_slots(&1, &2, &3, &4, &5, chunk), stack)
  end

  # Calls `visitor.(table, target, slots, acc, stack)` for the slots of each node, then for each
  # slot that was not served there. The visitor returns `{acc, slots it has to be asked again for}`.
  defp visit(table, acc, visitor, {function, arguments} = stack) do
    case Native.slots_by_owner(table) do
      nil ->
        Failure.badarg(function, arguments, :id)

      owners ->
        {acc, left} =
          Enum.reduce(owners, {acc, []}, fn
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
