"""What every weighting costs: seconds per step and memory, beside `fixed` in the same run.

    python -m benchmarks.weightings_cost --quick
    python -m benchmarks.weightings_cost --networks=resnet34 --tasks=2,3,5 --size=128x256 \
        --methods=famo,nash_mtl,nash_mtl+representation,nash_mtl+gradient_chunks=4
    python -m benchmarks.weightings_cost --solvers

trains `configs/branched.py`'s networks on made-up batches and appends one line of JSON per row to
`--out`, from which the Markdown table is printed; a row that is there is not measured again, so
that the same command goes on where it was stopped. A method may be followed by options,
`+representation` or `+gradient_chunks=4`. Without `--methods` all are measured, with `--quick` one
of each kind that a step treats alike, as these differ in the solution of K × K numbers alone. That
is measured for all methods, in a minute or two (with `--solvers` nothing else is), and a second
table has every method: its kind's step, with the difference of the two solutions.

* step: medians over `--steps` steps, of which every one is between two of `fixed`, each waited for;
  × fixed is the median of the ratios to the mean of these two. How far those of `fixed` are from
  each other (their quartiles, in per cent) says how quiet the machine was;
* memory: arguments, outputs and temporaries at their most, as the compiler assigns them;
* peak: the largest use that the device reports; a CPU reports none;
* solver: microseconds of processor time for one solution, in a compiled loop of them.
"""

import dataclasses
import functools
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from absl import app, flags, logging
from ml_collections import ConfigDict

from benchmarks import _tables, train_step
from mtl_jax import options, weightings
from mtl_jax.configs import branched

_NETWORKS = flags.DEFINE_list("networks", ["default", "resnet34"], "Which of the two.")
_METHODS = flags.DEFINE_list("methods", [], "Which; by default all, and all +representation.")
_QUICK = flags.DEFINE_bool("quick", False, "One method of each kind that a step treats alike.")
_SOLVERS = flags.DEFINE_bool("solvers", False, "The solutions alone, without a network.")
_TASKS = flags.DEFINE_list("tasks", ["2", "3", "5"], "Numbers of tasks.")
_BATCH = flags.DEFINE_integer("batch_size", 4, "Images per step.")
_OUT = flags.DEFINE_string("out", "runs/weightings_cost.jsonl", "Where rows are kept.")
NETWORKS = {"default": "streets", "resnet34": "miniscapes"}  # protocols of configs/branched.py
# The first K of them.
TASKS = {
    "semseg": "segmentation",
    "depth": "depth",
    "normals": "normals",
    "parts": "segmentation",
    "instance": "instances",
}
_SOLUTIONS = 200  # in a compiled loop


def kind(name: str) -> tuple:
    """What a train step treats alike; methods that remember gradients are each of a kind."""
    method = weightings.kind(name)
    if method.needs_gradients and not issubclass(method, weightings.GramWeighting):
        return (name,)
    return method.needs_gradients, method.needs_after, method.needs_held_out


def methods(chosen: list[str], *, quick: bool) -> list[str]:
    """All but `fixed`, beside which each is measured."""
    if chosen:
        return [name for name in chosen if name != "fixed"]
    every = [name for name in weightings.names() if name != "fixed"]
    if quick:
        first = {kind(name): name for name in reversed(every)}
        every = [name for name in every if name in first.values()]
    offering = [n for n in every if "representation" in weightings.declared(n)]
    return [*every, *(f"{name}+representation" for name in offering)]


def section(method: str) -> dict[str, Any]:
    """'mgda+gradient_chunks=4' ─► what `config.weighting` says."""
    name, *given = method.split("+")
    found: dict[str, Any] = {"name": name}
    for option in given:
        key, _, value = option.partition("=")
        found[key] = json.loads(value) if value else True
    return found


def variant(network: str, method: str, count: int) -> ConfigDict:
    """A network's config with so many tasks and that weighting, all else being equal."""
    config, chosen = branched.get_config(NETWORKS[network]), tuple(TASKS)[:count]
    with config.unlocked():
        config.tasks = ConfigDict({n: {"type": TASKS[n]} for n in chosen})
        config.task_order = chosen  # a ConfigDict lists its keys in alphabetical order
        config.weighting = ConfigDict(section(method))
    options.fill(config)
    return config


