defmodule PartitionedEts.Departure do
  @moduledoc false
  # The orderly end of a table on this node: its slots go to the other members first, then the
  # others are told, then the memory is freed. Runs in the process that ends the table, which is
  # the owner, or a task where there is no owner any more.

  alias PartitionedEts.{Events, Members, Membership, Native, Options, Rehash}

  require Logger

  @progress_every_ms 1_000
  # Of the time that a supervisor gives, this much is kept back for what follows the handoff.
  @margin_ms 1_000
  # With `shutdown: :infinity` there is still an end to waiting for a cluster that takes nothing.
  @longest_ms :timer.hours(24)
  # The core keeps the deadline; this much later we stop waiting for its word.
  @patience_ms 500

  @spec run(Options.t()) :: :ok
  def run(%Options{name: table} = options) do
    # It may have been deleted under its owner's feet.
    if Native.table_config(table) && Members.nodes(table) -- [node()] != [] do
      if Options.hash?(options),
        do: send_away(table, deadline_ms(options.shutdown)),
        else: hand_over(table, deadline_ms(options.shutdown))
    end

    drop(table)
  end

  # Ends the table with the data that it has on this node.
  @spec drop(atom()) :: :ok
  def drop(table) do
    Membership.unhost(table)
    Native.table_drop(table)
    Rehash.forget(table)
    Events.forget(table)
  end

  @doc false
  @spec deadline_ms(timeout() | :brutal_kill) :: non_neg_integer()
  def deadline_ms(:infinity), do: @longest_ms
  def deadline_ms(:brutal_kill), do: 0
  def deadline_ms(shutdown_ms), do: shutdown_ms - min(@margin_ms, div(shutdown_ms, 10))

  # Of a table that is placed by a callback: the others place its keys without this node from now
  # on, and wait for what it has.
  defp send_away(_table, 0), do: :ok

  defp send_away(table, deadline_ms) do
    Membership.leaving(table)

    with :timeout <- Rehash.leave(table, deadline_ms),
         %{objects: remaining} <- Native.ownership_status(table) do
      Logger.error(
        "table #{inspect(table)} could not hand over all of its data before its deadline: " <>
          "#{remaining} objects are lost with #{node()}; give it more time with :shutdown"
      )
    end

    :ok
  end

  defp hand_over(_table, 0), do: :ok

  defp hand_over(table, deadline_ms) do
    Native.ownership_subscribe(table, self())
    Native.ownership_leave(table, deadline_ms)
    started = now_ms()

    await(table, %{
      started: started,
      give_up: started + deadline_ms + @patience_ms,
      report: started + @progress_every_ms,
      released: 0
    })
  end

  defp await(table, progress) do
    receive do
      {:pets_event, ^table, :left} ->
        done(table, progress)

      {:pets_event, ^table, {:leave_timed_out, remaining}} ->
        timed_out(table, remaining)

      {:pets_event, ^table, {:released, _slot}} ->
        await(table, report(table, %{progress | released: progress.released + 1}))

      {:pets_event, ^table, _event} ->
        await(table, report(table, progress))
    after
      max(min(progress.report, progress.give_up) - now_ms(), 0) ->
        if now_ms() >= progress.give_up,
          do: timed_out(table, length(Native.owned_slots(table))),
          else: await(table, report(table, progress))
    end
  end

  defp report(table, %{report: due} = progress) do
    if now_ms() >= due do
      Logger.info(
        "table #{inspect(table)} is leaving #{node()}: #{progress.released} slots handed over"
      )

      %{progress | report: now_ms() + @progress_every_ms}
    else
      progress
    end
  end

  # Short departures are the rule and not worth a line.
  defp done(table, progress) do
    if now_ms() - progress.started >= @progress_every_ms do
      Logger.info(
        "table #{inspect(table)} has left #{node()}: #{progress.released} slots handed over " <>
          "in #{now_ms() - progress.started} ms"
      )
    end

    :ok
  end

  defp timed_out(table, remaining) do
    Logger.error(
      "table #{inspect(table)} could not hand over all of its data before its deadline: " <>
        "#{remaining} slots are lost with #{node()}; give it more time with :shutdown"
    )
  end

  defp now_ms, do: System.monotonic_time(:millisecond)
end
