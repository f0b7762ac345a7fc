"""Metrics that span tasks."""

from collections.abc import Mapping

import numpy as np

HEADLINE_MEAN, MULTITASK_SCORE = "headline_mean", "multitask_score"
# A headline is raised to it, in its own unit, so that a 0 has a logarithm.
_FLOOR = 1e-6


def multitask_score(miou_all: float, si_log_rmse: float) -> float:
    """max(100·mIoU − 50, 0) + max(50 − SI-logRMSE, 0), from 0 to 100 (reports A, B).

    Args:
      miou_all: fraction 0 ... 1, over all classes.
      si_log_rmse: scaled by 100, as `depth_metrics` gives it.
    """
    return float(np.maximum(100.0 * miou_all - 50.0, 0.0) + np.maximum(50.0 - si_log_rmse, 0.0))


def unclamped_multitask_score(metrics: Mapping[str, float]) -> float:
    """100·mIoU − SI-logRMSE, which tells apart what `multitask_score` clamps to the same value.

    Args:
      metrics: as of `composite`.

    Returns:
      NaN where the score is not defined.
    """
    found = _score_of(metrics)
    return 100.0 * found[0] - found[1] if found else float("nan")


def headline_mean(metrics: Mapping[str, float], headlines: Mapping[str, str]) -> float | None:
    """Geometric mean of the tasks' headline metrics, an error counting as its reciprocal.

    exp(mean of ± ln max(m, 1e-6)), + where higher is better. A headline that becomes better by 1 %
    counts the same whatever its unit, size and task; to first order the relative difference of two
    such means is the mean over tasks of the headlines' relative differences, which is Δm.

    Args:
      metrics: as of `composite`.
      headlines: {'<task>/<metric>': 'max' or 'min'} of metrics that are never negative.

    Returns:
      NaN if one of them is; None if `metrics` has none of them, as no task is labelled.
    """
    logarithms = [
        (1.0 if direction == "max" else -1.0) * np.log(np.maximum(metrics[name], _FLOOR))
        for name, direction in headlines.items()
        if name in metrics
    ]
    return float(np.exp(np.mean(logarithms))) if logarithms else None


def composite(
    metrics: Mapping[str, float], headlines: Mapping[str, str] | None = None
) -> dict[str, float]:
    """Adds the metrics that span tasks.

    Args:
      metrics: {'<task>/<metric>': value} of all tasks; a task without any is unlabelled.
      headlines: as of `headline_mean`.

    Returns:
      `metrics`; their `headline_mean`, where there is one; and, where exactly one task has a
      `miou_all` and exactly one a `si_log_rmse`, their `multitask_score`. (With two label maps, say
      semantics and parts, the score is not defined.)
    """
    together = dict(metrics)
    mean = headline_mean(metrics, headlines or {})
    if mean is not None:
        together[HEADLINE_MEAN] = mean
    found = _score_of(metrics)
    return together | ({MULTITASK_SCORE: multitask_score(*found)} if found else {})


def _score_of(metrics: Mapping[str, float]) -> tuple[float, float] | None:
    """(miou_all, si_log_rmse), of which the score is made; None if it is not defined."""
    miou_all = [value for name, value in metrics.items() if name.endswith("/miou_all")]
    si_log_rmse = [value for name, value in metrics.items() if name.endswith("/si_log_rmse")]
    if len(miou_all) != 1 or len(si_log_rmse) != 1:
        return None
    return miou_all[0], si_log_rmse[0]
