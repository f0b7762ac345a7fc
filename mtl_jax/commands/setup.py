"""What JAX and the other libraries are told before a command starts."""

import gc
import importlib.util
import os
from pathlib import Path
from typing import Any

CACHE = "~/.cache/mtl_jax"
_NEW_OBJECTS = 25_000
# JAX's part for GPUs of NVIDIA's.
_CUDA = ("jax_cuda12_plugin", "jax_cuda13_plugin")


def collect_rarely() -> None:
    """Lets Python look for unreachable cycles after 25,000 new objects instead of 700.

    Imports, tracing and lowering make millions of objects that stay. To go through them again and
    again took a seventh of the time of a start. Who has asked for fewer collections, or none, by
    `gc.set_threshold`, keeps them.
    """
    new_objects, *others = gc.get_threshold()
    if 0 < new_objects < _NEW_OBJECTS:
        gc.set_threshold(_NEW_OBJECTS, *others)


def compiler() -> None:
    """Lets cuBLAS compute all matrix products on GPUs, where XLA has not been told about that yet.

    XLA's own ones, made with Triton, abort the process that compiles them where it splits the
    contraction of certain products, as of the pooled branch of an ASPP
    (https://github.com/openxla/xla/issues/47381; JAX 0.11.2). XLA reads the variable when JAX looks
    for devices; other programs that use this package set it themselves. Where it names a file of
    options, that has to have this one.
    """
    option, flags = "--xla_gpu_enable_triton_gemm", os.environ.get("XLA_FLAGS", "").strip()
    is_file = flags and not flags.startswith("-")
    if option not in flags and not is_file and any(map(importlib.util.find_spec, _CUDA)):
        os.environ["XLA_FLAGS"] = f"{flags} {option}=false".strip()


def libraries(verbosity: int | None = None, cache: str | None = None) -> None:
    """JAX's cache, and what the libraries may print.

    Args:
      verbosity: 0 = warnings, 1 = what they tell, 2 = all of it; None = errors alone.
      cache: the folder of compiled programs, which has one for each number of cores; '' for none,
        None for `CACHE`.
    """
    from absl import logging

    if verbosity is None:
        # Orbax and TFDS tell every step that they take. JAX has a log of its own, which is shown.
        logging.set_verbosity(logging.ERROR)
        logging.get_absl_logger().addFilter(_is_not_of_orbax)
    else:
        logging.set_verbosity(verbosity - 1)
    import jax

    from input_pipeline import cores

    folder = CACHE if cache is None else cache
    if folder:
        # The compiler divides work among the cores that the process has, and JAX does not tell such
        # programs apart: what a process of one core had compiled took 1.08 times as long in one of
        # two (a step of the branched ResNet-34).
        own = Path(folder).expanduser() / f"{cores.available()}_cores"
        jax.config.update("jax_compilation_cache_dir", str(own))


def _is_not_of_orbax(record: Any) -> bool:
    """Its threads log each error with its traceback, and then it is raised where we say it."""
    return f"{os.sep}orbax{os.sep}" not in record.pathname
