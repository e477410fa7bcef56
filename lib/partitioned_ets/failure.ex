defmodule PartitionedEts.Failure do
  # Raises what `:ets` raises: an `ArgumentError` whose top frame is the function called, with the
  # `error_info` from which the shell and `Exception.blame/3` tell the wrong argument.
  @moduledoc false

  @doc "Raises `ArgumentError` for a call of `PartitionedEts.function(arguments...)`."
  @spec badarg(atom(), [term()], atom()) :: no_return()
  def badarg(function, arguments, cause) do
    {:current_stacktrace, [_info | frames]} = Process.info(self(), :current_stacktrace)
    callers = Enum.drop_while(frames, fn {module, _, _, _} -> internal?(module) end)
    info = [error_info: %{cause: cause, module: __MODULE__}]
    :erlang.raise(:error, :badarg, [{PartitionedEts, function, arguments, info} | callers])
  end

  defp internal?(module), do: module in [__MODULE__, PartitionedEts, PartitionedEts.Call]

  @doc "Explains an exception argument by argument, as `error_info` asks for."
  @spec format_error(term(), [tuple()]) :: %{optional(pos_integer() | :general) => String.t()}
  def format_error(_reason, [{_module, function, arguments, info} | _]) do
    case {get_in(info, [:error_info, :cause]), function, arguments} do
      {:id, fold, [_function, _acc, table]} when fold in [:foldl, :foldr] ->
        %{3 => explain(:id, [table])[1]}

      {:none, :lookup_many, [_table, _keys]} ->
        %{2 => "not a list of keys"}

      {cause, _function, arguments} ->
        explain(cause, arguments)
    end
  end

  defp explain(:id, [table | _]) when is_atom(table) do
    %{1 => "the table identifier does not refer to an existing table: #{inspect(table)}"}
  end

  defp explain(:id, _), do: %{1 => "not the name of a table"}
  defp explain(:badkey, _), do: %{2 => "not a key that exists in the table"}

  defp explain(:keypos, [_, _, operations | _]) do
    %{3 => "the same as the key position: #{inspect(operations)}"}
  end

  defp explain(:position, [_, _, _ | _]), do: %{3 => "position out of range"}
  defp explain(:table_type, _), do: %{1 => "not a table of a type that has this operation"}

  defp explain(:none, [_table, object]) do
    if is_tuple(object) or is_list(object) do
      %{2 => "not a tuple with the key position, or a list of such tuples"}
    else
      %{2 => "not a tuple"}
    end
  end

  defp explain(_, [_, _, _]), do: %{3 => "not a valid operation"}
  defp explain(_, [_, _, _, _]), do: %{general: "an operation or the default object is not valid"}
  defp explain(_, _), do: %{}
end
