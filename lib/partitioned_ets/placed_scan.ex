defmodule PartitionedEts.PlacedScan do
  # Work over a whole table whose keys are placed by a callback: node by node, every step under one
  # view. When the view changes meanwhile the work begins again, for a key may have moved from a
  # node that is still to be visited to one that has been.
  @moduledoc false

  import PartitionedEts.Placed, only: [ask: 5]

  alias PartitionedEts.{Call, Failure, Ordered, Placed, Scan}

  @end_of_slots 4096
  @slots Enum.to_list(0..(@end_of_slots - 1))
  # Where a slot's scan starts: hashes are never 0.
  @start 0
  # Objects of one answer: the node has its own limit, too.
  @all 2048

  # The chunks of all objects, last first. They are complete before the caller sees one: what has
  # been folded over could not be taken back.
  @spec chunks(atom(), boolean(), {atom(), [term()]}) :: [[tuple()]]
  def chunks(table, ascending, stack) do
    scan = if Scan.ordered?(table), do: &ordered/3, else: &unordered/3
    under_one_view(table, stack, &scan.(table, &1, ascending))
  end

  defp unordered(table, view, _ascending) do
    each_node(view.members, [], &scan(table, view, &1, @slots, @start, &2))
  end

  defp ordered(table, view, ascending) do
    all = fn node, lists ->
      with {:ok, chunks} <- scan_ordered(table, view, node, [], @all, ascending, []),
           do: {:ok, [chunks |> :lists.reverse() |> :lists.append() | lists]}
    end

    with {:ok, lists} <- each_node(view.members, [], all),
         do: {:ok, [Ordered.merge(lists, view.keypos, ascending)]}
  end

  defp scan_ordered(table, view, node, position, limit, ascending, chunks) do
    arguments = {@slots, position, limit, ascending}

    case ask(table, view, node, :scan_ordered, arguments) do
      {:ok, {objects, [], []}} ->
        {:ok, [objects | chunks]}

      {:ok, {[_ | _] = objects, _position, []}} when limit == 1 ->
        {:ok, [objects | chunks]}

      {:ok, {objects, position, []}} ->
        scan_ordered(table, view, node, position, limit, ascending, [objects | chunks])

      failure ->
        failure
    end
  end

  # The first key behind a position, over all nodes.
  defp ordered_key(table, view, ascending, position) do
    head = fn node, lists ->
      with {:ok, chunks} <- scan_ordered(table, view, node, position, 1, ascending, []),
           do: {:ok, [:lists.append(chunks) | lists]}
    end

    with {:ok, lists} <- each_node(view.members, [], head) do
      case Ordered.merge(lists, view.keypos, ascending) do
        [] -> {:ok, :"$end_of_table"}
        [object | _] -> {:ok, elem(object, view.keypos - 1)}
      end
    end
  end

  @spec delete_all(atom()) :: true
  def delete_all(table) do
    under_one_view(table, {:delete_all_objects, [table]}, fn view ->
      each_node(view.members, true, fn node, acc ->
        with :ok <- delete_slots(table, view, node, @slots), do: {:ok, acc}
      end)
    end)
  end

  # What the node had no time for is asked for again.
  defp delete_slots(_table, _view, _node, []), do: :ok

  defp delete_slots(table, view, node, slots) do
    with {:ok, left} <- ask(table, view, node, :delete_slots, {slots, @start}),
         do: delete_slots(table, view, node, Enum.map(left, &elem(&1, 0)))
  end

  @spec count(atom()) :: {non_neg_integer(), non_neg_integer()}
  def count(table) do
    under_one_view(table, {:info, [table]}, fn view ->
      each_node(view.members, {0, 0}, fn node, {size, bytes} ->
        with {:ok, {more, more_bytes, []}} <-
               ask(table, view, node, :count_slots, {@slots, @start}),
             do: {:ok, {size + more, bytes + more_bytes}}
      end)
    end)
  end

  # Keys that have no order of their own are in that of their nodes, on each node in the node's.
  @spec first(atom(), :first | :last) :: term()
  def first(table, function) do
    stack = {function, [table]}

    if Scan.ordered?(table),
      do: under_one_view(table, stack, &ordered_key(table, &1, function == :first, [])),
      else: under_one_view(table, stack, &first_of(table, &1, &1.members, 0))
  end

  @spec next(atom(), term(), :next | :prev) :: term()
  def next(table, key, function) do
    stack = {function, [table, key]}

    if Scan.ordered?(table),
      do: under_one_view(table, stack, &ordered_key(table, &1, function == :next, [key])),
      else: next_by_hash(table, key, stack)
  end

  defp next_by_hash(table, key, stack) do
    under_one_view(table, stack, fn view ->
      node = Placed.choose!(table, view, key)
      nodes = Enum.drop_while(view.members, &(&1 != node))

      with {:ok, found} <- ask(table, view, node, :next_after, {key}),
           do: follow(table, view, nodes, found)
    end)
  end

  defp first_of(_table, _view, [], _slot), do: {:ok, :"$end_of_table"}

  defp first_of(table, view, [_ | nodes], @end_of_slots), do: first_of(table, view, nodes, 0)

  defp first_of(table, view, [node | _] = nodes, slot) do
    with {:ok, found} <- ask(table, view, node, :first_from, {slot}),
         do: follow(table, view, nodes, found)
  end

  defp follow(_table, _view, _nodes, {:key, key}), do: {:ok, key}
  defp follow(table, view, nodes, {:continue, slot}), do: first_of(table, view, nodes, slot)

  defp scan(_table, _view, _node, [], _from, chunks), do: {:ok, chunks}

  defp scan(table, view, node, slots, from, chunks) do
    with {:ok, {objects, visited, from, []}} <-
           ask(table, view, node, :scan_slots, {slots, from}),
         do: scan(table, view, node, Enum.drop(slots, visited), from, [objects | chunks])
  end

  defp each_node(nodes, acc, step) do
    Enum.reduce_while(nodes, {:ok, acc}, fn node, {:ok, acc} ->
      case step.(node, acc) do
        {:ok, acc} -> {:cont, {:ok, acc}}
        failure -> {:halt, failure}
      end
    end)
  end

  # Each step has the table's time-out, and there are as many attempts as there are changes.
  defp under_one_view(table, {function, arguments} = stack, work) do
    view = Placed.view(table) || Failure.badarg(function, arguments, :id)

    case work.(view) do
      {:ok, result} ->
        result

      # A node that is down is not in the next view.
      {:error, reason, _node} when reason in [:moved, :node_down] ->
        under_one_view(table, stack, work)

      failure ->
        Call.raise_failure(failure, table, stack)
    end
  end
end
