"""What happens at which step, and under which names a step's logs are kept."""

import pytest
from ml_collections import ConfigDict

from mtl_jax.errors import ConfigError
from mtl_jax.runs import plan, step_log


def train(**changes):
    return ConfigDict(
        {
            "epochs": 2.5,
            "max_steps": 0,
            "eval_every_epochs": 1,
            "checkpoint_every_steps": 0,
            "log_every": 3,
        }
        | changes
    )


def test_a_run_of_two_and_a_half_epochs():
    found = plan.build(train(checkpoint_every_steps=7), 4)
    assert found.total_steps == 10
    steps = range(11)
    assert [step for step in steps if found.evaluates(step)] == [4, 8, 10]
    assert [step for step in steps if found.saves(step) and step] == [4, 7, 8, 10]
    assert [step for step in steps if found.logs(step) and step] == [3, 4, 6, 7, 8, 9, 10]


def test_whole_steps():
    assert plan.build(train(epochs=0.29), 100).total_steps == 29  # 0.29 · 100 is a little less
    assert plan.build(train(max_steps=5), 100).total_steps == 5
    never = plan.build(train(eval_every_epochs=0), 4)
    assert [step for step in range(11) if never.evaluates(step)] == [10]
    twice = plan.build(train(eval_every_epochs=0.5), 4)
    assert [step for step in range(11) if twice.evaluates(step)] == [2, 4, 6, 8, 10]
    with pytest.raises(ConfigError, match=r"eval_every_epochs=0\.2 of 4 steps; expected"):
        plan.build(train(eval_every_epochs=0.2), 4)


@pytest.mark.parametrize("epochs", [0.0, -1.0, float("nan"), float("inf"), 0.1])
def test_no_step(epochs):
    with pytest.raises(
        ConfigError, match=r"train\.epochs=.* expected a number that gives one step"
    ):
        plan.build(train(epochs=epochs), 4)


def test_what_is_logged_is_flattened_whatever_it_is():
    logs = {
        "losses": {"depth": 1.0, "semseg": 2},
        "total": 3.0,
        "weights": {"depth": 0.5},
        "learned": {"log_variance": {"depth": 0.25}},
        "gradient_norm": 4.0,
        "something": {"new": {"a": 5.0}, "b": 6.0},
    }
    assert step_log.flatten(logs) == {
        "loss/depth": 1.0,
        "loss/semseg": 2.0,
        "loss": 3.0,
        "weight/depth": 0.5,
        "log_variance/depth": 0.25,
        "gradient_norm": 4.0,
        "something/new/a": 5.0,
        "something/b": 6.0,
    }


def test_until_something_is_done_next():
    made = plan.Plan(5, 13, evaluate_every=10, save_every=4, log_every=3)
    ends = [step + made.until_next(step) for step in range(13)]
    assert ends == [3, 3, 3, 4, 6, 6, 8, 8, 9, 10, 12, 12, 13]
    assert [step + made.until_next(step, (5, 7)) for step in (4, 5, 7)] == [5, 6, 8]
    assert 4 + made.until_next(4, epochs=True) == 5
    assert plan.Plan(5, 13, evaluate_every=0, save_every=0, log_every=50).until_next(1) == 12
