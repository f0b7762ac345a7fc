"""A network of a few hundred parameters on 8×8 images, with which every weighting trains."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from ml_collections import ConfigDict

from configs import common
from input_pipeline import labels
from mtl_jax import architectures, optimizers, parallel, system, tasks, training, weightings

B, H, W = 8, 8, 8
TASKS = ("semseg", "depth", "parts")
SPECS = {
    "semseg": labels.classes(("road", "sky", "car"), ((1, 2, 3), (4, 5, 6), (7, 8, 9))),
    "depth": labels.depth((1.0, 80.0), mean=20.0, stddev=15.0),
    "parts": labels.classes(("head", "leg"), ((1, 2, 3), (4, 5, 6))),
}


class Network(nn.Module):
    """Two shared convolutions, and one of its own for each task."""

    channels: dict[str, int]
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, image, *, train):
        del train
        x = image.astype(self.dtype)
        for k in range(2):
            x = nn.tanh(nn.Conv(6, (3, 3), dtype=self.dtype, name=f"encoder_{k}")(x))
        final = {
            task: nn.Conv(count, (1, 1), dtype=self.dtype, name=f"head_{task}")(x)
            for task, count in self.channels.items()
        }
        final = {task: value.astype(jnp.float32) for task, value in final.items()}
        return architectures.Predictions(final=final, auxiliary=[])


def section(name: str, **options) -> ConfigDict:
    """`config.weighting` with so many defaults changed."""
    config = common.base().weighting
    config.update({"name": name, **options})
    return config


def all_tasks() -> dict:
    """The three tasks by name."""
    types = {"semseg": "segmentation", "depth": "depth", "parts": "segmentation"}
    specs = {key: spec.as_dict() for key, spec in SPECS.items()}
    return tasks.build({name: {"type": kind} for name, kind in types.items()}, specs)


def batch(seed: int, absent: tuple[str, ...] = (), size: int = B) -> dict[str, np.ndarray]:
    """Random images and labels; the tasks `absent` have no key."""
    random = np.random.default_rng(seed)
    found = {
        "image": random.integers(0, 256, (size, H, W, 3), np.uint8),
        "semseg": random.choice([0, 1, 2, 255], (size, H, W)).astype(np.int32),
        "depth": random.choice([0.0, 5.0, 30.0, 79.0], (size, H, W)).astype(np.float32),
        "parts": random.choice([0, 1, 255], (size, H, W)).astype(np.int32),
        "valid": np.ones(size, bool),
    }
    return {key: value for key, value in found.items() if key not in absent}


class Trainer:
    """A train step of one weighting, and the state it has come to."""

    def __init__(
        self,
        weighting: ConfigDict,
        *,
        devices: int = 1,
        steps_per_epoch: int = 2,
        accumulate: int = 1,
        dtype=jnp.float32,
        **optimizer,
    ):
        built = all_tasks()
        config = common.base()
        config.optimizer.update({"name": "sgd", "momentum": 0.0, "weight_decay": 0.0} | optimizer)
        config.schedule.update({"name": "constant", "learning_rate": 0.1})
        channels = {name: task.channels for name, task in built.items()}
        self.system = system.System(
            model=Network(channels, dtype),
            tasks=built,
            weighting=weightings.build(weighting, built),
            image_mean=(0.5,) * 3,
            image_std=(0.25,) * 3,
            deep_supervision=False,
        )
        self.mesh = parallel.make_mesh(jax.devices()[:devices])
        schedule = optimizers.make_schedule(
            config.schedule, steps_per_epoch=steps_per_epoch, total_steps=100
        )
        optimizer = optimizers.make_optimizer(config.optimizer, schedule)
        self.state = training.create_state(
            self.system, optimizer, seed=3, image_shape=(H, W), mesh=self.mesh
        )
        self._step = training.make_train_step(
            self.system,
            optimizer,
            schedule,
            seed=3,
            steps_per_epoch=steps_per_epoch,
            mesh=self.mesh,
            accumulate=accumulate,
        )

    def step(self, data: dict[str, np.ndarray]) -> dict:
        """One update; the logs as NumPy."""
        self.state, logs = self._step(self.state, parallel.put_batch(self.mesh, data))
        return jax.tree.map(np.asarray, logs)

    def params(self) -> dict:
        """The parameters as NumPy."""
        return jax.tree.map(np.asarray, self.state.params)

    def gradients(self, data: dict[str, np.ndarray]) -> tuple[dict, dict]:
        """{task: loss} and {task: gradient} on a batch, one task at a time, by `jax.grad`."""
        key = jax.random.key(0)
        losses, gradients = {}, {}
        for task in TASKS:

            def loss(params, task=task):
                found, _, _ = training.task_losses(self.system, params, {}, data, key)
                return found[task]

            losses[task], gradients[task] = jax.value_and_grad(loss)(self.state.params["model"])
        as_double = lambda x: np.asarray(x, np.float64)  # noqa: E731
        return jax.tree.map(as_double, losses), jax.tree.map(as_double, gradients)
