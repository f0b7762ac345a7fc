"""Whole runs of the weightings that look at held-out training images: resumed, in processes."""

import json

import jax
import numpy as np
import pytest
import tiny
import toy_network as toy
from run_main import begin_two, call, wait_for
from test_parallel import assert_same_run

from mtl_jax import options
from mtl_jax.commands import evaluate, train
from mtl_jax.runs import held_out_scores, loop
from mtl_jax.runs.baselines import BaselineError

toy_network = toy.in_every_run()
HELD_OUT = {"data__held_out": 0.34, "train__epochs": 3, "train__eval_every_epochs": 3}
HELD_OUT |= {"eval__images": 0, "eval__worst_images": 0}


def config(streets_dir, weighting: dict, **changes):
    found = tiny.config(streets_dir, **HELD_OUT | changes)
    found.weighting = weighting
    options.fill(found)
    return found


@pytest.fixture(scope="module")
def alone(streets_dir, tmp_path_factory):
    """Directories of single-task runs, evaluated on what is held out."""
    found = []
    for task in ("semseg", "depth"):
        directory = tmp_path_factory.mktemp(task)
        own = config(streets_dir, {"name": "fixed"}, train__epochs=1)
        with own.unlocked():
            own.tasks, own.task_order = {task: own.tasks[task].to_dict()}, (task,)
        own.eval.selection = "loss"
        own.eval.selection_mode = "min"
        train.run(own, directory)
        own.eval.split, own.eval.checkpoint = "held_out", "latest"
        found.append((own, directory))
    return found


def evaluated(alone) -> tuple[str, ...]:
    for own, directory in alone:
        evaluate.run(own, directory)
    return tuple(str(directory) for _, directory in alone)


def resumed(found, tmp_path, monkeypatch):
    """(state of a run that was never stopped, of one that was after step 3, the former)."""
    whole = tiny.run(found, tmp_path / "whole")
    whole.train()
    with monkeypatch.context() as patch:
        patch.setattr(loop.StopSignal, "requested", lambda self, step, every: step == 3)
        patch.setattr(loop.StopSignal, "signum", 15, raising=False)
        with pytest.raises(loop.Stopped, match="step 3"):
            tiny.run(found, tmp_path / "stopped").train()
    stopped = tiny.run(found, tmp_path / "stopped")
    stopped.train()
    return tiny.latest_state(whole), tiny.latest_state(stopped), whole


def test_a_batch_beside_held_out_examples_is_what_the_step_was_compiled_for(streets_dir, tmp_path):
    run = tiny.run(config(streets_dir, {"name": "auto_lambda"}), tmp_path)
    batch = next(run.stream.batches())
    assert run.stream.layout == {key: (x.shape[1:], x.dtype) for key, x in batch.items()}


@pytest.mark.weekly
def test_auto_lambda_sees_the_same_held_out_batches_when_it_goes_on(
    streets_dir, tmp_path, monkeypatch
):
    found = config(streets_dir, {"name": "auto_lambda", "learning_rate": 0.01})
    whole, again, run = resumed(found, tmp_path, monkeypatch)
    assert run.plan.steps_per_epoch == 2
    jax.tree.map(np.testing.assert_array_equal, whole, again)
    assert np.all(whole.weighting["adam"]["steps"] == 6)
    assert np.all(whole.weighting["weights"] != np.float32(0.1))


