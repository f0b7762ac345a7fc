"""Train steps of this project and of PyTorch, in turn; each alone on the device."""

import argparse
import functools
import statistics
import time
from collections.abc import Sequence
from typing import Any

import jax

from benchmarks import train_step
from benchmarks.beside_pytorch import __main__ as beside
from benchmarks.gpu_parts._cases import Case
from mtl_jax.commands import config as configuration

# A process keeps what memory it has had, so each row has one of its own.
PROCESSES = 1
_DPT = (
    "--config.model.neck=none",
    "--config.model.decoder.name=dpt",
    "--config.model.decoder.channels=256",
)
# Those that there is a goal for come first. Name in beside_pytorch/networks.py: config, changes,
# channels.
_NETWORKS: dict[str, tuple[str, tuple[str, ...], tuple[int, ...]]] = {
    "branched_resnet50": ("branched:miniscapes", ("--config.model.encoder.depth=50",), (19, 1)),
    "vit_l_dpt": ("vit", (*_DPT, "--config.model.encoder.size=L"), (19, 1)),
    "branched_resnet34": ("branched:miniscapes", (), (19, 1)),
    "vit_s_dpt": ("vit", (*_DPT, "--config.model.encoder.size=S"), (19, 1)),
    "stacked_unet": ("stacked_unet:pascal", (), (21,)),
    "mtan_segnet": ("mtan:cityscapes", ("--config.tasks.semseg.num_classes=7",), (7, 1)),
    "streets_default": ("branched", (), (19, 1)),
}
OURS = "ours"


def cases(flags: argparse.Namespace) -> list[Case]:
    """One for each batch size, network and side."""
    size, batches = ((32, 64), (2,)) if flags.tiny else ((256, 512), (64, 8, 32, 16))
    names = ["streets_default"] if flags.tiny else list(_NETWORKS)
    rounds = 3 if flags.tiny else 20
    found = []
    for batch in batches:
        for name in names:
            config, changes, outputs = _NETWORKS[name]
            case = beside.Case(config, outputs, batch, *size)
            sides: dict[str, Any] = {OURS: functools.partial(_ours, case, changes, rounds)}
            if flags.torch_python:
                torch = functools.partial(_torch, flags.torch_python, case, name, rounds)
                sides["PyTorch"] = functools.partial(torch, compiled=False)
                if not flags.tiny:
                    sides["PyTorch compiled"] = functools.partial(torch, compiled=True)
            for side, measure in sides.items():
                found.append(Case({"network": name, "batch": batch, "side": side}, measure))
    return found


def _ours(case: beside.Case, changes: Sequence[str], rounds: int) -> dict[str, Any]:
    """In bfloat16."""
    chosen = ["--config.model.pretrained=", "--config.model.dtype=bfloat16", *changes]
    config = configuration.load(case.config, chosen)
    prepared = train_step.prepare(config, case.batch, (case.height, case.width))
    needed = train_step.operations(config, case.batch, prepared)
    step, state, batch, mesh = prepared
    parameters = sum(leaf.size for leaf in jax.tree.leaves(state.params["model"]))
    start = time.perf_counter()
    compiled = step.lower(state, batch).compile()
    compile_s = time.perf_counter() - start
    times = []
    for _ in range(2 + rounds):
        start = time.perf_counter()
        state, _ = compiled(state, batch)
        jax.block_until_ready(state)
        times.append(time.perf_counter() - start)
    peak, plan = train_step.peak_bytes(), compiled.memory_analysis()
    planned = plan.argument_size_in_bytes + plan.output_size_in_bytes + plan.temp_size_in_bytes
    platform = mesh.devices.flat[0].platform
    del prepared, state, batch, compiled  # the product needs room, too
    product = train_step.MatrixProduct("bfloat16")
    rate = statistics.median(product.rate() for _ in range(5))
    row = _row(times[2:], case.batch)
    return row | {
        "peak GiB": peak / 2**30,
        "planned GiB": (planned - plan.alias_size_in_bytes) / 2**30,
        "share of product %": 100 * needed / statistics.median(times[2:]) / rate,
        "compile s": compile_s,
        "parameters": parameters,
        "device": platform.replace("gpu", "cuda"),
    }


def _torch(
    python: str, case: beside.Case, network: str, rounds: int, *, compiled: bool
) -> dict[str, Any]:
    """Channels-last, with autocast to bfloat16. Raises RuntimeError if it has another device."""
    side = beside.Torch(
        python,
        case,
        network,
        channels_last=True,
        dtype="bfloat16",
        device="cuda",  # or the CPU, where there is none
        compile=compiled,
    )
    try:
        start = time.perf_counter()
        warm_up = [side.step() for _ in range(4 if compiled else 2)]
        compile_s = time.perf_counter() - start - (len(warm_up) - 1) * warm_up[-1]["wall"]
        steps = [side.step() for _ in range(rounds)]
    finally:
        side.close()
    row = _row([step["wall"] for step in steps], case.batch)
    return row | {
        "peak GiB": steps[-1]["peak"] / 2**30,
        "compile s": compile_s if compiled else None,
        "parameters": side.about["parameters"],
        "device": side.about["device"],
    }


def _row(times: Sequence[float], batch: int) -> dict[str, Any]:
    low, median, high = statistics.quantiles(times, n=4)
    return {
        "step ms": 1e3 * median,
        "± %": 50 * (high - low) / median,
        "images/s": batch / median,
    }
