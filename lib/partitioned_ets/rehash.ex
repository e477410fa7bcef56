defmodule PartitionedEts.Rehash do
  @moduledoc false
  # Takes this node's tables that are placed by a `hash/2` callback from one view to the next. A
  # view is closed first, on every node for itself; then each node sends away what does not belong
  # to it any more; and each opens the view when it has heard from all others that they have done
  # so, which includes the nodes that are about to leave.
  #
  # A node asks the others; an answer means that the other was in the view, and through with
  # sending, after it was asked. Questions are repeated until they are answered, so that none can
  # be lost. Every round of questions has a reference of its own: an answer to an earlier one may
  # be older than a view in between.
  #
  # A node that is asked in a new round about a view that it has open closes it once more: the
  # other has been through something that this node has missed, a broken connection or a restart,
  # and may have objects for it.
  use GenServer

  alias PartitionedEts.{Drain, Events, Members, Native, Options, Placed}

  require Logger

  @again_ms 200
  @pause_ms 20

  # The latest view of a table, and how far it has come.
  #   round: reference of the questions; others: the nodes that are asked, waiting: those that
  #     have not answered
  #   drained?: nothing here belongs elsewhere; open?: users are served
  #   task: {monitor, round, version} of the task that sends objects away
  #   questions: node => {version, round} not answered yet; heard: node => round it asked in last
  #   leaving: callers who wait until this node has nothing left
  #   timer: repeats the questions
  defmodule Transition do
    @moduledoc false
    @enforce_keys [:view]
    defstruct [
      :view,
      :round,
      :task,
      :timer,
      others: [],
      waiting: [],
      drained?: false,
      open?: false,
      questions: %{},
      heard: %{},
      leaving: []
    ]
  end

  @spec start_link([]) :: GenServer.on_start()
  def start_link([]), do: GenServer.start_link(__MODULE__, [], name: __MODULE__)

  # A table exists, and its members are known. It can be used when this returns.
  @spec host(atom()) :: :ok
  def host(table), do: GenServer.call(__MODULE__, {:host, table}, :infinity)

  # The members of a table have changed.
  @spec changed(atom()) :: :ok
  def changed(table), do: GenServer.cast(__MODULE__, {:changed, table})

  # Returns when this node, which is no member any more, has sent everything away. That is at once
  # where there is nobody to send it to.
  @spec leave(atom(), non_neg_integer()) :: :ok | :timeout
  def leave(table, timeout_ms) do
    leave_until(table, System.monotonic_time(:millisecond) + timeout_ms)
  end

  defp leave_until(table, deadline) do
    left_ms = max(deadline - System.monotonic_time(:millisecond), 0)

    case call_leave(table, left_ms) do
      # This process has crashed, and its successor will do it.
      :crashed when left_ms > 0 ->
        receive after: (@pause_ms -> leave_until(table, deadline))

      :ok ->
        :ok

      _ ->
        :timeout
    end
  end

  defp call_leave(table, timeout_ms) do
    GenServer.call(__MODULE__, {:leave, table}, timeout_ms)
  catch
    :exit, {:timeout, _call} ->
      :timeout

    :exit, {_reason, _call} ->
      # Without a supervisor the application was stopped before its users.
      if Process.whereis(PartitionedEts.Supervisor), do: :crashed, else: :stopped
  end

  # The table is not here any more.
  @spec forget(atom()) :: :ok
  def forget(table) do
    Placed.erase(table)
    GenServer.cast(__MODULE__, {:changed, table})
  end

  # Whether the table is in the view of its present members and serves its users; nil when it is
  # not here.
  @spec settled?(atom()) :: boolean() | nil
  def settled?(table) do
    with {version, open?} <- Native.view_state(table),
         {view, _others} <- target(table),
         do: open? and version == view.version
  end

  @impl true
  def init([]) do
    # The tasks are linked, so that none of them survives this process; it survives theirs.
    Process.flag(:trap_exit, true)
    # A node's own name is part of the views of its tables.
    :ok = :net_kernel.monitor_nodes(true, %{node_type: :all})
    # After a crash of this process: what it had asked and been asked is asked again.
    {:ok, Enum.reduce(Native.table_names(), %{}, &update(&2, &1))}
  end

  @impl true
  def handle_call({:host, table}, _from, state), do: {:reply, :ok, update(state, table)}

  def handle_call({:leave, table}, from, state) do
    case update(state, table) do
      %{^table => transition} = state ->
        {:noreply,
         put(state, table, finish(table, %{transition | leaving: [from | transition.leaving]}))}

      state ->
        {:reply, :ok, state}
    end
  end

  @impl true
  def handle_cast({:changed, table}, state), do: {:noreply, update(state, table)}

  @impl true
  def handle_info({:ask, table, version, round, node}, state) do
    # The other may hear that this node hosts the table before this process does.
    known? = is_map_key(state, table) or node() not in Members.nodes(table)

    case if(known?, do: state, else: update(state, table)) do
      %{^table => transition} = state ->
        transition = asked(table, transition, version, round, node)
        {:noreply, put(state, table, transition)}

      # It asks again.
      state ->
        {:noreply, state}
    end
  end

  def handle_info({:drained, table, round, node}, state) do
    case state do
      %{^table => %Transition{round: ^round} = transition} ->
        transition = %{transition | waiting: List.delete(transition.waiting, node)}
        {:noreply, put(state, table, finish(table, transition))}

      _ ->
        {:noreply, state}
    end
  end

  def handle_info({:timeout, timer, {:again, table}}, state) do
    case state do
      %{^table => %Transition{timer: ^timer} = transition} ->
        transition = table |> ask(%{transition | timer: nil}) |> set_timer(table)
        {:noreply, put(state, table, drain(table, transition))}

      _ ->
        {:noreply, state}
    end
  end

  # The end of a task.
  def handle_info({monitor, result}, state) when is_reference(monitor) do
    Process.demonitor(monitor, [:flush])
    {:noreply, task_ended(state, monitor, result)}
  end

  def handle_info({:DOWN, monitor, :process, _pid, reason}, state) do
    Logger.error("sending away the objects of a table failed: #{Exception.format_exit(reason)}")
    {:noreply, task_ended(state, monitor, :failed)}
  end

  def handle_info({change, node, _info}, state) when change in [:nodeup, :nodedown] do
    # When distribution starts, and when it stops.
    if node == node() or not Node.alive?(),
      do: {:noreply, Enum.reduce(Map.keys(state), state, &update(&2, &1))},
      else: {:noreply, state}
  end

  def handle_info(_message, state), do: {:noreply, state}

  ## From view to view

  # Compares a table with its members and begins what follows.
  defp update(state, table) do
    case {target(table), Map.get(state, table, %Transition{view: nil})} do
      {nil, transition} ->
        for from <- transition.leaving, do: GenServer.reply(from, :ok)
        Map.delete(state, table)

      {{view, others}, transition} ->
        cond do
          same?(table, view, transition) ->
            put(state, table, follow(table, transition, others))

          # A view that comes again: what a task has done in its first time, such as the sending of
          # an object that it is about to delete, is not true any more in its second. The task
          # ends, for this node is in another view, and then this is called again.
          match?({_monitor, _round, version} when version == view.version, transition.task) ->
            state

          true ->
            put(state, table, enter(table, view, others, transition))
        end
    end
  end

  # The view in which the table should be, and whom to wait for; nil when it is not here, or
  # placed by slots.
  defp target(table) do
    with {_version, _open?} <- Native.view_state(table),
         %{definition: %Options{} = options} <- Native.table_config(table) do
      if options.distributed do
        view = Placed.new(options, Members.weights(table), Members.instances(table))
        {view, (view.members ++ Members.leaving(table)) -- [node()]}
      else
        {Placed.new(options, [{node(), options.partitions}]), []}
      end
    end
  end

  # A table that was deleted and started again has no view yet.
  defp same?(_table, _view, %Transition{view: nil}), do: false

  defp same?(table, view, transition) do
    {version, _open?} = Native.view_state(table) || {0, false}
    view.version == transition.view.version and view.version == version
  end

  defp follow(table, transition, others) do
    waiting =
      (transition.waiting -- (transition.others -- others)) ++ (others -- transition.others)

    waiting = if transition.open?, do: [], else: waiting
    finish(table, ask(table, %{transition | others: others, waiting: waiting}))
  end

  defp enter(table, view, others, transition) do
    # Who reads the new view before the old one is closed waits for it at its node; who has read
    # the old one then is refused.
    Placed.publish(table, view)
    close(table, view)
    transition = %{transition | view: view, others: others, drained?: false, open?: false}
    transition = drain(table, new_round(table, transition))
    finish(table, transition)
  end

  # The table may be deleted at any moment.
  defp close(table, view) do
    Native.view_close(table, view.version)
  rescue
    ArgumentError -> :ok
  end

  defp new_round(table, transition) do
    # Nobody waits for anything but an end of its own part on a node that is leaving.
    waiting = if node() in transition.view.members, do: transition.others, else: []
    transition = %{transition | round: make_ref(), waiting: waiting}
    table |> ask(transition) |> set_timer(table)
  end

  defp set_timer(transition, table) do
    if transition.timer, do: :erlang.cancel_timer(transition.timer)
    timer = :erlang.start_timer(@again_ms, self(), {:again, table})
    %{transition | timer: timer}
  end

  # Starts the task that sends objects away, where there is none for this round and need of one.
  # One of an earlier round ends by itself: nothing of it may be under way when this node says
  # that it is through.
  defp drain(table, %Transition{task: nil, drained?: false} = transition) do
    if transition.view.members in [[], [node()]] do
      %{transition | drained?: true}
    else
      task =
        Task.Supervisor.async(PartitionedEts.Tasks, Drain, :run, [table, transition.view])

      %{transition | task: {task.ref, transition.round, transition.view.version}}
    end
  end

  defp drain(_table, transition), do: transition

  defp task_ended(state, monitor, result) do
    case Enum.find(state, fn {_table, t} -> match?({^monitor, _, _}, t.task) end) do
      {table, %Transition{task: {_monitor, round, _version}} = transition} ->
        transition = %{transition | task: nil}

        transition =
          cond do
            result == :drained and round == transition.round -> %{transition | drained?: true}
            # The timer tries again.
            result == :failed -> transition
            true -> drain(table, transition)
          end

        state |> put(table, finish(table, transition)) |> update(table)

      nil ->
        state
    end
  end

  # Does what the present state allows: answers, opens, lets go.
  defp finish(_table, %Transition{drained?: false} = transition), do: transition

  defp finish(table, transition) do
    transition = answer(table, transition)

    cond do
      node() not in transition.view.members ->
        for from <- transition.leaving, do: GenServer.reply(from, :ok)
        %{stop_timer(transition) | leaving: []}

      transition.open? or transition.waiting != [] ->
        transition

      true ->
        open(table, transition)
    end
  end

  defp open(table, transition) do
    Native.view_open(table, transition.view.version)
    send(Events, {:pets_event, table, :settled})
    %{stop_timer(transition) | open?: true}
  rescue
    # The table or the other process are gone just now.
    ArgumentError -> transition
  end

  defp stop_timer(%Transition{timer: nil} = transition), do: transition

  defp stop_timer(transition) do
    :erlang.cancel_timer(transition.timer)
    %{transition | timer: nil}
  end

  ## Questions and answers

  defp ask(table, transition) do
    for node <- transition.waiting,
        do: tell(node, {:ask, table, transition.view.version, transition.round, node()})

    transition
  end

  defp asked(table, transition, version, round, node) do
    transition =
      if transition.open? and version == transition.view.version and
           transition.heard[node] != round do
        close(table, transition.view)
        new_round(table, %{transition | open?: false})
      else
        wait_again(table, transition, version, round, node)
      end

    finish(table, %{
      transition
      | questions: Map.put(transition.questions, node, {version, round}),
        heard: Map.put(transition.heard, node, round)
    })
  end

  # A node that has answered and asks in a new round has been in another view since then, and may
  # have got objects there.
  defp wait_again(table, transition, version, round, node) do
    answered? = node in transition.others and node not in transition.waiting

    if answered? and not transition.open? and version == transition.view.version and
         transition.heard[node] not in [nil, round] and node() in transition.view.members,
       do: ask(table, %{transition | waiting: [node | transition.waiting]}),
       else: transition
  end

  # A node that has not heard of one that is leaving hears from those who have when that is through.
  defp answer(table, %Transition{view: %{version: version}} = transition) do
    if transition.waiting -- transition.view.members == [],
      do: answer(table, transition, version),
      else: transition
  end

  defp answer(table, transition, version) do
    {answered, questions} =
      Map.split_with(transition.questions, fn {_node, {asked, _round}} -> asked == version end)

    for {node, {_version, round}} <- answered, do: tell(node, {:drained, table, round, node()})
    %{transition | questions: questions}
  end

  # What does not arrive is asked for again.
  defp tell(node, message) do
    :erlang.send({__MODULE__, node}, message, [:noconnect, :nosuspend])
  end

  defp put(state, table, transition), do: Map.put(state, table, transition)
end
