defmodule Demo.PeerNode do
  @moduledoc """
  A node in an operating system process of its own, which ends when the coordinator does.
  """

  alias Demo.Host

  @boot_ms 30_000

  @enforce_keys [:label, :node, :control, :monitor, :os_pid]
  defstruct [:label, :node, :control, :monitor, :os_pid]

  @typedoc "A running node; `control` is the process here that holds its standard streams."
  @type t :: %__MODULE__{
          label: String.t(),
          node: node(),
          control: pid(),
          monitor: reference(),
          os_pid: String.t()
        }

  @doc "Gives the coordinator itself a name, as a hidden node that is no member of anything."
  @spec distribute!() :: :ok
  def distribute! do
    options = %{name_domain: :longnames, hidden: true}
    System.put_env("ERL_EPMD_ADDRESS", "127.0.0.1")
    Application.put_env(:kernel, :inet_dist_use_interface, {127, 0, 0, 1})

    case :net_kernel.start(full_name("control"), options) do
      {:ok, _} -> :ok
      {:error, reason} -> raise "the coordinator cannot be a node: #{inspect(reason)}"
    end

    cookie = Base.encode32(:crypto.strong_rand_bytes(20), padding: false)
    Node.set_cookie(String.to_atom(cookie))
    # That nodes come and go is the demo's own doing.
    Logger.configure(level: :error)
  end

  @doc "Starts a node, with the modules of the demo in it; the caller is told of its end."
  @spec start!(String.t(), [{module(), binary()}], pid()) :: t()
  def start!(label, modules, coordinator) do
    {:ok, control, node} =
      :peer.start(%{
        name: ~c"#{name(label)}",
        host: ~c"127.0.0.1",
        longnames: true,
        connection: :standard_io,
        wait_boot: @boot_ms,
        args: arguments()
      })

    for {module, code} <- modules do
      {:module, ^module} = call!(node, :code, :load_binary, [module, ~c"demo", code])
    end

    call!(node, Host, :prepare, [coordinator])
    os_pid = List.to_string(call!(node, :os, :getpid, []))
    %__MODULE__{label: label, node: node, control: control, monitor: nil, os_pid: os_pid}
  end

  @doc "Has the calling process told when the node ends, by a `:DOWN` of its control process."
  @spec monitor(t()) :: t()
  def monitor(peer), do: %{peer | monitor: Process.monitor(peer.control)}

  @doc "Connects a node to another one, and by it to all."
  @spec connect!(t(), t()) :: true
  def connect!(peer, other), do: true = call!(peer.node, Node, :connect, [other.node])

  @doc "Ends what `monitor/1` began, because the node is about to end."
  @spec demonitor(t()) :: t()
  def demonitor(peer) do
    Process.demonitor(peer.monitor, [:flush])
    %{peer | monitor: nil}
  end

  @doc "Halts a node and returns when its process is gone."
  @spec stop(t()) :: :ok
  def stop(peer), do: :peer.stop(peer.control)

  @doc "Kills a node, which notices nothing."
  @spec kill!(t()) :: :ok
  def kill!(peer) do
    {_, 0} = System.cmd("kill", ["-KILL", peer.os_pid])
    :ok
  end

  @doc "Calls a function there and raises here what it raises."
  @spec call!(node(), module(), atom(), [term()], timeout()) :: term()
  def call!(node, module, function, arguments, timeout \\ 60_000) do
    :erpc.call(node, module, function, arguments, timeout)
  end

  @doc "What a node is called here."
  @spec label(node()) :: String.t()
  def label(node), do: node |> Atom.to_string() |> String.split("-") |> hd()

  # Two demos at the same time do not meet.
  defp name(label), do: "#{label}-#{System.pid()}"
  defp full_name(label), do: :"#{name(label)}@127.0.0.1"

  # Four VMs share this machine's cores: one that has nothing to do must not spin on them. Nodes
  # that end here are no network split, which `global` would try to tell apart.
  defp arguments do
    own_code =
      for path <- :code.get_path(),
          not List.starts_with?(path, :code.root_dir()),
          path != ~c".",
          do: path

    ~w(+sbwt none +sbwtdcpu none +sbwtdio none -setcookie #{Node.get_cookie()})c ++
      ~w(-kernel inet_dist_use_interface {127,0,0,1} prevent_overlapping_partitions false)c ++
      [~c"-pa" | own_code]
  end
end
