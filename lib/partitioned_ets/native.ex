defmodule PartitionedEts.Native do
  # The functions of the native library. Stubs only: what they do is in `native/pets_nif`, and what
  # they decide in `native/pets_core`.
  #
  # The `table_*` operations answer what `:ets` answers, or `:"$pets_slow"` when the answer is
  # anything else: the operation is wrong, or its slot is not served by this node right now. They
  # have done nothing then, and `PartitionedEts.Call` takes over.
  @moduledoc false

  # The first build compiles this module before there is a library to load.
  @compile {:autoload, false}
  @on_load :load

  # The library answers the same number, so that a stale build fails with a sentence.
  @abi 7

  @doc false
  def load do
    path = :filename.join(:code.priv_dir(:partitioned_ets), ~c"native/pets_nif")

    case :erlang.load_nif(path, @abi) do
      :ok ->
        :ok

      {:error, {_reason, text}} ->
        {:error,
         {:partitioned_ets,
          "cannot load #{path}: #{text}. Run `mix compile --force` in the project that depends on :partitioned_ets"}}
    end
  end

  # Operations on one key, on the caller's node.
  def table_lookup(_table, _key), do: stub()
  def table_lookup_many(_table, _keys), do: stub()
  def table_lookup_element(_table, _key, _position), do: stub()
  def table_lookup_element(_table, _key, _position, _default), do: stub()
  def table_member(_table, _key), do: stub()
  def table_insert(_table, _object_or_objects), do: stub()
  def table_insert_new(_table, _object_or_objects), do: stub()
  def table_delete(_table, _key), do: stub()
  def table_delete_object(_table, _object), do: stub()
  def table_take(_table, _key), do: stub()
  def table_update_counter(_table, _key, _operations), do: stub()
  def table_update_counter(_table, _key, _operations, _default), do: stub()
  def table_update_element(_table, _key, _operations), do: stub()
  def table_update_element(_table, _key, _operations, _default), do: stub()

  # Going through a table that is here as a whole: keys, `:"$end_of_table"`, `{objects, from | nil}`,
  # `{objects, [] | [key]}`; else `:"$pets_slow"`, as above.
  def table_first(_table), do: stub()
  def table_last(_table), do: stub()
  def table_next(_table, _key), do: stub()
  def table_prev(_table, _key), do: stub()
  def table_scan(_table, _from), do: stub()
  def table_scan_ordered(_table, _ascending, _after), do: stub()

  # The same operations wherever the slot is. `call_start/4` and `call_node/5` answer
  # `{:done, outcome}` at once, or `{id, timeout_ms}` of a call whose answer comes as
  # `{ref, outcome}`; outcome: `{:ok, term} | {:badarg, cause} | {:error, reason, node}`.
  # `call_cancel/1` is true when nothing will come any more.
  def call_start(_table, _operation, _arguments, _ref), do: stub()
  def call_node(_table, _node, _operation, _arguments, _ref), do: stub()
  def call_cancel(_call_id), do: stub()

  # Answers that arrived together are sent by the process that `courier_attach/1` was called with:
  # it gets `:deliver` and calls `courier_deliver/0` until that is false.
  def courier_attach(_pid), do: stub()
  def courier_deliver, do: stub()

  # Tables whose keys are placed by a callback. `placed_call/8` is answered like `call_node/5`; the
  # operation is carried out where the view has this version and is `:open`, or `:closed`, when
  # `:insert_many` keeps what is there. `view_close/2` returns when no operation of an earlier view
  # is being carried out. `view_state/1`: `{version, open?}`, nil for other tables.
  def placed_call(_table, _node, _version, _phase, _operation, _arguments, _ref, _timeout_ms),
    do: stub()

  def view_close(_name, _version), do: stub()
  def view_open(_name, _version), do: stub()
  def view_state(_name), do: stub()

  # The life of tables.
  def table_new(_name, _config), do: stub()
  def table_attach(_name, _owner), do: stub()
  def table_drop(_name), do: stub()
  def table_config(_name), do: stub()
  def table_info(_name, _item), do: stub()
  def table_names, do: stub()

  # Placement.
  def key_slot(_name, _key), do: stub()
  def slot_owner(_name, _slot), do: stub()
  def slot_ranking(_name, _slot, _count), do: stub()
  def owned_slots(_name), do: stub()
  # `[{node | nil, slots}]`, all 4,096 of them, or nil when the table is not here.
  def slots_by_owner(_name), do: stub()
  # `{:ok, [{node | nil, objects}]}`, or `{:badarg, cause}`.
  def group_by_owner(_name, _objects), do: stub()

  # Membership and handoff of a table.
  def member_up(_name, _node, _cnode, _weight), do: stub()
  def member_down(_node), do: stub()
  def member_gone(_name, _node), do: stub()
  def ownership_subscribe(_name, _pid), do: stub()
  def ownership_unsubscribe(_name, _pid), do: stub()
  def ownership_leave(_name, _deadline_ms), do: stub()
  def ownership_status(_name), do: stub()

  # The embedded C-node.
  def node_start(_config), do: stub()
  def node_stop, do: stub()
  def node_info, do: stub()
  # The process that gets `{:pets_log, level, text}`.
  def node_log_to(_pid), do: stub()
  def node_set_cookie(_cookie), do: stub()

  # For tests: a panic in the library reaches the caller as an error, terms survive the round trip.
  def debug_panic, do: stub()
  def debug_roundtrip(_term), do: stub()
  def debug_roundtrip(_term, _way), do: stub()
  def debug_compare(_left, _right), do: stub()

  defp stub, do: :erlang.nif_error(:not_loaded)
end
