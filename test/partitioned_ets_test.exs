defmodule PartitionedEtsTest do
  use ExUnit.Case, async: true
  doctest PartitionedEts
end
