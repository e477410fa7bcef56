defmodule PartitionedEts.Membership do
  @moduledoc false
  # Follows the nodes of the cluster and agrees with the same process of each on who hosts which
  # table. It tells the core what it learns; who serves which slot is decided there.
  #
  # Every message between two of these processes carries the whole view of its sender, so that a
  # message more or less does no harm. A view that asks for a reply is answered with the other's
  # view and a note of what it has seen.
  #
  # Who founds a table, when several nodes start it together: a node announces that it starts a
  # table, waits until all its peers have seen that, and then
  #   * joins if a peer hosts the table,
  #   * waits if a peer founds it, or starts it and has the smaller name,
  #   * founds it otherwise.
  # Of two that start together, each has seen the other's announcement before it decides, or the
  # other decides after it has seen this one's decision; both founding it is impossible.
  use GenServer

  alias PartitionedEts.{Events, Members, Native, Options, Rehash}

  require Logger

  @protocol 1
  @slots 4096
  @hash_version 1
  # A peer that is connected but does not answer must not keep a table from starting. Without its
  # answer both may found the table; the core merges the younger one into the older.
  @patience_ms 2_000
  # How long a peer's tables are believed to be there while its membership process is not.
  @silence_ms 5_000
  @retry_ms 1_000

  # A table of this node.
  #   status: :starting until its role is decided, :founding until it exists, :hosted; :leaving when
  #     it is placed by a callback and its keys are to go to the other nodes
  #   terms: what a peer must agree with, and the weight
  #   caller: who waits, for its role or for the peers to know
  #   owner_monitor: of its owner, while it is not hosted
  #   announced: the number of the view that must have been seen
  #   timer: ends the waiting
  defmodule Hosted do
    @moduledoc false
    @enforce_keys [:status, :terms, :announced]
    defstruct [:status, :terms, :announced, :caller, :owner_monitor, :timer]
  end

  # Another node.
  #   status: :unknown until it says something, then :known or :refused; :absent when it does not
  #     run this library
  #   monitor: of its membership process
  #   seen: {instance, number} of its last view; acked: number of the last view of ours that it saw
  #   tables, cnode: as in that view
  #   silence: the timer that runs while its membership process is down
  defmodule Peer do
    @moduledoc false
    defstruct [:monitor, :seen, :cnode, :silence, status: :unknown, acked: 0, tables: %{}]
  end

  # instance: tells this process from an earlier one of the node; number: of the current view
  # joined: {table, node} => {cnode, weight} as the core was told
  # complaints: what has been logged about a node, once
  defstruct [
    :instance,
    :cnode,
    number: 1,
    tables: %{},
    peers: %{},
    joined: %{},
    complaints: MapSet.new()
  ]

  @spec start_link([]) :: GenServer.on_start()
  def start_link([]), do: GenServer.start_link(__MODULE__, [], name: __MODULE__)

  # Announces that the caller starts a table and returns the role in which this node does.
  @spec host(Options.t()) :: :founder | :joiner
  def host(%Options{} = options), do: GenServer.call(__MODULE__, {:host, options}, :infinity)

  # The table exists. Returns when the peers know. Called by each new owner of a table.
  @spec hosted(atom()) :: :ok
  def hosted(table), do: GenServer.call(__MODULE__, {:hosted, table}, :infinity)

  # The keys of a table that is placed by a callback are to go to the other nodes.
  @spec leaving(atom()) :: :ok
  def leaving(table), do: say({:leaving, table})

  # The table is about to be deleted; whatever could be handed over has been.
  @spec unhost(atom()) :: :ok
  def unhost(table), do: say({:unhost, table})

  # The table must go whether or not anybody can be told. When the application was stopped before
  # its users, the C-node is gone as well.
  defp say(request) do
    GenServer.call(__MODULE__, request, @patience_ms)
  catch
    :exit, _reason -> :ok
  end

  @impl true
  def init([]) do
    :ok = :net_kernel.monitor_nodes(true, %{node_type: :all})
    # After a crash of this process the tables are still there, and so is what the core was told.
    state = %__MODULE__{instance: make_ref(), tables: surviving_tables()}
    state = start_cnode(state)
    state = Enum.reduce(connected(), state, &greet(&2, &1))

    for {table, _} <- state.tables,
        %{members: members} <- [Native.ownership_status(table)],
        member <- members,
        member != node() and not is_map_key(state.peers, member),
        do: Native.member_down(member)

    {:ok, settle(state)}
  end

  @impl true
  def handle_call({:host, options}, {pid, _} = from, state) do
    hosted = %Hosted{
      status: :starting,
      terms: terms(options),
      announced: state.number + 1,
      caller: from,
      owner_monitor: Process.monitor(pid),
      timer: start_timer({:role, options.name})
    }

    state = put_in(state.tables[options.name], hosted)
    {:noreply, state |> start_cnode() |> announce() |> settle()}
  end

  def handle_call({:hosted, table}, from, state) do
    case state.tables do
      %{^table => hosted} ->
        if hosted.owner_monitor, do: Process.demonitor(hosted.owner_monitor, [:flush])
        {:noreply, state |> put_hosted(table, hosted.terms, from) |> announce() |> settle()}

      # A new owner has found a table whose first owner died before this call.
      _ ->
        case Native.table_config(table) do
          %{definition: %Options{} = options} ->
            {:noreply, state |> put_hosted(table, terms(options), from) |> announce() |> settle()}

          nil ->
            {:reply, :ok, state}
        end
    end
  end

  def handle_call({:leaving, table}, _from, state) do
    if is_map_key(state.tables, table) do
      state = put_in(state.tables[table].status, :leaving)
      {:reply, :ok, state |> announce() |> settle()}
    else
      {:reply, :ok, state}
    end
  end

  def handle_call({:unhost, table}, _from, state) do
    if is_map_key(state.tables, table),
      do: {:reply, :ok, state |> forget_table(table) |> announce() |> settle()},
      else: {:reply, :ok, state}
  end

  @impl true
  def handle_info({:nodeup, node, info}, state) do
    cond do
      node == node() -> {:noreply, state |> start_cnode() |> announce() |> settle()}
      info.node_type == :hidden and cnode?(node) -> {:noreply, state}
      true -> {:noreply, state |> start_cnode() |> greet(node) |> settle()}
    end
  end

  def handle_info({:nodedown, node, _info}, state) do
    # Its own name, when distribution is stopped: the C-node bears that name and cannot stay.
    if state.cnode == cnode_name(node) do
      Native.node_stop()
      {:noreply, settle(%{state | cnode: nil})}
    else
      {:noreply, state |> peer_down(node) |> settle()}
    end
  end

  def handle_info({:partitioned_ets, @protocol, node, view}, state) do
    case state.peers do
      %{^node => peer} ->
        if valid?(view),
          do: {:noreply, state |> take_view(node, peer, view) |> settle()},
          else:
            {:noreply, complain(state, node, "sent a view that makes no sense; it is ignored")}

      # Not from a node that we are connected to: nothing that one of ours sends.
      _ ->
        {:noreply, state}
    end
  end

  def handle_info({:partitioned_ets, version, node, _view}, state)
      when is_map_key(state.peers, node) do
    state = put_in(state.peers[node].status, :refused)

    {:noreply,
     state
     |> complain(
       node,
       "speaks version #{inspect(version)} of the membership protocol, this node version " <>
         "#{@protocol}; its tables are not joined"
     )
     |> settle()}
  end

  def handle_info({:DOWN, monitor, :process, object, _reason}, state) do
    case object do
      {__MODULE__, node} -> {:noreply, state |> peer_silent(node, monitor) |> settle()}
      _owner -> {:noreply, state |> starter_down(monitor) |> settle()}
    end
  end

  def handle_info({:timeout, timer, what}, state) do
    {:noreply, state |> time_up(what, timer) |> settle()}
  end

  # From the C-node.
  def handle_info({:pets_log, level, text}, state) do
    Logger.log(level, "partitioned_ets: #{text}")
    {:noreply, state}
  end

  def handle_info(:start_cnode, state), do: {:noreply, restart_cnode(state)}
  def handle_info(_message, state), do: {:noreply, state}

  ## Views

  defp view(state, ack, reply?) do
    tables =
      Map.new(state.tables, fn {table, t} -> {table, Map.put(t.terms, :status, t.status)} end)

    %{
      instance: state.instance,
      number: state.number,
      ack: ack,
      reply: reply?,
      cnode: state.cnode,
      tables: tables
    }
  end

  # A new view for all peers.
  defp announce(state) do
    state = %{state | number: state.number + 1}
    for {node, %Peer{} = peer} <- state.peers, do: send_view(state, node, peer, true)
    state
  end

  defp send_view(state, node, peer, reply?) do
    message = {:partitioned_ets, @protocol, node(), view(state, peer.seen, reply?)}
    # A connection that breaks is not set up again from here: nodeup says when there is one.
    :erlang.send({__MODULE__, node}, message, [:noconnect])
    :ok
  end

  defp valid?(%{instance: i, number: n, ack: ack, reply: r, cnode: c, tables: %{} = tables})
       when is_reference(i) and is_integer(n) and is_boolean(r) and (is_nil(c) or is_binary(c)) do
    valid_ack?(ack) and Enum.all?(tables, &valid_table?/1)
  end

  defp valid?(_view), do: false

  defp valid_ack?(nil), do: true
  defp valid_ack?({instance, number}), do: is_reference(instance) and is_integer(number)
  defp valid_ack?(_ack), do: false

  defp valid_table?({table, %{status: status, partitions: n}}) do
    is_atom(table) and is_atom(status) and is_integer(n) and n in 1..@slots
  end

  defp valid_table?(_table), do: false

  defp take_view(state, node, peer, view) do
    if late?(peer.seen, view) do
      state
    else
      if peer.silence, do: Process.cancel_timer(peer.silence)

      peer = %{
        peer
        | status: :known,
          monitor: peer.monitor || Process.monitor({__MODULE__, node}),
          silence: nil,
          seen: {view.instance, view.number},
          acked: acked(state, peer, view.ack),
          cnode: view.cnode,
          tables: view.tables
      }

      state = put_in(state.peers[node], peer)
      # The core is told before the other is: its answer means that this node acts on it.
      state = if view.reply, do: settle(state), else: state
      if view.reply, do: send_view(state, node, peer, false)
      state
    end
  end

  # Two views of one process arrive in the order in which they were sent, but a reply may repeat
  # the number.
  defp late?({instance, seen}, %{instance: instance, number: number}), do: number < seen
  defp late?(_seen, _view), do: false

  defp acked(%{instance: instance}, peer, {instance, number}), do: max(peer.acked, number)
  defp acked(_state, peer, _ack), do: peer.acked

  ## Peers

  defp connected, do: Node.list(:visible) ++ Enum.reject(Node.list(:hidden), &cnode?/1)

  # Of hidden nodes: whether it is a C-node of this library, which speaks to other C-nodes.
  defp cnode?(node), do: match?("pets_" <> _, Atom.to_string(node))

  defp greet(state, node) do
    state = if is_map_key(state.peers, node), do: peer_down(state, node), else: state
    peer = %Peer{monitor: Process.monitor({__MODULE__, node})}
    send_view(state, node, peer, true)
    put_in(state.peers[node], peer)
  end

  defp peer_down(state, node) do
    case Map.pop(state.peers, node) do
      {nil, _peers} ->
        state

      {peer, peers} ->
        if peer.monitor, do: Process.demonitor(peer.monitor, [:flush])
        if peer.silence, do: Process.cancel_timer(peer.silence)
        Native.member_down(node)
        complaints = MapSet.reject(state.complaints, fn {whose, _} -> whose == node end)
        drop_joined(%{state | peers: peers, complaints: complaints}, &(&1 == node))
    end
  end

  # Its node is there, its membership process is not: it does not run this library, is being
  # stopped, or has crashed and will be back in a moment with the same tables.
  defp peer_silent(state, node, monitor) do
    case state.peers do
      %{^node => %Peer{monitor: ^monitor} = peer} ->
        status = if peer.status == :refused, do: :refused, else: :absent
        peer = %{peer | status: status, monitor: nil, seen: nil}

        peer =
          if peer.tables == %{},
            do: peer,
            else: %{peer | silence: start_timer({:silence, node}, @silence_ms)}

        put_in(state.peers[node], peer)

      _ ->
        state
    end
  end

  defp drop_joined(state, dropped?) do
    {gone, joined} = Map.split_with(state.joined, fn {{_table, node}, _} -> dropped?.(node) end)
    for {{table, node}, _} <- gone, do: Events.node_left(table, node)
    %{state | joined: joined}
  end

  # Said once for each node, however often it happens.
  defp complain(state, node, what) do
    if MapSet.member?(state.complaints, {node, what}) do
      state
    else
      Logger.error("node #{node} #{what}")
      %{state | complaints: MapSet.put(state.complaints, {node, what})}
    end
  end

  ## Tables of this node

  defp surviving_tables do
    for table <- Native.table_names(),
        %{definition: %Options{distributed: true} = options} <- [Native.table_config(table)],
        into: %{},
        do: {table, %Hosted{status: :hosted, terms: terms(options), announced: 0}}
  end

  defp put_hosted(state, table, terms, caller) do
    put_in(state.tables[table], %Hosted{
      status: :hosted,
      terms: terms,
      announced: state.number + 1,
      caller: caller,
      timer: start_timer({:known, table})
    })
  end

  # What two nodes must agree on to share a table, and the weight, which may differ, as does the
  # instance: one start of the table, told from an earlier one of the node.
  defp terms(%Options{} = options) do
    %{
      slots: @slots,
      hash_version: @hash_version,
      type: options.type,
      keypos: options.keypos,
      placement: if(Options.hash?(options), do: options.callbacks, else: :weighted),
      partitions: options.partitions,
      instance: System.os_time(:nanosecond)
    }
  end

  @agreed [:slots, :hash_version, :type, :keypos, :placement]

  # A sentence on the first difference, nil if there is none.
  defp difference(mine, theirs) do
    case Enum.find(@agreed, &(Map.get(mine, &1) != Map.get(theirs, &1))) do
      nil -> nil
      key -> "#{key} is #{inspect(Map.get(theirs, key))} there and #{inspect(mine[key])} here"
    end
  end

  defp forget_table(state, table) do
    Members.delete(table)
    joined = Map.reject(state.joined, fn {{name, _node}, _} -> name == table end)
    %{state | tables: Map.delete(state.tables, table), joined: joined}
  end

  # The owner died before the table was there.
  defp starter_down(state, monitor) do
    case Enum.find(state.tables, fn {_, hosted} -> hosted.owner_monitor == monitor end) do
      {table, _} -> state |> forget_table(table) |> announce()
      nil -> state
    end
  end

  ## What follows from a change

  defp settle(state), do: state |> part() |> join() |> publish() |> decide()

  # Tables that a peer does not host any more.
  defp part(state) do
    {gone, joined} =
      Map.split_with(state.joined, fn {{table, node}, _} ->
        not is_map_key(Map.get(state.peers, node, %Peer{}).tables, table)
      end)

    for {{table, node}, _} <- gone do
      Native.member_gone(table, node)
      Events.node_left(table, node)
    end

    %{state | joined: joined}
  end

  defp join(%{cnode: nil} = state), do: state

  defp join(state) do
    for {table, %Hosted{status: :hosted, terms: mine}} <- state.tables,
        {node, %Peer{status: :known, cnode: cnode, tables: %{^table => theirs}}} <- state.peers,
        cnode != nil and theirs.status == :hosted and difference(mine, theirs) == nil,
        Map.get(state.joined, {table, node}) != {cnode, theirs.partitions},
        reduce: state do
      state ->
        Native.member_up(table, node, cnode, theirs.partitions)
        if not is_map_key(state.joined, {table, node}), do: Events.node_joined(table, node)
        put_in(state.joined[{table, node}], {cnode, theirs.partitions})
    end
  end

  defp publish(state) do
    for {table, %Hosted{status: status, terms: mine}} <- state.tables,
        status in [:hosted, :leaving],
        reduce: state do
      state ->
        refused = refused(state, table, mine)
        {members, leaving} = members(state, table, mine)
        members = if status == :hosted, do: [{node(), mine} | members], else: members
        weights = for {node, terms} <- members, do: {node, terms.partitions}
        instances = for {node, %{instance: instance}} <- members, do: {node, instance}
        news? = Members.put(table, weights, refused, leaving, instances)
        if news? and mine.placement != :weighted, do: Rehash.changed(table)

        Enum.reduce(refused, state, fn {node, difference}, state ->
          complain(
            state,
            node,
            "hosts a table #{inspect(table)} that is not joined: #{difference}"
          )
        end)
    end
  end

  # The other nodes that count as members, with their terms, and those that are leaving.
  defp members(state, table, %{placement: :weighted}) do
    {for({{^table, node}, {_cnode, weight}} <- state.joined, do: {node, %{partitions: weight}}),
     []}
  end

  # All nodes must come to the same list, whether or not their C-nodes are connected by now.
  defp members(state, table, mine) do
    peers =
      for {node, %Peer{status: status, tables: %{^table => theirs}}} <- state.peers,
          status in [:known, :absent] and difference(mine, theirs) == nil,
          do: {node, theirs}

    {for({node, %{status: :hosted} = theirs} <- peers, do: {node, theirs}),
     for({node, %{status: :leaving}} <- peers, do: node)}
  end

  defp refused(state, table, mine) do
    for {node, %Peer{tables: %{^table => theirs}}} <- state.peers,
        difference = difference(mine, theirs),
        do: {node, difference}
  end

  # Answers the callers whose waiting is over.
  defp decide(state) do
    for {table, %Hosted{caller: caller} = hosted} when caller != nil <- state.tables,
        reduce: state do
      state ->
        case verdict(state, table, hosted) do
          :wait -> state
          answer -> answer(state, table, hosted, answer)
        end
    end
  end

  defp verdict(state, _table, %Hosted{status: :hosted} = hosted) do
    if all_know?(state, hosted), do: :ok, else: :wait
  end

  defp verdict(state, table, %Hosted{status: :starting} = hosted) do
    others = others(state, table, hosted)

    cond do
      Enum.any?(others, fn {_node, status} -> status == :hosted end) -> :joiner
      not all_know?(state, hosted) -> :wait
      Enum.any?(others, &before_us?/1) -> :wait
      true -> :founder
    end
  end

  defp before_us?({_node, :founding}), do: true
  defp before_us?({node, :starting}), do: node < node()
  defp before_us?(_other), do: false

  defp others(state, table, hosted) do
    for {node, %Peer{status: :known, tables: %{^table => theirs}}} <- state.peers,
        difference(hosted.terms, theirs) == nil,
        do: {node, theirs.status}
  end

  defp all_know?(state, hosted), do: unaware(state, hosted) == []

  # The peers that have not seen the announcement yet.
  defp unaware(state, hosted) do
    for {node, peer} <- state.peers, unaware?(peer, hosted), do: node
  end

  defp unaware?(%Peer{status: :unknown}, _hosted), do: true
  defp unaware?(%Peer{status: :known, acked: acked}, hosted), do: acked < hosted.announced
  defp unaware?(%Peer{}, _hosted), do: false

  defp answer(state, table, hosted, answer) do
    if hosted.timer, do: Process.cancel_timer(hosted.timer)
    GenServer.reply(hosted.caller, answer)
    status = if answer == :founder, do: :founding, else: hosted.status
    put_in(state.tables[table], %{hosted | status: status, caller: nil, timer: nil})
  end

  ## Time

  # A timer that was cancelled too late is recognised: whoever cancelled it has forgotten it.
  defp start_timer(what, after_ms \\ @patience_ms) do
    :erlang.start_timer(after_ms, self(), what)
  end

  defp time_up(state, {:role, table}, timer) do
    case state.tables do
      %{^table => %Hosted{timer: ^timer} = hosted} ->
        Logger.warning(
          "table #{inspect(table)} starts without the answer of " <>
            Enum.map_join(unaware(state, hosted), ", ", &to_string/1)
        )

        hosting? = Enum.any?(others(state, table, hosted), &match?({_node, :hosted}, &1))
        answer(state, table, hosted, if(hosting?, do: :joiner, else: :founder))

      _ ->
        state
    end
  end

  # A peer that has not answered yet learns of the table when it comes to itself.
  defp time_up(state, {:known, table}, timer) do
    case state.tables do
      %{^table => %Hosted{timer: ^timer} = hosted} -> answer(state, table, hosted, :ok)
      _ -> state
    end
  end

  defp time_up(state, {:silence, node}, timer) do
    case state.peers do
      %{^node => %Peer{silence: ^timer} = peer} ->
        Native.member_down(node)
        state = put_in(state.peers[node], %{peer | silence: nil, cnode: nil, tables: %{}})
        drop_joined(state, &(&1 == node))

      _ ->
        state
    end
  end

  ## The C-node

  # It is there from the first distributed table on, as soon as this node has a name.
  defp start_cnode(%{cnode: nil} = state) when state.tables != %{} do
    if Node.alive?(), do: start_cnode(state, cnode_config()), else: state
  end

  # The cookie may have been set after the node got its name, as it usually is.
  defp start_cnode(state) do
    Native.node_set_cookie(Atom.to_string(Node.get_cookie()))
    state
  end

  defp start_cnode(state, config) do
    Native.node_log_to(self())

    # After a crash of this process it is running already.
    with nil <- Native.node_info(), {:error, reason} <- Native.node_start(config) do
      Process.send_after(self(), :start_cnode, @retry_ms)
      complain(state, node(), "could not start its C-node #{config.name}: #{reason}")
    else
      _ -> %{state | cnode: config.name}
    end
  end

  defp restart_cnode(%{cnode: nil} = state) do
    case start_cnode(state) do
      %{cnode: nil} = state -> state
      state -> state |> announce() |> settle()
    end
  end

  defp restart_cnode(state), do: state

  defp cnode_config do
    %{
      name: cnode_name(node()),
      node: node(),
      cookie: Atom.to_string(Node.get_cookie()),
      creation: :erlang.system_info(:creation),
      epmd_port: epmd_port(),
      listen: listen_address(),
      net_ticktime_ms: net_ticktime_ms(),
      long_names: :net_kernel.get_state().name_domain == :longnames
    }
  end

  defp cnode_name(node), do: "pets_#{node}"

  # As the VM itself finds it: the flag, then the environment, then the registered port.
  defp epmd_port do
    with :error <- port(:init.get_argument(:epmd_port)),
         :error <- port(System.get_env("ERL_EPMD_PORT")),
         do: 4369
  end

  defp port({:ok, [[port | _] | _]}), do: port(to_string(port))
  defp port(:error), do: :error
  defp port(nil), do: :error

  defp port(text) when is_binary(text) do
    case Integer.parse(text) do
      {port, ""} when port in 1..65_535 -> port
      _ -> :error
    end
  end

  defp listen_address do
    case :application.get_env(:kernel, :inet_dist_use_interface) do
      {:ok, address} -> address |> :inet.ntoa() |> to_string()
      :undefined -> "0.0.0.0"
    end
  end

  defp net_ticktime_ms do
    case :net_kernel.get_net_ticktime() do
      {:ongoing_change_to, seconds} -> :timer.seconds(seconds)
      seconds when is_integer(seconds) -> :timer.seconds(seconds)
    end
  end
end
