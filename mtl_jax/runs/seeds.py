"""Several runs of one config that differ in their seed, reported as mean ± standard deviation.

The run of seed n is kept in <workdir>/seed_<n>, a work directory like any other; <workdir> itself
holds the config that they share and results.json, which sums them up.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from mtl_jax.errors import UsageError
from mtl_jax.metrics.names import is_member
from mtl_jax.runs.files import WorkdirError, or_nan
from mtl_jax.runs.words import plus_minus
from mtl_jax.runs.workdir import Workdir

_SUMMARIES = ("best", "last", "mean_of_last_10")


def parse(values: Sequence[str]) -> tuple[int, ...]:
    """('0', '1') ─► (0, 1).

    Raises:
      UsageError: a seed is no whole number from 0, or is given twice.
    """
    if not all(value.strip().isdecimal() for value in values):
        raise UsageError(f"--seeds={','.join(values)}: expected whole numbers, such as 0,1,2.")
    seeds = tuple(int(value) for value in values)
    if len(set(seeds)) != len(seeds):
        raise UsageError(f"--seeds={','.join(values)}: expected each seed once.")
    return seeds


def runs(
    config: ConfigDict, parent: Workdir, seeds: Iterable[int]
) -> Iterator[tuple[int, ConfigDict, Workdir]]:
    """(seed, config, work directory) of each of several seeds."""
    for seed in seeds:
        its_config = config.copy_and_resolve_references()
        its_config.seed = seed
        yield seed, its_config, parent.seed(seed)


def check_parent(parent: Workdir) -> None:
    """Raises WorkdirError if the directory holds a single run, whose results would be lost."""
    if parent.has_trained():
        raise WorkdirError(
            f"{parent.path} holds a single run, not runs of several seeds. Use another --workdir, "
            "or leave out --seeds."
        )


def check_single(where: Workdir) -> None:
    """Raises WorkdirError if the directory holds runs of several seeds."""
    found = [run.path.name for run in where.seeds().values()]
    if found:
        raise WorkdirError(
            f"{where.path} holds runs of several seeds ({', '.join(found)}). Give --seeds, or the "
            "--workdir of one of them."
        )


def spread(runs: Iterable[Mapping[str, float | None]]) -> tuple[dict, dict]:
    """(mean, sample standard deviation) of each metric over the runs.

    The deviation divides by n − 1 and is NaN for a single run. A metric that some run lacks, or
    that is NaN in it, is NaN: a mean over other runs than its neighbour's would mislead.

    Args:
      runs: {metric: value} of each; None stands for NaN, as in JSON.
    """
    runs = list(runs)
    mean, deviation = {}, {}
    for name in dict.fromkeys(name for run in runs for name in run):
        values = [run.get(name) for run in runs]
        values = np.array([or_nan(value) for value in values], np.float64)
        mean[name] = float(np.mean(values))
        deviation[name] = float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")
    return mean, deviation


def standard_error(values: Sequence[float]) -> float:
    """Of the mean of at least two numbers, with the sample standard deviation."""
    return float(np.std(values, ddof=1)) / math.sqrt(len(values))


def aggregate(found: Mapping[int, Mapping[str, Any]]) -> dict[str, Any]:
    """Sums up the runs.

    Args:
      found: {seed: what the run's results.json holds}.

    Returns:
      A dict with the layout of a single run's results.json, whose metrics are means over the seeds,
      and beside them `std`, sample standard deviations: of `best`, `last` and `mean_of_last_10`.
      Of everything else it holds what all runs agree on.
    """
    first = next(iter(found.values()))
    summary: dict[str, Any] = {
        key: value
        for key, value in first.items()
        if all(run.get(key) == value for run in found.values())
    }
    summary |= {"finished": all(run["finished"] for run in found.values()), "seeds": list(found)}
    for which in ("best", "last"):
        mean, deviation = spread(run[which]["metrics"] for run in found.values())
        steps = [run[which]["step"] for run in found.values()]
        summary[which] = {"step": steps, "metrics": mean, "std": deviation}
    mean, deviation = spread(run["mean_of_last_10"] for run in found.values())
    return summary | {
        "mean_of_last_10": mean,
        "mean_of_last_10_std": deviation,
        "evaluations": [run["evaluations"] for run in found.values()],
        "train_seconds": [run["train_seconds"] for run in found.values()],
    }


def table(summary: Mapping[str, Any]) -> str:
    """The results of `aggregate` as text: a row for each metric but the IoU of single classes."""
    columns = [(summary[which]["metrics"], summary[which]["std"]) for which in ("best", "last")]
    columns.append((summary["mean_of_last_10"], summary["mean_of_last_10_std"]))
    names = [name for name in columns[0][0] if not is_member(name)]
    width = max(map(len, ["metric", *names]))
    seeds = ", ".join(map(str, summary["seeds"]))
    lines = [
        f"{summary['split']}, n = {len(summary['seeds'])} (seeds {seeds}), "
        f"mean ± sample standard deviation; best by {summary['selection']}",
        "  ".join([f"{'metric':{width}}", *(f"{which:>21}" for which in _SUMMARIES)]),
    ]
    for name in names:
        cells = (plus_minus(mean[name], deviation[name]) for mean, deviation in columns)
        lines.append("  ".join([f"{name:{width}}", *(f"{cell:>21}" for cell in cells)]))
    return "\n".join(lines)
