"""A network of a few hundred parameters on 8×8 images, with which every weighting trains."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from ml_collections import ConfigDict

from input_pipeline import labels
from mtl_jax import (
    architectures,
    look_ahead,
    optimizers,
    parallel,
    system,
    tasks,
    training,
    weightings,
)
from mtl_jax.configs import common
from mtl_jax.sharing import task_losses

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


def batch(seed: int, unlabelled: tuple[str, ...] = ()) -> dict[str, np.ndarray]:
    """Random images and labels; those of `unlabelled` are all invalid."""
    random = np.random.default_rng(seed)
    found = {
        "image": random.integers(0, 256, (B, H, W, 3), np.uint8),
        "semseg": random.choice([0, 1, 2, 255], (B, H, W)).astype(np.int32),
        "depth": random.choice([0.0, 5.0, 30.0, 79.0], (B, H, W)).astype(np.float32),
        "parts": random.choice([0, 1, 255], (B, H, W)).astype(np.int32),
        "valid": np.ones(B, bool),
    }
    for key in unlabelled:
        nothing = SPECS[key].invalid if SPECS[key].ignore is None else SPECS[key].ignore
        found[key] = np.full_like(found[key], nothing)
    return found


_INITIAL = {}


class System(system.System):
    """One whose model starts as it does under every other weighting: that is compiled once."""

    def init(self, key, image_shape):
        """See `mtl_jax.system.System`."""
        model = type(self.model), self.model.dtype, *self.model.channels.items()
        start = *model, *jax.random.key_data(key).tolist(), image_shape
        if start not in _INITIAL:
            _INITIAL[start] = super().init(key, image_shape)
        return _INITIAL[start]

    def shapes(self, image_shape=None):
        """See `mtl_jax.system.System`."""
        initial = self.init(jax.random.key(3), image_shape or (H, W))
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), initial)


def make_system(weighting: ConfigDict, dtype) -> system.System:
    """The network with three tasks."""
    built = all_tasks()
    return System(
        model=Network({name: task.channels for name, task in built.items()}, dtype),
        tasks=built,
        weighting=weightings.build(weighting, built),
        image_mean=(0.5,) * 3,
        image_std=(0.25,) * 3,
        deep_supervision=False,
    )


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
        config = common.base()
        config.optimizer.update({"name": "sgd", "momentum": 0.0, "weight_decay": 0.0} | optimizer)
        config.schedule.update({"name": "constant", "learning_rate": 0.1})
        self.system = make_system(weighting, dtype)
        self.mesh = parallel.make_mesh(jax.devices()[:devices])
        schedule = optimizers.make_schedule(
            config.schedule, steps_per_epoch=steps_per_epoch, total_steps=100
        )
        optimizer = optimizers.make_optimizer(config.optimizer, schedule)
        self.state = training.create_state(
            self.system, optimizer, seed=3, image_shape=(H, W), mesh=self.mesh
        )
        self._start = jax.tree.map(np.asarray, self.state)
        self._step = training.make_train_step(
            self.system,
            optimizer,
            schedule,
            seed=3,
            steps_per_epoch=steps_per_epoch,
            mesh=self.mesh,
            accumulate=accumulate,
        )

    def reset(self) -> "Trainer":
        """Back to the start, without compiling again."""
        self.state = jax.device_put(self._start, parallel.replicated(self.mesh))
        return self

    def step(self, data: dict[str, np.ndarray]) -> dict:
        """One update; the logs as NumPy."""
        if self.system.weighting.needs_held_out:
            data = look_ahead.beside(data, batch(held_out_seed(int(self.state.step)), ("parts",)))
        self.state, logs = self._step(self.state, parallel.put_batch(self.mesh, data))
        return jax.tree.map(np.asarray, logs)

    def params(self) -> dict:
        """The parameters as NumPy."""
        return jax.tree.map(np.asarray, self.state.params)


def held_out_seed(step: int) -> int:
    """Of the batch that a step has beside its own; it has no labels of parts."""
    return 1000 + step


def gradients(params: dict, data: dict[str, np.ndarray]) -> tuple[dict, dict]:
    """{task: loss} and {task: gradient by the model's parameters}, float64.

    Each task's is taken alone, without any weighting.
    """
    losses, found = {}, {}
    for task in TASKS:
        losses[task], found[task] = _gradient_of(task)(params["model"], data)
    return jax.tree.map(lambda x: np.asarray(x, np.float64), (losses, found))


@functools.cache
def _gradient_of(task: str):
    parts = make_system(section("fixed"), jnp.float32)

    def loss(params, data):
        found, _, _ = task_losses(parts, params, {}, data, jax.random.key(0))
        return found[task]

    return jax.jit(jax.value_and_grad(loss))