@pytest.mark.slow
def test_pivrg_knows_how_much_worse_than_alone_it_is_on_what_is_held_out(
    streets_dir, alone, tmp_path
):
    found = config(streets_dir, {"name": "pivrg", "baselines": ()})
    with pytest.raises(BaselineError, match=r"baselines has none of semseg, depth\. Train each"):
        tiny.run(found, tmp_path / "none")
    directories = tuple(str(directory) for _, directory in alone)
    found.weighting.baselines = directories
    with pytest.raises(BaselineError, match=r"(?s)not evaluated as this run is.*eval\.split"):
        tiny.run(found, tmp_path / "none")
    evaluated(alone)
    found.seed = 1
    with pytest.raises(BaselineError, match=r"other examples held out.*seed=0 there, 1 here"):
        tiny.run(found, tmp_path / "none")
    found.seed = 0
    run = tiny.run(found, tmp_path / "whole")
    run.train()
    whole = tiny.latest_state(run)
    # What the model of the end, which no step has changed since, is scored by hand.
    scores = whole.weighting["method"]["scores"]
    own = run._scores()
    metrics = own.evaluator(whole.variables, run.held_out_batches())
    expected = []
    for names in (("semseg/miou", "semseg/pixel_accuracy"), ("depth/abs", "depth/rel")):
        base = [own.references[name] for name in names]
        worse = [100 * (metrics[n] - b) / b for n, b in zip(names, base, strict=True)]
        expected.append(np.mean(worse) * (-1 if "semseg" in names[0] else 1))
    np.testing.assert_allclose(scores, expected, rtol=1e-4)
    assert np.ptp(scores) > 0


# That it does is seen above of another method, and of its memory in test_weightings_training.
@pytest.mark.weekly
def test_pivrg_goes_on_with_the_scores_that_it_had(streets_dir, alone, tmp_path, monkeypatch):
    baselines = evaluated(alone)
    found = config(streets_dir, {"name": "pivrg", "baselines": baselines})
    whole, again, _ = resumed(found, tmp_path, monkeypatch)
    jax.tree.map(np.testing.assert_array_equal, whole, again)


@pytest.mark.weekly
@pytest.mark.parametrize("weighting", ["auto_lambda", "pivrg"])
def test_two_processes_hold_out_what_one_does(streets_dir, request, tmp_path, weighting):
    """Each has its part of the held-out images beside its batches, or scores its part of them."""
    if weighting == "pivrg":
        alone = evaluated(request.getfixturevalue("alone"))
        options_of = [f"--config.weighting.baselines={','.join(alone)}"]
    else:
        options_of = ["--config.weighting.learning_rate=0.01"]
    common = [*tiny.arguments(streets_dir), *tiny.NO_PICTURES]
    common.append(f"--config.weighting.name={weighting}")
    common += ["--config.data.held_out=0.34", "--config.train.max_steps=3", *options_of]
    common += ["--config.optimizer.name=sgd", "--config.schedule.learning_rate=0.05"]
    processes = begin_two(f"--workdir={tmp_path / 'two'}", *common)
    call(f"--workdir={tmp_path / 'one'}", *common)
    wait_for(processes)
    assert_same_run(tmp_path / "one", tmp_path / "two")
    one, two = (
        json.loads((tmp_path / name / "results.json").read_text()) for name in ("one", "two")
    )
    assert (two["steps"], two["processes"]) == (3, 2)
    assert (tmp_path / "two" / "evaluation.jsonl").exists()
    weights = [found["weighting"]["weight"] for found in (one, two)]
    assert weights[1] == pytest.approx(weights[0], rel=1e-3)
    assert weights[0]["semseg"] != weights[0]["depth"]


def test_a_task_without_a_reference_metric_has_no_score(streets_dir, tmp_path):
    run = tiny.run(config(streets_dir, {"name": "fixed"}), tmp_path)
    found = {"semseg/loss": 1.0, "semseg/miou": 0.5, "depth/loss": 1.0, "depth/rel": float("nan")}
    references = found | {"depth/rel": 0.2}
    with pytest.raises(BaselineError, match=r"Task 'depth' has no score.*depth/rel"):
        held_out_scores.worse_by(found, references, run.system.tasks)
    halved = found | {"semseg/miou": 0.25, "depth/rel": 0.3}
    worse = held_out_scores.worse_by(halved, references, run.system.tasks)
    assert worse == pytest.approx([50.0, 50.0])
