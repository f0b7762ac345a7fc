"""A whole run over two data sets with labels of one task each, by asynchronous SGD."""

import jax
import mixed_systems
import numpy as np
import pytest
import tiny
from conftest import TINY

from mtl_jax import architectures, checkpoints, training
from mtl_jax.configs import stacked_unet
from mtl_jax.runs import loop


@pytest.fixture
def mixed(streets_dir, monkeypatch):
    """configs/stacked_unet.py:streets_mixed with a network of some hundred parameters."""
    monkeypatch.setattr(
        architectures, "build", lambda config, channels: mixed_systems.Network(channels)
    )
    config = stacked_unet.get_config("streets_mixed")
    for source in config.data.mixture.values():
        source.dataset = TINY
    config.data.data_dir = streets_dir
    config.data.augment.crop = (32, 64)
    config.train.epochs = 4
    config.train.log_every = 1
    config.train.eval_every_epochs = 4
    config.eval.images = config.eval.worst_images = 0
    return config


def state_of(run):
    like = training.create_state(
        run.system, run.optimizer, seed=0, image_shape=(32, 64), mesh=run.mesh
    )
    with checkpoints.Checkpoints(run.workdir.checkpoints) as store:
        return store.restore_latest(like, report=pytest.fail)[0]


@pytest.mark.slow
def test_a_run_learns_both_tasks_and_resumes_bit_for_bit(mixed, tmp_path, monkeypatch):
    whole = tiny.run(mixed, tmp_path / "whole")
    found = whole.train()
    metrics = found["last"]["metrics"]
    assert {"semseg/miou", "parts/miou"} <= metrics.keys()
    updates = [whole.writer.scalars[step]["train/updates/common"] for step in range(1, 13)]
    assert updates == [0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6]  # 8 images a batch, 16 an update
    last = whole.writer.scalars[12]
    assert last["train/updates/semseg"] + last["train/updates/parts"] == 12
    rates = [whole.writer.scalars[step]["train/learning_rate"] for step in (1, 2, 3, 12)]
    assert rates[0] == rates[1] != rates[2]

    # Half of an update of the shared layers is waiting when the run is stopped.
    monkeypatch.setattr(loop.StopSignal, "requested", lambda self, step, every: step == 5)
    monkeypatch.setattr(loop.StopSignal, "signum", 15, raising=False)
    with pytest.raises(loop.Stopped, match="step 5"):
        tiny.run(mixed, tmp_path / "stopped").train()
    monkeypatch.setattr(loop.StopSignal, "requested", lambda self, step, every: False)
    resumed = tiny.run(mixed, tmp_path / "stopped")
    again = resumed.train()
    jax.tree.map(np.testing.assert_array_equal, state_of(whole), state_of(resumed))
    np.testing.assert_equal(again["last"]["metrics"], metrics)  # NaN equals NaN
