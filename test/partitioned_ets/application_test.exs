defmodule PartitionedEts.ApplicationTest do
  # How a VM ends with tables and the C-node running: in time, and with the status it was given.
  use ExUnit.Case, async: true
  @moduletag :clustered
  @moduletag timeout: 60_000

  import PartitionedEts.Test.Cluster

  alias PartitionedEts.Native

  @start """
  Logger.configure(level: :none)
  {:ok, _} = Application.ensure_all_started(:partitioned_ets)
  {:ok, _} = PartitionedEts.start_link(name: :t, table_opts: [:named_table, :public])
  true = PartitionedEts.insert(:t, {:a, 1})
  true = Native.node_info() != nil
  """

  # Runs a script in a VM of its own; `meanwhile` gets its process id once it is ready.
  defp run(script, meanwhile \\ fn _os_pid -> :ok end) do
    elixir = System.find_executable("elixir")
    paths = for path <- :code.get_path(), path != ~c".", arg <- ["-pa", to_string(path)], do: arg
    name = "script-#{System.pid()}-#{System.unique_integer([:positive])}@127.0.0.1"
    code = "alias PartitionedEts.Native\n" <> @start <> "IO.puts(System.pid())\n" <> script

    port =
      Port.open({:spawn_executable, elixir}, [
        :binary,
        :exit_status,
        :stderr_to_stdout,
        line: 1000,
        args: ["--name", name, "--cookie", to_string(Node.get_cookie())] ++ paths ++ ["-e", code]
      ])

    assert_receive {^port, {:data, {:eol, os_pid}}}, 20_000
    assert os_pid =~ ~r/^\d+$/
    meanwhile.(os_pid)
    assert_receive {^port, {:exit_status, status}}, 20_000
    refute_received {^port, {:data, _}}
    status
  end

  test "System.halt/1", do: assert(run("System.halt(3)") == 3)
  test "System.stop/1", do: assert(run("System.stop(4); Process.sleep(:infinity)") == 4)
  test "the end of a script", do: assert(run(":ok") == 0)

  test "SIGTERM" do
    terminate = fn os_pid -> {_, 0} = System.cmd("kill", ["-TERM", os_pid]) end
    assert run("Process.sleep(:infinity)", terminate) == 0
  end

  test "no table outlives the application" do
    node = start_node()
    {:ok, owner} = start_table(node, name: :kept)
    {:ok, _} = start_table(node, name: :kept_here, distributed: false)
    call(node, Application, :stop, [:partitioned_ets])
    assert call(node, Native, :table_names, []) == []
    assert call(node, Native, :node_info, []) == nil
    assert {:error, %ArgumentError{}} = rescued(node, :lookup, [:kept, 1])
    # Its supervisor may start it again when the application is there again.
    until(fn -> not call(node, Process, :alive?, [owner]) end)
  end

  test "a cookie that is set after the C-node has started is the one that counts" do
    a = start_node()
    b = start_node(distributed: false)
    {:ok, _} = call(b, Node, :start, [:"cookie-#{System.pid()}@127.0.0.1", :longnames])
    for node <- [a, b], do: {:ok, _} = start_table(node, name: :late_cookie)
    assert %{} = call(b, Native, :node_info, [])

    true = call(b, Node, :set_cookie, [Node.get_cookie()])
    true = call(b, Node, :connect, [a.name])
    until(fn -> length(table(b, :members, [:late_cookie])) == 2 end)
    for node <- [a, b], do: :ok = table(node, :await_settled, [:late_cookie, 10_000])
    assert table(a, :insert, [:late_cookie, for(key <- 1..100, do: {key, key})])
    assert table(b, :info, [:late_cookie, :size]) == 100
  end

  test "a table cannot be started while the application is stopped" do
    node = start_node()
    call(node, Application, :stop, [:partitioned_ets])
    options = [name: :t, table_opts: [:named_table, :public]]

    assert {:error, error} = rescued(node, :start_link, [options])
    assert Exception.message(error) =~ "the :partitioned_ets application is not running"
  end

  test "a node that gets its name later becomes a member then" do
    a = start_node()
    b = start_node(distributed: false)
    for node <- [a, b], do: {:ok, _} = start_table(node, name: :named_later)
    assert table(b, :members, [:named_later]) == [:nonode@nohost]

    name = :"later-#{System.pid()}@127.0.0.1"
    {:ok, _} = call(b, Node, :start, [name, :longnames])
    true = call(b, Node, :set_cookie, [Node.get_cookie()])
    connect(b, a)
    expected = Enum.sort([a.name, name])
    for node <- [a, b], do: until(fn -> table(node, :members, [:named_later]) == expected end)

    :ok = call(b, Node, :stop, [])
    until(fn -> table(b, :members, [:named_later]) == [:nonode@nohost] end)
    until(fn -> table(a, :members, [:named_later]) == [a.name] end)
    assert call(b, Native, :node_info, []) == nil
  end
end
