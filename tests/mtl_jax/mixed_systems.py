"""Runs of the toy network on 8×8 images that have labels of one task or another."""

import jax
import jax.numpy as jnp
import numpy as np
from toy_network import Network

from input_pipeline import labels
from mtl_jax import optimizers, parallel, system, tasks, training, weightings
from mtl_jax.configs import common
from mtl_jax.optimizers import freezing

SIZE = (8, 8)
SPECS = {
    "semseg": labels.classes(("road", "sky", "car"), ((1, 2, 3), (4, 5, 6), (7, 8, 9))),
    "parts": labels.classes(("head", "leg"), ((1, 2, 3), (4, 5, 6))),
}
IGNORE = 255


def config(**changes):
    """The whole config of a run of the network; `changes` are dotted keys with '__' for the dot."""
    found = common.base()
    found.tasks = {task: {"type": "segmentation"} for task in SPECS}
    found.optimizer.weight_decay = 0.01
    found.schedule.name = "cosine"
    found.schedule.learning_rate = 0.1
    found.train.batch_size = 8
    for key, value in changes.items():
        section, name = key.split("__")
        found[section][name] = value
    return found


def build(config, dtype=jnp.float32) -> system.System:
    """The network and its tasks."""
    specs = {key: spec.as_dict() for key, spec in SPECS.items()}
    found = tasks.build(config.tasks, specs)
    model = Network({name: task.channels for name, task in found.items()}, dtype)
    return system.System(
        model=model,
        tasks=found,
        weighting=weightings.build(config.weighting, found),
        image_mean=tuple(config.model.image_mean),
        image_std=tuple(config.model.image_std),
        deep_supervision=False,
        freezing=freezing.build(config.train, model, tuple(found)),
    )


def batch(seed: int, semseg: int, size: int = 8) -> dict[str, np.ndarray]:
    """Of `size` images, `semseg` have classes, the others parts; in a random order."""
    random = np.random.default_rng([seed, semseg])
    of_semseg = random.permutation(size) < semseg
    found = {"image": random.integers(0, 256, (size, *SIZE, 3), np.uint8)}
    for key, spec in SPECS.items():
        found[key] = random.choice([*range(len(spec.class_names)), IGNORE], (size, *SIZE))
        found[key] = found[key].astype(np.int32)
        found[key][of_semseg != (key == "semseg")] = IGNORE
    return found | {"valid": np.ones(size, bool)}


class Trainer:
    """A train step, and the state it has come to."""

    def __init__(self, config, *, devices=1, dtype=jnp.float32, examples=45, epochs=3, **options):
        """Of a run over so many examples, half of them of each task."""
        self.system = build(config, dtype)
        self.mesh = parallel.make_mesh(jax.devices()[:devices])
        steps_per_epoch = examples // config.train.batch_size
        self.optimizer, schedule = optimizers.build(
            config,
            steps_per_epoch=steps_per_epoch,
            total_steps=steps_per_epoch * epochs,
            labelled_per_epoch={
                "common": examples,
                "semseg": examples // 2,
                "parts": -(-examples // 2),
            },
            frozen=self.system.freezing.mask if self.system.freezing else None,
        )
        self.state = training.create_state(
            self.system, self.optimizer, seed=0, image_shape=SIZE, mesh=self.mesh
        )
        self._step = training.make_train_step(
            self.system,
            self.optimizer,
            schedule,
            seed=0,
            steps_per_epoch=steps_per_epoch,
            mesh=self.mesh,
            **options,
        )

    def step(self, batch) -> dict:
        """One step; returns its logs."""
        self.state, logs = self._step(self.state, parallel.put_batch(self.mesh, batch))
        return logs