class Step:
    """A compiled train step and its state."""

    def __init__(self, config: ConfigDict, batch_size: int, size: tuple[int, int]):
        """Compiles, and makes two steps, which touch memory for the first time."""
        step, self._state, self._batch, _ = train_step.prepare(config, batch_size, size)
        self._compiled = step.lower(self._state, self._batch).compile()
        plan = self._compiled.memory_analysis()
        held = plan.argument_size_in_bytes + plan.output_size_in_bytes - plan.alias_size_in_bytes
        self.memory = (held + plan.temp_size_in_bytes) / 2**30
        for _ in range(2):
            self.seconds()

    def seconds(self) -> float:
        """Wall time of one step, waited for."""
        start = time.perf_counter()
        self._state, _ = self._compiled(self._state, self._batch)
        jax.block_until_ready(self._state)
        return time.perf_counter() - start


def measure(fixed: Step, step: Step, steps: int) -> dict[str, float | None]:
    """One row's numbers."""
    before, between, ratios = [fixed.seconds()], [], []
    for _ in range(steps):
        between.append(step.seconds())
        before.append(fixed.seconds())
        ratios.append(2 * between[-1] / (before[-1] + before[-2]))
    low, middle, high = statistics.quantiles(before, n=4)
    peak = (jax.local_devices()[0].memory_stats() or {}).get("peak_bytes_in_use")
    return {
        "step ms": 1e3 * statistics.median(between),
        "fixed ms": 1e3 * middle,
        "× fixed": statistics.median(ratios),
        "fixed ± %": 50 * (high - low) / middle,
        "GiB": step.memory,
        "GiB × fixed": step.memory / fixed.memory,
        "peak GiB": None if peak is None else peak / 2**30,
    }


def solver_microseconds(name: str, count: int) -> float:
    """Processor time of one solution, or of one total and its derivatives, in a compiled loop."""
    method: Any = weightings.make(name, tuple(f"task{k}" for k in range(count)))
    rows = jax.random.normal(jax.random.key(0), (count, 2 * count))
    params, state = method.init(jax.random.key(1), like=rows[0])
    losses, known = 1.0 + jnp.arange(count, dtype=jnp.float32), jnp.ones(count, bool)

    def solution(key, carry):
        state, scale = carry
        if not method.needs_gradients:
            total = functools.partial(method.total, labelled=known, key=key)
            slopes, _ = jax.grad(total, argnums=2, has_aux=True)(params, state, losses * scale)
            state = method.after_step(state, losses, losses, known)
            return state, 1.0 + 1e-6 * jnp.sum(slopes)
        if isinstance(method, weightings.GramWeighting):
            gram = (rows * scale) @ rows.T
            weights, _, state = method.solve(params, state, gram, losses, known, key)
            return state, 1.0 + 1e-6 * jnp.sum(weights)
        found, _, _, state = method.combine(params, state, list(rows * scale), losses, known, key)
        return state, 1.0 + 1e-6 * jnp.sum(found)

    @jax.jit
    def many(state):
        keys = jax.random.split(jax.random.key(2), _SOLUTIONS)
        body = lambda carry, key: (solution(key, carry), None)  # noqa: E731
        return jax.lax.scan(body, (state, jnp.float32(1.0)), keys)[0]

    jax.block_until_ready(many(state))
    start = time.process_time()
    jax.block_until_ready(many(state))
    return 1e6 * (time.process_time() - start) / _SOLUTIONS


@dataclasses.dataclass(frozen=True)
class Rows:
    """What was measured so far, in a file of lines.

    Attributes:
      path: of the file.
      same: what all rows of this run have in common; others in the file are of other machines.
    """

    path: Path
    same: dict[str, Any]

    def read(self) -> list[dict[str, Any]]:
        """The rows of this machine and size."""
        if not self.path.exists():
            return []
        rows = map(json.loads, self.path.read_text().splitlines())
        return [row for row in rows if self.same.items() <= row.items()]

    def add(self, which: dict[str, Any], measured: Callable[[], dict[str, Any]]) -> None:
        """Measures a row, if it is not there yet."""
        if any(which.items() <= row.items() for row in self.read()):
            return
        row = self.same | which | measured()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(json.dumps(row), flush=True)

    def table(self) -> str:
        """All rows as Markdown."""
        return "\n".join(_tables.markdown(self.read(), left_out=self.same))


