"""The train step: its rate, its randomness, and what it counts as an image."""

import jax
import jax.numpy as jnp
import mixed_systems
import numpy as np
import optax
from flax import linen as nn

from mtl_jax import architectures, layers, training


class Dropping(nn.Module):
    """A network whose outputs depend on what is dropped out, and on nothing that is remembered."""

    channels: dict[str, int]
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, image, *, train):
        x = nn.Dropout(0.5, deterministic=not train)(image)
        return architectures.Predictions(
            final={t: layers.Conv(n, name=f"head_{t}")(x) for t, n in self.channels.items()}
        )


def test_an_update_has_the_rate_that_is_logged():
    """The cosine of the updates made before it: plain SGD moves by the rate times the gradient."""
    config = mixed_systems.config(optimizer__momentum=0.0, optimizer__weight_decay=0.0)
    trainer = mixed_systems.Trainer(config)  # 3 epochs of 5 steps
    for k in range(3):
        before = jax.tree.map(np.asarray, trainer.state.params)
        logs = trainer.step(mixed_systems.batch(k, 4))
        rate = 0.1 * 0.5 * (1 + np.cos(np.pi * k / 15))
        np.testing.assert_allclose(logs["learning_rate"], rate, rtol=1e-6)
        moved = optax.tree.norm(jax.tree.map(np.subtract, before, trainer.state.params))
        np.testing.assert_allclose(moved, rate * logs["gradient_norm"], rtol=1e-4)


def test_dropout_is_another_at_each_step_and_the_same_in_each_run(monkeypatch):
    monkeypatch.setattr(mixed_systems, "Network", Dropping)
    trainer = mixed_systems.Trainer(mixed_systems.config(schedule__learning_rate=0.0))
    start = jax.tree.map(np.asarray, trainer.state)
    runs = []
    for _ in range(2):
        trainer.state = jax.device_put(start, jax.tree.map(lambda x: x.sharding, trainer.state))
        runs.append([float(trainer.step(mixed_systems.batch(0, 4))["total"]) for _ in range(3)])
    assert runs[0] == runs[1]
    assert len(set(runs[0])) == 3


def test_padding_is_no_image_to_learn_from():
    batch = mixed_systems.batch(0, 5)
    batch["valid"] = np.arange(8) < 6
    has = {task: (batch[task] != mixed_systems.IGNORE).any((1, 2)) for task in ("semseg", "parts")}
    found = training._images_per_group(mixed_systems.build(mixed_systems.config()), batch)
    expected = {task: np.sum(images[:6]) for task, images in has.items()}
    assert {group: int(count) for group, count in found.items()} == {"common": 6, **expected}
