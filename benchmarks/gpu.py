"""Everything that is to be known on a machine with a GPU: one command, one JSON, one table.

    python -m benchmarks.gpu --output=gpu_h100                  # at most 20 minutes
    python -m benchmarks.gpu --output=gpu_h100 --parts=smoke,steps --minutes=60
    python -m benchmarks.gpu --output=/tmp/gpu --tiny           # does it run? also on a CPU

It needs JAX, flax, optax, orbax and, for what it compares with, PyTorch (with `--torch_python` of
an environment of its own); neither TensorFlow nor the internet. Parts, each a process of its own
that has its share of the time and may fail alone:

* smoke: one step of every architecture and every weighting, in float32 and bfloat16, against the
  CPU's float32, several at once where there are cores;
* steps: time, images/s, share of a bfloat16 matrix product and peak memory of train steps, and of
  PyTorch channels-last with autocast, eager and compiled; in turn, each alone on the device;
* data: draws Streets for the parts below;
* feeding: steps of a run whose data are resident, by 1 and by 8 in a call, and fed by the host;
* use: evaluation, prediction and an exported artifact, images/s;
* weightings: what balancing methods cost beside fixed weights;
* study: Streets of 256×512, several tasks at once against each alone, for 20,000 steps or as many
  as there is time for, which the table says.

It measures the first device, or the one that CUDA_VISIBLE_DEVICES says. In 20 minutes not every
network and batch size is reached; `--parts=steps --minutes=90` has time for them. `<output>.json`
holds all rows, `<output>.md` the tables; both are written after every part, and name the rows that
were not reached. A row that failed says why.
"""

import argparse
import contextlib
import importlib
import json
import os
import pathlib
import platform
import signal
import subprocess
import sys
import time
from typing import Any

from benchmarks import _tables
from mtl_jax.commands import setup

# Shares of the minutes; what one part leaves over is the next ones'.
PARTS = {
    "smoke": 4.0,
    "steps": 6.0,
    "data": 1.5,
    "feeding": 1.5,
    "use": 1.5,
    "weightings": 2.0,
    "study": 3.5,
}
_COMPILED_QUICKLY = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"


def main() -> None:
    """Runs the parts."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--output", default="gpu", help="<output>.json and <output>.md are written")
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--rows", default="", help="those alone that have one of these words")
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
        _measure(flags)
        return
    chosen = flags.parts.split(",")
    if unknown := [name for name in chosen if name not in PARTS]:
        parser.error(f"--parts: there is no {', '.join(unknown)}; expected {', '.join(PARTS)}.")
    pathlib.Path(flags.work).mkdir(parents=True, exist_ok=True)
    setup.compiler()
    deadline = time.monotonic() + 60 * flags.minutes
    found: dict[str, Any] = {"machine": _machine(flags), "parts": {}}
    for number, name in enumerate(chosen):
        left = max(0.0, deadline - time.monotonic())
        seconds = left * PARTS[name] / sum(PARTS[other] for other in chosen[number:])
        print(f"\n{name}: at most {seconds:.0f} s", flush=True)
        found["parts"][name] = _run(name, seconds, flags)
        pathlib.Path(f"{flags.output}.json").write_text(json.dumps(found, indent=1))
        pathlib.Path(f"{flags.output}.md").write_text(tables(found))
    print(f"\n{tables(found)}\n{flags.output}.json, {flags.output}.md")


def _rows_file(name: str, flags: argparse.Namespace) -> pathlib.Path:
    """Where a part writes: first the labels of all rows, then a line for each row."""
    return pathlib.Path(flags.work, f"{name}.jsonl")


def _measure(flags: argparse.Namespace) -> None:
    """A part, in its own process."""
    part = importlib.import_module(f"benchmarks.gpu_parts.{flags.one}")
    from benchmarks.gpu_parts import _cases

    cases = [case for case in part.cases(flags) if _is_chosen(case.label, flags.rows)]
    with _rows_file(flags.one, flags).open("a") as file:
        print(json.dumps([case.label for case in cases]), file=file, flush=True)
        for row in _cases.rows(cases, part.PROCESSES, flags.seconds):
            text = json.dumps(row, default=float)  # NumPy's numbers
            print(text, file=file, flush=True)
            print(text, flush=True)


def _is_chosen(label: dict[str, Any], words: str) -> bool:
    """Whether one of the words, all if there are none, is one of a row's label."""
    return not words or any(str(value) in words.split(",") for value in label.values())


