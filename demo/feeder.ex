defmodule Demo.Feeder do
  @moduledoc """
  Hands the text out in chunks and adds up what the workers report.

  Each node has a share of the text. A worker whose node's share is used up helps with the largest
  one that is left, so that the share of a node that leaves is counted by the others. A chunk is
  handed out once, and a worker that fails fails the demo: no chunk is counted in part.

  When the text is used up before the last pass has been called, it is counted from the start once
  more: the nodes never run out of work while slots are on their way.
  """

  use GenServer

  @enforce_keys [:shares, :queues]
  defstruct [
    :shares,
    :queues,
    :started_ms,
    :ended_ms,
    passes: 1,
    last_pass?: false,
    leaving: MapSet.new(),
    bytes: 0,
    words: 0,
    sampled: 0,
    local: 0,
    longest_us: 0
  ]

  @typedoc "What has been counted so far."
  @type progress :: %{
          passes: pos_integer(),
          bytes: non_neg_integer(),
          words: non_neg_integer(),
          sampled: non_neg_integer(),
          local: non_neg_integer(),
          longest_us: non_neg_integer(),
          elapsed_ms: non_neg_integer()
        }

  @doc "Starts a feeder of the chunks of each node."
  @spec start_link(%{node() => [binary()]}) :: GenServer.on_start()
  def start_link(shares), do: GenServer.start_link(__MODULE__, shares)

  @doc "Takes a worker's report of its last chunk and returns the next one, or that it is done."
  @spec next(pid(), node(), Demo.Host.report() | nil) :: {:chunk, binary()} | :done
  def next(feeder, share, report), do: GenServer.call(feeder, {:next, share, report}, :infinity)

  @doc "Gives no more chunks to the workers of a node."
  @spec release(pid(), node()) :: :ok
  def release(feeder, node), do: GenServer.call(feeder, {:release, node})

  @doc "The pass that is under way is the last one."
  @spec last_pass(pid()) :: :ok
  def last_pass(feeder), do: GenServer.call(feeder, :last_pass)

  @doc "Returns what has been counted so far."
  @spec progress(pid()) :: progress()
  def progress(feeder), do: GenServer.call(feeder, :progress)

  @impl true
  def init(shares), do: {:ok, %__MODULE__{shares: shares, queues: shares}}

  @impl true
  def handle_call({:next, node, report}, _from, state) do
    state = add(state, report)

    if MapSet.member?(state.leaving, node) do
      {:reply, :done, state}
    else
      {reply, state} = hand_out(state, node)
      {:reply, reply, state}
    end
  end

  def handle_call({:release, node}, _from, state) do
    {:reply, :ok, %{state | leaving: MapSet.put(state.leaving, node)}}
  end

  def handle_call(:last_pass, _from, state), do: {:reply, :ok, %{state | last_pass?: true}}

  def handle_call(:progress, _from, state) do
    progress = Map.take(state, [:passes, :bytes, :words, :sampled, :local, :longest_us])
    started = state.started_ms || now_ms()
    {:reply, Map.put(progress, :elapsed_ms, (state.ended_ms || now_ms()) - started), state}
  end

  defp add(state, nil), do: %{state | started_ms: state.started_ms || now_ms()}

  defp add(state, report) do
    %{
      state
      | bytes: state.bytes + report.bytes,
        words: state.words + report.words,
        sampled: state.sampled + report.sampled,
        local: state.local + report.local,
        longest_us: max(state.longest_us, report.longest_us),
        ended_ms: now_ms()
    }
  end

  defp hand_out(state, node) do
    case state.queues do
      %{^node => [chunk | chunks]} ->
        {{:chunk, chunk}, put_in(state.queues[node], chunks)}

      queues ->
        case Enum.max_by(queues, fn {_node, chunks} -> length(chunks) end) do
          {other, [chunk | chunks]} ->
            {{:chunk, chunk}, put_in(state.queues[other], chunks)}

          {_other, []} when state.last_pass? ->
            {:done, state}

          {_other, []} ->
            hand_out(%{state | queues: state.shares, passes: state.passes + 1}, node)
        end
    end
  end

  defp now_ms, do: System.monotonic_time(:millisecond)
end
