defmodule PartitionedEts.Test.Load do
  @moduledoc "What tests run on the nodes of a cluster."

  @doc "The keys of a range that the table does not have."
  @spec missing(atom(), Range.t()) :: [integer()]
  def missing(table, keys) do
    for key <- keys, PartitionedEts.lookup(table, key) != [{key, key}], do: key
  end

  @doc "The keys that at least one of many processes, all of which look up all keys, did not find."
  @spec missing_to_many(atom(), Range.t(), pos_integer()) :: [integer()]
  def missing_to_many(table, keys, processes) do
    1..processes
    |> Enum.map(fn _ -> Task.async(__MODULE__, :missing, [table, keys]) end)
    |> Task.await_many(60_000)
    |> Enum.concat()
    |> Enum.uniq()
  end

  @doc """
  Looks keys up in many processes, some of which are killed while they wait. Returns how many
  answers came and how many callers gave up; an answer that is not the caller's crashes it.
  """
  @spec look_up_in_a_hurry(atom(), Range.t(), pos_integer(), pos_integer()) ::
          {non_neg_integer(), non_neg_integer()}
  def look_up_in_a_hurry(table, keys, processes, calls) do
    looking =
      for _ <- 1..processes do
        Task.async(fn -> Enum.frequencies_by(1..calls, fn _ -> hurry(table, keys) end) end)
      end

    killing = Task.async(fn -> kill_callers(table, keys) end)
    outcomes = Task.await_many(looking, 100_000)
    send(killing.pid, :stop)
    :ok = Task.await(killing)
    count = fn outcome -> outcomes |> Enum.map(&Map.get(&1, outcome, 0)) |> Enum.sum() end
    {count.(:found), count.(:timeout)}
  end

  defp hurry(table, keys) do
    key = Enum.random(keys)
    [{^key, ^key}] = PartitionedEts.lookup(table, key)
    :found
  rescue
    error in PartitionedEts.Error -> error.reason
  end

  defp kill_callers(table, keys) do
    callers =
      for _ <- 1..20,
          do: spawn(fn -> Enum.each(Stream.cycle([:ok]), fn _ -> hurry(table, keys) end) end)

    Process.sleep(5)
    Enum.each(callers, &Process.exit(&1, :kill))

    receive do
      :stop -> :ok
    after
      0 -> kill_callers(table, keys)
    end
  end

  @doc """
  Stops the process that sends answers on until all have arrived that were asked for; then it
  is killed, or left as it is.
  """
  @spec stop_courier(:kill | :leave) :: :ok
  def stop_courier(then_what) do
    courier = Process.whereis(PartitionedEts.Courier)
    # As long as this process lives.
    :erlang.suspend_process(courier)
    await_answers(10)
    if then_what == :kill, do: Process.exit(courier, :kill), else: Process.sleep(:infinity)
    :ok
  end

  # Callers whose answer came alone go on, so that nothing under way has to be seen a few times.
  defp await_answers(0), do: :ok

  defp await_answers(times) do
    Process.sleep(10)
    quiet? = PartitionedEts.Native.node_info().calls_in_flight == 0
    await_answers(if quiet?, do: times - 1, else: 10)
  end

  @doc "Inserts a binary of so many bytes."
  @spec insert_large(atom(), term(), pos_integer()) :: true
  def insert_large(table, key, bytes),
    do: PartitionedEts.insert(table, {key, :binary.copy("x", bytes)})

  @doc "The bytes of what a key has."
  @spec size_of_value(atom(), term()) :: pos_integer()
  def size_of_value(table, key), do: table |> PartitionedEts.lookup_element(key, 2) |> byte_size()

  @doc "Starts a process that increments counters at random until it is stopped."
  @spec start_counting(atom(), pos_integer()) :: pid()
  def start_counting(table, counters), do: spawn(fn -> count(table, counters, 0) end)

  @doc "Stops it and returns how many increments were acknowledged."
  @spec stop_counting(pid()) :: non_neg_integer()
  def stop_counting(pid) do
    monitor = Process.monitor(pid)
    send(pid, {:stop, self()})

    receive do
      {:counted, ^pid, counted} ->
        Process.demonitor(monitor, [:flush])
        counted

      {:DOWN, ^monitor, _, _, reason} ->
        exit({:load_failed, reason})
    end
  end

  defp count(table, counters, counted) do
    receive do
      {:stop, from} -> send(from, {:counted, self(), counted})
    after
      0 ->
        key = {:counter, :rand.uniform(counters)}
        PartitionedEts.update_counter(table, key, 1, {key, 0})
        count(table, counters, counted + 1)
    end
  end

  @doc "The sum of all counters."
  @spec sum(atom()) :: integer()
  def sum(table), do: PartitionedEts.foldl(fn {_key, n}, sum -> sum + n end, 0, table)

  @doc """
  A process that puts `{key, {writer, n}}` with growing `n` into a bag, with keys `1..keys` in turn,
  and takes every seventh object out again. Stopped by `stop_counting/1`, which returns how many it
  put in.
  """
  @spec start_filling(atom(), pos_integer(), term()) :: pid()
  def start_filling(table, keys, writer), do: spawn(fn -> fill(table, keys, writer, 0) end)

  defp fill(table, keys, writer, n) do
    true = PartitionedEts.insert(table, filled(keys, writer, n))
    taken = n - 3
    if taken?(taken), do: PartitionedEts.delete_object(table, filled(keys, writer, taken))

    receive do
      {:stop, from} -> send(from, {:counted, self(), n + 1})
    after
      0 -> fill(table, keys, writer, n + 1)
    end
  end

  defp filled(keys, writer, n), do: {rem(n, keys) + 1, {writer, n}}
  defp taken?(n), do: n >= 0 and rem(n, 7) == 0

  @doc "What is wrong with a bag after `start_filling/3` for each of `{writer, put in}`."
  @spec wrongly_filled(atom(), pos_integer(), [{term(), pos_integer()}]) :: [term()]
  def wrongly_filled(table, keys, writers) do
    for key <- 1..keys,
        {writer, count} <- writers,
        wrong <- wrong(table, keys, key, writer, count) do
      wrong
    end
  end

  defp wrong(table, keys, key, writer, count) do
    expected =
      for n <- 0..(count - 1),
          {^key, _} <- [filled(keys, writer, n)],
          not (taken?(n) and n <= count - 4),
          do: n

    # The objects of one writer are in the order in which it put them in.
    case for {_key, {^writer, n}} <- PartitionedEts.lookup(table, key), do: n do
      ^expected -> []
      found -> [{key, writer, missing: expected -- found, surplus: found -- expected}]
    end
  end

  @doc """
  Walks an ordered table in all ways until it is stopped by `stop_counting/1`, which returns how often
  it did. It crashes when a key of the range is missing, comes twice, or at the wrong place; other
  keys come and go.
  """
  @spec start_walking(atom(), Range.t()) :: pid()
  def start_walking(table, keys), do: spawn(fn -> walk(table, Enum.to_list(keys), 0) end)

  defp walk(table, keys, times) do
    ^keys = for {key, :stays} <- PartitionedEts.tab2list(table), do: key
    collect = fn {key, stays}, acc -> if stays == :stays, do: [key | acc], else: acc end
    ^keys = PartitionedEts.foldr(collect, [], table)
    stays = for key <- keys, do: [{key, :stays}]
    ^stays = PartitionedEts.lookup_many(table, keys)
    walk_from(table, Enum.random(keys), keys)

    receive do
      {:stop, from} -> send(from, {:counted, self(), times + 1})
    after
      0 -> walk(table, keys, times + 1)
    end
  end

  defp walk_from(table, key, keys) do
    following = following(table, key, &PartitionedEts.next/2)
    true = Enum.take(Enum.filter(keys, &(&1 > key)), 5) == following
    preceding = following(table, key, &PartitionedEts.prev/2)
    true = Enum.take(Enum.reverse(Enum.filter(keys, &(&1 < key))), 5) == preceding
  end

  # The next five keys that stay, which are whole numbers.
  defp following(table, key, step) do
    key
    |> Stream.iterate(&step.(table, &1))
    |> Stream.drop(1)
    |> Stream.take_while(&(&1 != :"$end_of_table"))
    |> Stream.filter(&is_integer/1)
    |> Enum.take(5)
  end

  @doc "Inserts and deletes keys between those of a range until it is stopped by `stop_counting/1`."
  @spec start_coming_and_going(atom(), Range.t()) :: pid()
  def start_coming_and_going(table, keys), do: spawn(fn -> come_and_go(table, keys, 0) end)

  defp come_and_go(table, keys, times) do
    key = Enum.random(keys) + 0.5
    PartitionedEts.insert(table, {key, :goes})
    PartitionedEts.delete(table, Enum.random(keys) + 0.5)

    receive do
      {:stop, from} -> send(from, {:counted, self(), times + 1})
    after
      0 -> come_and_go(table, keys, times + 1)
    end
  end

  @doc "Starts a process that subscribes to a table and keeps what it hears."
  @spec start_hearing(atom()) :: pid()
  def start_hearing(table) do
    starter = self()

    pid =
      spawn(fn ->
        :ok = PartitionedEts.subscribe(table)
        send(starter, {:subscribed, self()})
        Process.sleep(:infinity)
      end)

    receive do
      {:subscribed, ^pid} -> pid
    end
  end

  @doc "The slots of the first `count` events of a kind that it has heard."
  @spec heard(pid(), atom(), non_neg_integer()) :: [0..4095]
  def heard(pid, kind, count) do
    heard = fn ->
      {:messages, messages} = Process.info(pid, :messages)
      slots = for {:partitioned_ets, _table, {^kind, slot}} <- messages, do: slot
      if length(slots) >= count, do: {:slots, slots}
    end

    {:slots, slots} = PartitionedEts.Test.Cluster.until(heard)
    slots
  end

  @doc "The keys that this node has in its own memory, of a table that is placed by a callback."
  @spec stored(atom()) :: [term()]
  def stored(table), do: stored(table, Enum.to_list(0..4095), 0, [])

  defp stored(_table, [], _from, keys), do: keys

  defp stored(table, slots, from, keys) do
    view = PartitionedEts.Placed.view(table)

    {:ok, {objects, visited, from, []}} =
      PartitionedEts.Placed.ask(table, view, node(), :scan_slots, {slots, from})

    stored(table, Enum.drop(slots, visited), from, Enum.map(objects, &elem(&1, 0)) ++ keys)
  end
end
