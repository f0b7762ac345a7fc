"""Train steps of this project and of PyTorch on the accelerator, in turn."""

import argparse
import statistics
import time
from collections.abc import Iterator
from typing import Any

import jax

from benchmarks import train_step
from benchmarks.beside_pytorch import __main__ as beside
from mtl_jax.commands import config as configuration

_DPT = (
    "--config.model.neck=none",
    "--config.model.decoder.name=dpt",
    "--config.model.decoder.channels=256",
)
# name in beside_pytorch/networks.py ('' = has none there), config, changes, channels, size
_NETWORKS: tuple[tuple[str, str, tuple[str, ...], tuple[int, ...]], ...] = (
    ("branched_resnet34", "branched:miniscapes", (), (19, 1)),
    (
        "branched_resnet50",
        "branched:miniscapes",
        ("--config.model.encoder.depth=50",),
        (19, 1),
    ),
    ("mtan_segnet", "mtan:cityscapes", (), (7, 1)),
    ("stacked_unet", "stacked_unet:pascal", (), (21,)),
    ("vit_s_dpt", "vit", (*_DPT, "--config.model.encoder.size=S"), (19, 1)),
    ("vit_l_dpt", "vit", (*_DPT, "--config.model.encoder.size=L"), (19, 1)),
    ("streets_default", "branched", (), (19, 1)),
)


def rows(flags: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """A row for each network, batch size and side."""
    deadline = time.monotonic() + flags.seconds
    size, batches = ((32, 64), (2,)) if flags.tiny else ((256, 512), (8, 16, 32, 64))
    networks = _NETWORKS[-1:] if flags.tiny else _NETWORKS
    product = train_step.MatrixProduct("bfloat16")
    # Batch 8 and 64 of every network first: the others where there is time.
    order = [n for n in (8, 64, 32, 16) if n in batches] or list(batches)
    for batch in order:
        for network, name, changes, outputs in networks:
            if time.monotonic() > deadline:
                yield {"network": network, "batch": batch, "side": "no time left"}
                continue
            case = beside.Case(name, outputs, batch, *size)
            yield from _measure(network, case, changes, product, flags)


def _measure(network, case, changes, product, flags) -> Iterator[dict[str, Any]]:
    rounds = 3 if flags.tiny else 20
    sides: dict[str, Any] = {"ours bfloat16": lambda: Ours(case, changes)}
    if flags.torch_python:
        for name, compiled in (("PyTorch autocast", False), ("PyTorch autocast compiled", True)):
            if not (flags.tiny and compiled):
                sides[name] = lambda compiled=compiled: beside.Torch(
                    flags.torch_python, case, network, channels_last=True,
                    dtype="bfloat16", device=jax.default_backend().replace("gpu", "cuda"),
                    compile=compiled,
                )  # fmt: skip
    started = {}
    for name, start in sides.items():
        try:
            started[name] = start()
            for _ in range(2 if "compiled" not in name else 4):
                started[name].step()
        except Exception as error:  # out of memory, no PyTorch: a row says so
            started.pop(name, None)
            yield {
                "network": network,
                "batch": case.batch,
                "side": name,
                "problem": str(error)[:90],
            }
    times: dict[str, list[float]] = {name: [] for name in started}
    rates, peaks = [], {}
    for number in range(rounds):
        for name in list(started)[:: (-1) ** number]:
            taken = started[name].step()
            times[name].append(taken["wall"])
            peaks[name] = taken["peak"]
        rates.append(product.rate())
    for name, side in started.items():
        median = statistics.median(times[name])
        row = {
            "network": network,
            "batch": case.batch,
            "side": name,
            "step ms": 1e3 * median,
            "images/s": case.batch / median,
            "peak GiB": peaks[name] / 2**30,
        }
        if name.startswith("ours"):
            ours = median
            rate = side.operations / median
            row["share of product %"] = 100 * rate / statistics.median(rates)
        elif "ours bfloat16" in started:
            row["ours is faster by"] = median / ours
        side.close()
        yield row


class Ours(beside.Ours):
    """This project's side, in bfloat16."""

    def __init__(self, case: beside.Case, changes: tuple[str, ...]):
        """Compiles the step."""
        chosen = ["--config.model.pretrained=", "--config.model.dtype=bfloat16", *changes]
        config = configuration.load(case.config, chosen)
        size = (case.height, case.width)
        step, self._state, self._batch, _ = train_step.prepare(config, case.batch, size)
        lowered = step.lower(self._state, self._batch)
        self._step = lowered.compile()
        plain = step.trace(self._state, self._batch).lower(lowering_platforms=("cuda",))
        self.operations = plain.cost_analysis()["flops"]

    def step(self) -> dict[str, float]:
        """Makes one."""
        return super().step() | {"peak": train_step.peak_bytes()}
