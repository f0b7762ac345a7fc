"""Differences between two runs of the same seeds."""

from collections.abc import Sequence

import numpy as np
from scipy import stats

from mtl_jax.reporting.document import Block, Strong, Table
from mtl_jax.reporting.runs import BEST, ReportError, RunRecord, Study
from mtl_jax.runs.seeds import standard_error
from mtl_jax.runs.words import NONE, number

_LEVEL = 0.95


def check(studies: Sequence[Study], against: Sequence[str]) -> None:
    """Raises ReportError for a name that no run has, or a run of a single seed."""
    runs = [run for study in studies for run in study.runs]
    for name in against:
        named = [run for run in runs if run.name == name]
        if not named:
            raise ReportError(
                f"--against={name}: there is no such run; expected one of "
                f"{', '.join(dict.fromkeys(run.name for run in runs))}."
            )
        if few := [run for run in named if len(run.seeds) < 2]:
            raise ReportError(
                f"--against={name}: differences are paired by seed, and it has "
                f"{len(few[0].each)} of them; run it with --seeds=0,1,2."
            )


def tables(study: Study, against: Sequence[str]) -> list[Block]:
    """A table for each of the runs named: what all others have more or less, paired by seed.

    A difference stands out where the interval that Student's distribution gives for 95 % does not
    hold 0; with three seeds that is from 4.3 standard errors on. Of many differences one in twenty
    stands out by chance.

    Args:
      study: the runs.
      against: names that `check` has let through; those of other studies are passed over.
    """
    found: list[Block] = []
    for base in (run for name in against for run in study.runs if run.name == name):
        rows = [_row(base, run) for run in study.runs if run is not base]
        rows = [row for row in rows if any(cell != NONE for cell in row[1:])]
        if rows:
            caption = (
                f"Difference from {base.name}, paired by seed: mean ± standard error; bold where "
                "it is not 0 at 95 %"
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
    mean, error = float(np.mean(differences)), standard_error(differences)
    text = number(abs(mean))
    decimals = len(text.partition(".")[2])
    text = f"{'−' if mean < 0 else '+'}{text} ± {error:.{decimals}f}"
    quantile = stats.t.ppf((1 + _LEVEL) / 2, len(differences) - 1)
    return Strong(text) if abs(mean) > quantile * error else text
