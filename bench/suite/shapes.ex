defmodule Bench.Shapes do
  @moduledoc false
  # The objects that tables are filled with. Each has its key in front, made of a number from 1 on;
  # the rest is made of the key's number and another one, so that an overwrite changes something.

  @atoms for i <- 1..20, do: :"field_#{i}"
  # Of prepared calls with large objects, each has one of its own: they must fit into memory.
  @prepared_bytes 67_108_864

  # `bytes` is about what an object takes in an `:ets` table, its binaries included. `counter` says
  # whether its second element is an integer.
  @shapes [
    %{name: "int", bytes: 80, counter: true},
    %{name: "16 B key", bytes: 100, counter: true},
    %{name: "tuple key", bytes: 105, counter: true},
    %{name: "list of 8", bytes: 200, counter: false},
    %{name: "row of 6", bytes: 200, counter: false},
    %{name: "map of 3", bytes: 170, counter: false},
    %{name: "map of 20", bytes: 450, counter: false},
    %{name: "1 KB", bytes: 1_200, counter: false},
    %{name: "4 KB", bytes: 4_300, counter: false},
    %{name: "64 KB", bytes: 65_800, counter: false}
  ]

  def names, do: Enum.map(@shapes, & &1.name)
  def fetch!(name), do: Enum.find(@shapes, &(&1.name == name)) || raise("no shape #{name}")

  # How many calls can be prepared, of those wanted.
  def calls(%{bytes: bytes}, wanted), do: min(wanted, div(@prepared_bytes, bytes))

  def key(%{name: "16 B key"}, n), do: <<n * 0x9E3779B97F4A7C15::64, n::64>>
  def key(%{name: "tuple key"}, n), do: {:user, n}
  def key(_shape, n), do: n

  def object(%{name: name} = shape, n, i) do
    key = key(shape, n)

    case name do
      "list of 8" -> {key, Enum.to_list(i..(i + 7)//1)}
      "row of 6" -> {key, :active, i, i / 3, "the name of #{n}", [n, i]}
      "map of 3" -> {key, %{id: n, name: "user #{n}", score: i}}
      "map of 20" -> {key, Map.new(@atoms, &{&1, i})}
      "1 KB" -> {key, binary(1_024, n, i)}
      "4 KB" -> {key, binary(4_096, n, i)}
      "64 KB" -> {key, binary(65_536, n, i)}
      _ -> {key, i}
    end
  end

  defp binary(size, n, i), do: :binary.copy(<<n::64, i::64>>, div(size, 16))
end
