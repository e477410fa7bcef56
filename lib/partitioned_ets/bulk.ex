defmodule PartitionedEts.Bulk do
  # Inserts and lookups that this node could not do on the spot: an object for another node, or a list
  # whose objects are on several nodes. One message carries all objects, or keys, of a node.
  @moduledoc false

  alias PartitionedEts.{Call, Failure, Native, Placed}

  @spec insert(atom(), tuple() | [tuple()]) :: true
  def insert(table, object) when not is_list(object) do
    Call.run(table, :insert, {object}, {:insert, [table, object]})
  end

  def insert(table, objects) do
    stack = {:insert, [table, objects]}
    insert_groups(table, groups(table, objects, stack), stack)
  end

  @spec insert_new(atom(), tuple() | [tuple()]) :: boolean()
  def insert_new(table, object) when not is_list(object) do
    Call.run(table, :insert_new, {object}, {:insert_new, [table, object]})
  end

  def insert_new(table, objects) do
    stack = {:insert_new, [table, objects]}

    case groups(table, objects, stack) do
      [] -> true
      [objects] -> insert_new_group(table, objects, stack)
      groups -> insert_new_groups(table, groups, stack)
    end
  end

  @spec lookup_many(atom(), [term()]) :: [[tuple()]]
  def lookup_many(table, keys) do
    stack = {:lookup_many, [table, keys]}
    is_atom(table) || Failure.badarg(:lookup_many, [table, keys], :type)
    Native.table_config(table) || Failure.badarg(:lookup_many, [table, keys], :id)

    (is_list(keys) and not List.improper?(keys)) ||
      Failure.badarg(:lookup_many, [table, keys], :none)

    numbered = Enum.with_index(keys)

    numbered
    |> look_up(table, stack)
    |> List.keysort(1)
    |> Enum.map(&elem(&1, 0))
  end

  # `[{objects, number}]` for `[{key, number}]`, in no order.
  defp look_up(numbered, table, stack) do
    for {target, numbered} <- key_groups(table, numbered), reduce: [] do
      found ->
        {keys, numbers} = Enum.unzip(numbered)

        case outcome(table, target, :lookup_many, {keys}) do
          {:ok, objects} -> Enum.zip(objects, numbers) ++ found
          {:error, :moved, _} -> look_up(numbered, table, stack) ++ found
          failure -> Call.raise_failure(failure, table, stack)
        end
    end
  end

  defp key_groups(table, numbered) do
    case Placed.view(table) do
      nil ->
        numbered
        |> Enum.group_by(fn {key, _} -> Native.slot_owner(table, Native.key_slot(table, key)) end)
        |> Enum.map(fn {_owner, numbered} -> {nil, numbered} end)

      view ->
        numbered
        |> Enum.group_by(fn {key, _} -> Placed.choose!(table, view, key) end)
        |> Enum.map(fn {node, numbered} -> {{view, node}, numbered} end)
    end
  end

  defp insert_groups(_table, [], _stack), do: true

  defp insert_groups(table, [{target, objects} | groups], stack) do
    case outcome(table, target, :insert_many, {objects}) do
      {:ok, true} -> insert_groups(table, groups, stack)
      # What the group was made by has changed.
      {:error, :moved, _} -> insert_groups(table, groups(table, objects, stack) ++ groups, stack)
      failure -> Call.raise_failure(failure, table, stack)
    end
  end

  defp insert_new_group(table, {target, objects}, {_, [_, all]} = stack) do
    case outcome(table, target, :insert_new_many, {objects}) do
      {:ok, inserted} -> inserted
      {:error, :moved, _} -> insert_new(table, all)
      failure -> Call.raise_failure(failure, table, stack)
    end
  end

  # Keys are checked everywhere first. The insertion itself goes node by node; when it meets a key
  # that came just then, what it had inserted is taken back.
  defp insert_new_groups(table, groups, stack) do
    if Enum.any?(groups, &any_member?(table, &1, stack)) do
      false
    else
      insert_new_groups(table, groups, [], stack)
    end
  end

  defp insert_new_groups(_table, [], _inserted, _stack), do: true

  defp insert_new_groups(table, [{target, objects} | groups], inserted, stack) do
    case outcome(table, target, :insert_new_many, {objects}) do
      {:ok, true} ->
        insert_new_groups(table, groups, objects ++ inserted, stack)

      {:ok, false} ->
        Enum.each(inserted, &Call.run(table, :delete_object, {&1}, stack))
        false

      {:error, :moved, _} ->
        regrouped = groups(table, objects, stack)
        insert_new_groups(table, regrouped ++ groups, inserted, stack)

      failure ->
        Enum.each(inserted, &Call.outcome(table, :delete_object, {&1}))
        Call.raise_failure(failure, table, stack)
    end
  end

  defp any_member?(table, {target, objects}, stack) do
    position = Native.table_config(table).keypos - 1
    keys = Enum.map(objects, &elem(&1, position))

    case outcome(table, target, :member_many, {keys}) do
      {:ok, found} ->
        Enum.any?(found)

      {:error, :moved, _} ->
        Enum.any?(groups(table, objects, stack), &any_member?(table, &1, stack))

      failure ->
        Call.raise_failure(failure, table, stack)
    end
  end

  # Objects that go together, and what tells where to: `{view, node}`, or nil for their slots.
  defp groups(table, objects, stack) do
    view = Placed.view(table)

    case if(view, do: Placed.group(table, view, objects), else: group_by_owner(table, objects)) do
      {:ok, groups} -> Enum.map(groups, fn {node, objects} -> {view && {view, node}, objects} end)
      {:badarg, _cause} = failure -> Call.raise_failure(failure, table, stack)
    end
  end

  defp group_by_owner(table, objects), do: Native.group_by_owner(table, objects)

  defp outcome(table, nil, operation, arguments), do: Call.outcome(table, operation, arguments)

  defp outcome(table, {view, node}, operation, arguments) do
    Placed.ask(table, view, node, operation, arguments)
  end
end
