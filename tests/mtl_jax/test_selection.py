"""The best evaluation: a mean that does not saturate, and what is refused before the first step."""

import math

import numpy as np
import pytest
from ml_collections import ConfigDict

from mtl_jax import metrics
from mtl_jax.errors import ConfigError
from mtl_jax.runs import selection

HEADLINES = {"semseg/miou": "max", "depth/si_log_rmse": "min"}


def entry(step, **found):
    return {"step": step, "metrics": {k.replace("__", "/"): v for k, v in found.items()}}


def best(metric, mode, entries):
    chosen = selection.Selection(metric, mode, HEADLINES)
    return max(map(chosen.completed, entries), key=chosen.rank)["step"]


def test_headline_mean_is_the_geometric_mean():
    found = {"semseg/miou": 0.32, "depth/si_log_rmse": 20.0, "depth/rmse": 3.0}
    assert metrics.headline_mean(found, HEADLINES) == pytest.approx(math.sqrt(0.32 / 20.0))
    assert metrics.composite(found, HEADLINES)["headline_mean"] == pytest.approx(
        math.sqrt(0.32 / 20.0)
    )
    alone = {"depth/si_log_rmse": 20.0}  # the other task is not labelled
    assert metrics.headline_mean(alone, HEADLINES) == pytest.approx(1 / 20.0)
    assert metrics.headline_mean({}, HEADLINES) is None
    assert metrics.composite({}, HEADLINES) == {}


def test_headline_mean_of_zero_is_finite_and_of_nan_is_nan():
    zero = {"semseg/miou": 0.0, "depth/si_log_rmse": 0.0}
    assert metrics.headline_mean(zero, HEADLINES) == pytest.approx(1.0)
    assert np.isnan(metrics.headline_mean({**zero, "semseg/miou": math.nan}, HEADLINES))


def test_one_per_cent_counts_the_same_in_every_task_and_makes_a_delta_m():
    before = {"semseg/miou": 0.013, "depth/si_log_rmse": 61.0}
    after = {"semseg/miou": 0.013 * 1.02, "depth/si_log_rmse": 61.0 / 1.01}
    ratio = metrics.headline_mean(after, HEADLINES) / metrics.headline_mean(before, HEADLINES)
    assert ratio == pytest.approx(math.sqrt(1.02 * 1.01))
    delta = metrics.delta_m("one_metric_per_task", after, before, HEADLINES)
    assert 100 * (ratio - 1) == pytest.approx(delta, rel=0.02)


def test_weak_runs_are_told_apart():
    weak = [
        entry(5, semseg__miou_all=0.17, semseg__miou=0.1798, depth__si_log_rmse=99.0),
        entry(20, semseg__miou_all=0.17, semseg__miou=0.1796, depth__si_log_rmse=62.0),
        entry(40, semseg__miou_all=0.18, semseg__miou=0.1900, depth__si_log_rmse=70.0),
    ]
    chosen = selection.Selection("multitask_score", "max", HEADLINES)
    assert {chosen.rank(chosen.completed(e))[0] for e in weak} == {0.0}
    assert best("headline_mean", "max", weak) == 20
    assert best("multitask_score", "max", weak) == 20  # 100 · 0.17 − 62 is more than 18 − 70
    assert best("multitask_score", "max", weak[:1] + weak[2:]) == 40


@pytest.mark.parametrize("mode", ["max", "min"])
def test_ties_go_to_the_later_step_and_no_number_is_worst(mode):
    same = [entry(k, depth__rmse=2.0) for k in (1, 2, 3)]
    assert best("depth/rmse", mode, same) == 3
    assert best("depth/rmse", mode, [*same, entry(4, depth__rmse=None)]) == 3
    assert best("depth/rmse", mode, [*same, entry(4), entry(5, depth__rmse=math.inf)]) == 3
    assert best("depth/rmse", mode, [entry(4), entry(5)]) == 5


def build(metric, mode="max", known=("semseg/miou", "semseg/loss", "loss", "headline_mean")):
    evaluate = ConfigDict({"selection": metric, "selection_mode": mode, "split": "validation"})
    return selection.build(evaluate, HEADLINES, known)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("semseg/muio",), r"'semseg/muio' is no metric of this run .* Did you mean 'semseg/miou'"),
        (("multitask_score",), "multitask_score.*Expected one of: headline_mean, loss"),
        (("semseg/miou", "maximum"), "selection_mode='maximum'; expected one of max, min"),
        (("semseg/miou", "min"), r"of 'semseg/miou' the best value is the max: set"),
        (("loss",), r"of 'loss' the best value is the min: set config.eval.selection_mode='min'"),
        (("semseg/loss",), "is the min"),
        (("headline_mean", "min"), "is the max"),
        (("x", "max", ()), "none, as nothing is labelled"),
    ],
)
def test_what_cannot_select_is_refused(arguments, message):
    with pytest.raises(ConfigError, match=message):
        build(*arguments)


def test_what_can_select():
    assert build("loss", "min").metric == "loss"
    assert build("semseg/miou").mode == "max"
