defmodule Demo.Screen do
  @moduledoc """
  What the demo prints: lines that stay, one live line under them, and tables.

  On a terminal the live line is written over itself; elsewhere it is a line now and then.
  """

  @width 79
  @quiet_ms 2_000

  @enforce_keys [:terminal?, :started_ms, :live_at_ms]
  defstruct [:terminal?, :started_ms, :live_at_ms, live?: false]

  @typedoc "Where and when the last line was written."
  @type t :: %__MODULE__{}

  @doc "Returns a screen; the time starts to run."
  @spec new(boolean()) :: t()
  def new(terminal?) do
    now = now_ms()
    %__MODULE__{terminal?: terminal?, started_ms: now, live_at_ms: now}
  end

  @doc "Prints a line that stays, with the time."
  @spec event(t(), IO.chardata()) :: t()
  def event(screen, text) do
    seconds = :erlang.float_to_binary((now_ms() - screen.started_ms) / 1000, decimals: 1)
    line(screen, wrap("#{String.pad_leading(seconds, 6)} s  ", IO.chardata_to_string(text)))
  end

  @doc "Prints a line that stays."
  @spec line(t(), IO.chardata()) :: t()
  def line(screen, text) do
    if screen.live?, do: IO.write(["\r", String.duplicate(" ", @width), "\r"])
    IO.puts(text)
    %{screen | live?: false}
  end

  @doc "Shows the live line."
  @spec live(t(), (-> String.t())) :: t()
  def live(%__MODULE__{terminal?: true} = screen, text) do
    IO.write(["\r", text.() |> String.slice(0, @width) |> String.pad_trailing(@width)])
    %{screen | live?: true}
  end

  def live(screen, text) do
    if now_ms() - screen.live_at_ms >= @quiet_ms do
      IO.puts(text.())
      %{screen | live_at_ms: now_ms()}
    else
      screen
    end
  end

  @doc "Prints rows under a head; the first column is text, the others are aligned as numbers."
  @spec table(t(), [String.t()], [[String.t()]]) :: t()
  def table(screen, head, rows) do
    widths =
      Enum.zip_with([head | rows], fn column ->
        column |> Enum.map(&String.length/1) |> Enum.max()
      end)

    for [first | others] <- [head | rows], reduce: screen do
      screen ->
        [first_width | other_widths] = widths

        cells =
          Enum.zip_with(others, other_widths, fn text, width ->
            String.pad_leading(text, width + 3)
          end)

        line(screen, ["  ", String.pad_trailing(first, first_width), cells])
    end
  end

  @doc "An integer with commas."
  @spec number(number()) :: String.t()
  def number(n) when is_float(n), do: number(round(n))

  def number(n) when n < 0, do: "-" <> number(-n)

  def number(n) do
    n
    |> Integer.digits(1000)
    |> Enum.map_join(",", &String.pad_leading(Integer.to_string(&1), 3, "0"))
    |> String.trim_leading("0")
    |> case do
      "" -> "0"
      text -> text
    end
  end

  @doc "An integer in at most five characters."
  @spec short(non_neg_integer()) :: String.t()
  def short(n) when n < 10_000, do: Integer.to_string(n)
  def short(n) when n < 99_950, do: "#{Float.round(n / 1_000, 1)}k"
  def short(n) when n < 9_999_500, do: "#{round(n / 1_000)}k"
  def short(n), do: "#{round(n / 1_000_000)}M"

  @doc "A number with some digits after the point."
  @spec decimal(number(), non_neg_integer()) :: String.t()
  def decimal(n, digits \\ 1), do: :erlang.float_to_binary(n * 1.0, decimals: digits)

  # Continues a long text under its own beginning.
  defp wrap(head, text) do
    indent = "\n" <> String.duplicate(" ", String.length(head))

    text
    |> String.split(~r/\s+/, trim: true)
    |> Enum.reduce([[]], fn word, [line | lines] ->
      longer = line ++ [word]

      if line != [] and String.length(Enum.join([head | longer], " ")) > @width + 1,
        do: [[word], line | lines],
        else: [longer | lines]
    end)
    |> Enum.reverse()
    |> Enum.map_join(indent, &Enum.join(&1, " "))
    |> then(&(head <> &1))
  end

  defp now_ms, do: System.monotonic_time(:millisecond)
end
