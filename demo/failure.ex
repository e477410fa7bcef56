defmodule Demo.Failure do
  @moduledoc """
  How a step of the demo fails: with a sentence for its user.
  """

  @doc "Ends the step, and the demo."
  @spec fail!(String.t()) :: no_return()
  def fail!(sentence), do: throw({:failed, sentence})

  @doc "Runs a step in a process that would otherwise take its parent with it, without a word."
  @spec attempt((-> result)) :: {:ok, result} | {:error, String.t()} when result: term()
  def attempt(step) do
    {:ok, step.()}
  catch
    kind, reason -> {:error, sentence(kind, reason, __STACKTRACE__)}
  end

  @doc "Returns what `attempt/1` has brought about, or fails as the step did."
  @spec unwrap!({:ok, result} | {:error, String.t()}) :: result when result: term()
  def unwrap!({:ok, result}), do: result
  def unwrap!({:error, sentence}), do: fail!(sentence)

  @doc "Says what was caught."
  @spec sentence(:throw | :error | :exit, term(), Exception.stacktrace()) :: String.t()
  def sentence(:throw, {:failed, sentence}, _stacktrace), do: sentence
  def sentence(kind, reason, stacktrace), do: Exception.format(kind, reason, stacktrace)
end
