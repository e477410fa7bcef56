defmodule PartitionedEts.FunctionListTest do
  use ExUnit.Case, async: true

  # What `:ets` exports for itself and for other modules of OTP, and `fun2ms/1`'s parse transform.
  @internal [
    :internal_delete_all,
    :internal_lookup_element,
    :internal_request_all,
    :internal_select_delete,
    :match_spec_run_r,
    :module_info,
    :table_info
  ]

  test "every function of :ets has its counterpart" do
    exported =
      for {name, arity} <- :ets.module_info(:exports), name not in @internal, do: {name, arity}

    missing = exported -- PartitionedEts.__info__(:functions)
    assert missing == []
  end

  test "one that comes later says so" do
    for {function, arguments} <- [
          select: [:t, [{:"$1", [], [:"$1"]}]],
          match: [:t, {:_, :_}, 10],
          tab2file: [:t, ~c"file"],
          new: [:t, [:public]],
          slot: [:t, 0]
        ] do
      text =
        ~r"PartitionedEts.#{function}/#{length(arguments)} is not there yet: .* later version"

      assert_raise ArgumentError, text, fn -> apply(PartitionedEts, function, arguments) end
    end
  end
end
