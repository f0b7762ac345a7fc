"""What a train step costs each of 1 to 8 devices, and what they send each other: by the program.

    python -m benchmarks.scaling --config=branched --size=96x192 --batch_per_device=8
    python -m benchmarks.scaling --config=branched:miniscapes --devices=1,2,4,8 --json=scaling.json

compiles the step for so many forced CPU devices, each in a process of its own, and reads the
compiled program; no accelerator is needed, and nothing depends on how busy the machine is.

* operations: of one device, by XLA's cost analysis of the partitioned program;
* efficiency: operations of one device alone ÷ those of each of n devices with as many images: 1
  where nothing is computed twice;
* sent: bytes that collectives take in on each device in one step, by kind, and how often they run;
* gradients': the bytes of all parameters in float32, as a share of the all-reduced bytes.

A ring of n devices carries 2 (n − 1) / n of the all-reduced bytes over each link. At 50 GB/s,
100 MB take 3.5 ms on 8 devices; they may overlap with the rest of the backward pass.
"""

import argparse
import json
import os
import pathlib
import re
import subprocess
import sys
from collections import Counter
from typing import Any

_KINDS = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")
_BYTES = {"pred": 1, "u8": 1, "s8": 1, "u16": 2, "s16": 2, "f16": 2, "bf16": 2, "u32": 4, "s32": 4}
_BYTES |= {"f32": 4, "u64": 8, "s64": 8, "f64": 8}
_SHAPE = re.compile(r"(\w+)\[([\d,]*)\]")


def collectives(program: str) -> tuple[Counter, Counter]:
    """({kind: bytes of their results}, {kind: how many}) of the text of a compiled program.

    Of an operation that is started and awaited, the start counts, and of its result, which also
    holds the operands, half.
    """
    sizes: Counter = Counter()
    counts: Counter = Counter()
    pattern = re.compile(rf"= (.+?) ({'|'.join(_KINDS)})(-start)?\(")
    for result, kind, start in pattern.findall(program):
        size = sum(
            _BYTES[dtype] * _product(sides)
            for dtype, sides in _SHAPE.findall(result)
            if dtype in _BYTES
        )
        sizes[kind] += size // 2 if start and result.startswith("((") else size
        counts[kind] += 1
    return sizes, counts


def _product(sides: str) -> int:
    result = 1
    for side in filter(None, sides.split(",")):
        result *= int(side)
    return result


def compile_on(flags: argparse.Namespace) -> dict[str, Any]:
    """In this process, which has all its devices: the numbers of one row."""
    import jax

    from benchmarks import train_step
    from mtl_jax.commands import config as configuration

    jax.config.update("jax_enable_compilation_cache", False)
    devices = jax.device_count()
    config = configuration.load(flags.config, [*flags.set, "--config.model.pretrained="])
    size = tuple(int(n) for n in flags.size.split("x"))
    step, state, batch, _ = train_step.prepare(config, flags.batch_per_device * devices, size)
    compiled = step.lower(state, batch).compile()
    sizes, counts = collectives(compiled.as_text())
    plan = compiled.memory_analysis()
    planned = plan.argument_size_in_bytes + plan.output_size_in_bytes + plan.temp_size_in_bytes
    return {
        "devices": devices,
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(state.params["model"])),
        "operations": compiled.cost_analysis()["flops"],
        "planned": planned - plan.alias_size_in_bytes,
        "sent": dict(sizes),
        "collectives": dict(counts),
        "version": jax.__version__,
    }


def main() -> None:
    """Prints one Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--config", default="branched")
    parser.add_argument("--set", action="append", default=[], help="--config.<key>=<value>")
    parser.add_argument("--size", default="96x192", help="height x width")
    parser.add_argument("--batch_per_device", type=int, default=8)
    parser.add_argument("--devices", default="1,2,4,8")
    parser.add_argument("--json", default="", help="a file to write all numbers to")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    flags = parser.parse_args()
    if flags.one:
        print(json.dumps(compile_on(flags)))
        return
    rows = []
    for devices in map(int, flags.devices.split(",")):
        forced = f"--xla_force_host_platform_device_count={devices}"
        environment = os.environ | {"JAX_PLATFORMS": "cpu"}
        environment["XLA_FLAGS"] = f"{environment.get('XLA_FLAGS', '')} {forced}"
        command = [sys.executable, "-m", "benchmarks.scaling", *sys.argv[1:], "--one"]
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True)
        if done.returncode:
            sys.exit(done.returncode)
        rows.append(json.loads(done.stdout.splitlines()[-1]))
    print(table(rows))
    if flags.json:
        pathlib.Path(flags.json).write_text(json.dumps(rows, indent=1))


def table(rows: list[dict[str, Any]]) -> str:
    """Of the rows of `compile_on`, the first of one device."""
    lines = [
        "| devices | Gop of each | efficiency | planned GiB | collectives | sent MB | gradients' |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        efficiency = rows[0]["operations"] / row["operations"]
        kinds = ", ".join(f"{n} {kind}" for kind, n in row["collectives"].items()) or "–"
        sent, reduced = sum(row["sent"].values()), row["sent"].get("all-reduce", 0)
        share = f"{4 * row['parameters'] / reduced:.0%}" if reduced else "–"
        lines.append(
            f"| {row['devices']} | {row['operations'] / 1e9:.2f} | {efficiency:.3f} | "
            f"{row['planned'] / 2**30:.2f} | {kinds} | {sent / 1e6:.2f} | {share} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