def of_every_method(
    measured: list[dict[str, Any]], solved: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """The rows of one method of each kind as rows of all methods of that kind.

    Args:
      measured: of `measure_networks`.
      solved: of `measure_solvers`, of the same numbers of tasks.

    Returns:
      What was not measured itself has the row of what was, `as`, and the difference of the two
      solutions.
    """
    alone = {(row["tasks"], row["weighting"]): row["solver µs"] for row in solved}
    found: dict[tuple, dict[str, Any]] = {}
    for row in sorted(measured, key=lambda row: (row["network"], row["tasks"])):
        where, (name, *given) = (row["network"], row["tasks"]), row["weighting"].split("+")
        found[*where, row["weighting"]] = _short(row, row["step ms"])
        for other in weightings.names():
            called = "+".join([other, *given])
            if other in ("fixed", name) or kind(other) != kind(name):
                continue
            more = alone[row["tasks"], other] - alone[row["tasks"], name]
            derived = _short(row, row["step ms"] + 1e-3 * more) | {"weighting": called}
            found.setdefault((*where, called), derived)
    return list(found.values())


def _short(row: dict[str, Any], milliseconds: float) -> dict[str, Any]:
    return {
        "network": row["network"],
        "tasks": row["tasks"],
        "weighting": row["weighting"],
        "step ms": milliseconds,
        "× fixed": row["× fixed"] * milliseconds / row["step ms"],
        "GiB × fixed": row["GiB × fixed"],
        "as": row["weighting"],
    }


def measure_solvers(rows: Rows, counts: list[int]) -> None:
    """A row for each method and number of tasks."""
    for count in counts:
        for name in weightings.names():
            which = {"network": "none", "tasks": count, "weighting": name}
            rows.add(which, functools.partial(_solver, name, count))


def _solver(name: str, count: int) -> dict[str, float]:
    return {"solver µs": solver_microseconds(name, count)}


def measure_networks(rows: Rows, counts: list[int], size: tuple[int, int]) -> None:
    """A row for each network, number of tasks and method."""
    chosen = methods(_METHODS.value, quick=_QUICK.value)
    for network in _NETWORKS.value:
        for count in counts:
            make = functools.partial(_step, network=network, count=count, size=size)
            fixed = functools.cache(functools.partial(make, "fixed"))  # once, and only if needed

            def measured(name, make=make, fixed=fixed):
                return measure(fixed(), make(name), flags.FLAGS.steps)

            for name in chosen:
                which = {"network": network, "tasks": count, "weighting": name}
                rows.add(which, functools.partial(measured, name))


def _step(name: str, *, network: str, count: int, size: tuple[int, int]) -> Step:
    return Step(variant(network, name, count), _BATCH.value, size)


def main(argv: list[str]) -> None:
    """Measures what is missing, and prints the table."""
    if len(argv) > 1:
        raise app.UsageError(f"Unexpected arguments: {argv[1:]}.")
    if unknown := set(_NETWORKS.value) - set(NETWORKS):
        raise app.UsageError(f"--networks: expected some of {', '.join(NETWORKS)}, not {unknown}.")
    logging.set_verbosity(logging.WARNING)
    device = jax.devices()[0]
    same = {"device": f"{jax.device_count()} × {device.device_kind}", "jax": jax.__version__}
    counts = [int(count) for count in _TASKS.value]
    solutions = Rows(Path(_OUT.value), same | {"size": "", "batch": 0})
    if _SOLVERS.value or _QUICK.value:
        measure_solvers(solutions, counts)
    rows = solutions
    if not _SOLVERS.value:
        size = tuple(int(side) for side in flags.FLAGS.size.split("x"))
        rows = Rows(Path(_OUT.value), same | {"size": flags.FLAGS.size, "batch": _BATCH.value})
        measure_networks(rows, counts, size)
    print(f"\n{', '.join(map(str, rows.same.values()))}\n\n{rows.table()}")
    if _QUICK.value and not _SOLVERS.value:
        every = of_every_method(rows.read(), solutions.read())
        print("\n" + "\n".join(_tables.markdown(every)))


if __name__ == "__main__":
    app.run(main)
