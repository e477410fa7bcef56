# Compiles the suite and returns its modules with their code: what is compiled here has no file
# that another node could load, so it is kept to be sent there.
for file <- ~w(json stats text machine resident keys shapes sharded loops subject rounds calls
               comparison tables node probe groups/shapes groups/growth groups/contention
               groups/mixes groups/memory groups/load groups/scan groups/types run),
    {module, code} <- Code.compile_file("suite/#{file}.ex", __DIR__),
    do: {module, code}
