"""The table of a comparison of balancing methods, from the rows of its sweep.

    python -m mtl_jax.studies.balancing runs/sweeps/balancing_streets --seeds=0,1,2

prints two Markdown tables. One has Δm in three protocols with the standard error over seeds, the
mean rank, seconds per step, peak memory, and how often a solver did not converge or a step led
uphill for a task; the other has the metrics. Baselines are the rows `only_<task>` of the same seed,
so that differences are paired. Of the rows `fixed_...` one is shown, which is chosen by what all of
them are on held-out training images.

The mean rank is over the metrics of the field's tables: for each metric the rows of *this* table
are ranked, the best is 1, equal ones share the mean of their ranks, and single-task rows are not
ranked. It depends on which other rows are there.
"""

import argparse
import csv
import dataclasses
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mtl_jax import _arguments, metrics, tasks
from mtl_jax.errors import UsageError
from mtl_jax.metrics import DELTA_PROTOCOLS
from mtl_jax.runs import files
from mtl_jax.runs.seeds import standard_error
from mtl_jax.runs.workdir import Workdir
from mtl_jax.studies import sweeps
from mtl_jax.studies.sweeps import SweepError

ALONE, FIXED, HELD_OUT = "only_", "fixed_", "held_out"
SUMMARY = "mean_of_last_10"
PUBLISHED_RESULTS = Path(__file__).resolve().parent / "published_balancing.csv"
# By the data set that the rows are trained on.
BENCHMARKS = {"nyuv2/mtan_288x384": "nyuv2_13_3", "cityscapes_mtan/128x256": "cityscapes_7_2"}


def mean_ranks(
    rows: Mapping[str, Mapping[str, float]], directions: Mapping[str, str]
) -> dict[str, float]:
    """{row: mean over the metrics of its rank}, 1 is best; equal values share their mean rank.

    Args:
      rows: {row: {metric: value}} of all rows that are ranked; what is NaN is worse than any other.
      directions: {metric: 'max' or 'min'}.

    >>> rows = {"a": {"miou": 0.5, "rel": 0.2}, "b": {"miou": 0.4, "rel": 0.2}}
    >>> mean_ranks(rows, {"miou": "max", "rel": "min"})
    {'a': 1.25, 'b': 1.75}
    """
    ranks: dict[str, list[float]] = {name: [] for name in rows}
    for metric, direction in directions.items():
        sign = -1.0 if direction == "max" else 1.0
        values = {name: sign * found[metric] for name, found in rows.items()}
        values = {name: math.inf if math.isnan(v) else v for name, v in values.items()}
        for name, value in values.items():
            better = sum(other < value for other in values.values())
            equal = sum(other == value for other in values.values())
            ranks[name].append(better + (equal + 1) / 2)
    return {name: float(np.mean(found)) for name, found in ranks.items()}


def tabled(found: Mapping[str, float], types: Mapping[str, str]) -> dict[str, str]:
    """{'<task>/<metric>': direction} of what the field's tables compare, if it was measured.

    Args:
      found: {'<task>/<metric>': value}.
      types: {task: its type}.
    """
    return {
        f"{task}/{metric}": direction
        for task, type_name in types.items()
        for metric, direction in tasks.tabled(type_name).items()
        if math.isfinite(found.get(f"{task}/{metric}", math.nan))
    }


def read(directory: Path, row: str, seed: int | None) -> dict[str, Any]:
    """What a finished row left, of one seed.

    Returns:
      {'metrics', 'dataset', 'types': {task: its type}, 'seconds_per_step', the median over what was
      logged, 'peak_memory' in bytes, 'on_device': whether that is a device's and not the
      process's, 'unconverged' and 'ascents': shares of the steps, or None}.

    Raises:
      SweepError: the row is not finished.
    """
    home = _home(directory, row, seed)
    results = home.read_results()
    if not results.get("finished"):
        raise SweepError(f"{home.path} is not finished; go on with the sweep first.")
    logged, config = home.read_training(), home.read_config()
    shares = {
        name: logged[-1][f"weighting/{name}"] / results["steps"]
        if f"weighting/{name}" in logged[-1]
        else None
        for name in ("unconverged", "ascents")
    }
    # Without the first line, whose steps were those of a machine that was also compiling.
    rates = [entry["images_per_second"] for entry in logged[1:] or logged]
    memory = results["peak_memory"]
    return {
        "metrics": _numbers(results[SUMMARY]),
        "dataset": config["data"].get("dataset", ""),
        "types": {name: task["type"] for name, task in config["tasks"].items()},
        "seconds_per_step": config["train"]["batch_size"] / float(np.median(rates)),
        "peak_memory": memory["device"] or memory["host"],
        "on_device": memory["device"] is not None,
    } | shares


def _home(directory: Path, row: str, seed: int | None) -> Workdir:
    return Workdir(directory / row if seed is None else directory / row / f"seed_{seed}")


