defmodule Bench.Machine do
  @moduledoc false
  # Where the figures come from.

  # One line for people.
  def describe do
    facts = facts()

    "#{facts.cpu}, #{facts.schedulers} schedulers, OTP #{facts.otp}, " <>
      "Elixir #{facts.elixir}, #{Date.utc_today()}"
  end

  # What a figure is worth nothing without.
  def facts do
    %{
      cpu: cpu(),
      schedulers: System.schedulers_online(),
      memory_bytes: meminfo("MemTotal"),
      system: to_string(:erlang.system_info(:system_architecture)),
      otp: otp(),
      elixir: System.version(),
      rustc: command("rustc", ["--version"]),
      commit: command("git", ["describe", "--always", "--dirty", "--abbrev=10"]),
      partitioned_ets: to_string(Application.spec(:partitioned_ets, :vsn))
    }
  end

  # What can still be used without swapping; nil where the system does not say.
  def available_bytes, do: meminfo("MemAvailable")

  defp cpu do
    with {:ok, text} <- File.read("/proc/cpuinfo"),
         [_, model] <- Regex.run(~r/^model name\s*: (.+)$/m, text) do
      model
    else
      _ -> to_string(:erlang.system_info(:system_architecture))
    end
  end

  defp otp do
    release = System.otp_release()

    case File.read(Path.join([:code.root_dir(), "releases", release, "OTP_VERSION"])) do
      {:ok, version} -> String.trim(version)
      {:error, _} -> release
    end
  end

  defp meminfo(field) do
    with {:ok, text} <- File.read("/proc/meminfo"),
         [_, kb] <- Regex.run(~r/^#{field}:\s+(\d+) kB/m, text) do
      String.to_integer(kb) * 1024
    else
      _ -> nil
    end
  end

  defp command(name, arguments) do
    with path when path != nil <- System.find_executable(name),
         {text, 0} <- System.cmd(path, arguments, stderr_to_stdout: true) do
      String.trim(text)
    else
      _ -> nil
    end
  end
end
