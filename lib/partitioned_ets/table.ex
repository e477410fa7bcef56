defmodule PartitionedEts.Table do
  @moduledoc false
  # What `use PartitionedEts` puts into a module: every function of the facade less its table
  # argument. The functions are read off the facade itself, so that none can be forgotten.

  alias PartitionedEts.{Options, Owner}

  # The place of the table among the arguments, where it is not the first.
  @table_position %{{:foldl, 3} => 2, {:foldr, 3} => 2}

  # The functions of the facade that take no table, or whose name the module needs for itself.
  @without_table [
    all: 0,
    child_spec: 1,
    file2tab: 1,
    file2tab: 2,
    fun2ms: 1,
    i: 0,
    is_compiled_ms: 1,
    match: 1,
    match_object: 1,
    match_spec_compile: 1,
    match_spec_run: 2,
    new: 2,
    repair_continuation: 2,
    select: 1,
    select_reverse: 1,
    start_link: 1,
    tabfile_info: 1,
    test_ms: 2
  ]

  # Whether a function of the facade takes a table.
  @spec takes_table?({atom(), arity()}) :: boolean()
  def takes_table?(function), do: function not in @without_table

  # The functions of the facade that take a table, with the table's place among the arguments.
  @spec functions() :: [{atom(), arity(), position :: non_neg_integer()}]
  def functions do
    for {name, arity} = function <- PartitionedEts.__info__(:functions),
        takes_table?(function),
        not match?("__" <> _, Atom.to_string(name)),
        do: {name, arity, Map.get(@table_position, function, 0)}
  end

  # The body of `use PartitionedEts, opts`.
  @spec quoted(Macro.t()) :: Macro.t()
  def quoted(opts) do
    quote do
      @behaviour PartitionedEts

      @partitioned_ets_options PartitionedEts.Table.with_defaults(unquote(opts), __MODULE__)
      @partitioned_ets_table @partitioned_ets_options[:name]

      unquote(lifecycle())
      unquote_splicing(Enum.map(functions(), &delegation/1))
      unquote(callbacks())

      # From here on the module's own definitions are seen: the callbacks among them are the ones
      # that the table calls.
      Module.register_attribute(__MODULE__, :partitioned_ets_overridden, accumulate: true)
      @on_definition PartitionedEts.Table
      @before_compile PartitionedEts.Table
    end
  end

  @doc false
  @spec with_defaults(keyword(), module()) :: keyword()
  def with_defaults(opts, module) do
    if Keyword.keyword?(opts),
      do: Keyword.merge([name: module, callbacks: module], opts),
      else: raise(ArgumentError, "expected use PartitionedEts to have a keyword list of options")
  end

  @doc false
  @spec start_link(module(), keyword(), keyword()) :: GenServer.on_start()
  def start_link(module, defaults, opts) do
    defaults
    |> merge(opts, "#{inspect(module)}.start_link/1")
    |> Options.new!("#{inspect(module)}.start_link/1")
    |> Owner.start_link()
  end

  @doc false
  @spec child_spec(module(), keyword(), keyword()) :: Supervisor.child_spec()
  def child_spec(module, defaults, opts) do
    options = merge(defaults, opts, "#{inspect(module)}.child_spec/1")
    %{PartitionedEts.child_spec(options) | start: {module, :start_link, [opts]}}
  end

  # The name is compiled into the module's functions: another one at run time would start a table
  # that they do not speak of.
  defp merge(defaults, opts, caller) do
    if is_list(opts) and Keyword.get(opts, :name, defaults[:name]) != defaults[:name] do
      raise ArgumentError,
            "the name of this table, #{inspect(defaults[:name])}, is fixed: " <>
              "give :name to use PartitionedEts instead (in #{caller})"
    end

    if Keyword.keyword?(opts), do: Keyword.merge(defaults, opts), else: opts
  end

  defp lifecycle do
    quote do
      @doc """
      Starts the table, linked to the caller. `opts` overrides the options given to `use`.

      See `PartitionedEts.start_link/1`.
      """
      @spec start_link([PartitionedEts.option()]) :: GenServer.on_start()
      def start_link(opts \\ []) do
        PartitionedEts.Table.start_link(__MODULE__, @partitioned_ets_options, opts)
      end

      @doc "Returns the child specification of the table. See `PartitionedEts.child_spec/1`."
      @spec child_spec([PartitionedEts.option()]) :: Supervisor.child_spec()
      def child_spec(opts) do
        PartitionedEts.Table.child_spec(__MODULE__, @partitioned_ets_options, opts)
      end

      defoverridable start_link: 0, start_link: 1, child_spec: 1
    end
  end

  defp delegation({name, arity, position}) do
    arguments = Macro.generate_arguments(arity - 1, __MODULE__)
    called_with = List.insert_at(arguments, position, quote(do: @partitioned_ets_table))

    quote do
      @doc "See `PartitionedEts.#{unquote(name)}/#{unquote(arity)}`."
      def unquote(name)(unquote_splicing(arguments)) do
        PartitionedEts.unquote(name)(unquote_splicing(called_with))
      end
    end
  end

  defp callbacks do
    quote do
      @doc "Chooses the shard of a key. See `c:PartitionedEts.hash/2`."
      @impl PartitionedEts
      def hash(key, shards) do
        PartitionedEts.Shards.default(@partitioned_ets_table, key, shards)
      end

      @doc "Called when another node has joined the table. See `c:PartitionedEts.node_added/1`."
      @impl PartitionedEts
      def node_added(_node), do: :ok

      @doc "Called when another node has left the table. See `c:PartitionedEts.node_removed/1`."
      @impl PartitionedEts
      def node_removed(_node), do: :ok

      defoverridable hash: 2, node_added: 1, node_removed: 1
    end
  end

  @doc false
  def __on_definition__(env, :def, name, args, _guards, _body) do
    if {name, length(args)} in Options.callback_functions() do
      Module.put_attribute(env.module, :partitioned_ets_overridden, {name, length(args)})
    end
  end

  def __on_definition__(_env, _kind, _name, _args, _guards, _body), do: :ok

  @doc false
  defmacro __before_compile__(env) do
    overridden = env.module |> Module.get_attribute(:partitioned_ets_overridden) |> Enum.uniq()

    quote do
      @doc false
      def __partitioned_ets__(:callbacks), do: unquote(Macro.escape(overridden))
    end
  end
end
