defmodule PartitionedEts.Call do
  # The road that an operation takes when it was not answered on the spot: to the node that serves
  # its slot, or into the queue of a slot that is just changing its node. The caller waits for one
  # message with a time-out; no process stands between.
  @moduledoc false

  alias PartitionedEts.{Error, Failure, Native, Placed}

  @doc """
  Runs `operation` wherever its slot is served and returns its result.

  `arguments` are the operation's own; `stack` is the call as the user wrote it, for exceptions.
  """
  @spec run(atom(), atom(), tuple(), {atom(), [term()]}) :: term()
  def run(table, operation, arguments, stack) do
    case outcome(table, operation, arguments) do
      {:ok, result} -> result
      failure -> raise_failure(failure, table, stack)
    end
  end

  @doc "The outcome of `operation` on one node, whatever slots it serves."
  @spec outcome_on(node(), atom(), atom(), tuple()) ::
          {:ok, term()} | {:badarg, atom()} | {:error, atom(), node() | nil}
  def outcome_on(node, table, operation, arguments) do
    ref = make_ref()
    await(Native.call_node(table, node, operation, arguments, ref), ref)
  end

  @doc "The outcome of `operation`, without raising."
  @spec outcome(atom(), atom(), tuple()) ::
          {:ok, term()} | {:badarg, atom()} | {:error, atom(), node() | nil}
  def outcome(table, operation, arguments) do
    case Placed.view(table) do
      nil -> outcome_by_slot(table, operation, arguments)
      view -> Placed.outcome(table, view, operation, arguments)
    end
  end

  @doc "One try on one node, nil for this one, that must be in a view of this version and phase."
  @spec outcome_under(
          atom(),
          node() | nil,
          {version :: pos_integer(), :open | :closed},
          atom(),
          tuple(),
          non_neg_integer()
        ) :: {:ok, term()} | {:badarg, atom()} | {:error, atom(), node() | nil}
  def outcome_under(table, node, {version, phase}, operation, arguments, timeout) do
    ref = make_ref()

    table
    |> Native.placed_call(node, version, phase, operation, arguments, ref, timeout)
    |> await(ref)
  end

  defp outcome_by_slot(table, operation, arguments) do
    # The reference is made in the function that receives: only then does the receive skip the
    # messages that were in the mailbox before.
    ref = make_ref()
    await(Native.call_start(table, operation, arguments, ref), ref)
  end

  @compile {:inline, await: 2}
  defp await({:done, outcome}, _ref), do: outcome

  defp await({id, timeout}, ref) do
    receive do
      {^ref, outcome} -> outcome
    after
      timeout ->
        if Native.call_cancel(id) do
          {:error, :timeout, nil}
        else
          # The answer won the race: it is on its way.
          await_sent(ref)
        end
    end
  end

  # A courier that dies leaves answers behind, which anybody may send.
  defp await_sent(ref) do
    receive do
      {^ref, outcome} -> outcome
    after
      100 ->
        Native.courier_deliver()
        await_sent(ref)
    end
  end

  @doc false
  @spec raise_failure(tuple(), atom(), {atom(), [term()]}) :: no_return()
  def raise_failure({:badarg, cause}, _table, {function, arguments}) do
    Failure.badarg(function, arguments, cause)
  end

  # By slot, on a table that is placed by a callback: before its first view, while it starts.
  def raise_failure({:error, :moved, node}, table, _stack) do
    raise Error, reason: :no_owner, table: table, node: node
  end

  # The table was stopped here while the operation waited.
  def raise_failure({:error, :no_table, node}, _table, {function, arguments})
      when node == node(),
      do: Failure.badarg(function, arguments, :id)

  def raise_failure({:error, reason, node}, table, _stack) do
    raise Error, reason: reason, table: table, node: node
  end
end
