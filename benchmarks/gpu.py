"""Everything that is to be known on a machine with a GPU: one command, one JSON, one table.

    python -m benchmarks.gpu --output=gpu_h100                  # at most 20 minutes
    python -m benchmarks.gpu --output=gpu_h100 --parts=smoke,steps --minutes=10
    python -m benchmarks.gpu --output=/tmp/gpu --tiny           # does it run? also on a CPU

It needs JAX, flax, optax, orbax and, for what it compares with, PyTorch (with `--torch_python` of
an environment of its own); neither TensorFlow nor the internet. Parts, each a process of its own
that has its share of the time and may fail alone:

* smoke: one step of every architecture and every weighting, in float32 and bfloat16, against the
  CPU's float32;
* steps: time, images/s, share of a bfloat16 matrix product and peak memory of train steps, PyTorch
  channels-last with autocast, eager and compiled, in turn with ours;
* feeding: steps of a run whose data are resident, by 1 and by 8 in a call, and fed by the host;
* use: evaluation, prediction and an exported artifact, images/s;
* weightings: what balancing methods cost beside fixed weights;
* study: Streets of 256×512, several tasks at once against each alone, for 20,000 steps or as many
  as there is time for, which the table says.

`<output>.json` holds all rows, `<output>.md` the tables; both are written after every part.
"""

import argparse
import importlib
import json
import os
import pathlib
import platform
import subprocess
import sys
import time
from typing import Any

from benchmarks import _tables

# Shares of the minutes; what one part leaves over is the next ones'.
PARTS = {"smoke": 4, "steps": 5, "feeding": 2, "use": 2, "weightings": 2, "study": 5}
_COMPILED_QUICKLY = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"


def main() -> None:
    """Runs the parts."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--output", default="gpu", help="<output>.json and <output>.md are written")
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--minutes", type=float, default=20.0, help="for all parts together")
    parser.add_argument(
        "--torch_python", default=sys.executable, help="that has PyTorch; '' = none"
    )
    parser.add_argument("--work", default="", help="a folder for drawn data and runs")
    parser.add_argument("--tiny", action="store_true", help="smallest sizes: does it run?")
    parser.add_argument("--one", default="", help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, default=0.0, help=argparse.SUPPRESS)
    flags = parser.parse_args()
    flags.work = flags.work or f"{flags.output}_work"
    if flags.one:
        part = importlib.import_module(f"benchmarks.gpu_parts.{flags.one}")
        for row in part.rows(flags):
            print("ROW " + json.dumps(row), flush=True)
        return
    chosen = flags.parts.split(",")
    if unknown := [name for name in chosen if name not in PARTS]:
        parser.error(f"--parts: there is no {', '.join(unknown)}; expected {', '.join(PARTS)}.")
    deadline = time.monotonic() + 60 * flags.minutes
    found: dict[str, Any] = {"machine": _machine(), "parts": {}}
    for number, name in enumerate(chosen):
        left = deadline - time.monotonic()
        seconds = left * PARTS[name] / sum(PARTS[other] for other in chosen[number:])
        print(f"\n{name}: at most {seconds:.0f} s", flush=True)
        found["parts"][name] = _run(name, seconds, flags)
        pathlib.Path(f"{flags.output}.json").write_text(json.dumps(found, indent=1))
        pathlib.Path(f"{flags.output}.md").write_text(tables(found))
    print(f"\n{tables(found)}\n{flags.output}.json, {flags.output}.md")


def _run(name: str, seconds: float, flags: argparse.Namespace) -> dict[str, Any]:
    """The rows of a part, and why it ended early if it did."""
    command = [sys.executable, "-m", "benchmarks.gpu", f"--one={name}", f"--seconds={seconds}"]
    command += [f"--output={flags.output}", f"--torch_python={flags.torch_python}"]
    command += [f"--work={flags.work}"] + ["--tiny"] * flags.tiny
    environment = _environment(flags)
    started, rows, problem = time.monotonic(), [], ""
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        timer = _Timer(process, 1.2 * seconds)
        for line in process.stdout or ():
            if line.startswith("ROW "):
                rows.append(json.loads(line.removeprefix("ROW ")))
                print(json.dumps(rows[-1]), flush=True)
            else:
                print(line, end="", flush=True)
        status = process.wait()
        timer.cancel()
    if status:
        problem = "ran out of time" if timer.fired else f"ended with status {status}"
    return {"rows": rows, "seconds": time.monotonic() - started, "problem": problem}


def _environment(flags: argparse.Namespace) -> dict[str, str]:
    """Of the processes of all parts."""
    compiled = pathlib.Path(flags.work, "compiled").absolute()
    found = {
        # PyTorch works beside JAX on the same device: neither takes all of its memory.
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
        # What one part compiles, the trial of a study for one, another need not.
        "JAX_COMPILATION_CACHE_DIR": str(compiled),
    } | os.environ
    if flags.tiny:  # nothing is measured, so programs need not be fast
        found["XLA_FLAGS"] = f"{found.get('XLA_FLAGS', '')} {_COMPILED_QUICKLY}".strip()
    return found


class _Timer:
    """Ends a process that takes too long."""

    def __init__(self, process: subprocess.Popen, seconds: float):
        import threading

        self.fired, self._process = False, process
        self._timer = threading.Timer(seconds, self._fire)
        self._timer.start()

    def _fire(self) -> None:
        self.fired = True
        self._process.kill()

    def cancel(self) -> None:
        self._timer.cancel()


def _machine() -> dict[str, Any]:
    code = (
        "import json, jax; d = jax.devices(); print(json.dumps({'devices': len(d), "
        "'kind': d[0].device_kind, 'platform': d[0].platform, 'jax': jax.__version__}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    return found | {"machine": platform.machine(), "python": platform.python_version()}


def tables(found: dict[str, Any]) -> str:
    """Markdown: the machine, and a table for each part."""
    lines = [", ".join(f"{key} {value}" for key, value in found["machine"].items())]
    for name, part in found["parts"].items():
        problem = f" – {part['problem']}" if part["problem"] else ""
        lines += ["", f"## {name} ({part['seconds']:.0f} s){problem}", ""]
        lines += _tables.markdown(part["rows"])
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
