defmodule PartitionedEts.Application do
  @moduledoc false
  # What all tables of a node share: the processes that follow the cluster and look after tables
  # whose owner died. A table itself lives in its user's supervision tree.
  use Application

  alias PartitionedEts.{Departure, Native, Supervisor, Owner}

  @impl true
  def start(_type, _args) do
    # Loaded here, so that a library that is missing or stale stops the application with the
    # sentence that the VM has just logged, and not some process of it with a riddle.
    with {:module, Native} <- Code.ensure_loaded(Native), do: Supervisor.start_link([])
  end

  # Applications that depend on this one have been stopped, and their tables with them. What is
  # left was started from somewhere else, a script or a shell: it leaves in order as well, while
  # the processes that takes are still there.
  @impl true
  def prep_stop(state) do
    tables =
      for table <- Native.table_names(),
          %{definition: definition} <- [Native.table_config(table)],
          do: {definition, Native.table_info(table, :owner)}

    # It is not there when the application ends because its processes kept crashing.
    if Process.whereis(PartitionedEts.Tasks), do: depart(Enum.map(tables, &elem(&1, 0)))

    # A VM that stops ends the owners by itself, each in its turn.
    unless match?({:stopping, _}, :init.get_status()) do
      for {_, owner} <- tables, is_pid(owner), do: Owner.application_stopped(owner)
    end

    state
  end

  defp depart(definitions) do
    PartitionedEts.Tasks
    |> Task.Supervisor.async_stream_nolink(definitions, Departure, :run, [],
      max_concurrency: max(length(definitions), 1),
      timeout: :infinity
    )
    |> Stream.run()
  end

  @impl true
  def stop(_state), do: Native.node_stop()
end
