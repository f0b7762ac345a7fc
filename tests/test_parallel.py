"""N devices, or N processes, give the numbers of one device."""

import json

import jax
import numpy as np
import pytest
import tiny
import toy_network as toy
from run_main import begin, begin_two, call, free_port, wait_for

from mtl_jax import checkpoints, evaluation, parallel, training

toy_network = toy.in_every_run()


def after(run, steps: int):
    """State and losses after a few steps."""
    state = training.create_state(
        run.system, run.optimizer, seed=0, image_shape=(32, 64), mesh=run.mesh
    )
    step = training.make_train_step(
        run.system,
        run.optimizer,
        run.schedule,
        seed=0,
        steps_per_epoch=run.plan.steps_per_epoch,
        mesh=run.mesh,
        accumulate=run.config.train.accumulate,
    )
    losses = []
    for _, batch in zip(range(steps), run.stream.batches(0)):
        state, logs = step(state, parallel.put_batch(run.mesh, batch))
        losses.append({task: float(value) for task, value in logs["losses"].items()})
    return state, losses


def assert_close(a, b, rtol=2e-4, atol=2e-5):
    for (path, x), y in zip(jax.tree_util.tree_leaves_with_path(a), jax.tree.leaves(b)):
        name = jax.tree_util.keystr(path)
        np.testing.assert_allclose(x, y, rtol=rtol, atol=atol, err_msg=name)


@pytest.fixture(scope="module")
def sgd(streets_dir):
    """SGD, because Adam's first steps divide rounding errors by themselves."""
    return tiny.config(streets_dir, optimizer__name="sgd", schedule__learning_rate=0.01)


@pytest.fixture(scope="module")
def one_device(sgd, tmp_path_factory):
    return after(tiny.run(sgd, tmp_path_factory.mktemp("one")), 3)


def test_eight_devices_equal_one(sgd, one_device, tmp_path):
    state, losses = after(tiny.run(sgd, tmp_path, devices=8), 3)
    assert_close(losses, one_device[1])
    assert_close(state.params, one_device[0].params)
    assert_close(state.batch_stats, one_device[0].batch_stats)


def test_evaluation_does_not_depend_on_devices_or_batch_size(sgd, one_device, tmp_path):
    run = tiny.run(sgd, tmp_path)
    host = jax.tree.map(np.asarray, one_device[0].variables)
    found = {}
    for devices, batch_size in ((1, 3), (8, 8)):
        config = sgd.copy_and_resolve_references()
        config.eval.batch_size = batch_size
        mesh = parallel.make_mesh(jax.devices()[:devices])
        batches = tiny.run(config, tmp_path).eval_batches() if batch_size == 3 else None
        batches = batches or run.eval_batches()
        found[devices] = evaluation.Evaluator(run.system, mesh)(host, batches)
    assert found[1].keys() == found[8].keys()
    for key, value in found[1].items():
        np.testing.assert_allclose(found[8][key], value, rtol=1e-4, err_msg=key)


@pytest.mark.slow
def test_accumulation_averages_the_micro_batches(sgd, tmp_path):
    """Two micro-batches of the same examples are one batch of them, statistics included."""
    run = tiny.run(sgd, tmp_path)
    batch = next(run.stream.batches(0))
    pairs = {key: np.repeat(value[:4], 2, axis=0) for key, value in batch.items()}
    halves = {key: value[:4] for key, value in batch.items()}
    found = []
    for accumulate, data in ((2, pairs), (1, halves)):
        config = sgd.copy_and_resolve_references()
        config.train.accumulate = accumulate
        run = tiny.run(config, tmp_path)
        run.stream.batches = lambda start, data=data: iter([data])
        found.append(after(run, 1))
    assert_close(found[0][1], found[1][1])
    assert_close(found[0][0].params, found[1][0].params)


def assert_same_run(one, two):
    """Of two work directories: their last models, and what they were evaluated to."""
    assert_close(*(checkpoints.read_variables(run / "checkpoints", "latest") for run in (one, two)))
    found, expected = (
        json.loads((run / "results.json").read_text())["last"]["metrics"] for run in (two, one)
    )
    for key, value in expected.items():
        if value is not None:
            np.testing.assert_allclose(found[key], value, rtol=2e-3, atol=1e-5, err_msg=key)


@pytest.mark.weekly
@pytest.mark.parametrize("weighting", ["fixed", "aligned_mtl"])
def test_two_processes_of_two_devices_equal_one_device(streets_dir, tmp_path, weighting):
    """Real processes over loopback, with and without a gradient of each task.

    One that looks at held-out images is tested more often in test_held_out_runs.py, where the same
    holds; all others are on several devices of one process, which run the same program.
    """
    common = [*tiny.arguments(streets_dir), *tiny.NO_PICTURES]
    common.append(f"--config.weighting.name={weighting}")
    common += ["--config.optimizer.name=sgd", "--config.train.max_steps=3"]
    processes = begin_two(f"--workdir={tmp_path / 'two'}", *common)
    call(f"--workdir={tmp_path / 'one'}", *common)
    wait_for(processes)
    assert_same_run(tmp_path / "one", tmp_path / "two")
    results = json.loads((tmp_path / "two" / "results.json").read_text())
    assert (results["steps"], results["processes"]) == (3, 2)
    assert (tmp_path / "two" / "evaluation.jsonl").exists()


@pytest.mark.slow
def test_processes_that_differ_are_told_in_what(streets_dir, tmp_path):
    """Before the first step, both of them."""
    common = [*tiny.arguments(streets_dir), f"--coordinator=127.0.0.1:{free_port()}"]
    common += [f"--workdir={tmp_path / 'run'}", "--processes=2"]
    processes = [
        begin(*common, f"--process={process}", f"--config.schedule.learning_rate={rate}")
        for process, rate in enumerate((0.01, 0.05))
    ]
    for process in processes:
        output, _ = process.communicate(timeout=400)
        assert process.returncode == 1, output
        assert "ProcessesDiffer: The processes of this run differ" in output
        assert "config schedule.learning_rate: 0.01 in process 0, 0.05 in process 1" in output
        assert "step 1/" not in output
