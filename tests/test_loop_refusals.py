"""What ends a run, or does not let it begin, and that nothing is lost by it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
import toy_network as toy

from mtl_jax import checkpoints, training
from mtl_jax.runs import files, step_log, workdir

toy_network = toy.in_every_run()


def test_labels_that_mean_something_else_are_refused(tmp_path):
    def specs(**depth):
        depth = {"kind": "depth", "unit": "m", "invalid": float("nan"), "mean": 2.0} | depth
        return {"image": {"kind": "image"}, "depth": depth}

    directory = workdir.Workdir(tmp_path)
    directory.claim_labels(specs(mean=3.0))
    directory.claim_labels(specs())  # nothing has been trained
    (directory.checkpoints / "latest" / "3").mkdir(parents=True)
    directory.claim_labels(specs(of_another_version=1))
    with pytest.raises(files.WorkdirError, match=r"depth.mean: 2.0 in the directory, 2.5 in the"):
        directory.claim_labels(specs(mean=2.5))
    with pytest.raises(files.WorkdirError, match="depth: in one of them only"):
        directory.claim_labels({"image": {"kind": "image"}})
    assert directory.read_label_specs()["depth"]["mean"] == 2.0


def test_a_loss_that_is_not_finite_stops_the_run(streets_dir, tmp_path):
    config = tiny.config(
        streets_dir,
        train__log_every=2,
        train__checkpoint_every_steps=1,
        train__max_steps=4,
        train__eval_every_epochs=2,
        schedule__name="constant",
        schedule__warmup_epochs=0.0,
        optimizer__name="sgd",
        optimizer__clip_norm=0.0,
    )
    run = tiny.run(config, tmp_path)
    real = run.stream.batches

    def poisoned(start):
        for step, batch in enumerate(real(start), start):
            if step == 2:
                batch["depth"] = np.full_like(batch["depth"], np.nan)
            yield batch

    run.stream.batches = poisoned
    with pytest.raises(step_log.NonFiniteLoss) as error:
        run.train()
    message = str(error.value)
    assert "The loss of depth is not finite at step 3" in message
    assert run.stream.example_ids(2)[0] in message
    assert "config.schedule.learning_rate" in message
    run.stream.batches = real  # the labels mended, the run goes on from the last good step
    assert int(tiny.latest_state(run).step) == 2
    assert tiny.run(config, tmp_path).train()["steps"] == 4


def test_a_state_that_is_not_finite_is_not_saved(streets_dir, tmp_path, monkeypatch):
    config = tiny.config(streets_dir, train__checkpoint_every_steps=1)
    make = training.step_function

    def overflowing(*arguments, **options):
        step = make(*arguments, **options)

        def with_infinite_variances(state, batch):
            state, logs = step(state, batch)  # whose losses are finite
            factor = jnp.where(state.step == 2, jnp.inf, 1.0)
            large = jax.tree.map(lambda x: x * factor, state.batch_stats)
            return state.replace(batch_stats=large), logs

        return with_infinite_variances

    monkeypatch.setattr(training, "step_function", overflowing)
    run = tiny.run(config, tmp_path)
    with pytest.raises(step_log.NonFiniteLoss, match=r"step 2 left .* as batch_stats/") as error:
        run.train()
    assert run.stream.example_ids(1)[0] in str(error.value)
    monkeypatch.undo()
    assert int(tiny.latest_state(run).step) == 1


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("train__max_steps", -1, r"config.train.max_steps=-1; expected a number of steps, or 0"),
        ("train__epochs", 0.0, r"config.train.epochs=0.0 of 3 steps; expected"),
        ("train__epochs", float("nan"), r"config.train.epochs=nan of 3 steps; expected"),
        ("train__log_every", 0, r"config.train.log_every=0; expected 1 or more steps"),
        ("train__accumulate", 0, r"config.train.accumulate=0; expected 1 or more"),
        ("train__profile", "4:9", r"config.train.profile='4:9'; expected .* the 6 steps"),
        ("eval__selection_mode", "maximum", r"selection_mode='maximum'; expected one of max, min"),
        (
            "schedule__learning_rate",
            float("nan"),
            r"learning_rate=nan; expected a number",
        ),
        (
            "eval__selection",
            "semseg/iuo",
            r"'semseg/iuo' is no metric .* Did you mean 'semseg/miou'",
        ),
        ("train__eval_every_epochs", -1, r"eval_every_epochs=-1.0; expected a number, 0 or more"),
        ("schedule__learning_rate", -0.1, r"learning_rate=-0.1; expected a number of at least 0"),
    ],
)
def test_impossible_runs_are_refused_before_they_begin(streets_dir, tmp_path, key, value, message):
    with pytest.raises(ValueError, match=message):
        tiny.run(tiny.config(streets_dir, **{key: value}), tmp_path)


def test_batch_size_must_divide_over_the_devices(streets_dir, tmp_path):
    config = tiny.config(streets_dir, train__batch_size=6)
    with pytest.raises(ValueError, match=r"train\.batch_size=6 .* 8 devices.*multiple of 8"):
        tiny.run(config, tmp_path, devices=8)


def test_a_full_disk_is_said_and_harms_no_older_checkpoint(tmp_path, monkeypatch):
    store = checkpoints.Checkpoints(tmp_path)
    manager = store._managers["latest"]

    def full():
        raise ValueError("RESOURCE_EXHAUSTED: Error writing: No space left on device [code='28']")

    monkeypatch.setattr(manager, "wait_until_finished", full)
    with pytest.raises(checkpoints.DiskFullError, match="free some space, and the same command"):
        store.wait()
    monkeypatch.undo()
    store.close()
