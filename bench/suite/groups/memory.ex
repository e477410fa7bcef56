defmodule Bench.Groups.Memory do
  @moduledoc false
  # Bytes for each object: what the tables say, and what the operating system's process grows by.
  # Each table is in a VM of its own, and is loaded, emptied by half, and overwritten ten times.

  alias Bench.{Comparison, Node, Resident, Shapes, Subject, Tables, Text}

  @labels ["PartitionedEts", ":ets tid"]
  @stages ["loaded", "half deleted", "overwritten"]
  @overwrites 10
  # Tables are compared at about this size, so that what a VM takes by itself does not count.
  @table_bytes 100_000_000

  def about, do: "bytes for each object, in fresh VMs"

  def notes do
    """
    Each table is alone in a VM of its own: loaded, then every second object deleted, then all objects overwritten ten times
    (which brings the deleted ones back). `info(t, :memory)` is what the table says, in bytes; `resident memory` is by how much
    the operating system's process has grown. Both are for each object that is there at the time. `:ets` does not count
    binaries of more than 64 bytes as its own; memory that a VM keeps for later counts as resident, for both.
    """
  end

  def settings(:full), do: %{shapes: Shapes.names(), rows: 500_000, rounds: 1}
  def settings(:quick), do: %{shapes: ["int", "4 KB"], rows: 100_000, rounds: 1}

  def run(settings) do
    if File.exists?("/proc/self/status") do
      cases = for name <- settings.shapes, do: %{shape: name, rows: rows(name, settings.rows)}
      Tables.each(cases, &measure(&1, settings))
    else
      {[], [Tables.skip(%{}, "the resident memory of a process is read from /proc")]}
    end
  end

  defp measure(%{shape: name, rows: rows} = conditions, settings) do
    # Overwritten objects may wait to be freed beside the new ones.
    case Tables.refusal(2 * rows * Shapes.fetch!(name).bytes) do
      nil ->
        # As many VMs as rounds for each; a figure of a VM is the same in each run but for a little.
        samples =
          for _ <- 1..settings.rounds do
            for label <- Enum.shuffle(@labels),
                stage <- in_fresh_vm(label, conditions, settings) do
              {label, stage}
            end
          end

        {for(
           stage <- @stages,
           kind <- [:said, :resident],
           do: compare(conditions, stage, kind, samples)
         ), []}

      reason ->
        {[], [reason]}
    end
  end

  defp compare(conditions, stage, kind, rounds) do
    samples =
      for figures <- rounds,
          do:
            for(
              {label, %{stage: ^stage} = figure} <- figures,
              into: %{},
              do: {label, figure[kind]}
            )

    conditions = Map.merge(conditions, %{operation: operation(kind), stage: stage})
    Comparison.of_samples(conditions, @labels, samples, "bytes")
  end

  defp operation(:said), do: "info(t, :memory)"
  defp operation(:resident), do: "resident memory"

  defp in_fresh_vm(label, %{shape: name, rows: rows}, settings) do
    {control, _node} = Node.start_alone!(settings.modules)
    figures = :peer.call(control, __MODULE__, :stages, [label, name, rows], :infinity)
    :peer.stop(control)
    figures
  end

  # Runs in a VM of its own.
  def stages(label, name, rows) do
    shape = Shapes.fetch!(name)
    warm_up(label, shape)
    before = Resident.settled_bytes()
    subject = label |> Subject.start() |> Subject.fill(rows, &Shapes.object(shape, &1, 0))
    loaded = stage("loaded", subject, before, rows)
    apart(fn -> for n <- 1..rows//2, do: delete(subject, Shapes.key(shape, n)) end)
    halved = stage("half deleted", subject, before, div(rows, 2))
    for i <- 1..@overwrites, do: Subject.fill(subject, rows, &Shapes.object(shape, &1, i))
    [loaded, halved, stage("overwritten", subject, before, rows)]
  end

  # The code of all calls is loaded, and what both take for a start is there.
  defp warm_up(label, shape) do
    subject = label |> Subject.start() |> Subject.fill(1_000, &Shapes.object(shape, &1, 0))
    delete(subject, Shapes.key(shape, 1))
    said(subject)
    Subject.stop(subject)
  end

  defp stage(name, subject, before, rows) do
    resident = Resident.settled_bytes() - before
    %{stage: name, said: said(subject) / rows, resident: resident / rows}
  end

  defp said(%{label: label, table: table}) do
    module = if label == Subject.own(), do: PartitionedEts, else: :ets
    module.info(table, :memory) * :erlang.system_info(:wordsize)
  end

  defp delete(%{label: label, table: table}, key) do
    module = if label == Subject.own(), do: PartitionedEts, else: :ets
    module.delete(table, key)
  end

  # In a process that takes its garbage with it.
  defp apart(function), do: Task.await(Task.async(function), :infinity)

  defp rows(name, wanted) do
    rows = min(wanted, div(@table_bytes, Shapes.fetch!(name).bytes))
    IO.puts("#{name}: #{Text.number(rows)} rows")
    rows
  end
end
