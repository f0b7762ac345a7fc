"""What papers print for the field's benchmarks, and how ours stands beside it.

    python -m mtl_jax.studies.benchmarks pascal_context_5
    python -m mtl_jax.studies.benchmarks runs/sweeps/pascal_context_benchmark

prints one Markdown table of a benchmark, or of the rows of a finished sweep. A published number is
one that was read where it was published; numbers from memory, of other people's tables or counted
from code keep that mark wherever they are.
"""

import argparse
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mtl_jax import _arguments, metrics, tasks
from mtl_jax.errors import UsageError
from mtl_jax.runs.workdir import Workdir
from mtl_jax.studies import sweeps
from mtl_jax.studies.published_benchmarks import MARKS, METRICS, ours, read
from mtl_jax.studies.sweeps import SweepError

ALONE = "only_"


def published(benchmark: str) -> str:
    """A Markdown table of what is printed for a benchmark: first what was read, then the rest.

    Raises:
      SweepError: there is no such benchmark.
    """
    systems = {i: found for i, found in read().items() if found[0]["benchmark"] == benchmark}
    if not systems:
        known = sorted({found[0]["benchmark"] for found in read().values()})
        raise SweepError(
            f"There is no published benchmark {benchmark!r}; expected one of {', '.join(known)}, "
            "or the directory of a sweep."
        )
    names = dict.fromkeys(line["metric"] for found in systems.values() for line in found)
    lines = [_row("system", "encoder", *names, "mark", "source"), "|---" * (len(names) + 4) + "|"]
    for mark in MARKS:
        for found in systems.values():
            # What one row was counted for stands beside what was read, and says so.
            of_mark = {line["metric"]: line for line in found if line["mark"] == mark}
            if of_mark:
                first = next(iter(of_mark.values()))
                values = (_cell(of_mark.get(name)) for name in names)
                lines.append(
                    _row(first["system"], first["encoder"], *values, mark, first["source"])
                )
    return "\n".join(lines)


def _cell(line: Mapping[str, str] | None) -> str:
    """A number, with the name of our figure where the printed one is not the usual."""
    if line is None:
        return "–"
    name, _ = ours(line)
    usual, _ = METRICS.get(line["metric"], (name, None))
    return line["value"] if name == usual else f"{line['value']} ({name})"


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def table(directory: Path) -> str:
    """A Markdown table of a sweep's finished rows, Δm by the survey's protocol, and what it is of.

    The baselines of Δm are the rows 'only_<task><words>' with the longest words that the row's own
    name has, too, e.g. 'only_semseg_resnet18' of 'branched_resnet18' and of
    'branched_resnet18_images'. It compares what the configs choose by `eval.delta_metrics`, or each
    task's headline.

    Raises:
      SweepError: there is no sweep.
      WorkdirError: a file of it is damaged.
    """
    listed = sweeps.listed(directory)
    found: dict[str, dict[str, Any]] = {}
    for row in listed:
        if run := _measured(directory / row["name"]):
            found[row["name"]] = run
    if not found:
        raise SweepError(f"No row of {directory} is finished; go on with the sweep first.")
    names = dict.fromkeys(name for run in found.values() for name in run["delta"])
    lines = [_row("row", *names, "Δm one_metric_per_task"), "|---" * (len(names) + 2) + "|"]
    for name, run in found.items():
        values = (_number(run["metrics"].get(metric)) for metric in names)
        lines.append(_row(name, *values, _delta(name, run, found)))
    printed = [
        f"- {name}: {line['label']}: {line['metric']} {line['value']:g}, ours "
        f"{_number(found[name]['metrics'].get(line['our_metric']), line['factor'] or 1.0)} "
        f"({line['source']})"
        for row in listed
        for line in row.get("published", ())
        if (name := row["name"]) in found
    ]
    return "\n".join([*lines, *(["", "Published beside ours:", ""] if printed else []), *printed])


def _measured(path: Path) -> dict[str, Any]:
    """Metrics of a finished row, of --mode=evaluate where it was done, and what Δm compares.

    {} if it is not finished.
    """
    home = Workdir(path)
    results = home.read_results()
    if not results.get("finished"):
        return {}
    config = home.read_config()
    evaluated = home.read_evaluation(config["eval"]["split"], config["eval"]["checkpoint"])
    compared = dict(item.rpartition(":")[::2] for item in config["eval"]["delta_metrics"])
    for name, task in {} if compared else config["tasks"].items():
        metric, direction = tasks.headline(task["type"])
        compared[f"{name}/{metric}"] = direction
    found = results["best"]["metrics"] | evaluated.get("metrics", {})
    return {"metrics": found, "delta": compared}


def _delta(name: str, run: Mapping[str, Any], found: Mapping[str, Mapping[str, Any]]) -> str:
    if name.startswith(ALONE):
        return "–"
    base = _baselines(name, run, found)
    directions = {
        metric: way
        for metric, way in run["delta"].items()
        # A change in percent of 0 is none; a run that falls to 0 changes by all of it.
        if _known(base.get(metric)) and base[metric] and _known(run["metrics"].get(metric))
    }
    if not directions:
        return "–"
    change = metrics.delta_m("one_metric_per_task", run["metrics"], base, directions)
    missing = len(run["delta"]) - len(directions)
    return f"{change:+.2f}" + (f" (without {missing} of {len(run['delta'])})" if missing else "")


def _baselines(name: str, run: Mapping[str, Any], found: Mapping[str, Mapping[str, Any]]):
    """The metrics of the single-task rows that belong to a row, of all tasks together."""
    base: dict[str, float] = {}
    for task in {metric.partition("/")[0] for metric in run["delta"]}:
        start = f"{ALONE}{task}"
        words = [other.removeprefix(start) for other in found if other.startswith(start)]
        if fitting := [some for some in words if f"{some}_" in f"{name}_"]:
            own = found[start + max(fitting, key=len)]["metrics"].items()
            base |= {metric: value for metric, value in own if metric.startswith(f"{task}/")}
    return base


def _known(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _number(value: float | None, factor: float = 1.0) -> str:
    return "–" if value is None or not math.isfinite(value) else f"{factor * value:.4g}"


def main(argv: Sequence[str] | None = None) -> int:
    """Prints a table; returns the exit status."""
    parser = _arguments.Parser(
        prog="python -m mtl_jax.studies.benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("what", help="a benchmark, or the directory of a sweep")
    try:
        what = _arguments.parse(parser, argv).what
        print(table(Path(what)) if Path(what).is_dir() else published(what))
    except UsageError as error:
        print(f"\n{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
