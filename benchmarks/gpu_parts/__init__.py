"""The parts of `benchmarks.gpu`: a module each, whose `rows(flags)` yields rows of its table."""
