"""Runs small enough for a test: an 8-wide ResNet-18 on the tiny Streets."""

import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import FAST_COMPILATION, TINY
from ml_collections import ConfigDict

from mtl_jax import checkpoints, system, training
from mtl_jax.commands import assembly
from mtl_jax.configs import branched, common
from mtl_jax.runs import loop, plan, results, selection, step_log, workdir
from mtl_jax.train_state import TrainState


def config(data_dir: str, **overrides):
    """The config `branched:streets_scratch`, shrunk; `overrides` have '__' for the dot of keys."""
    tiny = branched.get_config("streets_scratch")
    branched.model(tiny, common.resnet(18, "FFT", width=8), channels=8, skip=4)
    changes = {
        "data.dataset": TINY,
        "data.data_dir": data_dir,
        "data.augment.crop": (32, 64),
        "train.batch_size": 8,
        "train.epochs": 2,
        "train.eval_every_epochs": 1,
        "train.log_every": 2,
        "eval.images": 1,
    }
    changes |= {key.replace("__", "."): value for key, value in overrides.items()}
    tiny.update_from_flattened_dict(changes)
    return tiny


# Options of networks by which they have fewer and narrower layers.
SMALL = {
    "width": 8,
    "widths": (4, 4, 8, 8, 8),
    "channels": 8,
    "skip_channels": 4,
    "hidden": 8,
    "se_reduction": 2,
    "blocks": (1, 1, 1, 1),
    "convs_per_stage": "one",
}


def narrow(options: ConfigDict) -> None:
    """Makes `config.model`, or a part of it, as small as that kind of network can be."""
    for key, value in options.items():
        if isinstance(value, ConfigDict):
            narrow(value)
        elif key == "depth":
            options[key] = min(value, 18)  # the least that a ResNet has
        elif key in SMALL:
            options[key] = SMALL[key]


class Writer:
    """A metric writer that remembers."""

    def __init__(self):
        self.scalars: dict[int, dict[str, float]] = {}
        self.images: dict[int, dict[str, np.ndarray]] = {}

    def write_scalars(self, step, scalars):
        self.scalars.setdefault(step, {}).update(scalars)

    def write_images(self, step, images):
        self.images.setdefault(step, {}).update(images)

    def flush(self):
        pass


def step_log_of(config, directory):
    """(log of four steps, results, writer) of a run in that work directory."""
    writer = Writer()
    found = results.Results(directory, config, selection.Selection("loss", "min", {}))
    log = step_log.StepLog(
        config,
        plan.Plan(2, 4, evaluate_every=0, save_every=0, log_every=1),
        stream=None,
        schedule=lambda step: 0.1,
        writer=writer,
        results=found,
    )
    return log, found, writer


def run(config, directory, *, devices: int = 1) -> loop.Run:
    """What the command `train` puts together."""
    where = workdir.Workdir(directory)
    where.create()
    builder, specs = assembly.dataset(config)
    parts = system.build(config, specs)
    chosen = jax.devices()[:devices] if jax.process_count() == 1 else None
    evaluated = assembly.eval_stream(builder, config, parts)
    return assembly.run(config, parts, builder, evaluated, where, Writer(), chosen)


def save_best(directory: workdir.Workdir, variables, step: int = 7) -> None:
    """A model's variables as the best checkpoint of a run; of what else a state has there is none.

    Args:
      directory: of the run.
      variables: {'params': ..., 'batch_stats': ...}.
      step: of the checkpoint.
    """
    state = TrainState(
        step=jnp.int32(step),
        params={"model": variables["params"], "weighting": {}},
        batch_stats=variables["batch_stats"],
        opt_state={},
        weighting={},
        epoch_losses={},
    )
    with checkpoints.Checkpoints(directory.checkpoints) as store:
        store.save_best(state, {})


def arguments(data_dir: str) -> list[str]:
    """Flags of main.py for about the same run."""
    return [
        "--config=configs/branched.py:streets_scratch",
        f"--config.data.dataset={TINY}",
        f"--config.data.data_dir={data_dir}",
        "--config.data.augment.crop=(32, 64)",
        "--config.model.encoder.width=8",
        "--config.model.aspp.channels=8",
        "--config.model.decoder.channels=8",
        "--config.train.batch_size=8",
        "--config.train.epochs=2",
        "--config.train.eval_every_epochs=1",
        "--config.train.log_every=1",
        "--config.eval.images=1",
        f"--compilation_cache={os.environ['JAX_COMPILATION_CACHE_DIR']}",
    ]


# Flags besides, for tests to which what is drawn does not matter: a third of each evaluation.
NO_PICTURES = ("--config.eval.images=0", "--config.eval.worst_images=0")


def environment(devices: int) -> dict[str, str]:
    """Of a subprocess with so many CPU devices, compiled as quickly as those of the tests."""
    flags = f"--xla_force_host_platform_device_count={devices} {FAST_COMPILATION}"
    return os.environ | {"XLA_FLAGS": flags}


def latest_state(run):
    """The latest state of a run on disk; a damaged checkpoint fails the test."""
    like = training.create_state(
        run.system, run.optimizer, seed=0, image_shape=(32, 64), mesh=run.mesh
    )
    with checkpoints.Checkpoints(run.workdir.checkpoints) as store:
        return store.restore_latest(like, report=pytest.fail)[0]