def _run(name: str, seconds: float, flags: argparse.Namespace) -> dict[str, Any]:
    """The rows of a part, those that it has not reached, and why it ended early if it did."""
    from benchmarks.gpu_parts import _cases

    command = [sys.executable, "-m", "benchmarks.gpu", f"--one={name}", f"--seconds={seconds}"]
    command += [f"--output={flags.output}", f"--torch_python={flags.torch_python}"]
    command += [f"--work={flags.work}", f"--rows={flags.rows}"] + ["--tiny"] * flags.tiny
    file = _rows_file(name, flags)
    file.write_text("")
    started = time.monotonic()
    problem = end_after(command, seconds, _environment(flags))
    labels, *rows = [json.loads(line) for line in file.read_text().splitlines()] or [None]
    if name == "steps":
        compare(rows)
    return {
        "rows": rows,
        # A part that has not said what it will measure has reached nothing.
        "not reached": [{"everything": name}] if labels is None else _cases.missing(labels, rows),
        "seconds": time.monotonic() - started,
        "problem": problem,
    }


def end_after(command: list[str], seconds: float, environment: dict[str, str]) -> str:
    """Runs a program; returns what was wrong with its end, '' if nothing was.

    Args:
      command: of the program.
      seconds: after which it is ended, with all processes that it has started.
      environment: of the program.
    """
    process = subprocess.Popen(command, env=environment, start_new_session=True)
    try:
        status = process.wait(timeout=seconds)
        return f"ended with status {status}" if status else ""
    except subprocess.TimeoutExpired:
        return "ran out of time"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def compare(rows: list[dict[str, Any]]) -> None:
    """Adds to PyTorch's rows of train steps how much faster ours is, or why that says nothing."""
    known = ("network", "batch")
    ours = {tuple(row[key] for key in known): row for row in rows if row["side"] == "ours"}
    for row in rows:
        own = ours.get(tuple(row[key] for key in known))
        if row is own or own is None or "problem" in row or "problem" in own:
            continue
        for what in ("device", "parameters"):
            if row[what] != own[what]:
                row["problem"] = f"not comparable: {what} {row[what]}, ours {own[what]}"
                break
        else:
            row["ours is faster by"] = row["step ms"] / own["step ms"]


def _environment(flags: argparse.Namespace) -> dict[str, str]:
    """Of the processes of all parts."""
    found = {
        # Several processes use the device: none takes all of its memory.
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
        "CUDA_VISIBLE_DEVICES": "0",
        # What one part compiles, the trial of a study for one, another need not.
        "JAX_COMPILATION_CACHE_DIR": str(pathlib.Path(flags.work, "compiled").absolute()),
    } | os.environ
    if not {"XLA_CLIENT_MEM_FRACTION", "XLA_PYTHON_CLIENT_MEM_FRACTION"} & set(found):
        found["XLA_CLIENT_MEM_FRACTION"] = "0.92"  # as much as PyTorch may have
    platforms = found.get("JAX_PLATFORMS", "")
    if platforms and "cpu" not in platforms.split(","):
        found["JAX_PLATFORMS"] = f"{platforms},cpu"  # which the smoke test compares with
    if flags.tiny:  # nothing is measured, so programs need not be fast
        found["XLA_FLAGS"] = f"{found.get('XLA_FLAGS', '')} {_COMPILED_QUICKLY}".strip()
    return found


def _machine(flags: argparse.Namespace) -> dict[str, Any]:
    """What the rows are of. What cannot be asked is told on stderr."""
    jax = (
        "import json, jax; d = jax.devices()[0]; m = d.memory_stats() or {}; print(json.dumps({"
        "'kind': d.device_kind, 'platform': d.platform, 'jax': jax.__version__, "
        "'memory GiB': round(m.get('bytes_limit', 0) / 2**30, 1) or None}))"
    )
    torch = "import json, torch; print(json.dumps({'torch': torch.__version__}))"
    found: dict[str, Any] = {"torch": None}
    programs = [(sys.executable, jax)]
    if flags.torch_python:
        programs.append((flags.torch_python, torch))
    for python, program in programs:
        command = [python, "-c", program]
        done = subprocess.run(
            command, stdout=subprocess.PIPE, text=True, env=_environment(flags), check=False
        )
        if done.returncode == 0:
            found |= json.loads(done.stdout.splitlines()[-1])
    cores = {"machine": platform.machine(), "cores": os.cpu_count()}
    return found | cores | {"python": platform.python_version()}


def tables(found: dict[str, Any]) -> str:
    """Markdown: the machine, and for each part a table and what it has not reached."""
    lines = [", ".join(f"{key} {value}" for key, value in found["machine"].items())]
    for name, part in found["parts"].items():
        problem = f" – {part['problem']}" if part["problem"] else ""
        lines += ["", f"## {name} ({part['seconds']:.0f} s){problem}", ""]
        lines += _tables.markdown(part["rows"])
        if part["not reached"]:
            labels = (" ".join(map(str, label.values())) for label in part["not reached"])
            lines += ["", f"Not reached: {'; '.join(labels)}."]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
