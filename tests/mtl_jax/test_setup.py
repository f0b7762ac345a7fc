"""What the process is told before a command starts."""

import gc
import importlib.util
import os
import sys

import jax
import pytest
from absl import logging

import mtl_jax
from benchmarks import gpu
from input_pipeline import cores
from mtl_jax.commands import cli, setup


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ((700, 10, 10), (25_000, 10, 10)),
        ((50_000, 20, 20), (50_000, 20, 20)),  # fewer collections still
        ((0, 10, 10), (0, 10, 10)),  # none
    ],
)
def test_garbage_is_looked_for_rarely(before, after):
    threshold = gc.get_threshold()
    try:
        gc.set_threshold(*before)
        setup.collect_rarely()
        assert gc.get_threshold() == after
    finally:
        gc.set_threshold(*threshold)


def test_what_is_compiled_for_some_cores_is_not_taken_for_others(monkeypatch, tmp_path):
    """Each number of cores has its own folder of compiled programs."""
    chosen = {}
    monkeypatch.setattr(jax.config, "update", chosen.__setitem__)
    monkeypatch.setattr(logging, "set_verbosity", lambda _: None)
    for count in (1, 2):
        monkeypatch.setattr(cores, "available", lambda count=count: count)
        setup.libraries(verbosity=0, cache=str(tmp_path))
        assert chosen == {"jax_compilation_cache_dir": str(tmp_path / f"{count}_cores")}


def test_products_are_not_made_by_triton_unless_somebody_says_so(monkeypatch):
    def flags(before, there=("jax_cuda12_plugin",)):
        monkeypatch.setenv("XLA_FLAGS", before)
        monkeypatch.setattr(
            importlib.util, "find_spec", lambda name: object() if name in there else None
        )
        setup.compiler()
        return os.environ["XLA_FLAGS"]

    ours, chosen = "--xla_gpu_enable_triton_gemm=false", "--xla_gpu_enable_triton_gemm=true"
    assert flags("") == ours
    assert flags("", ("jax_cuda13_plugin",)) == ours
    assert flags("--xla_gpu_autotune_level=0") == f"--xla_gpu_autotune_level=0 {ours}"
    assert flags(chosen) == chosen
    assert flags("/etc/xla_flags") == "/etc/xla_flags"  # a file of them, which XLA opens
    assert flags("", there=()) == ""  # a compiler for CPUs may not know it


class SetUpError(Exception):
    """The compiler is set up, before all else."""


@pytest.mark.parametrize(
    "use",
    [
        mtl_jax.load,
        lambda path: mtl_jax.train("no_such", path),
        lambda path: cli.main(["evaluate", f"--workdir={path}"]),
        lambda path: gpu.main(),
    ],
    ids=["load", "train", "command", "benchmark"],
)
def test_whatever_compiles_is_set_up(use, monkeypatch, tmp_path):
    def compiler():
        raise SetUpError

    monkeypatch.setattr(setup, "compiler", compiler)
    monkeypatch.setattr(sys, "argv", ["gpu", f"--work={tmp_path}"])
    monkeypatch.setattr(gpu, "_machine", lambda flags: pytest.fail("It begins, and is not set up."))
    with pytest.raises(SetUpError):
        use(tmp_path / "nowhere")
