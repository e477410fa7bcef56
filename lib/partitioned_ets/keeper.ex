defmodule PartitionedEts.Keeper do
  @moduledoc false
  # Knows which process owns which table. A table outlives a crash of its owner, so that the owner
  # that the supervisor starts next finds the data; when none comes within the grace time, nobody
  # ever would free the memory: this process ends such a table.
  use GenServer

  alias PartitionedEts.{Departure, Native, Options}

  require Logger

  # owner: the process, nil once it is down; monitor: of the owner; timer: runs while there is no
  # owner; departure: the task that ends the table; waiting: owners that came during it.
  defmodule Entry do
    @moduledoc false
    defstruct [:owner, :monitor, :timer, :departure, waiting: []]
  end

  @spec start_link([]) :: GenServer.on_start()
  def start_link([]), do: GenServer.start_link(__MODULE__, [], name: __MODULE__)

  # Makes a process the owner of a table, which need not exist yet. Waits while the table is being
  # ended, for it will be a new one then.
  @spec attach(atom(), pid()) :: :ok | {:error, {:already_started, pid()}}
  def attach(table, pid), do: GenServer.call(__MODULE__, {:attach, table, pid}, :infinity)

  @impl true
  def init([]) do
    # After a crash of this process: the owners are where they were.
    state =
      for table <- Native.table_names(), reduce: %{} do
        state ->
          case owner(table) do
            pid when is_pid(pid) -> Map.put(state, table, watch(%Entry{}, pid))
            _nobody -> owner_down(state, table, %Entry{})
          end
      end

    {:ok, state}
  end

  @impl true
  def handle_call({:attach, table, pid}, from, state) do
    case Map.get(state, table, %Entry{}) do
      %Entry{departure: task} = entry when task != nil ->
        {:noreply, Map.put(state, table, %{entry | waiting: [{from, pid} | entry.waiting]})}

      %Entry{owner: ^pid} ->
        {:reply, :ok, state}

      entry ->
        if alive?(entry.owner),
          do: {:reply, {:error, {:already_started, entry.owner}}, state},
          else: {:reply, :ok, Map.put(state, table, watch(entry, pid))}
    end
  end

  @impl true
  def handle_info({:DOWN, monitor, :process, _pid, _reason}, state) do
    case Enum.find(state, fn {_table, entry} -> monitor in [entry.monitor, entry.departure] end) do
      {table, %Entry{monitor: ^monitor} = entry} -> {:noreply, owner_down(state, table, entry)}
      {table, entry} -> {:noreply, departed(state, table, entry)}
      nil -> {:noreply, state}
    end
  end

  def handle_info({:grace_over, table, timer}, state) do
    case state do
      %{^table => %Entry{timer: ^timer} = entry} -> {:noreply, depart(state, table, entry)}
      _ -> {:noreply, state}
    end
  end

  def handle_info(_message, state), do: {:noreply, state}

  defp watch(entry, pid) do
    if entry.monitor, do: Process.demonitor(entry.monitor, [:flush])
    %{entry | owner: pid, monitor: Process.monitor(pid), timer: nil}
  end

  # After an orderly stop the table is gone already.
  defp owner_down(state, table, entry) do
    if Native.table_config(table) do
      timer = make_ref()
      Process.send_after(self(), {:grace_over, table, timer}, grace_ms())
      Map.put(state, table, %{entry | owner: nil, monitor: nil, timer: timer})
    else
      Map.delete(state, table)
    end
  end

  defp depart(state, table, entry) do
    case Native.table_config(table) do
      %{definition: %Options{} = options} ->
        Logger.warning(
          "table #{inspect(table)} has had no owner for #{grace_ms()} ms and is deleted"
        )

        {:ok, pid} =
          Task.Supervisor.start_child(PartitionedEts.Tasks, Departure, :run, [options])

        %{state | table => %{entry | timer: nil, departure: Process.monitor(pid)}}

      nil ->
        Map.delete(state, table)
    end
  end

  defp departed(state, table, entry) do
    # If the departure crashed on its way.
    if Native.table_config(table), do: Departure.drop(table)

    case Enum.reverse(entry.waiting) do
      [] ->
        Map.delete(state, table)

      [{from, pid} | others] ->
        GenServer.reply(from, :ok)
        for {from, _} <- others, do: GenServer.reply(from, {:error, {:already_started, pid}})
        Map.put(state, table, watch(%Entry{}, pid))
    end
  end

  defp owner(table), do: Native.table_info(table, :owner)

  defp alive?(pid), do: is_pid(pid) and Process.alive?(pid)

  defp grace_ms, do: Application.get_env(:partitioned_ets, :owner_grace_ms, 5_000)
end
