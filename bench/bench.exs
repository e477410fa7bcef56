# The benchmark suite: mix bench [GROUP ...] [--quick]
#
# bench/README.md says what it measures and how to read it.

{modules, _} = Code.eval_file("suite.exs", __DIR__)
System.halt(Bench.Run.main(System.argv(), modules))
