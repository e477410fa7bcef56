defmodule PartitionedEts.Supervisor do
  @moduledoc false
  # Holds the tables of members and subscriptions, so that they survive the processes that write
  # them.
  use Supervisor

  alias PartitionedEts.{Courier, Events, Keeper, Members, Membership, Rehash}

  @spec start_link([]) :: Supervisor.on_start()
  def start_link([]), do: Supervisor.start_link(__MODULE__, [], name: __MODULE__)

  # Each child rebuilds its state from the tables that exist and from its peers, so that one can
  # be started again without the others.
  @impl true
  def init([]) do
    Members.new()
    Events.new()

    children = [
      {Task.Supervisor, name: PartitionedEts.Tasks},
      Courier,
      Events,
      Rehash,
      Membership,
      Keeper
    ]

    Supervisor.init(children, strategy: :one_for_one)
  end
end
