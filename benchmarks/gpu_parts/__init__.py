"""The parts of `benchmarks.gpu`, a module each.

Its `cases(flags)` are the rows of its table, see `_cases.Case`; its `POOL`, how many processes they
are measured in, as arguments of `multiprocessing.Pool`: None is that of the part alone.
"""
