defmodule Bench.Loops do
  @moduledoc false
  # One loop for each operation, compiled for each module that is called: what is measured is the
  # call as a user's module makes it. A loop walks a list of calls that was made before, pairs of a
  # key and an object; what it costs without its calls is measured in `Bench.Loops.Empty`.

  # What a loop calls, in words.
  def words(:delete_insert), do: "delete + insert"
  def words(:delete_object_insert), do: "delete_object + insert"
  def words(:first_next), do: "first, next"
  def words(loop), do: Atom.to_string(loop)

  defmacro __using__(tables) do
    quote do
      def lookup([{key, _} | rest], table) do
        unquote(tables).lookup(table, key)
        lookup(rest, table)
      end

      def lookup([], _table), do: :ok

      def member([{key, _} | rest], table) do
        unquote(tables).member(table, key)
        member(rest, table)
      end

      def member([], _table), do: :ok

      # The object may be a list of objects.
      def insert([{_, object} | rest], table) do
        unquote(tables).insert(table, object)
        insert(rest, table)
      end

      def insert([], _table), do: :ok

      def update_counter([{key, _} | rest], table) do
        unquote(tables).update_counter(table, key, 1)
        update_counter(rest, table)
      end

      def update_counter([], _table), do: :ok

      def delete_insert([{key, object} | rest], table) do
        unquote(tables).delete(table, key)
        unquote(tables).insert(table, object)
        delete_insert(rest, table)
      end

      def delete_insert([], _table), do: :ok

      def delete_object_insert([{_, object} | rest], table) do
        unquote(tables).delete_object(table, object)
        unquote(tables).insert(table, object)
        delete_object_insert(rest, table)
      end

      def delete_object_insert([], _table), do: :ok

      # A call without an object reads.
      def mix([{key, nil} | rest], table) do
        unquote(tables).lookup(table, key)
        mix(rest, table)
      end

      def mix([{_, object} | rest], table) do
        unquote(tables).insert(table, object)
        mix(rest, table)
      end

      def mix([], _table), do: :ok

      def next([{key, _} | rest], table) do
        unquote(tables).next(table, key)
        next(rest, table)
      end

      def next([], _table), do: :ok

      # Scans: each call goes over the whole table.
      def foldl([_ | rest], table) do
        unquote(tables).foldl(fn _object, count -> count + 1 end, 0, table)
        foldl(rest, table)
      end

      def foldl([], _table), do: :ok

      def tab2list([_ | rest], table) do
        unquote(tables).tab2list(table)
        tab2list(rest, table)
      end

      def tab2list([], _table), do: :ok

      def first_next([_ | rest], table) do
        walk(unquote(tables).first(table), table)
        first_next(rest, table)
      end

      def first_next([], _table), do: :ok

      defp walk(:"$end_of_table", _table), do: :ok
      defp walk(key, table), do: walk(unquote(tables).next(table, key), table)
    end
  end
end

defmodule Bench.Loops.Ets do
  @moduledoc false
  use Bench.Loops, :ets
end

defmodule Bench.Loops.Pets do
  @moduledoc false
  use Bench.Loops, PartitionedEts
end

defmodule Bench.Loops.Sharded do
  @moduledoc false
  use Bench.Loops, Bench.Sharded
end

defmodule Bench.Loops.Persistent do
  @moduledoc false
  # Reads alone: each write of an existing term makes the VM look through all of its processes.

  def lookup([{key, _} | rest], table) do
    :persistent_term.get({table, key})
    lookup(rest, table)
  end

  def lookup([], _table), do: :ok
end

defmodule Bench.Loops.Empty do
  @moduledoc false

  def mix([{_key, nil} | rest], table), do: mix(rest, table)
  def mix([{_, _object} | rest], table), do: mix(rest, table)
  def mix([], _table), do: :ok

  def other([{_key, _object} | rest], table), do: other(rest, table)
  def other([], _table), do: :ok
end
