"""Steps of one network, its data resident, by one and by several in a call, or fed by the host."""

import argparse
import functools
import time
from typing import Any

import jax

from benchmarks.gpu_parts import _runs
from benchmarks.gpu_parts._cases import Case
from mtl_jax import optimizers, parallel, system, training
from mtl_jax.commands import assembly
from mtl_jax.runs import feeds

PROCESSES = 1  # each has the device's memory to itself


def cases(flags: argparse.Namespace) -> list[Case]:
    """One for each way of feeding."""
    several = 2 if flags.tiny else 8
    ways: dict[str, dict[str, Any]] = {
        "resident, 1 step in a call": {"train__steps_per_call": 1},
        "host": {"data__resident": False, "train__steps_per_call": 1},
        f"resident, {several} steps in a call": {"train__steps_per_call": several},
    }
    return [
        Case({"feeding": name}, functools.partial(_measure, flags, changes))
        for name, changes in ways.items()
    ]


def _measure(flags: argparse.Namespace, changes: dict[str, Any]) -> dict[str, float]:
    config = _runs.config(flags, "branched:streets_scratch", **changes)
    builder, specs = assembly.dataset(config)
    parts, mesh = system.build(config, specs), parallel.make_mesh()
    stream = assembly.train_stream(builder, config, parts)
    epochs = {"steps_per_epoch": stream.steps_per_epoch, "total_steps": 10_000}
    examples = dict.fromkeys([optimizers.COMMON, *parts.tasks], stream.num_examples)
    optimizer, schedule = optimizers.build(config, **epochs, labelled_per_epoch=examples)
    shape = stream.shapes["image"][:2]
    state = training.create_state(parts, optimizer, seed=0, image_shape=shape, mesh=mesh)
    made = {"seed": 0, "steps_per_epoch": stream.steps_per_epoch, "mesh": mesh}
    each = config.train.steps_per_call
    if config.data.resident:
        feed = feeds.Resident(stream, mesh, 0)
        step = training.step_function(parts, optimizer, schedule, **made)
        advance: Any = feeds.Calls(step, feed, mesh, each)
    else:
        step = training.make_train_step(parts, optimizer, schedule, **made)
        advance = feeds.EachStep(step, stream.batches(0), mesh)
    for _ in range(2):
        state, _, _ = advance(state, each)
    jax.block_until_ready(state)
    wanted, steps, start = (2.0 if flags.tiny else 10.0), 0, time.perf_counter()
    while time.perf_counter() - start < wanted:
        for _ in range(max(1, 8 // each)):
            state, _, count = advance(state, each)
            steps += count
        jax.block_until_ready(state)
    seconds = time.perf_counter() - start
    batch = config.train.batch_size
    return {"step ms": 1e3 * seconds / steps, "images/s": steps * batch / seconds}