def read_held_out(directory: Path, row: str, seed: int | None) -> dict[str, float]:
    """What a row is on the held-out images.

    Raises:
      SweepError: that has not been evaluated.
    """
    home = _home(directory, f"{HELD_OUT}_{row.removeprefix(ALONE)}", seed)
    found = home.read_evaluation(HELD_OUT, "latest")
    if not found:
        raise SweepError(f"{home.path} has not been evaluated; go on with the sweep first.")
    return _numbers(found["metrics"])


def _numbers(found: Mapping[str, float | None]) -> dict[str, float]:
    """Metrics as a file has them, where what is not finite is null."""
    return {name: files.or_nan(value) for name, value in found.items()}


def baselines(directory: Path, rows: Sequence[str], seed: int | None) -> dict[str, float]:
    """The metrics of all single-task rows of one seed together."""
    found: dict[str, float] = {}
    for row in rows:
        task = row.removeprefix(ALONE)
        values = read(directory, row, seed)["metrics"]
        found |= {name: value for name, value in values.items() if name.startswith(f"{task}/")}
    return found


def deltas(
    found: Mapping[str, float], base: Mapping[str, float], types: Mapping[str, str]
) -> dict[str, float]:
    """{protocol: Δm} by all protocols, of the metrics of `base`; arguments as of `tabled`.

    Where a protocol takes one metric of each task, it is the first that is tabled. NaN where one of
    the row's own is missing or not finite: over fewer metrics it could not be compared.
    """
    several = tabled(base, types)
    if not all(math.isfinite(found.get(name, math.nan)) for name in several):
        return dict.fromkeys(DELTA_PROTOCOLS, math.nan)
    first = {name.partition("/")[0]: name for name in reversed(several)}
    single = {name: several[name] for name in first.values()}
    return {
        protocol: metrics.delta_m(
            protocol, found, base, single if protocol == "one_metric_per_task" else several
        )
        for protocol in DELTA_PROTOCOLS
    }


def chosen(
    directory: Path,
    grid: Sequence[str],
    alone: Sequence[str],
    seeds: Sequence[int | None],
    types: Mapping[str, str],
) -> str:
    """The row of a grid whose Δm on the held-out images is the best, over metrics and seeds.

    Args:
      directory: of the sweep.
      grid: names of the rows to choose from.
      alone: names of the single-task rows.
      seeds: of the rows.
      types: {task: its type}.

    Raises:
      SweepError: one of the rows has not been evaluated on them.
    """

    def delta(row: str) -> tuple[bool, float]:
        found = []
        for seed in seeds:
            base: dict[str, float] = {}
            for name in alone:
                base |= read_held_out(directory, name, seed)
            change = deltas(read_held_out(directory, row, seed), base, types)
            found.append(change["mean_over_metrics"])
        mean = float(np.mean(found))
        return math.isnan(mean), mean

    return min(grid, key=delta)


@dataclasses.dataclass(frozen=True)
class Comparison:
    """The rows of a finished sweep.

    Attributes:
      found: {row: what `read` gives of each seed}, of all methods and the one of the grid.
      bases: {'<task>/<metric>': value} of the single tasks, of each seed.
      types: {task: its type}.
      tuned: the row of the grid, or ''.
      dataset: what all are trained on.
    """

    found: Mapping[str, Sequence[Mapping[str, Any]]]
    bases: Sequence[Mapping[str, float]]
    types: Mapping[str, str]
    tuned: str
    dataset: str

    def metrics(self) -> dict[str, str]:
        """{metric: its direction} of those that the single tasks of all seeds have."""
        every = [tabled(base, self.types) for base in self.bases]
        return {name: way for name, way in every[0].items() if all(name in each for each in every)}

    def means(self) -> dict[str, dict[str, float]]:
        """{row: {metric: its mean over seeds}}."""
        return {row: _means([run["metrics"] for run in runs]) for row, runs in self.found.items()}

    def deltas(self) -> dict[str, list[dict[str, float]]]:
        """{row: {protocol: Δm} of each seed, against the baselines of the same}, the best first."""
        changes = {
            row: [
                deltas(run["metrics"], base, self.types)
                for run, base in zip(runs, self.bases, strict=True)
            ]
            for row, runs in self.found.items()
        }

        def mean(row: str) -> tuple[bool, float]:
            found = float(np.mean([change["mean_over_metrics"] for change in changes[row]]))
            return math.isnan(found), found

        return {row: changes[row] for row in sorted(changes, key=mean)}

    def label(self, row: str) -> str:
        """What a row is called."""
        return f"fixed, tuned: {row.removeprefix(FIXED)}" if row == self.tuned else row


def compare(directory: Path, seeds: Sequence[int | None]) -> Comparison:
    """Reads a sweep's directory.

    Raises:
      SweepError: there is no sweep, or a row of it is not finished.
      WorkdirError: a file of it is damaged.
    """
    listed = sweeps.listed(directory)
    names = [row["name"] for row in listed if not row.get("evaluates")]
    alone = [name for name in names if name.startswith(ALONE)]
    grid = [name for name in names if name.startswith(FIXED)]
    kept = [name for name in names if name not in (*alone, *grid)]
    types: dict[str, str] = {}
    dataset = ""
    for name in alone:
        of_one = read(directory, name, seeds[0])
        types, dataset = types | of_one["types"], of_one["dataset"]
    tuned = chosen(directory, grid, alone, seeds, types) if grid else ""
    return Comparison(
        found={n: [read(directory, n, s) for s in seeds] for n in (*kept, *filter(None, [tuned]))},
        bases=[baselines(directory, alone, seed) for seed in seeds],
        types=types,
        tuned=tuned,
        dataset=dataset,
    )


