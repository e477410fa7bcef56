defmodule PartitionedEts.Options do
  @moduledoc false
  # One schema says what the options of a table are, checks them, and documents them: the three
  # cannot drift apart. A value of this struct has been checked once and is trusted afterwards.

  @slots 4096
  # Besides `:set`.
  @types [:ordered_set, :bag, :duplicate_bag]
  # The owner's registered name and the names of partitions are derived from the table's name; with
  # what is added they may have 255 characters as atoms and 255 bytes in a message.
  @longest_name 230

  @schema [
    name: [type: :name, required: true, doc: "The table's name, the same on every node."],
    table_opts: [
      type: :table_opts,
      required: true,
      doc:
        "As for `:ets.new/2`. Must hold `:named_table` and `:public`; takes `:set`, `:ordered_set`, " <>
          "`:bag`, `:duplicate_bag` and `{:keypos, n}`, and accepts the options that tune `:ets`, which are not needed here."
    ],
    partitions: [
      type: :partitions,
      default: 1,
      doc:
        "How many partitions this node has. It may differ from node to node; " <>
          "a node's share of the keys follows it."
    ],
    callbacks: [
      type: :module,
      default: nil,
      doc:
        "A module with any of `c:PartitionedEts.hash/2`, `c:PartitionedEts.node_added/1` and " <>
          "`c:PartitionedEts.node_removed/1`."
    ],
    distributed: [
      type: :boolean,
      default: true,
      doc: "Whether the table is shared with connected nodes that host it too."
    ],
    timeout: [
      type: :milliseconds,
      default: 5_000,
      doc: "How long, in milliseconds, an operation waits for another node."
    ],
    shutdown: [
      type: :shutdown,
      default: 60_000,
      doc:
        "How long, in milliseconds, a supervisor waits for the table to stop: the time there is " <>
          "to hand the data of this node to the others. Also `:infinity` or `:brutal_kill`."
    ]
  ]

  @enforce_keys [:name, :table_opts]
  defstruct [
    :name,
    :table_opts,
    :partitions,
    :callbacks,
    :distributed,
    :timeout,
    :shutdown,
    :keypos,
    type: :set,
    callback_functions: []
  ]

  @type t :: %__MODULE__{
          name: atom(),
          table_opts: [atom() | tuple()],
          partitions: pos_integer(),
          callbacks: module() | nil,
          distributed: boolean(),
          timeout: pos_integer(),
          shutdown: timeout() | :brutal_kill,
          keypos: pos_integer(),
          type: :set | :ordered_set | :bag | :duplicate_bag,
          callback_functions: [{atom(), arity()}]
        }

  @callback_functions [hash: 2, node_added: 1, node_removed: 1]

  # The callbacks that a module may define.
  @spec callback_functions() :: [{atom(), arity()}]
  def callback_functions, do: @callback_functions

  # Checks options; `caller` is the function that was called with them, for the messages.
  @spec new!(term(), String.t()) :: t()
  def new!(opts, caller) do
    Keyword.keyword?(opts) ||
      fail(caller, "expected the options to be a keyword list, got: #{inspect(opts)}")

    opts = check_keys(opts, caller)
    values = for {key, spec} <- @schema, do: {key, value(opts, key, spec, caller)}
    options = struct!(__MODULE__, values)
    {type, keypos} = check_table_opts(options.table_opts, caller)

    %{
      options
      | type: type,
        keypos: keypos,
        callback_functions: defined_callbacks(options.callbacks, caller)
    }
  end

  # Whether the table's module decides where a key goes.
  @spec hash?(t()) :: boolean()
  def hash?(%__MODULE__{} = options), do: {:hash, 2} in options.callback_functions

  # The options as a Markdown table.
  @spec docs() :: String.t()
  def docs do
    rows =
      for {key, spec} <- @schema do
        default = if spec[:required], do: "required", else: "`#{inspect(spec[:default])}`"
        "| `#{inspect(key)}` | #{default} | #{spec[:doc]} |\n"
      end

    IO.iodata_to_binary(["| option | default | meaning |\n| --- | --- | --- |\n", rows])
  end

  defp check_keys(opts, caller) do
    known = Keyword.keys(@schema)

    for {key, _value} <- opts, key not in known do
      fail(caller, "unknown option #{inspect(key)}, #{suggestion(key, known)}")
    end

    case Keyword.keys(opts) do
      keys when keys == [] -> :ok
      keys -> keys |> Enum.frequencies() |> Enum.each(&once(&1, caller))
    end

    opts
  end

  defp once({_key, 1}, _caller), do: :ok
  defp once({key, _}, caller), do: fail(caller, "option #{inspect(key)} is given more than once")

  defp suggestion(key, known) do
    {distance, best} =
      known
      |> Enum.map(&{String.jaro_distance(Atom.to_string(key), Atom.to_string(&1)), &1})
      |> Enum.max()

    if distance > 0.77,
      do: "did you mean #{inspect(best)}?",
      else: "the options are #{Enum.map_join(known, ", ", &inspect/1)}"
  end

  defp value(opts, key, spec, caller) do
    case Keyword.fetch(opts, key) do
      {:ok, value} ->
        case check(spec[:type], value) do
          :ok ->
            value

          expected ->
            fail(caller, "expected #{inspect(key)} to be #{expected}, got: #{inspect(value)}")
        end

      :error ->
        if spec[:required], do: missing(key, opts, caller), else: spec[:default]
    end
  end

  defp missing(:table_opts, _opts, caller),
    do: fail(caller, "option :table_opts is required, such as [:named_table, :public]")

  defp missing(key, opts, caller),
    do: fail(caller, "option #{inspect(key)} is required, got only: #{inspect(opts)}")

  defp check(:name, name)
       when is_atom(name) and name not in [nil, true, false, :undefined] do
    if byte_size(Atom.to_string(name)) <= @longest_name,
      do: :ok,
      else: "an atom of at most #{@longest_name} bytes"
  end

  defp check(:name, _value), do: "an atom that names the table"
  defp check(:partitions, n) when is_integer(n) and n in 1..@slots, do: :ok

  defp check(:partitions, n) when is_integer(n) and n > @slots,
    do: "at most #{@slots}, the number of slots"

  defp check(:partitions, _value), do: "a positive integer"
  # What a receive can wait for.
  defp check(:milliseconds, n) when n in 1..0xFFFFFFFF, do: :ok
  defp check(:milliseconds, _value), do: "milliseconds from 1 to 4,294,967,295"
  defp check(:boolean, value) when is_boolean(value), do: :ok
  defp check(:boolean, _value), do: "a boolean"
  defp check(:module, module) when is_atom(module) and not is_boolean(module), do: :ok
  defp check(:module, _value), do: "a module or nil"
  defp check(:shutdown, value) when value in [:infinity, :brutal_kill], do: :ok
  defp check(:shutdown, ms) when is_integer(ms) and ms >= 0, do: :ok
  defp check(:shutdown, _value), do: "milliseconds, :infinity or :brutal_kill"

  defp check(:table_opts, list) when is_list(list),
    do: if(List.improper?(list), do: "a list", else: :ok)

  defp check(:table_opts, _value), do: "a list of options as for :ets.new/2"

  defp check_table_opts(opts, caller) do
    result = Enum.reduce(opts, {:set, 1}, &table_opt(&1, &2, caller))

    for required <- [:named_table, :public], required not in opts do
      fail(caller, "expected :table_opts to hold #{inspect(required)}, got: #{inspect(opts)}")
    end

    result
  end

  # As for `:ets.new/2`: of options that are repeated the last wins.
  defp table_opt(opt, acc, _caller) when opt in [:named_table, :public, :compressed], do: acc
  # `:set` is the default, and changes nothing where another type is named.
  defp table_opt(:set, acc, _caller), do: acc
  defp table_opt(type, {_type, keypos}, _caller) when type in @types, do: {type, keypos}

  defp table_opt(access, _acc, caller) when access in [:private, :protected] do
    fail(
      caller,
      "a table that is spread over partitions and nodes cannot be #{inspect(access)}; " <>
        "use :public in :table_opts"
    )
  end

  # A tuple has at most 2^24 - 1 elements.
  defp table_opt({:keypos, n}, {type, _keypos}, _caller) when n in 1..0xFFFFFF,
    do: {type, n}

  defp table_opt({:keypos, n}, _acc, caller) do
    fail(caller, "expected :keypos in :table_opts to be a positive integer, got: #{inspect(n)}")
  end

  defp table_opt({:heir, :none}, acc, _caller), do: acc

  defp table_opt(heir, _acc, caller) when is_tuple(heir) and elem(heir, 0) == :heir do
    fail(
      caller,
      "a table outlives the crash of its owner by itself; " <>
        "remove #{inspect(heir)} from :table_opts"
    )
  end

  defp table_opt({key, value}, acc, _caller)
       when key in [:read_concurrency, :decentralized_counters] and is_boolean(value),
       do: acc

  defp table_opt({:write_concurrency, value}, acc, _caller)
       when is_boolean(value) or value == :auto,
       do: acc

  defp table_opt({key, value}, _acc, caller)
       when key in [:read_concurrency, :write_concurrency, :decentralized_counters] do
    fail(
      caller,
      "expected #{inspect(key)} in :table_opts to be a boolean, got: #{inspect(value)}"
    )
  end

  defp table_opt(other, _acc, caller) do
    fail(caller, "unknown option #{inspect(other)} in :table_opts; see :ets.new/2")
  end

  defp defined_callbacks(nil, _caller), do: []

  defp defined_callbacks(module, caller) do
    Code.ensure_loaded?(module) ||
      fail(caller, "expected :callbacks to be a module that is there, got: #{inspect(module)}")

    # A module made by `use PartitionedEts` has all three, and says which of them are its own.
    if function_exported?(module, :__partitioned_ets__, 1) do
      module.__partitioned_ets__(:callbacks)
    else
      case Enum.filter(@callback_functions, fn {f, a} -> function_exported?(module, f, a) end) do
        [] ->
          fail(
            caller,
            "expected #{inspect(module)} in :callbacks to define any of hash/2, node_added/1 " <>
              "and node_removed/1"
          )

        defined ->
          defined
      end
    end
  end

  @spec fail(String.t(), String.t()) :: no_return()
  defp fail(caller, message), do: raise(ArgumentError, "#{message} (in #{caller})")
end
