defmodule PartitionedEts.Placed do
  @moduledoc false
  # Tables whose keys are placed by a `hash/2` callback. A *view* is the list of shards that the
  # callback chooses from, with a version that every node computes alike. An operation
  # carries the version under which its node was chosen, and is carried out only where the node is
  # in that view; `PartitionedEts.Rehash` takes a node from one view to the next.

  import Bitwise

  alias PartitionedEts.{Call, Error, Options, Shards}

  # nodes: shard => node, to look up what the callback answered; members: the nodes, sorted
  defmodule View do
    @moduledoc false
    @enforce_keys [:version, :shards, :nodes, :members, :module, :keypos, :timeout]
    defstruct @enforce_keys
  end

  @type view :: %View{}
  @type outcome :: {:ok, term()} | {:badarg, atom()} | {:error, atom(), node() | nil}

  # With two of these the version stays a small integer.
  @half 29

  # `instances` tells the starts of the table apart that the members are members with.
  @spec new(Options.t(), [{node(), pos_integer()}], [{node(), integer()}]) :: view()
  def new(%Options{} = options, weights, instances \\ []) do
    shards = Shards.of(options.name, weights)

    %View{
      version: version({shards, Enum.sort(instances)}),
      shards: shards,
      nodes: Map.new(shards, fn {node, _partition} = shard -> {shard, node} end),
      members: weights |> Enum.map(&elem(&1, 0)) |> Enum.sort(),
      module: options.callbacks,
      keypos: options.keypos,
      timeout: options.timeout
    }
  end

  # Never 0, the version of a table that has no view yet.
  defp version(what) do
    high = :erlang.phash2({:high, what}, 1 <<< @half)
    max(high <<< @half ||| :erlang.phash2({:low, what}, 1 <<< @half), 1)
  end

  # The view in which this node is, or which it is about to enter; nil for a table of another kind.
  # A persistent term: views change seldom and are read by every operation, without a copy.
  @spec view(term()) :: view() | nil
  def view(table), do: :persistent_term.get({__MODULE__, table}, nil)

  # Written by `Rehash` only.
  @spec publish(atom(), view()) :: :ok
  def publish(table, view), do: :persistent_term.put({__MODULE__, table}, view)

  @spec erase(atom()) :: :ok
  def erase(table) do
    :persistent_term.erase({__MODULE__, table})
    :ok
  end

  # The node that the callback chooses, or a sentence on why there is none.
  @spec choose(view(), term()) :: {:ok, node()} | {:error, String.t()}
  def choose(%View{module: module, shards: shards, nodes: nodes}, key) do
    case module.hash(key, shards) do
      shard when is_map_key(nodes, shard) ->
        {:ok, :erlang.map_get(shard, nodes)}

      other ->
        {:error,
         "#{inspect(module)}.hash/2 answered #{inspect(other)} for the key #{inspect(key)}, " <>
           "which is none of the shards #{inspect(shards)}"}
    end
  catch
    kind, reason ->
      {:error,
       "#{inspect(module)}.hash/2 failed for the key #{inspect(key)}: " <>
         Exception.format_banner(kind, reason, __STACKTRACE__)}
  end

  @spec choose!(atom(), view(), term()) :: node()
  # The last node that leaves knows of no shard any more.
  def choose!(table, %View{shards: []}, _key), do: raise(Error, reason: :no_owner, table: table)

  def choose!(_table, view, key) do
    case choose(view, key) do
      {:ok, node} -> node
      {:error, sentence} -> raise ArgumentError, sentence
    end
  end

  # The outcome of an operation on one key or object, under whatever view there is.
  @spec outcome(atom(), view(), atom(), tuple()) :: outcome()
  def outcome(table, view, operation, arguments) do
    attempt(table, view, operation, arguments, now_ms() + view.timeout)
  end

  defp attempt(table, view, operation, arguments, deadline) do
    node = target(table, view, operation, arguments)

    case ask_until(table, view, node, operation, arguments, deadline) do
      {:error, :moved, _} ->
        view = view(table)
        if view, do: attempt(table, view, operation, arguments, deadline), else: {:badarg, :id}

      outcome ->
        outcome
    end
  end

  # Carries an operation out on one node under one view, for as long as there is no other view
  # here. `{:error, :moved, _}`: there is, and nothing was done.
  @spec ask(atom(), view(), node(), atom(), tuple()) :: outcome()
  def ask(table, view, node, operation, arguments) do
    ask_until(table, view, node, operation, arguments, now_ms() + view.timeout)
  end

  # A node that refuses is behind, or ahead. It has made the operation wait: asking again at once
  # keeps nobody busy.
  defp ask_until(table, view, node, operation, arguments, deadline) do
    target = if node == node(), do: nil, else: node
    left_ms = max(deadline - now_ms(), 0)
    under = {view.version, :open}

    case Call.outcome_under(table, target, under, operation, arguments, left_ms) do
      {:error, :moved, _} = moved ->
        cond do
          other_view?(table, view) -> moved
          now_ms() >= deadline -> {:error, :timeout, node}
          true -> ask_until(table, view, node, operation, arguments, deadline)
        end

      outcome ->
        outcome
    end
  end

  defp other_view?(table, view) do
    case view(table) do
      nil -> true
      now -> now.version != view.version
    end
  end

  defp target(table, view, operation, {object})
       when operation in [:insert, :insert_new, :delete_object] do
    # What is no object is found to be wrong on any node.
    if is_tuple(object) and tuple_size(object) >= view.keypos,
      do: choose!(table, view, elem(object, view.keypos - 1)),
      else: node()
  end

  defp target(table, view, _operation, arguments), do: choose!(table, view, elem(arguments, 0))

  # `{:ok, [{node, objects}]}` with the objects of each node in their order, or `{:badarg, :none}`.
  @spec group(atom(), view(), term()) ::
          {:ok, [{node(), [tuple(), ...]}]} | {:badarg, :none}
  def group(table, view, objects) do
    if objects?(objects, view.keypos) do
      position = view.keypos - 1
      {:ok, objects |> Enum.group_by(&choose!(table, view, elem(&1, position))) |> Enum.sort()}
    else
      {:badarg, :none}
    end
  end

  defp objects?([object | rest], keypos),
    do: is_tuple(object) and tuple_size(object) >= keypos and objects?(rest, keypos)

  defp objects?(rest, _keypos), do: rest == []

  defp now_ms, do: System.monotonic_time(:millisecond)
end
