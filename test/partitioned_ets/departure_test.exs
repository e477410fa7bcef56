defmodule PartitionedEts.DepartureTest do
  use ExUnit.Case, async: true

  alias PartitionedEts.Departure

  test "a part of the time that a supervisor gives is kept back" do
    assert Departure.deadline_ms(60_000) == 59_000
    assert Departure.deadline_ms(1_000) == 900
    assert Departure.deadline_ms(0) == 0
    assert Departure.deadline_ms(:brutal_kill) == 0
    assert Departure.deadline_ms(:infinity) == 86_400_000
  end
end
