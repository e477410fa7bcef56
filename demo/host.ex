defmodule Demo.Host do
  @moduledoc """
  What runs on the nodes that host the table: the table under its supervisor, the processes that
  count, and what the coordinator asks for.
  """

  alias Demo.{Feeder, Words}

  @table :words
  @partitions 8
  # Of this many words one is looked up in the placement, to know how many are local.
  @sample 16
  @longest_log 400

  @typedoc "What a worker did with a chunk."
  @type report :: %{
          bytes: non_neg_integer(),
          words: non_neg_integer(),
          sampled: non_neg_integer(),
          local: non_neg_integer(),
          longest_us: non_neg_integer()
        }

  @typedoc "What a node has of the table, and what it has sent and received."
  @type figures :: %{
          slots: non_neg_integer(),
          objects: non_neg_integer(),
          moving: non_neg_integer(),
          received_slots: non_neg_integer(),
          received_objects: non_neg_integer(),
          sent_bytes: non_neg_integer(),
          longest_pause_us: non_neg_integer()
        }

  @doc "The table that everybody counts in."
  @spec table() :: atom()
  def table, do: @table

  @doc "Partitions of each node."
  @spec partitions() :: pos_integer()
  def partitions, do: @partitions

  @doc "Starts what the table needs and sends what is logged here to the coordinator."
  @spec prepare(pid()) :: :ok
  def prepare(coordinator) do
    {:ok, _} = Application.ensure_all_started(:logger)
    :logger.remove_handler(:default)
    :logger.set_primary_config(:level, :info)

    :ok =
      :logger.add_handler(:demo, __MODULE__, %{
        level: :notice,
        config: %{coordinator: coordinator},
        # The system's own reports of what started where.
        filters: [quiet: {&:logger_filters.progress/2, :stop}]
      })

    {:ok, _} = Application.ensure_all_started(:partitioned_ets)
    :ok
  end

  @doc "Sends what is not worth a notice as well: connections that end."
  @spec log_more() :: :ok
  def log_more, do: :logger.set_handler_config(:demo, :level, :info)

  @doc "Starts the table on this node."
  @spec start_table() :: :ok
  def start_table do
    children = [
      {PartitionedEts, name: @table, table_opts: [:named_table, :public], partitions: @partitions}
    ]

    {:ok, supervisor} =
      Supervisor.start_link(children, strategy: :one_for_one, name: Demo.Supervisor)

    # The process that asks for it ends at once.
    Process.unlink(supervisor)
    :ok
  end

  @doc """
  Takes the table off this node, which hands its share to the others first. Returns its last
  figures, which it takes with it.
  """
  @spec stop_table() :: figures()
  def stop_table do
    figures = figures()

    {_pid, monitor} =
      spawn_monitor(fn ->
        Supervisor.terminate_child(Demo.Supervisor, {PartitionedEts, @table})
      end)

    last_figures(monitor, figures)
  end

  defp last_figures(monitor, last) do
    receive do
      {:DOWN, ^monitor, :process, _pid, :normal} -> last
    after
      1 -> last_figures(monitor, latest_figures() || last)
    end
  end

  defp latest_figures do
    figures()
  rescue
    # It is gone.
    ArgumentError -> nil
  end

  ## Counting

  @doc "Counts chunks of the feeder until there are no more for this node."
  @spec work(pid(), node()) :: :ok
  def work(feeder, share), do: work(feeder, share, nil)

  defp work(feeder, share, report) do
    case Feeder.next(feeder, share, report) do
      {:chunk, text} -> work(feeder, share, count(text))
      :done -> :ok
    end
  end

  defp count(text) do
    report = %{bytes: byte_size(text), words: 0, sampled: 0, local: 0, longest_us: 0}
    count(Words.split(text), report, System.monotonic_time())
  end

  defp count([], report, _before) do
    %{report | longest_us: System.convert_time_unit(report.longest_us, :native, :microsecond)}
  end

  defp count([word | words], report, before) do
    report = if rem(report.words, @sample) == 0, do: sample(report, word), else: report
    PartitionedEts.update_counter(@table, word, 1, {word, 0})
    now = System.monotonic_time()
    longest = max(report.longest_us, now - before)
    count(words, %{report | words: report.words + 1, longest_us: longest}, now)
  end

  defp sample(report, word) do
    local = if PartitionedEts.owner?(@table, word), do: 1, else: 0
    %{report | sampled: report.sampled + 1, local: report.local + local}
  end

  ## Telling

  @doc "What this node has of the table, and what has come and gone."
  @spec figures() :: figures()
  def figures do
    %{ownership: ownership} = PartitionedEts.status(@table)

    Map.merge(ownership.transfers, %{
      slots: ownership.owned,
      objects: ownership.objects,
      moving: ownership.sending
    })
  end

  @doc "Returns the slots of words."
  @spec key_slots([binary()]) :: [PartitionedEts.slot()]
  def key_slots(words), do: Enum.map(words, &PartitionedEts.key_slot(@table, &1))

  @doc "Waits until no slot is on its way to or from this node."
  @spec await_settled(timeout()) :: :ok
  def await_settled(timeout_ms), do: PartitionedEts.await_settled(@table, timeout_ms)

  @doc "Reads and writes the words, again and again until it works, and returns how long it took."
  @spec probe([binary()], timeout()) :: {:ok, non_neg_integer()} | {:error, Exception.t()}
  def probe(words, timeout_ms) do
    started = System.monotonic_time(:millisecond)
    probe(words, started, started + timeout_ms)
  end

  defp probe(words, started, deadline) do
    for word <- words do
      # Adds nothing: the counts stay what they are.
      count = PartitionedEts.update_counter(@table, word, 0, {word, 0})
      [{^word, ^count}] = PartitionedEts.lookup(@table, word)
    end

    {:ok, System.monotonic_time(:millisecond) - started}
  rescue
    error in PartitionedEts.Error ->
      if System.monotonic_time(:millisecond) < deadline,
        do: probe(words, started, deadline),
        else: {:error, error}
  end

  ## As a handler of the logger

  @doc false
  def log(event, %{config: %{coordinator: coordinator}}) do
    text = :logger_formatter.format(event, %{template: [:msg], single_line: true})
    text = text |> IO.chardata_to_string() |> String.slice(0, @longest_log)
    send(coordinator, {:log, node(), event.level, text})
  end
end
