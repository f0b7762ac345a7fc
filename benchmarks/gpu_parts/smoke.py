"""One step of every architecture and weighting on the accelerator, beside the CPU's float32."""

import argparse
import functools
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from benchmarks import train_step
from benchmarks.gpu_parts import _cases
from input_pipeline import cores
from mtl_jax import _discovery, architectures, layers, options, parallel, system, weightings
from mtl_jax.commands import config as configuration

# Each makes programs on one core most of the time.
PROCESSES = max(1, min(14, cores.available() - 2))
# Relative: of the total loss, and of the gradient's norm, of which half is bfloat16's to err by.
TOLERANCES = {"float32": (2e-3, 0.05), "bfloat16": (0.1, 0.5)}
_SIZE, _BATCH = (64, 64), 4  # or the smallest size above that a network takes
# It is asked whether the programs are right, not how fast they are.
_COMPILED_QUICKLY = {
    "cpu": {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True},
    "gpu": {"xla_gpu_autotune_level": 0},
}
_TINY = ("fcn", "pcgrad")


def cases(flags: argparse.Namespace) -> list[_cases.Case]:
    """One for each architecture and each weighting."""
    models = _models()
    chosen = [("architecture", name, model) for name, model in models.items()]
    small = {"architecture": "joint", "encoder": {"name": "resnet", "width": 8}}
    chosen += [("weighting", name, small) for name in weightings.names()]
    return [
        _cases.Case({"kind": kind, "name": name}, functools.partial(_measure, kind, name, model))
        for kind, name, model in chosen
        if not flags.tiny or name in _TINY
    ]


def _models() -> dict[str, dict[str, Any]]:
    """`config.model` of every architecture: of the first config that names it, or its defaults."""
    found: dict[str, dict[str, Any]] = {}
    for name in configuration.names():
        model = configuration.load(name).model
        found.setdefault(model.architecture, model.to_dict())
    for name in _discovery.names(architectures):
        found.setdefault(name, {"architecture": name})
    return found


def _measure(kind: str, name: str, model: dict[str, Any]) -> dict[str, Any]:
    # TF32 is what training uses; here the question is whether the program is right.
    jax.config.update("jax_default_matmul_precision", "highest")
    cpu = jax.devices("cpu")[0]
    with jax.default_device(cpu):
        there = parallel.make_mesh([cpu])
        config = _config(kind, name, model, "float32")
        prepared = train_step.prepare(config, _BATCH, tuple(config.data.augment.crop), there)
        state, batch = jax.device_get((prepared.state, prepared.batch))
        expected = _logs(prepared)
    row: dict[str, Any] = {"CPU's loss": expected["total"]}
    wrong = []
    for dtype, tolerances in TOLERANCES.items():
        try:
            found = _logs(_here(_config(kind, name, model, dtype), state, batch))
        except Exception as error:  # the other type may be right
            row[f"{dtype}: loss differs"] = _cases.short(error)
            wrong.append(dtype)
            continue
        differences = [
            abs(found[key] / expected[key] - 1) if expected[key] else abs(found[key])
            for key in ("total", "gradient_norm")
        ]
        row[f"{dtype}: loss differs"], row[f"{dtype}: gradient differs"] = differences
        if not np.all(np.array(differences) < tolerances):  # nor of what is no number
            wrong.append(dtype)
    return row | {"result": f"WRONG in {', '.join(wrong)}" if wrong else "right"}


def _config(kind: str, name: str, model: dict[str, Any], dtype: str) -> ConfigDict:
    config = configuration.load("branched:streets_scratch").copy_and_resolve_references()
    with config.unlocked():
        config.model = ConfigDict(model | {"dtype": dtype, "pretrained": ""})
        if kind == "weighting":
            config.weighting = ConfigDict({"name": name})
    options.fill(config)
    config.data.augment.crop = (0, 0)  # of no size, until the network has said which it takes
    config.data.augment.crop = layers.image_sizes(system.network(config)).fitting(_SIZE)
    return config


def _here(config: ConfigDict, state: Any, batch: Any) -> train_step.Prepared:
    """The step of the first device, from a state on the host."""
    mesh: Mesh = parallel.make_mesh(jax.devices()[:1])
    _, _, step = train_step.make_step(config, _BATCH, mesh)
    state = jax.device_put(state, parallel.replicated(mesh))
    return train_step.Prepared(step, state, parallel.put_batch(mesh, batch), mesh)


def _logs(prepared: train_step.Prepared) -> dict[str, float]:
    """Of one step."""
    step, state, batch, mesh = prepared
    quickly = _COMPILED_QUICKLY.get(mesh.devices.flat[0].platform, {})
    compiled = step.lower(state, batch).compile(compiler_options=quickly)
    _, logs = compiled(state, batch)
    return {key: float(logs[key]) for key in ("total", "gradient_norm")}
