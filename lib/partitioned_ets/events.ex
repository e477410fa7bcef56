defmodule PartitionedEts.Events do
  @moduledoc false
  # Passes the events of tables on to subscribers, to callers of `await_settled/2` and to the
  # callback modules. A burst of thousands of slots stays away from the processes that keep the
  # cluster together, and a callback runs in a task, away from this one.
  use GenServer

  alias PartitionedEts.{Members, Native, Options, Placed, Rehash}

  require Logger

  # table => what is to be told of it. A table is followed from the first interest in it until it
  # is stopped.
  #   subscribers: pid => monitor
  #   waiting: callers of await_settled/2
  #   arrived: nodes whose node_added/1 waits for their handoff
  defmodule Interest do
    @moduledoc false
    defstruct subscribers: %{}, waiting: [], arrived: []
  end

  # The subscriptions, as {table, pid}: kept where a crash of this process does not reach them.
  @spec new() :: :ok
  def new do
    :ets.new(__MODULE__, [:named_table, :public, :bag])
    :ok
  end

  @spec start_link([]) :: GenServer.on_start()
  def start_link([]), do: GenServer.start_link(__MODULE__, [], name: __MODULE__)

  @spec subscribe(atom(), pid()) :: :ok | :no_table
  def subscribe(table, pid), do: GenServer.call(__MODULE__, {:subscribe, table, pid}, :infinity)

  @spec unsubscribe(atom(), pid()) :: :ok
  def unsubscribe(table, pid),
    do: GenServer.call(__MODULE__, {:unsubscribe, table, pid}, :infinity)

  @spec await_settled(atom(), timeout()) :: :ok | :no_table | :timeout | :not_started
  def await_settled(table, timeout) do
    GenServer.call(__MODULE__, {:await_settled, table}, timeout)
  catch
    :exit, {:timeout, _call} -> :timeout
    :exit, {_reason, _call} -> :not_started
  end

  # Another node hosts the table now; its data is not necessarily there yet.
  @spec node_joined(atom(), node()) :: :ok
  def node_joined(table, node), do: GenServer.cast(__MODULE__, {:joined, table, node})

  @spec node_left(atom(), node()) :: :ok
  def node_left(table, node), do: GenServer.cast(__MODULE__, {:left, table, node})

  # The table is not here any more.
  @spec forget(atom()) :: :ok
  def forget(table), do: GenServer.cast(__MODULE__, {:forget, table})

  @impl true
  def init([]) do
    subscriptions = :ets.tab2list(__MODULE__)

    {:ok,
     for {table, pid} <- subscriptions, reduce: %{} do
       state -> follow(state, table, &add_subscriber(&1, table, pid))
     end}
  end

  @impl true
  def handle_call({:subscribe, table, pid}, _from, state) do
    if Native.table_config(table),
      do: {:reply, :ok, follow(state, table, &add_subscriber(&1, table, pid))},
      else: {:reply, :no_table, state}
  end

  def handle_call({:unsubscribe, table, pid}, _from, state) do
    {:reply, :ok, drop_subscriber(state, table, pid)}
  end

  def handle_call({:await_settled, table}, from, state) do
    # Followed before it is asked: the event cannot fall between the two.
    following = follow(state, table, & &1)

    case settled(table) do
      true -> {:reply, :ok, following}
      false -> {:noreply, follow(following, table, &%{&1 | waiting: [from | &1.waiting]})}
      nil -> {:reply, :no_table, state}
    end
  end

  @impl true
  def handle_cast({:joined, table, node}, state) do
    if calls?(table, :node_added) do
      state = follow(state, table, &%{&1 | arrived: Enum.uniq([node | &1.arrived])})
      {:noreply, if(arrived?(table, node), do: settle(state, table), else: state)}
    else
      {:noreply, state}
    end
  end

  def handle_cast({:left, table, node}, state) do
    call_back(table, :node_removed, node)

    case state do
      %{^table => interest} ->
        {:noreply, %{state | table => %{interest | arrived: List.delete(interest.arrived, node)}}}

      _ ->
        {:noreply, state}
    end
  end

  def handle_cast({:forget, table}, state) do
    {interest, state} = Map.pop(state, table, %Interest{})

    Enum.each(interest.subscribers, fn {_pid, monitor} -> Process.demonitor(monitor, [:flush]) end)

    :ets.delete(__MODULE__, table)
    Enum.each(interest.waiting, &GenServer.reply(&1, :no_table))
    Native.ownership_unsubscribe(table, self())
    {:noreply, state}
  end

  @impl true
  def handle_info({:pets_event, table, event}, state) do
    case state do
      %{^table => interest} ->
        if public?(event),
          do:
            for({pid, _} <- interest.subscribers, do: send(pid, {:partitioned_ets, table, event}))

        {:noreply, if(event == :settled, do: settle(state, table), else: state)}

      _ ->
        {:noreply, state}
    end
  end

  def handle_info({:DOWN, _monitor, :process, pid, _reason}, state) do
    {:noreply, Enum.reduce(Map.keys(state), state, &drop_subscriber(&2, &1, pid))}
  end

  def handle_info(_message, state), do: {:noreply, state}

  defp public?(:settled), do: true
  defp public?({what, _slot}), do: what in [:acquired, :released, :lost]
  defp public?(_event), do: false

  defp settle(state, table) do
    # The event may be older than a change that has begun since.
    if settled(table) do
      interest = state[table]
      Enum.each(interest.waiting, &GenServer.reply(&1, :ok))
      interest.arrived |> Enum.reverse() |> Enum.each(&call_back(table, :node_added, &1))
      %{state | table => %{interest | waiting: [], arrived: []}}
    else
      state
    end
  end

  # A table that is placed by a callback enters the view with the node in it after this.
  defp arrived?(table, node) do
    settled(table) && (Placed.view(table) == nil or node in Members.nodes(table))
  end

  # nil when the table is gone.
  defp settled(table) do
    if Placed.view(table), do: Rehash.settled?(table), else: settled_by_slot(table)
  end

  defp settled_by_slot(table) do
    with %{} <- Native.table_config(table),
         %{settled?: settled?} <- Native.ownership_status(table) do
      settled?
    else
      _ -> nil
    end
  end

  defp follow(state, table, update) do
    interest =
      Map.get_lazy(state, table, fn ->
        native_subscribe(table)
        %Interest{}
      end)

    Map.put(state, table, update.(interest))
  end

  # The table may be deleted at any moment; there is nothing to hear of then.
  defp native_subscribe(table) do
    Native.ownership_subscribe(table, self())
  rescue
    ArgumentError -> :ok
  end

  defp add_subscriber(interest, table, pid) do
    :ets.insert(__MODULE__, {table, pid})
    add = fn -> Process.monitor(pid) end
    %{interest | subscribers: Map.put_new_lazy(interest.subscribers, pid, add)}
  end

  defp drop_subscriber(state, table, pid) do
    case state do
      %{^table => %Interest{subscribers: %{^pid => monitor}} = interest} ->
        Process.demonitor(monitor, [:flush])
        :ets.delete_object(__MODULE__, {table, pid})
        %{state | table => %{interest | subscribers: Map.delete(interest.subscribers, pid)}}

      _ ->
        state
    end
  end

  defp calls?(table, function), do: callback(table, function) != nil

  defp callback(table, function) do
    case Native.table_config(table) do
      %{definition: %Options{callbacks: module} = options} ->
        if {function, 1} in options.callback_functions, do: module

      _ ->
        nil
    end
  end

  defp call_back(table, function, node) do
    case callback(table, function) do
      nil ->
        :ok

      module ->
        {:ok, _pid} =
          Task.Supervisor.start_child(PartitionedEts.Tasks, fn ->
            run_callback(table, module, function, node)
          end)

        :ok
    end
  end

  # Caught rather than left to crash the task: the log line names the table and the callback.
  defp run_callback(table, module, function, node) do
    apply(module, function, [node])
  catch
    kind, reason ->
      Logger.error(
        "table #{inspect(table)}: #{inspect(module)}.#{function}(#{inspect(node)}) crashed: " <>
          Exception.format(kind, reason, __STACKTRACE__)
      )
  end
end
