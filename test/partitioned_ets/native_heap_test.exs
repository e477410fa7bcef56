defmodule PartitionedEts.NativeHeapTest do
  # What the native library writes onto the heap of a process is taken by the collector for the
  # VM's own, wherever it lies: terms survive collections of every kind and messages.
  #
  # PETS_COLLECTIONS multiplies the number of terms.
  use ExUnit.Case, async: true

  import Bitwise

  alias PartitionedEts.Native
  alias PartitionedEts.Test.Terms

  @terms 40_000
  @kept 32

  # Straight onto the heap where there is room, after counting, through the interface.
  @ways [
    &Native.debug_roundtrip/1,
    &__MODULE__.counted/1,
    &__MODULE__.by_interface/1
  ]

  # A heap that is always too small, one that has room, one that is swept wholly each time, and
  # messages that stay off it.
  @heaps [
    [],
    [min_heap_size: 100_000],
    [fullsweep_after: 0],
    [fullsweep_after: 0, min_heap_size: 1_000_000],
    [message_queue_data: :off_heap, fullsweep_after: 1]
  ]

  def counted(term), do: Native.debug_roundtrip(term, 0)
  def by_interface(term), do: Native.debug_roundtrip(term, 1)

  setup do: %{repeat: Terms.seed(__ENV__.file)}

  @tag timeout: :infinity
  test "terms survive collections in processes with all kinds of heaps", %{repeat: repeat} do
    terms = @terms * String.to_integer(System.get_env("PETS_COLLECTIONS", "1"))

    for heap <- @heaps, way <- @ways do
      seed = :rand.uniform(1 <<< 58)
      share = div(terms, length(@heaps) * length(@ways))
      in_process(heap, fn -> collect(seed, share, way) end, "#{inspect({heap, way})}; #{repeat}")
    end
  end

  # Keeps some results while collections move them, and has others looked at by another process.
  defp collect(seed, count, way) do
    :rand.seed(:exsss, seed)
    other = spawn_link(&compare_received/0)

    Enum.reduce(1..count, [], fn n, kept ->
      term = term()
      back = way.(term)
      if back !== term, do: exit({:changed, term, back})
      if rem(n, 7) == 0, do: send(other, {:compare, n, term, back})
      if rem(n, 50) == 0, do: :erlang.garbage_collect(self(), type: :minor)
      if rem(n, 170) == 0, do: :erlang.garbage_collect()
      if rem(n, 230) == 0, do: churn(2_000)
      compare(Enum.take([{term, back} | kept], @kept))
    end)

    ref = make_ref()
    send(other, {:done, self(), ref})
    receive do: (^ref -> :ok)
  end

  defp compare(kept) do
    for {term, back} <- kept, back !== term, do: exit({:changed, term, back})
    kept
  end

  defp compare_received do
    receive do
      {:compare, n, term, back} ->
        if back !== term, do: exit({:changed, term, back})
        if rem(n, 3) == 0, do: :erlang.garbage_collect()
        if :erts_debug.flat_size(back) != flat_size(back), do: exit({:size, back})
        compare_received()

      {:done, from, ref} ->
        send(from, ref)
    end
  end

  # A copy by the VM takes as many words as what was copied.
  defp flat_size(term),
    do: term |> :erlang.term_to_binary() |> :erlang.binary_to_term() |> :erts_debug.flat_size()

  # Mostly nested ones; at times one that is larger than what is free.
  defp term do
    case :rand.uniform(40) do
      1 -> for _ <- 1..:rand.uniform(300), do: Terms.term(2)
      2 -> Map.new(1..:rand.uniform(32), &{{:key, &1} |> elem(1), Terms.term(2)})
      3 -> for n <- 1..:rand.uniform(20), into: %{}, do: {"key #{n}", Terms.term(3)}
      4 -> :erlang.make_tuple(:rand.uniform(2_000), Terms.term(1))
      5 -> {%{}, {}, "", [[]], %{a: %{}, b: {}, c: ""}, Terms.term(4)}
      _ -> Terms.term()
    end
  end

  defp churn(0), do: []
  defp churn(n), do: [{n, n * 1.5} | churn(n - 1)]

  test "objects come out of a table whole where the heap has no room for them", %{repeat: repeat} do
    start_supervised!({PartitionedEts, name: :heap_terms, table_opts: [:named_table, :public]})

    objects =
      for key <- 1..400 do
        :rand.seed(:exsss, {:erlang.phash2(repeat), key, 1})

        {{:key, key}, for(_ <- 1..:rand.uniform(60), do: Terms.term(3)),
         %{key => "#{key}", at: 1.5}}
      end

    PartitionedEts.insert(:heap_terms, objects)

    for heap <- @heaps, times <- [1, 3] do
      in_process(
        heap,
        fn ->
          found =
            for _ <- 1..times, object <- objects do
              [found] = PartitionedEts.lookup(:heap_terms, elem(object, 0))
              found
            end

          :erlang.garbage_collect()
          expected = for _ <- 1..times, object <- objects, do: object
          if found !== expected, do: exit(:changed)
        end,
        "#{inspect(heap)}; #{repeat}"
      )
    end
  end

  defp in_process(options, work, context) do
    {pid, monitor} = :erlang.spawn_opt(work, [:monitor | options])

    receive do
      {:DOWN, ^monitor, :process, ^pid, reason} ->
        assert reason == :normal, "#{inspect(reason)}; #{context}"
    end
  end
end
