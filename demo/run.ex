defmodule Demo.Run do
  @moduledoc """
  The course of the demo, told by one process that starts everything and hears of everything.

  Three nodes count; when a third of the text is counted, a fourth node starts and joins; when two
  thirds are and it has its share, the third node leaves. Then the table is compared with a plain
  count.
  """

  alias Demo.{Corpus, Crash, Failure, Feeder, Host, PeerNode, Proof, Report, Screen, Table}

  @counting ~w(demo1 demo2 demo3)
  @joining "demo4"
  @leaving "demo3"
  @killed "demo2"
  @workers 32
  @tick_ms 200

  # phase: :counting, :joining, :joined, :emptying, :leaving, :left
  # nodes: the running ones by label; figures: what they told last, in their order
  # workers: monitor => label; task: {reference, what it does}
  # moved: figures of the handoffs, latest first; polls: the last progress figures, for the rate
  defstruct [
    :screen,
    :modules,
    :corpus,
    :feeder,
    :task,
    :sampling,
    phase: :counting,
    nodes: %{},
    workers: %{},
    figures: [],
    moved: [],
    polls: []
  ]

  @doc "Runs the demo and returns its exit status."
  @spec main([String.t()], [{module(), binary()}]) :: 0 | 1 | 2
  def main(arguments, modules) do
    {options, files} =
      OptionParser.parse!(arguments,
        strict: [small: :boolean, kill: :boolean, terminal: :boolean]
      )

    case Corpus.read(files, small: Keyword.get(options, :small, false)) do
      {:ok, corpus} ->
        screen = Screen.new(Keyword.get(options, :terminal, false))
        run(%__MODULE__{screen: screen, modules: modules, corpus: corpus}, options)

      {:error, sentence} ->
        IO.puts(:stderr, "demo: #{sentence}")
        2
    end
  end

  defp run(state, options) do
    PeerNode.distribute!()
    state = state |> introduce() |> start_nodes() |> start_counting() |> loop()
    {state, expected, proof} = prove(state)

    {state, serves?} =
      if Keyword.get(options, :kill, false) and Proof.right?(proof),
        do: crash(state, expected),
        else: {state, true}

    state.nodes
    |> Map.values()
    |> Enum.map(&PeerNode.demonitor/1)
    |> Task.async_stream(&PeerNode.stop/1, timeout: :infinity)
    |> Stream.run()

    Report.verdict(state.screen, proof)
    if Proof.right?(proof) and serves?, do: 0, else: 1
  catch
    kind, reason ->
      IO.puts(["\ndemo: ", Failure.sentence(kind, reason, __STACKTRACE__)])
      1
  end

  ## The beginning

  defp introduce(state) do
    %{texts: texts, bytes: bytes, origin: origin} = state.corpus
    texts = "#{Screen.number(length(texts))} #{if length(texts) == 1, do: "text", else: "texts"}"

    say(
      state,
      "#{Screen.decimal(bytes / 1_000_000)} MB in #{texts}: #{origin}. Each word is one " <>
        "update_counter/4, made by one of #{@workers} processes on each of three nodes."
    )
  end

  defp start_nodes(state) do
    coordinator = self()

    [first | others] =
      peers =
      @counting
      |> Enum.map(fn label ->
        Task.async(fn ->
          Failure.attempt(fn -> PeerNode.start!(label, state.modules, coordinator) end)
        end)
      end)
      |> Task.await_many(:infinity)
      |> Enum.map(&(&1 |> Failure.unwrap!() |> PeerNode.monitor()))

    Enum.each(others, &PeerNode.connect!(&1, first))
    Enum.each(peers, &PeerNode.call!(&1.node, Host, :start_table, []))
    Table.settle!(Enum.map(peers, & &1.node))

    %{state | nodes: Map.new(peers, &{&1.label, &1})}
    |> say(
      "#{Enum.join(@counting, ", ")} run and host the table #{inspect(Host.table())} with " <>
        "partitions: #{Host.partitions()}; they start to count. Shown: objects on each " <>
        "node, slots that are moving and have moved."
    )
  end

  defp start_counting(state) do
    shares = Corpus.shares(state.corpus.texts, length(@counting))
    nodes = Enum.map(@counting, &state.nodes[&1].node)
    {:ok, feeder} = Feeder.start_link(Map.new(Enum.zip(nodes, shares)))

    workers =
      for label <- @counting, node = state.nodes[label].node, _ <- 1..@workers, into: %{} do
        {_pid, monitor} = Node.spawn_monitor(node, Host, :work, [feeder, node])
        {monitor, label}
      end

    tick(%{state | feeder: feeder, workers: workers})
  end

  ## While they count

  defp loop(%{workers: workers, task: nil} = state) when workers == %{}, do: state

  defp loop(state) do
    receive do
      :tick ->
        progress = Feeder.progress(state.feeder)

        state
        |> poll(progress)
        |> live(progress)
        |> advance(progress)
        |> sample()
        |> tick()
        |> loop()

      message ->
        state |> handle(message) |> loop()
    end
  end

  defp tick(state) do
    Process.send_after(self(), :tick, @tick_ms)
    state
  end

  defp handle(state, {:log, node, level, text}) do
    say(state, "#{PeerNode.label(node)} logs [#{level}] #{text}")
  end

  defp handle(%{task: {ref, what}} = state, {ref, result}) do
    Process.demonitor(ref, [:flush])
    state = %{state | task: nil}

    case {what, Failure.unwrap!(result)} do
      {:join, result} -> has_joined(state, result)
      {:leave, result} -> has_left(state, result)
    end
  end

  defp handle(%{sampling: ref} = state, {ref, figures}) do
    Process.demonitor(ref, [:flush])
    %{state | sampling: nil, figures: figures}
  end

  defp handle(state, {:DOWN, monitor, :process, _pid, reason}) do
    case Map.pop(state.workers, monitor) do
      {nil, _} ->
        unexpected(state, monitor, reason)

      {_label, workers} when reason == :normal ->
        empty(%{state | workers: workers})

      {label, _} ->
        Failure.fail!(
          "a process that counts on #{label} failed: #{Exception.format_exit(reason)}"
        )
    end
  end

  defp unexpected(state, monitor, reason) do
    case Enum.find(state.nodes, fn {_label, peer} -> peer.monitor == monitor end) do
      {label, _} -> Failure.fail!("#{label} ended unexpectedly: #{inspect(reason)}")
      nil -> Failure.fail!("a step of the demo failed: #{Exception.format_exit(reason)}")
    end
  end

  # What comes next in the course of things.
  defp advance(%{phase: :counting} = state, progress) do
    if 3 * progress.bytes >= state.corpus.bytes, do: join(state), else: state
  end

  defp advance(%{phase: :joined} = state, progress) do
    if 3 * progress.bytes >= 2 * state.corpus.bytes, do: leave(state), else: state
  end

  defp advance(state, _progress), do: state

  ### The fourth node

  defp join(state) do
    coordinator = self()
    first = state.nodes[hd(@counting)]

    state
    |> say("A third of the text is counted: #{@joining} starts and joins.")
    |> Map.put(:phase, :joining)
    |> start_task(:join, fn ->
      peer = PeerNode.start!(@joining, state.modules, coordinator)
      PeerNode.connect!(peer, first)
      before = Table.traffic(all_nodes(state))
      started = now_us()
      PeerNode.call!(peer.node, Host, :start_table, [])
      Table.settle!([peer.node | all_nodes(state)])

      later = Table.traffic([peer.node | all_nodes(state)])
      {peer, moved("join of #{@joining}", started, before, later)}
    end)
  end

  defp has_joined(state, {peer, moved}) do
    peer = PeerNode.monitor(peer)

    %{
      state
      | phase: :joined,
        nodes: Map.put(state.nodes, @joining, peer),
        moved: [moved | state.moved]
    }
    |> say("#{@joining} has its share: #{Report.moved(moved)}.")
  end

  ### The third node

  defp leave(state) do
    :ok = Feeder.release(state.feeder, state.nodes[@leaving].node)

    state
    |> say("Two thirds are counted: #{@leaving} finishes its chunks, then it leaves.")
    |> Map.put(:phase, :emptying)
  end

  # Its processes are done; the others count on, its share of the text included.
  defp empty(%{phase: :emptying} = state) do
    if @leaving in Map.values(state.workers) do
      state
    else
      peer = PeerNode.demonitor(state.nodes[@leaving])
      others = all_nodes(state) -- [peer.node]

      state
      |> Map.put(:phase, :leaving)
      |> start_task(:leave, fn ->
        before = Table.traffic([peer.node | others])
        started = now_us()
        last = Table.stop!(peer)
        Table.settle!(others)
        later = Table.traffic_in([last | Enum.map(others, &Table.figures!/1)])
        moved = moved("leave of #{@leaving}", started, before, later)
        :ok = PeerNode.stop(peer)
        moved
      end)
    end
  end

  defp empty(state), do: state

  defp has_left(state, moved) do
    nodes = Map.delete(state.nodes, @leaving)
    :ok = Feeder.last_pass(state.feeder)

    %{
      state
      | phase: :left,
        nodes: nodes,
        moved: [moved | state.moved]
    }
    |> say("#{@leaving} has handed over everything and is gone: #{Report.moved(moved)}.")
  end

  ### Figures of a handoff

  defp moved(what, started, before, later) do
    %{
      what: what,
      seconds: (now_us() - started) / 1_000_000,
      slots: later.slots - before.slots,
      objects: later.objects - before.objects,
      bytes: later.bytes - before.bytes,
      pause_us: later.pause_us
    }
  end

  ### The live line

  defp poll(state, progress) do
    %{state | polls: Enum.take([{progress.words, now_us()} | state.polls], 6)}
  end

  defp rate([{words, at} | _] = polls) do
    {words_before, before} = List.last(polls)
    if at > before, do: div((words - words_before) * 1_000_000, at - before), else: 0
  end

  # Before the nodes have told anything there is nothing to show.
  defp live(%{figures: []} = state, _progress), do: state

  defp live(state, progress) do
    %{
      state
      | screen:
          Screen.live(state.screen, fn ->
            Report.live(state.figures, state.corpus.bytes, progress, rate(state.polls))
          end)
    }
  end

  # The nodes are asked beside the loop: one that is busy must not stop it.
  defp sample(%{sampling: nil} = state) do
    nodes = state.nodes
    task = Task.async(fn -> Table.sample(nodes) end)
    %{state | sampling: task.ref}
  end

  defp sample(state), do: state

  ## The end

  defp prove(state) do
    progress = Feeder.progress(state.feeder)
    # As a node sees it that is no special one.
    objects = Table.content(state.nodes[@joining])
    started = now_us()
    expected = Proof.count(state.corpus.texts, progress.passes)
    seconds = (now_us() - started) / 1_000_000
    proof = Proof.compare(expected, objects)
    words = expected |> Map.values() |> Enum.sum()

    if words != progress.words do
      Failure.fail!("the nodes have counted #{progress.words} words, and there are #{words}")
    end

    screen =
      state.screen
      |> Screen.event("The text is counted.")
      |> Screen.line("")
      |> Report.shares(state.nodes, [{@leaving, "has left"}])
      |> Report.frequent(objects)
      |> Report.operations(progress)
      |> Report.handoffs(Enum.reverse(state.moved), progress.longest_us)
      |> Report.proof(proof, progress, seconds)

    {%{state | screen: screen}, expected, proof}
  end

  defp crash(state, expected) do
    {peer, nodes} = Map.pop!(state.nodes, @killed)
    state = %{state | nodes: nodes}
    witness = nodes[hd(@counting)]

    crash = Crash.prepare(peer, witness, expected)
    :ok = PeerNode.call!(witness.node, Host, :log_more, [])

    state =
      say(
        state,
        "#{@killed} is killed with SIGKILL, and with it go #{Screen.number(crash.slots)} slots " <>
          "and #{Screen.number(crash.objects)} objects, of which there is no other copy."
      )

    peer |> PeerNode.demonitor() |> PeerNode.kill!()
    probes = Crash.probe(crash)
    Table.settle!(all_nodes(state))
    state = flush(state)
    {screen, serves?} = Crash.report(state.screen, crash, probes, nodes)
    {%{state | screen: screen}, serves?}
  end

  defp flush(state) do
    receive do
      {:log, _, _, _} = message -> state |> handle(message) |> flush()
    after
      0 -> state
    end
  end

  ## Small things

  defp start_task(state, what, function) do
    task = Task.async(fn -> Failure.attempt(function) end)
    %{state | task: {task.ref, what}}
  end

  defp all_nodes(state), do: Enum.map(Map.values(state.nodes), & &1.node)
  defp say(state, text), do: %{state | screen: Screen.event(state.screen, text)}
  defp now_us, do: System.monotonic_time(:microsecond)
end
