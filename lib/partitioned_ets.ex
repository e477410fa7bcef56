defmodule PartitionedEts do
  @moduledoc """
  An `:ets`-shaped table that is faster than `:ets` on one node and spreads over many.

      children = [
        {PartitionedEts, name: :words, table_opts: [:named_table, :public], partitions: 8}
      ]

      Supervisor.start_link(children, strategy: :one_for_one)
      PartitionedEts.update_counter(:words, "hello", 1, {"hello", 0})
      #=> 1

  The functions that mirror `:ets` carry its names, arities and argument order, return what
  `:ets` returns and raise what `:ets` raises. Start the same table on every node of a cluster and
  each of them serves its share of the keys; every node sees all of them.

  ## Words

    * **table**: the logical table, named by an atom, the same on every node.
    * **slot**: one of 4,096 hash buckets of a table's key space. A key is in the same slot on
      every node.
    * **partition**: one concurrent table in one node's memory. A node's share of the slots
      follows its number of partitions.
    * **shard**: `{node, partition_table}`.
    * **owner**: the one node that serves a slot.
    * **handoff**: the move of a slot, with its data, from one owner to another.

  ## Options

  #{PartitionedEts.Options.docs()}

  ## The module form

      defmodule MyApp.Words do
        use PartitionedEts, table_opts: [:named_table, :public], partitions: 8
      end

  defines a module that has every function of this one less its table argument
  (`MyApp.Words.lookup("hello")`), a `child_spec/1` and a `start_link/1`, and lets you override
  the callbacks `c:hash/2`, `c:node_added/1` and `c:node_removed/1`.

  ## Guarantees

    * On one node every result and every exception is that of `:ets`.
    * A write that has returned survives any number of nodes that join and of nodes that leave
      gracefully, for every operation. Reads and writes go on meanwhile.
    * A node that is killed takes the slots that it owned with it; the other nodes go on serving
      theirs, and the lost slots start again, empty.
    * When the process that owns a table is killed, its supervisor starts it again and it finds
      its data. When it is stopped for good, the table and its memory are gone.
    * A key has one owner at a time outside a network split.

  ## Cost

  An operation on a key that this node owns is one call of native code. One on a key of another
  node is one message there and one back. Functions over a whole table visit every node.

  ## Limits

  Match specifications, replicas and files come with later versions and raise an error that says so until then.
  """

  alias PartitionedEts.{Bulk, Call, Cluster, Info, Native, Options, Owner, Scan, Table}

  @typedoc "The name of a table."
  @type table :: atom()

  @typedoc """
  A key: any term. Two keys are the same when they match (`===/2`), in an `:ordered_set` when they
  compare equal (`==/2`).
  """
  @type key :: term()

  @typedoc "An object: a tuple that has at least as many elements as the table's key position."
  @type object :: tuple()

  @typedoc "What `update_counter/3` does to one element; a negative increment makes the threshold a lower bound."
  @type update_operation ::
          {position :: pos_integer(), increment :: integer()}
          | {pos_integer(), increment :: integer(), threshold :: integer(),
             set_value :: integer()}

  @typedoc "The forms of `update_counter/3`."
  @type update_operations :: (increment :: integer()) | update_operation() | [update_operation()]

  @typedoc "What `update_element/3` does to one element."
  @type element_spec :: {position :: pos_integer(), value :: term()}

  @typedoc "One of the 4,096 hash buckets of a table's key space."
  @type slot :: 0..4095

  @typedoc "A partition of one node, as `c:hash/2` sees it."
  @type shard :: {node(), partition_table :: atom()}

  @typedoc """
  What a subscriber of `subscribe/1` is told.

    * `{:acquired, slot}`: this node serves the slot, and its data is here.
    * `{:released, slot}`: another node serves the slot now.
    * `{:lost, slot}`: the node that served the slot is gone, and the slot's data with it.
    * `:settled`: no slot is on its way any more.
    * `:unsettled`: slots are on their way again.
  """
  @type event ::
          {:acquired, slot()}
          | {:released, slot()}
          | {:lost, slot()}
          | :settled
          | :unsettled

  @typedoc "The options of `start_link/1`; the table above explains them."
  @type option ::
          {:name, table()}
          | {:table_opts, [atom() | tuple()]}
          | {:partitions, pos_integer()}
          | {:callbacks, module() | nil}
          | {:distributed, boolean()}
          | {:timeout, pos_integer()}
          | {:shutdown, timeout() | :brutal_kill}

  @doc """
  Chooses the shard of a key from the sorted list of all shards.

  It must give the same answer on every node, for it is called where the operation is, and for keys
  that are the same. The shard's
  node has the key; the partition is a name only. When it raises, or answers what is no shard, the
  operation raises `ArgumentError`.

  When a node joins or leaves, every node calls it for each of its objects and sends those away that
  belong elsewhere now. No acknowledged write is lost by that, but **all operations on the table
  wait until it is done, reads too**, those on keys that do not move included. Choose the `:timeout` of
  the table accordingly. A module without `hash/2` leaves the choice to the library, which moves only
  a fair share of the keys, slot by slot, without such a pause.

  Keys go by node in `first/1` and `next/2`. Functions that tell about slots, such as
  `key_slot/2` and `owned_slots/1`, do not tell where a key of such a table is; `place/2` does.
  """
  @callback hash(key(), [shard(), ...]) :: shard()

  @doc """
  Called on every member when another node hosts the table and its share has been handed to it.

  It runs in a process of its own; what it returns is ignored, a crash is logged.
  """
  @callback node_added(node()) :: term()

  @doc """
  Called on every remaining member when another node does not host the table any more.

  It runs in a process of its own; what it returns is ignored, a crash is logged.
  """
  @callback node_removed(node()) :: term()

  @optional_callbacks hash: 2, node_added: 1, node_removed: 1

  @doc false
  defmacro __using__(opts), do: Table.quoted(opts)

  ## Life of a table

  @doc """
  Starts the table on this node, linked to the caller.

  Returns `{:ok, pid}` of the process that owns the table, `{:error, {:already_started, pid}}`
  when the table has an owner here already. Options that make no sense raise `ArgumentError`.

  When other connected nodes host a table of that name with the same type and key position, this
  node joins them: the function returns at once, and the node's share of the data arrives meanwhile
  (see `await_settled/2`).

      iex> {:ok, _owner} =
      ...>   PartitionedEts.start_link(name: :started, table_opts: [:named_table, :public])
      iex> PartitionedEts.members(:started) == [node()]
      true
  """
  @spec start_link([option()]) :: GenServer.on_start()
  def start_link(opts), do: Owner.start_link(Options.new!(opts, "PartitionedEts.start_link/1"))

  @doc """
  Returns the child specification of a table for a supervisor.

  The id is `{PartitionedEts, name}`, so that a supervisor can hold several tables.

      iex> opts = [name: :words, table_opts: [:named_table, :public], shutdown: 1_000]
      iex> PartitionedEts.child_spec(opts).id
      {PartitionedEts, :words}
  """
  @spec child_spec([option()]) :: Supervisor.child_spec()
  def child_spec(opts) do
    options = Options.new!(opts, "PartitionedEts.child_spec/1")

    %{
      id: {__MODULE__, options.name},
      start: {__MODULE__, :start_link, [opts]},
      type: :worker,
      restart: :permanent,
      shutdown: options.shutdown
    }
  end

  ## Writing

  @doc """
  Inserts an object, or all objects of a list, replacing those with the same keys; in a bag beside
  those with the same keys, behind them.

  Of several objects with one key in the list the last wins. A list is checked before anything is
  inserted, and on each node its objects are inserted together, as no other writer can see half of
  them; over several nodes it is inserted node by node. When a node cannot be reached the call
  raises `PartitionedEts.Error` and the parts of the other nodes may have been inserted.

      iex> {:ok, _} = PartitionedEts.start_link(name: :ins, table_opts: [:named_table, :public])
      iex> PartitionedEts.insert(:ins, [{:a, 1}, {:b, 2}])
      true
      iex> PartitionedEts.lookup(:ins, :b)
      [b: 2]
  """
  @spec insert(table(), object() | [object()]) :: true
  def insert(table, object_or_objects) do
    case Native.table_insert(table, object_or_objects) do
      true -> true
      _slow -> Bulk.insert(table, object_or_objects)
    end
  end

  @doc """
  Inserts an object, or all objects of a list, unless a key is there already.

  Returns whether it inserted. With a list nothing is inserted when one key exists; of several
  objects with one key in the list the first wins. Over several nodes the keys are checked on all
  of them before any is inserted; when another process inserts one of the keys just then, what this
  call had inserted is taken back and it returns `false`.

      iex> {:ok, _} = PartitionedEts.start_link(name: :new, table_opts: [:named_table, :public])
      iex> PartitionedEts.insert_new(:new, {:a, 1})
      true
      iex> PartitionedEts.insert_new(:new, [{:b, 2}, {:a, 2}])
      false
      iex> PartitionedEts.member(:new, :b)
      false
  """
  @spec insert_new(table(), object() | [object()]) :: boolean()
  def insert_new(table, object_or_objects) do
    case Native.table_insert_new(table, object_or_objects) do
      inserted when is_boolean(inserted) -> inserted
      _slow -> Bulk.insert_new(table, object_or_objects)
    end
  end

  @doc """
  Adds to a counter of the object with the given key and returns the new value.

  The operation is an increment for the element after the key, `{position, increment}`,
  `{position, increment, threshold, set_value}`, or a list of the tuples, for which the list of the
  results is returned. All of a list happen, or none. Raises `ArgumentError` on a bag.

      iex> {:ok, _} = PartitionedEts.start_link(name: :cnt, table_opts: [:named_table, :public])
      iex> PartitionedEts.insert(:cnt, {:hits, 1, 10})
      iex> PartitionedEts.update_counter(:cnt, :hits, 5)
      6
      iex> PartitionedEts.update_counter(:cnt, :hits, [{2, 1}, {3, -1}])
      [7, 9]
  """
  @spec update_counter(table(), key(), update_operations()) :: integer() | [integer()]
  def update_counter(table, key, operations) do
    case Native.table_update_counter(table, key, operations) do
      :"$pets_slow" ->
        arguments = {key, operations}
        Call.run(table, :update_counter, arguments, {:update_counter, [table, key, operations]})

      result ->
        result
    end
  end

  @doc """
  Like `update_counter/3`; when the key is missing, `default` is inserted first, with the key given.

      iex> {:ok, _} = PartitionedEts.start_link(name: :wrd, table_opts: [:named_table, :public])
      iex> PartitionedEts.update_counter(:wrd, "the", 1, {"the", 0})
      1
  """
  @spec update_counter(table(), key(), update_operations(), object()) :: integer() | [integer()]
  def update_counter(table, key, operations, default) do
    case Native.table_update_counter(table, key, operations, default) do
      :"$pets_slow" ->
        stack = {:update_counter, [table, key, operations, default]}
        Call.run(table, :update_counter, {key, operations, default}, stack)

      result ->
        result
    end
  end

  @doc """
  Replaces elements of the object with the given key: `{position, value}`, or a list of them.

  Returns `false` when the key is missing. Raises `ArgumentError` on a bag.

      iex> {:ok, _} = PartitionedEts.start_link(name: :upd, table_opts: [:named_table, :public])
      iex> PartitionedEts.insert(:upd, {:a, 1, 2})
      iex> PartitionedEts.update_element(:upd, :a, {3, "two"})
      true
      iex> PartitionedEts.lookup(:upd, :a)
      [{:a, 1, "two"}]
  """
  @spec update_element(table(), key(), element_spec() | [element_spec()]) :: boolean()
  def update_element(table, key, elements) do
    case Native.table_update_element(table, key, elements) do
      updated when is_boolean(updated) ->
        updated

      _slow ->
        stack = {:update_element, [table, key, elements]}
        Call.run(table, :update_element, {key, elements}, stack)
    end
  end

  @doc """
  Like `update_element/3`; when the key is missing, `default` is inserted first, with the key given.

      iex> {:ok, _} = PartitionedEts.start_link(name: :upd4, table_opts: [:named_table, :public])
      iex> PartitionedEts.update_element(:upd4, :a, {2, 7}, {:a, 0})
      true
  """
  @spec update_element(table(), key(), element_spec() | [element_spec()], object()) :: boolean()
  def update_element(table, key, elements, default) do
    case Native.table_update_element(table, key, elements, default) do
      updated when is_boolean(updated) ->
        updated

      _slow ->
        stack = {:update_element, [table, key, elements, default]}
        Call.run(table, :update_element, {key, elements, default}, stack)
    end
  end

  @doc """
  Deletes the objects with the given key, if there are any.

      iex> {:ok, _} = PartitionedEts.start_link(name: :del, table_opts: [:named_table, :public])
      iex> PartitionedEts.delete(:del, :missing)
      true
  """
  @spec delete(table(), key()) :: true
  def delete(table, key) do
    case Native.table_delete(table, key) do
      true -> true
      _slow -> Call.run(table, :delete, {key}, {:delete, [table, key]})
    end
  end

  @doc """
  Deletes exactly this object, if it is there; from a `:duplicate_bag` all that are like it.

      iex> {:ok, _} = PartitionedEts.start_link(name: :delo, table_opts: [:named_table, :public])
      iex> PartitionedEts.insert(:delo, {:a, 1})
      iex> PartitionedEts.delete_object(:delo, {:a, 2})
      iex> PartitionedEts.member(:delo, :a)
      true
  """
  @spec delete_object(table(), object()) :: true
  def delete_object(table, object) do
    case Native.table_delete_object(table, object) do
      true -> true
      _slow -> Call.run(table, :delete_object, {object}, {:delete_object, [table, object]})
    end
  end

  @doc """
  Deletes and returns the objects with the given key.

      iex> {:ok, _} = PartitionedEts.start_link(name: :tak, table_opts: [:named_table, :public])
      iex> PartitionedEts.insert(:tak, {:a, 1})
      iex> PartitionedEts.take(:tak, :a)
      [a: 1]
      iex> PartitionedEts.take(:tak, :a)
      []
  """
  @spec take(table(), key()) :: [object()]
  def take(table, key) do
    case Native.table_take(table, key) do
      objects when is_list(objects) -> objects
      _slow -> Call.run(table, :take, {key}, {:take, [table, key]})
    end
  end

  @doc """
  Deletes all objects, on every node.

  Each node deletes its own at one moment; the nodes do it one after the other.

      iex> {:ok, _} = PartitionedEts.start_link(name: :dela, table_opts: [:named_table, :public])
      iex> PartitionedEts.insert(:dela, {:a, 1})
      iex> PartitionedEts.delete_all_objects(:dela)
      iex> PartitionedEts.tab2list(:dela)
      []
  """
  @spec delete_all_objects(table()) :: true
  def delete_all_objects(table), do: Scan.delete_all(table)

  @doc """
  Deletes the table with all its objects, on every node that hosts it.

  The processes that own it live on, so that their supervisors do not start it again; stop them to
  be able to start a table of this name.

      iex> {:ok, _} = PartitionedEts.start_link(name: :delt, table_opts: [:named_table, :public])
      iex> PartitionedEts.delete(:delt)
      true
      iex> PartitionedEts.whereis(:delt)
      :undefined
  """
  @spec delete(table()) :: true
  def delete(table), do: Cluster.delete(table)

  ## Reading

  @doc """
  Returns the list of the objects with the given key: one or none, of a bag any number, in the order
  in which they were inserted.

      iex> {:ok, _} = PartitionedEts.start_link(name: :look, table_opts: [:named_table, :public])
      iex> PartitionedEts.insert(:look, {:a, 1})
      iex> PartitionedEts.lookup(:look, :a)
      [a: 1]
      iex> PartitionedEts.lookup(:look, :b)
      []
  """
  @spec lookup(table(), key()) :: [object()]
  def lookup(table, key) do
    case Native.table_lookup(table, key) do
      objects when is_list(objects) -> objects
      _slow -> Call.run(table, :lookup, {key}, {:lookup, [table, key]})
    end
  end

  @doc """
  Looks several keys up in one call: the list of what `lookup/2` returns for each, in the order of
  the keys.

  One message goes to each node that has some of them. The keys are looked up one after the other.

      iex> {:ok, _} = PartitionedEts.start_link(name: :lkm, table_opts: [:named_table, :public])
      iex> PartitionedEts.insert(:lkm, [{:a, 1}, {:b, 2}])
      iex> PartitionedEts.lookup_many(:lkm, [:b, :c, :a])
      [[b: 2], [], [a: 1]]
  """
  @spec lookup_many(table(), [key()]) :: [[object()]]
  def lookup_many(table, keys) do
    case Native.table_lookup_many(table, keys) do
      found when is_list(found) -> found
      _slow -> Bulk.lookup_many(table, keys)
    end
  end

  @doc """
  Returns one element of the object with the given key, of a bag the list of that element of all its
  objects; raises `ArgumentError` when the key is missing.

      iex> {:ok, _} = PartitionedEts.start_link(name: :elem, table_opts: [:named_table, :public])
      iex> PartitionedEts.insert(:elem, {:a, 1})
      iex> PartitionedEts.lookup_element(:elem, :a, 2)
      1
  """
  @spec lookup_element(table(), key(), pos_integer()) :: term()
  def lookup_element(table, key, position) do
    case Native.table_lookup_element(table, key, position) do
      :"$pets_slow" ->
        stack = {:lookup_element, [table, key, position]}
        Call.run(table, :lookup_element, {key, position}, stack)

      element ->
        element
    end
  end

  @doc """
  Returns one element of the object with the given key, or `default` when the key is missing.

      iex> {:ok, _} = PartitionedEts.start_link(name: :elem4, table_opts: [:named_table, :public])
      iex> PartitionedEts.lookup_element(:elem4, :a, 2, :none)
      :none
  """
  @spec lookup_element(table(), key(), pos_integer(), term()) :: term()
  def lookup_element(table, key, position, default) do
    case Native.table_lookup_element(table, key, position, default) do
      :"$pets_slow" ->
        stack = {:lookup_element, [table, key, position, default]}
        Call.run(table, :lookup_element, {key, position, default}, stack)

      element ->
        element
    end
  end

  @doc """
  Tells whether there is an object with the given key.

      iex> {:ok, _} = PartitionedEts.start_link(name: :memb, table_opts: [:named_table, :public])
      iex> PartitionedEts.member(:memb, :a)
      false
  """
  @spec member(table(), key()) :: boolean()
  def member(table, key) do
    case Native.table_member(table, key) do
      found when is_boolean(found) -> found
      _slow -> Call.run(table, :member, {key}, {:member, [table, key]})
    end
  end

  ## Scanning

  @doc """
  Returns the first key in the table's order, or `:"$end_of_table"`.

  The order of an `:ordered_set` is Erlang's term order, over all nodes. In tables of other types it
  follows the hashes of the keys; it is the same on every node, and growth of the table does not
  change it.

      iex> {:ok, _} = PartitionedEts.start_link(name: :fst, table_opts: [:named_table, :public])
      iex> PartitionedEts.first(:fst)
      :"$end_of_table"
  """
  @spec first(table()) :: key() | :"$end_of_table"
  def first(table) do
    case Native.table_first(table) do
      :"$pets_slow" -> Scan.first(table, :first)
      key -> key
    end
  end

  @doc """
  Returns the last key of an `:ordered_set`; of other types what `first/1` returns, for their order
  has no direction.
  """
  @spec last(table()) :: key() | :"$end_of_table"
  def last(table) do
    case Native.table_last(table) do
      :"$pets_slow" -> Scan.first(table, :last)
      key -> key
    end
  end

  @doc """
  Returns the key after the given one, or `:"$end_of_table"`.

  Raises `ArgumentError` when the key is not in the table, unless that is an `:ordered_set`.

      iex> {:ok, _} = PartitionedEts.start_link(name: :nxt, table_opts: [:named_table, :public])
      iex> PartitionedEts.insert(:nxt, {:a, 1})
      iex> PartitionedEts.next(:nxt, :a)
      :"$end_of_table"
  """
  @spec next(table(), key()) :: key() | :"$end_of_table"
  def next(table, key) do
    case Native.table_next(table, key) do
      :"$pets_slow" -> Scan.next(table, key, :next)
      next -> next
    end
  end

  @doc """
  Returns the key before the given one in an `:ordered_set`; of other types what `next/2` returns,
  for their order has no direction.
  """
  @spec prev(table(), key()) :: key() | :"$end_of_table"
  def prev(table, key) do
    case Native.table_prev(table, key) do
      :"$pets_slow" -> Scan.next(table, key, :prev)
      prev -> prev
    end
  end

  @doc """
  Returns all objects of the table, from every node.

  Every slot is visited exactly once. An object that is there throughout is in the list once; one
  that is inserted or deleted meanwhile may be in it or not.

      iex> {:ok, _} = PartitionedEts.start_link(name: :all, table_opts: [:named_table, :public])
      iex> PartitionedEts.insert(:all, {:a, 1})
      iex> PartitionedEts.tab2list(:all)
      [a: 1]
  """
  @spec tab2list(table()) :: [object()]
  def tab2list(table), do: Scan.to_list(table)

  @doc """
  Folds a function over all objects, fetched from their nodes in chunks; it runs in the caller.

  Argument order and visibility as in `:ets.foldl/3` and `tab2list/1`.

      iex> {:ok, _} = PartitionedEts.start_link(name: :fold, table_opts: [:named_table, :public])
      iex> PartitionedEts.insert(:fold, [{:a, 1}, {:b, 2}])
      iex> PartitionedEts.foldl(fn {_key, n}, sum -> n + sum end, 0, :fold)
      3
  """
  @spec foldl((object(), acc -> acc), acc, table()) :: acc when acc: term()
  def foldl(function, acc, table) do
    Scan.reduce(table, acc, function, true, {:foldl, [function, acc, table]})
  end

  @doc "Does what `foldl/3` does; on an `:ordered_set` from the last key to the first."
  @spec foldr((object(), acc -> acc), acc, table()) :: acc when acc: term()
  def foldr(function, acc, table) do
    Scan.reduce(table, acc, function, false, {:foldr, [function, acc, table]})
  end

  ## Inspecting

  @doc """
  Returns what `:ets.info/1` returns, or `:undefined` for a missing table.

  `:size` and `:memory` (in words) are sums over all nodes; `:owner` and `:node` are this node's.

      iex> PartitionedEts.info(:no_such_table)
      :undefined
  """
  @spec info(table()) :: keyword() | :undefined
  def info(table), do: Info.all(table)

  @doc """
  Returns one item of `info/1`, or `:undefined` for a missing table.

      iex> {:ok, _} = PartitionedEts.start_link(name: :inf, table_opts: [:named_table, :public])
      iex> PartitionedEts.info(:inf, :size)
      0
  """
  @spec info(table(), atom()) :: term()
  def info(table, item), do: Info.one(table, item)

  @doc """
  Returns the name of a table that is hosted by this node, or `:undefined`.

  Where `:ets.whereis/1` returns an identifier, this returns the name: an operation by name costs
  no more here.

      iex> PartitionedEts.whereis(:no_such_table)
      :undefined
  """
  @spec whereis(table()) :: table() | :undefined
  def whereis(table), do: Info.whereis(table)

  ## The cluster

  @doc """
  Returns what is known about a table on this node and in its cluster.

  The map has at least the keys `:table`, `:node`, `:members`, `:partitions`, `:distributed`,
  `:settled?`, `:refused` (the nodes that host a table of this name that cannot be joined, with
  the difference) and `:ownership` (the figures of placement and handoff).

      iex> {:ok, _} = PartitionedEts.start_link(name: :shown, table_opts: [:named_table, :public])
      iex> PartitionedEts.status(:shown).partitions
      1
  """
  @spec status(table()) :: map()
  defdelegate status(table), to: Cluster

  @doc """
  Returns the sorted names of the nodes that host a table, this one included.

      iex> {:ok, _} = PartitionedEts.start_link(name: :hosted, table_opts: [:named_table, :public])
      iex> PartitionedEts.members(:hosted) == [node()]
      true
  """
  @spec members(table()) :: [node()]
  defdelegate members(table), to: Cluster

  @doc """
  Returns the node that owns a key, the same on every node that hosts the table.

      iex> {:ok, _} = PartitionedEts.start_link(name: :placed, table_opts: [:named_table, :public])
      iex> PartitionedEts.place(:placed, "hello") == node()
      true
  """
  @spec place(table(), key()) :: node() | nil
  defdelegate place(table, key), to: Cluster

  @doc """
  Tells whether this node owns a key.

      iex> {:ok, _} = PartitionedEts.start_link(name: :owned, table_opts: [:named_table, :public])
      iex> PartitionedEts.owner?(:owned, "hello")
      true
  """
  @spec owner?(table(), key()) :: boolean()
  defdelegate owner?(table, key), to: Cluster

  @doc """
  Returns the slot of a key.

      iex> {:ok, _} = PartitionedEts.start_link(name: :slots, table_opts: [:named_table, :public])
      iex> PartitionedEts.key_slot(:slots, "hello") in 0..4095
      true
  """
  @spec key_slot(table(), key()) :: slot()
  defdelegate key_slot(table, key), to: Cluster

  @doc """
  Returns the slots that this node owns, in ascending order.

      iex> {:ok, _} = PartitionedEts.start_link(name: :mine, table_opts: [:named_table, :public])
      iex> length(PartitionedEts.owned_slots(:mine))
      4096
  """
  @spec owned_slots(table()) :: [slot()]
  defdelegate owned_slots(table), to: Cluster

  @doc """
  Waits until no slot of a table is on its way to or from this node.

  Returns `:ok`, or raises `PartitionedEts.Error` with the reason `:timeout`.

      iex> {:ok, _} = PartitionedEts.start_link(name: :quiet, table_opts: [:named_table, :public])
      iex> PartitionedEts.await_settled(:quiet, 5_000)
      :ok
  """
  @spec await_settled(table(), timeout()) :: :ok
  defdelegate await_settled(table, timeout \\ 5_000), to: Cluster

  @doc """
  Subscribes the calling process to the changes of a table's slots on this node.

  It receives `{:partitioned_ets, table, event}` (see `t:event/0`) until it ends, calls
  `unsubscribe/1`, or the table is stopped here. A second call changes nothing.

      iex> {:ok, _} = PartitionedEts.start_link(name: :watched, table_opts: [:named_table, :public])
      iex> PartitionedEts.subscribe(:watched)
      :ok
  """
  @spec subscribe(table()) :: :ok
  defdelegate subscribe(table), to: Cluster

  @doc """
  Ends the subscription of the calling process.

      iex> {:ok, _} = PartitionedEts.start_link(name: :unseen, table_opts: [:named_table, :public])
      iex> PartitionedEts.unsubscribe(:unseen)
      :ok
  """
  @spec unsubscribe(table()) :: :ok
  defdelegate unsubscribe(table), to: Cluster

  ## What `:ets` has and this library does not have yet

  later = [
    {"match specifications",
     [
       match: 1,
       match: 2,
       match: 3,
       match_delete: 2,
       match_object: 1,
       match_object: 2,
       match_object: 3,
       select: 1,
       select: 2,
       select: 3,
       select_count: 2,
       select_delete: 2,
       select_replace: 2,
       select_reverse: 1,
       select_reverse: 2,
       select_reverse: 3,
       fun2ms: 1,
       is_compiled_ms: 1,
       match_spec_compile: 1,
       match_spec_run: 2,
       repair_continuation: 2,
       table: 1,
       table: 2,
       test_ms: 2
     ]},
    {"tables in files",
     [
       file2tab: 1,
       file2tab: 2,
       from_dets: 2,
       tab2file: 2,
       tab2file: 3,
       tabfile_info: 1,
       to_dets: 2
     ]},
    {"tables without a supervisor",
     [all: 0, give_away: 3, i: 0, i: 1, i: 2, i: 3, init_table: 2, new: 2, rename: 2, setopts: 2]},
    {"fixed and ordered traversal",
     [
       first_lookup: 1,
       last_lookup: 1,
       next_lookup: 2,
       prev_lookup: 2,
       safe_fixtable: 2,
       slot: 2
     ]}
  ]

  for {what, functions} <- later, {name, arity} <- functions do
    arguments =
      if Table.takes_table?({name, arity}),
        do: [Macro.var(:table, __MODULE__) | Macro.generate_arguments(arity - 1, __MODULE__)],
        else: Macro.generate_arguments(arity, __MODULE__)

    types = List.duplicate({:term, [], []}, arity)

    @doc "Raises `ArgumentError`: #{what} come with a later version."
    @spec unquote(name)(unquote_splicing(types)) :: no_return()
    def unquote(name)(unquote_splicing(arguments)) do
      _ = unquote(arguments)

      raise ArgumentError,
            unquote(
              "PartitionedEts.#{name}/#{arity} is not there yet: " <>
                "#{what} come with a later version"
            )
    end
  end
end
