"""One step of every architecture and weighting on the accelerator, beside the CPU's float32."""

import argparse
import time
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from benchmarks import train_step
from mtl_jax import _discovery, architectures, options, parallel, weightings
from mtl_jax.commands import config as configuration

TOLERANCES = {"float32": 2e-3, "bfloat16": 0.1}  # of the total loss, relative
_SIZE, _BATCH = (64, 64), 4


def rows(flags: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """A row for each architecture, weighting and compute type."""
    deadline = time.monotonic() + flags.seconds
    # TF32 is what training uses; here the question is whether the program is right.
    jax.config.update("jax_default_matmul_precision", "highest")
    models = _models()
    chosen = [("architecture", name, model) for name, model in models.items()]
    small = ConfigDict({"architecture": "joint", "encoder": {"name": "resnet", "width": 8}})
    chosen += [("weighting", name, small) for name in weightings.names()]
    if flags.tiny:
        chosen = [one for one in chosen if one[1] in ("fcn", "mtan", "uncertainty", "pcgrad")][:3]
    for kind, name, model in chosen:
        if time.monotonic() > deadline:
            yield {"kind": kind, "name": name, "result": "no time left"}
            continue
        yield from _of(kind, name, model)


def _models() -> dict[str, ConfigDict]:
    """`config.model` of every architecture: of the first config that names it, or its defaults."""
    found = {}
    for name in configuration.names():
        model = configuration.load(name).model
        found.setdefault(model.architecture, model)
    for name in _discovery.names(architectures):
        found.setdefault(name, ConfigDict({"architecture": name}))
    return found


def _of(kind: str, name: str, model: ConfigDict) -> Iterator[dict[str, Any]]:
    cpu = jax.devices("cpu")[:1]
    try:
        expected = _step(kind, name, model, "float32", cpu)
    except Exception as error:
        yield {"kind": kind, "name": name, "dtype": "float32", "result": f"CPU: {_short(error)}"}
        return
    for dtype, tolerance in TOLERANCES.items():
        row = {"kind": kind, "name": name, "dtype": dtype}
        try:
            found = _step(kind, name, model, dtype, jax.devices()[:1])
        except Exception as error:  # what fails is a row of the table, and the others go on
            yield row | {"result": _short(error)}
            continue
        differs = abs(found["total"] - expected["total"]) / abs(expected["total"])
        gradient = abs(found["gradient_norm"] / expected["gradient_norm"] - 1)
        right = differs < tolerance and np.isfinite(found["gradient_norm"])
        yield row | {
            "loss": found["total"],
            "loss differs": differs,
            "gradient norm differs": gradient,
            "result": "right" if right else "WRONG",
        }


def _step(kind: str, name: str, model: ConfigDict, dtype: str, devices: list) -> dict[str, float]:
    """The logs of one step."""
    config = configuration.load("branched:streets_scratch").copy_and_resolve_references()
    with config.unlocked():
        config.model = ConfigDict(model.to_dict() | {"dtype": dtype, "pretrained": ""})
        if kind == "weighting":
            config.weighting = ConfigDict({"name": name})
    options.fill(config)
    mesh = parallel.make_mesh(devices)
    with jax.default_device(devices[0]):
        step, state, batch, _ = train_step.prepare(config, _BATCH, _SIZE, mesh)
        _, logs = step(state, batch)
    return {key: float(logs[key]) for key in ("total", "gradient_norm")}


def _short(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).splitlines()[0][:120] if str(error) else ''}"
