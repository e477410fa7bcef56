defmodule PartitionedEts.Drain do
  @moduledoc false
  # Sends the objects of this node that belong to another one under a new view there. Runs in a
  # task while the view is closed. Whatever is repeated does no harm: the receiver keeps what it
  # has, and an object is deleted here only when the receiver has it.

  alias PartitionedEts.{Call, Native, Placed}

  require Logger

  @slots Enum.to_list(0..4095)
  @start 0
  # After a refusal that comes at once, such as too much being under way to the node.
  @pause_ms 20

  # `:superseded` when there is another view.
  @spec run(atom(), Placed.view()) :: :drained | :superseded
  def run(table, view) do
    complain(table, scan(table, view, @slots, @start, {0, nil}))
    :drained
  catch
    :superseded -> :superseded
  end

  defp scan(_table, _view, [], _from, misplaced), do: misplaced

  defp scan(table, view, slots, from, misplaced) do
    {objects, visited, from, []} = here!(table, view, :scan_slots, {slots, from})
    misplaced = move(table, view, objects, misplaced)
    scan(table, view, Enum.drop(slots, visited), from, misplaced)
  end

  # Counts the objects that stay because the callback has no place for them, with a sentence on the
  # last one.
  defp move(table, view, objects, misplaced) do
    by_place = Enum.group_by(objects, &Placed.choose(view, elem(&1, view.keypos - 1)))

    Enum.reduce(by_place, misplaced, fn
      {{:ok, node}, _objects}, misplaced when node == node() ->
        misplaced

      {{:ok, node}, objects}, misplaced ->
        send_to(table, view, node, objects)
        misplaced

      {{:error, sentence}, objects}, {count, _sentence} ->
        {count + length(objects), sentence}
    end)
  end

  defp send_to(table, view, node, objects) do
    case Call.outcome_under(table, node, under(view), :insert_many, {objects}, view.timeout) do
      {:ok, _inserted} ->
        for object <- objects, do: here!(table, view, :delete, {elem(object, view.keypos - 1)})

      {:error, :too_large, _node} ->
        send_halves(table, view, node, objects)

      {:error, reason, _node} ->
        if Native.view_state(table) != {view.version, false}, do: throw(:superseded)
        if reason not in [:moved, :timeout], do: pause()
        send_to(table, view, node, objects)
    end
  end

  # The objects of a key stay together: it has them all on one node, or on the other.
  defp send_halves(table, view, node, objects) do
    case Enum.chunk_by(objects, &elem(&1, view.keypos - 1)) do
      [[object | _]] ->
        Logger.error(
          "table #{inspect(table)}: what the key #{inspect(elem(object, view.keypos - 1))} has " <>
            "is too large to be sent to #{node}"
        )

      keys ->
        {left, right} = Enum.split(keys, div(length(keys), 2))
        send_to(table, view, node, Enum.concat(left))
        send_to(table, view, node, Enum.concat(right))
    end
  end

  defp here!(table, view, operation, arguments) do
    case Call.outcome_under(table, nil, under(view), operation, arguments, view.timeout) do
      {:ok, result} -> result
      # Also when the table has been deleted.
      _moved -> throw(:superseded)
    end
  end

  defp under(view), do: {view.version, :closed}

  defp pause do
    receive after: (@pause_ms -> :ok)
  end

  defp complain(_table, {0, nil}), do: :ok

  defp complain(table, {count, sentence}) do
    Logger.error("table #{inspect(table)}: keys that stay where they are: #{count}. #{sentence}")
  end
end
