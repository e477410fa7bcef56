# The coordinator of bin/demo, which checks the arguments and ends what is started here.

# Mix hides what the project does not ask for.
Mix.ensure_application!(:crypto)

# What is compiled here has no file that another node could load, so it is kept to be sent there.
modules =
  for file <- ~w(failure words corpus screen feeder host peer_node table proof report crash run),
      {module, code} <- Code.compile_file("#{file}.ex", __DIR__),
      do: {module, code}

System.halt(Demo.Run.main(System.argv(), modules))
