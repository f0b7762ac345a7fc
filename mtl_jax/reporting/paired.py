"""Differences between two runs of the same seeds."""

import math
from collections.abc import Sequence

import numpy as np
from scipy import stats

from mtl_jax.reporting.document import Block, Strong, Table
from mtl_jax.reporting.runs import BEST, ReportError, RunRecord, Study
from mtl_jax.runs.words import NONE, number

_LEVEL = 0.95


def tables(study: Study, against: Sequence[str]) -> list[Block]:
    """A table for each of the runs named: what all others have more or less, paired by seed.

    A difference stands out where the interval that Student's distribution gives for 95 % does not
    hold 0; with three seeds that is from 4.3 standard errors on. Of many differences one in twenty
    stands out by chance.

    Args:
      study: the runs.
      against: names of some of them.

    Raises:
      ReportError: a name that no run has, or a run with a single seed.
    """
    known = {run.name: run for run in study.runs}
    found: list[Block] = []
    for name in against:
        if name not in known:
            raise ReportError(
                f"--against={name}: {study.name} has no such run; expected one of "
                f"{', '.join(known)}."
            )
        base = known[name]
        if len(base.seeds) < 2:
            raise ReportError(
                f"--against={name}: differences are paired by seed, and it has {len(base.seeds)} "
                "seeds; run it with --seeds=0,1,2."
            )
        rows = [_row(base, run) for run in study.runs if run is not base]
        rows = [row for row in rows if set(row[1:]) != {NONE}]
        if rows:
            caption = (
                f"Difference from {name}, paired by seed: mean ± standard error; bold where it is "
                "not 0 at 95 %"
            )
            found.append(Table(["run", *_metrics(base)], rows, caption))
    return found


def _metrics(run: RunRecord) -> list[str]:
    """What the field's tables compare, and what stands for each task."""
    found = [
        f"{name}/{metric}"
        for name, task in run.tasks.items()
        for metric in dict([task.headline, *task.tabled.items()])
    ]
    return [metric for metric in found if metric in run.values(BEST).mean]


def _row(base: RunRecord, run: RunRecord) -> list[str | Strong]:
    return [run.name, *(_cell(base, run, metric) for metric in _metrics(base))]


def _cell(base: RunRecord, run: RunRecord, metric: str) -> str | Strong:
    pairs = [
        (part.values(BEST).mean.get(metric), run.seeds[seed].values(BEST).mean.get(metric))
        for seed, part in base.seeds.items()
        if seed in run.seeds
    ]
    differences = [own - other for other, own in pairs if other is not None and own is not None]
    if len(differences) < 2:
        return NONE
    mean, error = difference(differences)
    text = number(abs(mean))
    decimals = len(text.partition(".")[2])
    text = f"{'−' if mean < 0 else '+'}{text} ± {error:.{decimals}f}"
    quantile = stats.t.ppf((1 + _LEVEL) / 2, len(differences) - 1)
    return Strong(text) if abs(mean) > quantile * error else text


def difference(values: Sequence[float]) -> tuple[float, float]:
    """The mean of at least two differences, and its standard error.

    >>> difference([1.0, 2.0, 3.0])
    (2.0, 0.5773502691896258)
    """
    return float(np.mean(values)), float(np.std(values, ddof=1) / math.sqrt(len(values)))
