defmodule Demo.Corpus do
  @moduledoc """
  The texts that are counted: the given files, or documentation and licences of this machine.
  """

  @wanted_bytes 20_000_000
  @small_bytes 1_000_000
  # A file beyond this is a data set rather than a text to read.
  @largest_file_bytes 8_000_000
  @chunk_bytes 8_192
  # How far beyond its size a chunk may go to end with a line.
  @longest_line_bytes 65_536

  @typedoc "The texts, and a sentence on where they are from."
  @type t :: %{texts: [binary()], bytes: non_neg_integer(), origin: String.t()}

  @doc """
  Reads the files; without any, gathers texts of the machine in an order that is always the same.

  Returns `{:error, sentence}` when there is nothing to count.
  """
  @spec read([Path.t()], small: boolean()) :: {:ok, t()} | {:error, String.t()}
  def read([], small: small?) do
    wanted = if small?, do: @small_bytes, else: @wanted_bytes

    {texts, bytes} =
      roots()
      |> Stream.flat_map(&documents/1)
      |> Stream.flat_map(&document_text/1)
      |> gather(wanted)

    enough =
      if bytes < wanted,
        do: ", which is all there is of the #{div(wanted, 1_000_000)} MB looked for"

    corpus(texts, bytes, "documentation and licence texts of this machine#{enough}")
  end

  def read(files, _options) do
    texts =
      for file <- files do
        case File.read(file) do
          {:ok, content} -> unpacked(file, content)
          {:error, reason} -> throw({:unreadable, "#{file}: #{:file.format_error(reason)}"})
        end
      end

    corpus(texts, texts |> Enum.map(&byte_size/1) |> Enum.sum(), "as named")
  catch
    {:unreadable, sentence} -> {:error, sentence}
  end

  defp corpus(texts, bytes, origin) do
    if Enum.any?(texts, &(Demo.Words.split(&1) != [])),
      do: {:ok, %{texts: texts, bytes: bytes, origin: origin}},
      else: {:error, "there are no words to count (#{origin}); name files that have some"}
  end

  @doc """
  Cuts the texts into chunks that end with a line, so that no word is cut, and deals them into
  `shares` runs of about the same size.
  """
  @spec shares([binary()], pos_integer()) :: [[binary()]]
  def shares(texts, shares) do
    chunks = texts |> Enum.flat_map(&chunks/1) |> joined()
    share_bytes = div(chunks |> Enum.map(&byte_size/1) |> Enum.sum(), shares) + 1

    dealt =
      chunks
      |> Enum.map_reduce(0, fn chunk, before ->
        {{div(before, share_bytes), chunk}, before + byte_size(chunk)}
      end)
      |> elem(0)
      |> Enum.group_by(&elem(&1, 0), &elem(&1, 1))

    for share <- 0..(shares - 1), do: Map.get(dealt, share, [])
  end

  defp chunks(text) when byte_size(text) <= @chunk_bytes, do: [text]

  defp chunks(text) do
    case cut(text) do
      :nowhere ->
        [text]

      at ->
        <<chunk::binary-size(at), rest::binary>> = text
        [chunk | chunks(rest)]
    end
  end

  # After a line; in a line without end after a blank.
  defp cut(text) do
    left = byte_size(text) - @chunk_bytes

    with :nomatch <-
           :binary.match(text, "\n", scope: {@chunk_bytes, min(left, @longest_line_bytes)}),
         :nomatch <- :binary.match(text, " ", scope: {@chunk_bytes, left}) do
      :nowhere
    else
      {at, 1} -> at + 1
    end
  end

  # Most texts of a system are tiny, and a chunk is fetched from the coordinator.
  defp joined(chunks) do
    chunks
    |> Enum.chunk_while({[], 0}, &join/2, fn {chunk, _} -> {:cont, join(chunk), nil} end)
  end

  defp join(chunk, {joined, bytes}) when bytes + byte_size(chunk) > @chunk_bytes and bytes > 0,
    do: {:cont, join(joined), {[chunk], byte_size(chunk)}}

  defp join(chunk, {joined, bytes}), do: {:cont, {[chunk | joined], bytes + byte_size(chunk)}}

  defp join(chunks),
    do: chunks |> Enum.reverse() |> Enum.intersperse("\n") |> :binary.list_to_bin()

  ## The texts of the machine

  defp roots do
    home = System.user_home() || "/nonexistent"
    cargo = System.get_env("CARGO_HOME") || Path.join(home, ".cargo")
    rustup = System.get_env("RUSTUP_HOME") || Path.join(home, ".rustup")

    [
      "/usr/share/common-licenses/*",
      "/usr/share/doc/**",
      Path.join(cargo, "registry/src/**/{*.md,*.txt,LICENSE*,README*}"),
      Path.join(rustup, "toolchains/*/share/doc/**/{*.md,*.txt,LICENSE*,README*}"),
      "/usr/lib/{erlang,elixir}/**/{*.md,*.txt,LICENSE*,README*}"
    ]
  end

  @plain ~w(.md .txt .rst .adoc .text)
  @names ~w(copyright changelog readme news license licence copying authors thanks todo history)

  defp documents(pattern) do
    pattern |> Path.wildcard() |> Enum.sort() |> Enum.filter(&document?(pattern, &1))
  end

  defp document?("/usr/share/doc" <> _, path) do
    name = path |> Path.basename(".gz") |> String.downcase()
    Path.extname(name) in @plain or String.starts_with?(name, @names)
  end

  defp document?(_pattern, _path), do: true

  # Links lead to texts that are in the list themselves, or would be there twice.
  defp document_text(path) do
    with {:ok, %{type: :regular, size: size}} when size in 1..@largest_file_bytes//1 <-
           File.lstat(path),
         {:ok, content} <- File.read(path),
         text = unpacked(path, content),
         :nomatch <- :binary.match(text, <<0>>) do
      [text]
    else
      _ -> []
    end
  end

  defp unpacked(path, content) do
    if Path.extname(path) == ".gz", do: :zlib.gunzip(content), else: content
  rescue
    # Named so, but not compressed: its bytes are the text.
    _not_gzip in ErlangError -> content
  end

  defp gather(texts, wanted) do
    {texts, bytes} =
      Enum.reduce_while(texts, {[], 0}, fn text, {texts, bytes} ->
        gathered = {[text | texts], bytes + byte_size(text)}
        if elem(gathered, 1) >= wanted, do: {:halt, gathered}, else: {:cont, gathered}
      end)

    {Enum.reverse(texts), bytes}
  end
end
