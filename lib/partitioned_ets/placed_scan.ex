defmodule PartitionedEts.PlacedScan do
  # Work over a whole table whose keys are placed by a callback: node by node, every step under one
  # view. When the view changes meanwhile the work begins again, for a key may have moved from a
  # node that is still to be visited to one that has been.
  @moduledoc false

  import PartitionedEts.Placed, only: [ask: 5]

  alias PartitionedEts.{Call, Failure, Placed}

  @end_of_slots 4096
  @slots Enum.to_list(0..(@end_of_slots - 1))
  # Where a slot's scan starts: hashes are never 0.
  @start 0

  # The chunks of all objects, last first. They are complete before the caller sees one: what has
  # been folded over could not be taken back.
  @spec chunks(atom(), {atom(), [term()]}) :: [[tuple()]]
  def chunks(table, stack) do
    under_one_view(table, stack, fn view ->
      each_node(view.members, [], &scan(table, view, &1, @slots, @start, &2))
    end)
  end

  @spec delete_all(atom()) :: true
  def delete_all(table) do
    under_one_view(table, {:delete_all_objects, [table]}, fn view ->
      each_node(view.members, true, fn node, acc ->
        with {:ok, []} <- ask(table, view, node, :delete_slots, {@slots, @start}), do: {:ok, acc}
      end)
    end)
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

  # Keys in the order of their nodes, on each node in the node's own.
  @spec first(atom(), atom()) :: term()
  def first(table, function) do
    under_one_view(table, {function, [table]}, &first_of(table, &1, &1.members, 0))
  end

  @spec next(atom(), term(), atom()) :: term()
  def next(table, key, function) do
    under_one_view(table, {function, [table, key]}, fn view ->
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
