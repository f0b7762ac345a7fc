"""Train steps of this project and of PyTorch, one after the other in one run, with their ratios.

    python -m benchmarks.beside_pytorch --torch_python=torchenv/bin/python
    python -m benchmarks.beside_pytorch --torch_python=torchenv/bin/python \
        --networks=streets_default --rounds=20 --json=beside.json

PyTorch runs in a process and an environment of its own (requirements.txt). Each round is a step of
every side, waited for, in an order that is reversed from round to round, so that a machine that is
busy for a while is busy for all. Both sides have one loss, Adam, float32, and networks with equal
numbers of parameters, which is checked. `processor` is the time of all cores that a step took: what
can still be compared where other programs run as well. `peak` is the most memory that a process had
while it made its steps, so without what compiling needed before. Both sides have the huge pages
that `mtl` asks glibc for.
"""

import argparse
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import time
from typing import Any, NamedTuple

import jax

from benchmarks import train_step
from benchmarks.beside_pytorch import memory
from benchmarks.beside_pytorch._other_side import OtherSide
from mtl_jax.commands import cli
from mtl_jax.commands import config as configuration

_WORKER = pathlib.Path(__file__).with_name("worker.py")


class Case(NamedTuple):
    """A network: its config here, its channels, and the batch."""

    config: str
    outputs: tuple[int, ...]
    batch: int
    height: int
    width: int


CASES = {
    "streets_default": Case("branched", (19, 1), 8, 96, 192),
    "branched_resnet34": Case("branched:miniscapes", (19, 1), 4, 128, 256),
    "stacked_unet": Case("stacked_unet:pascal", (21,), 4, 256, 256),
    "fcn32s_resnet18": Case("fcn:pascal", (21,), 4, 256, 256),
    "mtan_segnet": Case("mtan:cityscapes", (7, 1), 4, 128, 256),
}
# Of --tiny: [H, W] that every layer has something to do on.
_TINY = dict.fromkeys(CASES, (32, 64)) | {"fcn32s_resnet18": (224, 224)}


class Torch(OtherSide):
    """PyTorch's side, in a process of its own."""

    def __init__(self, python: str, case: Case, network: str, *, channels_last: bool, **more: Any):
        """Starts it; `more` is given to it besides."""
        given = case._asdict() | {
            "network": network,
            "outputs": list(case.outputs),
            "channels_last": channels_last,
            "dtype": "float32",
            "device": "cpu",
            **more,
        }
        super().__init__(python, _WORKER, given)

    def step(self) -> dict[str, float]:
        """Makes one."""
        return self.ask()

    def forget_peak(self) -> None:
        """What was used until now does not count."""
        self.tell("forget the peak")


class Ours:
    """This project's side."""

    def __init__(self, case: Case):
        """Compiles the step."""
        changes = ["--config.model.pretrained="]
        if case.config == "mtan:cityscapes":
            changes.append("--config.tasks.semseg.num_classes=7")
        config = configuration.load(case.config, changes)
        batch, size = case.batch, (case.height, case.width)
        step, self._state, self._batch, _ = train_step.prepare(config, batch, size)
        self._step = step.lower(self._state, self._batch).compile()
        model = self._state.params["model"]
        self.about = {"parameters": sum(leaf.size for leaf in jax.tree.leaves(model))}

    def step(self) -> dict[str, float]:
        """Makes one."""
        start, processor = time.perf_counter(), time.process_time()
        self._state, _ = self._step(self._state, self._batch)
        jax.block_until_ready(self._state)
        took = time.perf_counter() - start, time.process_time() - processor
        return {"wall": took[0], "processor": took[1], "peak": memory.peak()}

    def forget_peak(self) -> None:
        """What was used until now does not count."""
        memory.forget_peak()

    def close(self) -> None:
        """Lets go of the memory."""
        self._state = self._batch = self._step = None


def measure(network: str, flags: argparse.Namespace) -> list[dict[str, Any]]:
    """A row for each side."""
    case = CASES[network]
    if flags.tiny:
        height, width = _TINY[network]
        case = case._replace(batch=2, height=height, width=width)
    sides: dict[str, Any] = {
        "PyTorch": Torch(flags.torch_python, case, network, channels_last=False),
        "PyTorch channels-last": Torch(flags.torch_python, case, network, channels_last=True),
        "ours": Ours(case),
    }
    counts = {name: side.about["parameters"] for name, side in sides.items()}
    if len(set(counts.values())) > 1:
        raise RuntimeError(f"{network}: the sides differ in their numbers of parameters: {counts}.")
    found: dict[str, list[dict[str, float]]] = {name: [] for name in sides}
    for number in range(flags.rounds + flags.warm_up):
        if number == flags.warm_up:  # the first steps touch memory for the first time
            found = {name: [] for name in sides}
            for side in sides.values():
                side.forget_peak()
        for name in list(sides)[:: (-1) ** number]:
            found[name].append(sides[name].step())
    for side in sides.values():
        side.close()
    rows = []
    for name, steps in found.items():
        row = {"network": network, "side": name, "parameters": counts[name]}
        for quantity in ("wall", "processor"):
            values = [step[quantity] for step in steps]
            row[f"{quantity} best s"] = min(values)
            row[f"{quantity} median s"] = statistics.median(values)
        rows.append(row | {"peak GiB": steps[-1]["peak"] / 2**30})
    last = rows[1]  # PyTorch channels-last
    for row in rows:
        for quantity in ("wall best s", "processor best s", "peak GiB"):
            row[f"{quantity} ratio"] = row[quantity] / last[quantity]
    return rows


def main() -> None:
    """Prints one Markdown table; each network has processes of its own, as memory is theirs."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--torch_python", required=True, help="the interpreter that has PyTorch")
    parser.add_argument("--networks", default=",".join(CASES))
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--warm_up", type=int, default=2, help="steps before these")
    parser.add_argument("--json", default="", help="a file to write all numbers to")
    parser.add_argument("--tiny", action="store_true", help="2 small images: is all in order?")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    flags = parser.parse_args()
    if flags.one:
        print(json.dumps(measure(flags.networks, flags)))
        return
    rows = []
    print(f"{os.cpu_count()} cores, {platform.machine()}, JAX {jax.__version__}\n")
    print(
        "| network | side | wall s best / median | processor s best / median | peak GiB | ratio |"
    )
    print("|---|---|---|---|---|---|", flush=True)
    for network in flags.networks.split(","):
        rows += _in_a_process(network)
        for row in rows[-3:]:
            print(
                f"| {row['network']} | {row['side']} | {row['wall best s']:.3f} / "
                f"{row['wall median s']:.3f} | {row['processor best s']:.3f} / "
                f"{row['processor median s']:.3f} | {row['peak GiB']:.2f} | wall "
                f"{row['wall best s ratio']:.2f}, processor {row['processor best s ratio']:.2f}, "
                f"memory {row['peak GiB ratio']:.2f} |",
                flush=True,
            )
    if flags.json:
        pathlib.Path(flags.json).write_text(json.dumps(rows, indent=1))


def _in_a_process(network: str) -> list[dict[str, Any]]:
    """The rows of one network."""
    command = [sys.executable, "-m", "benchmarks.beside_pytorch", *sys.argv[1:]]
    command += [f"--networks={network}", "--one"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    cli.use_huge_pages()
    main()
