"""The parts of `benchmarks.gpu`, a module each.

Its `cases(flags)` are the rows of its table, see `_cases.Case`; its `PROCESSES`, how many of them
are measured at once, each in a process of its own: None is one after the other in that of the part.
"""
