"""Δm: by how many percent a multi-task model differs from single-task ones, on average.

Three protocols are in use under this one name. They differ in sign and in how metrics are averaged,
so a Δm is always given with the protocol's name.
"""

from collections.abc import Callable, Mapping

import numpy as np


def delta_m(
    protocol: str,
    metrics: Mapping[str, float],
    baselines: Mapping[str, float],
    directions: Mapping[str, str],
) -> float:
    """Δm in percent, by one of `DELTA_PROTOCOLS`.

    With M a metric of the multi-task model, S that of the single-task one, and
    r = ±100·(M − S)/S, positive where M is better:

    * `one_metric_per_task`: mean of r over the tasks, of each of which `directions` has exactly one
      metric; positive is good (Vandenhende et al. 2021; Liu et al.: Auto-Lambda, 2022);
    * `mean_within_tasks`: mean of r over the metrics of a task, then over the tasks; positive is
      good (Lin and Zhang: LibMTL, 2023);
    * `mean_over_metrics`: −1 times the mean of r over all metrics; negative is good (Liu et al.:
      CAGrad, 2021; Navon et al.: Nash-MTL, 2022; Liu et al.: FAMO, 2023).

    Args:
      protocol: one of `DELTA_PROTOCOLS`.
      metrics: {'<task>/<metric>': value} of the multi-task model; may hold others besides.
      baselines: likewise, of the single-task models.
      directions: {'<task>/<metric>': 'max' or 'min'} of those to compare.

    Raises:
      ValueError: an unknown protocol; nothing to compare; a metric that is missing, not finite, or
        0 for the baseline; several metrics of a task where there may be one.
    """
    if protocol not in DELTA_PROTOCOLS:
        raise ValueError(
            f"There is no Δm protocol {protocol!r}; expected one of {', '.join(DELTA_PROTOCOLS)}."
        )
    if not directions:
        raise ValueError("Δm: there is no metric to compare.")
    by_task: dict[str, list[float]] = {}
    for name, direction in directions.items():
        change = _improvement(name, metrics, baselines, direction)
        by_task.setdefault(name.partition("/")[0], []).append(change)
    return float(DELTA_PROTOCOLS[protocol](by_task))


def _improvement(name, metrics, baselines, direction) -> float:
    """By how many percent the metric is better than the baseline's."""
    for whose, values in (("the run", metrics), ("the baseline", baselines)):
        value = values.get(name)
        if value is None or not np.isfinite(value):
            raise ValueError(f"Δm needs a finite {name!r}, but {whose} has {value}.")
    if baselines[name] == 0:
        raise ValueError(f"Δm is relative to {name!r} of the baseline, which is 0.")
    sign = {"max": 1.0, "min": -1.0}[direction]
    return sign * 100.0 * (metrics[name] - baselines[name]) / baselines[name]


def _one_metric_per_task(by_task):
    several = [task for task, changes in by_task.items() if len(changes) > 1]
    if several:
        raise ValueError(
            f"Δm by 'one_metric_per_task': expected one metric of each task, found several of "
            f"{', '.join(several)}."
        )
    return _mean_within_tasks(by_task)


def _mean_within_tasks(by_task):
    return np.mean([np.mean(changes) for changes in by_task.values()])


def _mean_over_metrics(by_task):
    return -np.mean([change for changes in by_task.values() for change in changes])


DELTA_PROTOCOLS: dict[str, Callable[[Mapping[str, list[float]]], float]] = {
    "one_metric_per_task": _one_metric_per_task,
    "mean_within_tasks": _mean_within_tasks,
    "mean_over_metrics": _mean_over_metrics,
}