def table(comparison: Comparison) -> str:
    """The Markdown table of what each method gains over single tasks, and at which cost."""
    changes, common = comparison.deltas(), comparison.metrics()
    ranks = mean_ranks(comparison.means(), common)
    lines = [
        "| weighting | "
        + " | ".join(f"Δm {p}" for p in DELTA_PROTOCOLS)
        + " | less `fixed` | mean rank | s/step | peak GiB | bad residual % | ascents % |",
        "|---" * (len(DELTA_PROTOCOLS) + 7) + "|",
    ]
    for name, change in changes.items():
        runs = comparison.found[name]
        cells = [_with_error([c[p] for c in change]) for p in DELTA_PROTOCOLS]
        cells.append(_paired(change, changes.get("fixed", ())))
        seconds = np.median([run["seconds_per_step"] for run in runs])
        peak = max(run["peak_memory"] for run in runs) / 2**30
        cells += [f"{ranks[name]:.2f}", f"{seconds:.3f}", f"{peak:.2f}"]
        cells += [_share([run[kind] for run in runs]) for kind in ("unconverged", "ascents")]
        lines.append(f"| {comparison.label(name)} | {' | '.join(cells)} |")
    first = next(iter(comparison.found.values()))[0]
    memory = "a device" if first["on_device"] else "the process, compiler included"
    note = (
        "\n\nOf mean_over_metrics less is better, of the other two more. Less "
        "`fixed`: the difference of mean_over_metrics from equal weights, seed by seed. "
        f"Rows: {len(changes)}; ranks are over {len(common)} metrics and depend on which rows "
        "there are; single-task rows are not ranked. Metrics: mean of the last evaluations, at "
        f"most 10. ± is the standard error over {len(comparison.bases)} seeds, each against its "
        f"own baselines. Memory is that of {memory}. The tuned weights were chosen on held-out "
        "training images."
    )
    return "\n".join(lines) + note


def metrics_table(comparison: Comparison) -> str:
    """The Markdown table of the metrics themselves, means and standard errors over seeds."""
    names = comparison.metrics()
    arrows = {"max": "↑", "min": "↓"}
    lines = [
        f"| weighting | {' | '.join(f'{name} {arrows[way]}' for name, way in names.items())} |",
        "|---" * (len(names) + 1) + "|",
    ]
    rows = {"single tasks": comparison.bases}
    for row in comparison.deltas():
        rows[comparison.label(row)] = [run["metrics"] for run in comparison.found[row]]
    for row, runs in rows.items():
        cells = [_with_error([run[name] for run in runs], "{:.4f}") for name in names]
        lines.append(f"| {row} | {' | '.join(cells)} |")
    return "\n".join(lines)


def published(benchmark: str) -> str:
    """A Markdown table of what papers print for a benchmark, as they print it.

    Only the rows marked `read` were read at their source; the others are from memory.
    """
    with PUBLISHED_RESULTS.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row.pop("benchmark") == benchmark]
    columns = [name for name in rows[0] if any(row[name] for row in rows)]
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    lines += [f"| {' | '.join(row[name] or '–' for name in columns)} |" for row in rows]
    return "\n".join(lines)


def _means(runs: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: float(np.mean([run[name] for run in runs])) for name in runs[0]}


def _with_error(values: Sequence[float], form: str = "{:+.2f}") -> str:
    mean = form.format(np.mean(values) + 0.0)
    if len(values) == 1:
        return mean
    return f"{mean} ± {form.replace('+', '').format(standard_error(values))}"


def _paired(change: Sequence[Mapping[str, float]], other: Sequence[Mapping[str, float]]) -> str:
    pairs = zip(change, other, strict=bool(other))
    differences = [a["mean_over_metrics"] - b["mean_over_metrics"] for a, b in pairs]
    return _with_error(differences) if differences else "–"


def _share(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    return f"{100 * np.mean(known):.2f}" if known else "–"


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the table; returns the exit status."""
    parser = _arguments.Parser(
        prog="python -m mtl_jax.studies.balancing",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("directory", type=Path)
    parser.add_argument("--seeds", default="", help="as given to the sweep, e.g. 0,1,2")
    try:
        args = _arguments.parse(parser, argv)
        words = [seed for seed in args.seeds.split(",") if seed]
        if not all(word.isdecimal() for word in words):
            raise UsageError(f"--seeds={args.seeds}: expected numbers with commas, such as 0,1,2.")
        found = compare(args.directory, [int(word) for word in words] or [None])
        print(f"{table(found)}\n\n{metrics_table(found)}")
    except UsageError as error:
        print(f"\n{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    if found.dataset in BENCHMARKS:
        print("\nPublished (`mark` says whether it was read at its source):\n")
        print(published(BENCHMARKS[found.dataset]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
