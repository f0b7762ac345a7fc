"""Which of a run's evaluations its numbers are of."""

import pytest

from mtl_jax.configs import common
from mtl_jax.runs import results, workdir


def test_best_last_and_the_mean_of_the_last_ten(tmp_path):
    directory = workdir.Workdir(tmp_path)
    directory.create()
    found = results.Results(directory, common.base())
    for k in range(1, 13):
        metrics = {"multitask_score": float(min(k, 12 - k)), "depth/rmse": float(k)}
        assert found.is_best(k, metrics) == (k <= 6)
        found.add_evaluation(k, k / 4, metrics)
    written = found.write(final=True)
    assert written["evaluations"] == 12
    assert (written["best"]["step"], written["last"]["step"]) == (6, 12)
    assert written["mean_of_last_10"]["depth/rmse"] == pytest.approx((3 + 12) / 2)
