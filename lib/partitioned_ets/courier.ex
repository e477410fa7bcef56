defmodule PartitionedEts.Courier do
  @moduledoc false
  # Sends the answers of other nodes that have arrived together to their callers. From a scheduler
  # that is cheap; the thread that has read them would wake a scheduler with each.
  use GenServer

  alias PartitionedEts.Native

  @spec start_link([]) :: GenServer.on_start()
  def start_link([]), do: GenServer.start_link(__MODULE__, [], name: __MODULE__)

  @impl true
  def init([]) do
    # Callers wait for it, and it never has much to do.
    Process.flag(:priority, :high)
    :ok = Native.courier_attach(self())
    {:ok, nil, {:continue, :deliver}}
  end

  # What the last courier has left.
  @impl true
  def handle_continue(:deliver, state), do: deliver(state)

  @impl true
  def handle_info(:deliver, state), do: deliver(state)
  def handle_info(_other, state), do: {:noreply, state}

  defp deliver(state) do
    if Native.courier_deliver(), do: deliver(state), else: {:noreply, state}
  end
end
