"""Single convolutions of this project and of PyTorch, in turn in one run: which one is slower?

    python -m benchmarks.beside_pytorch.convolutions --torch_python=torchenv/bin/python

For each of `CASES`, 10⁹ operations a second (two for each tap, also for those on padding) of the
forward pass, the gradient of the image and that of the kernel; PyTorch's form is channels-last.
Each round measures either side for every part, in an order that is reversed from round to round.
"""

import argparse
import json
import os
import pathlib
import platform
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.beside_pytorch._other_side import OtherSide
from mtl_jax.commands import cli
from mtl_jax.layers import _convolution

_WORKER = pathlib.Path(__file__).with_name("convolution_worker.py")
PARTS = ("forward", "image", "kernel")


class Case(NamedTuple):
    """x [batch, height, width, inputs], kernel [size, size, inputs, outputs], "same" padding."""

    inputs: int
    outputs: int
    height: int
    width: int
    size: int = 3
    stride: int = 1
    dilation: int = 1
    batch: int = 4

    @property
    def operations(self) -> int:
        """Two for each tap of each output."""
        pixels = -(-self.height // self.stride) * -(-self.width // self.stride)
        return 2 * self.batch * pixels * self.size**2 * self.inputs * self.outputs

    def __str__(self) -> str:
        more = f", stride {self.stride}" * (self.stride > 1)
        more += f", dilation {self.dilation}" * (self.dilation > 1)
        side = f"{self.size}×{self.size}"
        return f"{side}, {self.inputs} to {self.outputs}, {self.height}×{self.width}{more}"


# Of the networks of the train step's comparison, at 128×256 and 256×256.
CASES = (
    Case(3, 64, 128, 256, size=7, stride=2),
    Case(64, 64, 32, 64),
    Case(64, 64, 64, 64),
    Case(128, 128, 16, 32),
    Case(256, 256, 8, 16),
    Case(512, 512, 8, 16, dilation=2),
    Case(512, 256, 8, 16, dilation=6),
    Case(304, 256, 32, 64),
    Case(256, 256, 32, 64),
)


class Ours:
    """This project's convolution."""

    def __init__(self, case: Case):
        """Compiles its three parts."""
        generator = np.random.default_rng(0)

        def normal(*shape):
            return jnp.asarray(generator.standard_normal(shape, np.float32))

        padding = (case.dilation * (case.size - 1) // 2,) * 2

        def convolve(x, kernel):
            return _convolution.convolve(
                x, kernel, stride=case.stride, padding=padding, dilation=case.dilation
            )

        x = normal(case.batch, case.height, case.width, case.inputs)
        kernel = normal(case.size, case.size, case.inputs, case.outputs)
        y = jax.eval_shape(convolve, x, kernel)
        forms: dict[str, Callable] = {
            "forward": lambda x, kernel, y: convolve(x, kernel),
            "image": lambda x, kernel, y: jax.vjp(convolve, x, kernel)[1](y)[0],
            "kernel": lambda x, kernel, y: jax.vjp(convolve, x, kernel)[1](y)[1],
        }
        self._arguments = (x, kernel, normal(*y.shape))
        self._parts = {
            part: jax.jit(form).lower(*self._arguments).compile() for part, form in forms.items()
        }

    def ask(self, part: str) -> dict[str, float]:
        """{'wall': s, 'processor': s} of one call, the mean of some."""
        times = 5
        jax.block_until_ready(self._parts[part](*self._arguments))
        start, processor = time.perf_counter(), time.process_time()
        for _ in range(times):
            jax.block_until_ready(self._parts[part](*self._arguments))
        took = time.perf_counter() - start, time.process_time() - processor
        return {"wall": took[0] / times, "processor": took[1] / times}

    def close(self) -> None:
        """Lets go of the memory."""
        self._arguments = self._parts = None


def measure(case: Case, flags: argparse.Namespace) -> dict[str, dict[str, dict[str, float]]]:
    """{side: {part: {'wall': s, 'processor': s}}}, the least of all rounds."""
    sides: dict[str, Any] = {
        "PyTorch": OtherSide(flags.torch_python, _WORKER, case._asdict()),
        "ours": Ours(case),
    }
    found: dict[str, dict[str, list]] = {side: {part: [] for part in PARTS} for side in sides}
    for number in range(flags.rounds):
        for part in PARTS:
            for name in list(sides)[:: (-1) ** number]:
                found[name][part].append(sides[name].ask(part))
    for side in sides.values():
        side.close()
    return {
        name: {
            part: {key: min(took[key] for took in all_) for key in ("wall", "processor")}
            for part, all_ in parts.items()
        }
        for name, parts in found.items()
    }


def main() -> None:
    """Prints one Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--torch_python", required=True, help="the interpreter that has PyTorch")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--cases", default="", help="their numbers from 0, with commas; all")
    parser.add_argument("--by", choices=("wall", "processor"), default="wall", help="which time")
    parser.add_argument("--json", default="", help="a file to write all numbers to")
    flags = parser.parse_args()
    print(f"{os.cpu_count()} cores, {platform.machine()}, JAX {jax.__version__}; by {flags.by}\n")
    print("| convolution | " + " | ".join(f"{part}: PyTorch, ours, ratio" for part in PARTS) + " |")
    print("|---|---|---|---|", flush=True)
    rows = []
    chosen = [int(number) for number in flags.cases.split(",")] if flags.cases else None
    for case in CASES if chosen is None else [CASES[number] for number in chosen]:
        found = measure(case, flags)
        rows.append({"case": case._asdict(), "seconds": found})
        cells = []
        for part in PARTS:
            took = [found[side][part][flags.by] for side in ("PyTorch", "ours")]
            speeds = [case.operations / seconds / 1e9 for seconds in took]
            cells.append(f"{speeds[0]:.0f}, {speeds[1]:.0f}, {took[1] / took[0]:.2f}")
        print(f"| {case} | " + " | ".join(cells) + " |", flush=True)
    if flags.json:
        pathlib.Path(flags.json).write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    cli.use_huge_pages()
    main()
