defmodule PartitionedEts.Owner do
  @moduledoc false
  # The process that stands for a table in its user's supervision tree. It creates the table, or
  # finds it again after a crash, and ends it when it is stopped in order. It takes no part in
  # reads and writes.
  use GenServer

  alias PartitionedEts.{Departure, Error, Keeper, Membership, Native, Options, Rehash}

  @spec start_link(Options.t()) :: GenServer.on_start()
  def start_link(%Options{name: table} = options) do
    Process.whereis(Keeper) || raise Error, reason: :not_started, table: table
    GenServer.start_link(__MODULE__, options, name: registered_name(table))
  end

  # Registered, though not under the table's own name, which is its user's to give: two owners of
  # one table cannot start, and the second learns of the first.
  @spec registered_name(atom()) :: atom()
  def registered_name(table), do: :"partitioned_ets_owner:#{table}"

  @impl true
  def init(options) do
    Process.flag(:trap_exit, true)

    with :ok <- Keeper.attach(options.name, self()),
         :ok <- create_or_find(options) do
      {:ok, options, :hibernate}
    else
      {:error, reason} -> {:stop, reason}
    end
  end

  # The application is stopped under its users: the table is gone, and what stays would stand for
  # nothing.
  @spec application_stopped(pid()) :: :ok
  def application_stopped(owner), do: GenServer.cast(owner, :application_stopped)

  @impl true
  def handle_cast(:application_stopped, _options) do
    {:stop, {:shutdown, :application_stopped}, nil}
  end

  @impl true
  def handle_info(_message, options), do: {:noreply, options}

  # Any other reason is a crash of this process or of its supervisor: what starts next is to find
  # the table.
  @impl true
  def terminate(_reason, nil), do: :ok

  def terminate(reason, options) do
    if orderly?(reason), do: Departure.run(options), else: :ok
  end

  defp orderly?(reason), do: reason in [:normal, :shutdown] or match?({:shutdown, _}, reason)

  defp create_or_find(%Options{name: table} = options) do
    case Native.table_config(table) do
      nil -> create(options)
      %{definition: previous} -> find(options, previous)
    end
  end

  defp create(%Options{name: table} = options) do
    with :ok <- Native.table_new(table, config(options)), do: take(options)
  end

  defp take(%Options{name: table} = options) do
    with :ok <- Native.table_attach(table, self()) do
      if options.distributed, do: Membership.hosted(table)
      # Its members are known now.
      if Options.hash?(options), do: Rehash.host(table), else: :ok
    end
  end

  defp config(%Options{} = options) do
    %{
      name: options.name,
      type: options.type,
      keypos: options.keypos,
      partitions: options.partitions,
      role: role(options),
      distributed: options.distributed,
      callbacks: if(Options.hash?(options), do: options.callbacks),
      options: options.table_opts,
      timeout: options.timeout,
      # What a process of ours that starts later wants to know of the table.
      definition: options
    }
  end

  defp role(%Options{distributed: false}), do: :founder

  defp role(%Options{} = options) do
    role = Membership.host(options)
    # In the core a table that is placed by a callback is alone: its slots stay where they are.
    if Options.hash?(options), do: :founder, else: role
  end

  defp find(%Options{name: table} = options, previous) do
    case difference(options, previous) do
      nil ->
        take(options)

      key ->
        {:error,
         "table #{inspect(table)} holds the data of an owner that crashed, which had " <>
           "#{inspect(key)} #{inspect(Map.fetch!(previous, key))}; it cannot be taken over with " <>
           "#{inspect(Map.fetch!(options, key))}"}
    end
  end

  # What is built into a table cannot change under its data.
  defp difference(options, previous) do
    Enum.find(
      [:keypos, :type, :partitions, :distributed, :callbacks, :timeout],
      &(Map.fetch!(options, &1) != Map.fetch!(previous, &1))
    )
  end
end
