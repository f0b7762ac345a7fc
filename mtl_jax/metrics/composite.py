"""Metrics that span tasks."""

from collections.abc import Mapping

import numpy as np


def multitask_score(miou_all: float, si_log_rmse: float) -> float:
    """max(100·mIoU − 50, 0) + max(50 − SI-logRMSE, 0), from 0 to 100 (reports A, B).

    Args:
      miou_all: fraction 0 ... 1, over all classes.
      si_log_rmse: scaled by 100, as `depth_metrics` gives it.
    """
    return float(np.maximum(100.0 * miou_all - 50.0, 0.0) + np.maximum(50.0 - si_log_rmse, 0.0))


def composite(metrics: Mapping[str, float]) -> dict[str, float]:
    """Adds the metrics that span tasks.

    Args:
      metrics: {'<task>/<metric>': value} of all tasks.

    Returns:
      `metrics` and, where exactly one task has a `miou_all` and exactly one a `si_log_rmse`,
      their `multitask_score`. (With two label maps, say semantics and parts, the score is not
      defined.)
    """
    miou_all = [value for name, value in metrics.items() if name.endswith("/miou_all")]
    si_log_rmse = [value for name, value in metrics.items() if name.endswith("/si_log_rmse")]
    if len(miou_all) != 1 or len(si_log_rmse) != 1:
        return dict(metrics)
    return {**metrics, "multitask_score": multitask_score(miou_all[0], si_log_rmse[0])}
