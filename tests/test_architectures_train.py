"""Every architecture learns on Streets: real batches, all of its tasks.

An architecture is tested as the first config in configs/ sets it up that names it and trains on
Streets, or with its defaults, with few narrow layers and small crops; so a new one needs no edit.
"""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import test_configs
import tiny
from ml_collections import ConfigDict
from test_conformance_models import LONG, MTAN

from mtl_jax import _discovery, architectures, layers, parallel, training

# Where tasks exchange or select features, two of them would hide what a third one meets.
THREE_TASKS = ("distillation", "mtan", "mtan_resnet")
STEPS, REPEATED_STEPS = 3, 8
# Trained once a week: the longest to compile, and others that have golden gradients.
SELDOM = (*LONG, *MTAN, "distillation", "fcn", "joint", "stacked_unet", "uncertainty")


def config_of(name: str, streets_dir: str, dtype: str = "float32") -> ConfigDict:
    config = test_configs.on_streets(name)
    tiny.narrow(config.model)
    config.model.dtype = dtype
    if name in THREE_TASKS:
        config.tasks.normals = ConfigDict({"type": "normals"})
    if "table" in config.model.get("encoder", {}):
        config.model.encoder.table = (2, 4)  # of patches of 16 pixels
    config.data.dataset, config.data.data_dir = tiny.TINY, streets_dir
    network = architectures.build(config.model, {"semseg": 1})
    config.data.augment.crop = layers.image_sizes(network).fitting((32, 64))
    config.train.batch_size = 4
    config.schedule = ConfigDict({"name": "constant", "learning_rate": 3e-3, "warmup_epochs": 0.0})
    config.optimizer.weight_decay = 0.0  # nothing moves but by a gradient
    return config


def leaves(tree) -> dict[str, np.ndarray]:
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): np.asarray(leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


def step_of(run):
    return training.make_train_step(
        run.system, run.optimizer, run.schedule, seed=0, steps_per_epoch=6, mesh=run.mesh
    )


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.weekly if name in SELDOM else pytest.mark.slow)
        for name in _discovery.names(architectures)
    ],
)
def test_trains_on_streets(name, streets_dir, tmp_path):
    run = tiny.run(config_of(name, streets_dir), tmp_path)
    size = run.config.data.augment.crop
    state = training.create_state(
        run.system, run.optimizer, seed=0, image_shape=size, mesh=run.mesh
    )
    step = step_of(run)
    before = leaves((state.params, state.batch_stats))
    learned = set()
    for batch in itertools.islice(run.stream.batches(), STEPS):
        state, logs = step(state, parallel.put_batch(run.mesh, batch))
        assert np.isfinite([*logs["losses"].values(), logs["total"], logs["gradient_norm"]]).all()
        learned |= {task for task, loss in logs["losses"].items() if loss > 0}
    assert learned >= set(run.system.tasks)  # none of them was without labels

    after = leaves((state.params, state.batch_stats))
    still = [path for path in before if np.array_equal(before[path], after[path])]
    # What no gradient and no statistic has moved is what the network says that it does not read.
    unread = {f"/{end}" for end in layers.unread(run.system.model)}
    assert not [path for path in still if not path.endswith(tuple(unread) or "//")]
    assert not [end for end in unread if not any(path.endswith(end) for path in still)]
    for path, leaf in leaves(state).items():
        assert np.isfinite(leaf).all(), path

    losses = []
    for _ in range(REPEATED_STEPS):
        state, logs = step(state, parallel.put_batch(run.mesh, batch))
        losses.append(float(sum(logs["losses"].values())))
    assert losses[-1] < losses[0]

    # In bfloat16 the network computes and nothing is kept.
    rough = tiny.run(config_of(name, streets_dir, "bfloat16"), tmp_path)
    after = jax.eval_shape(step_of(rough), state, batch)
    for path, leaf in jax.tree_util.tree_leaves_with_path(after):
        name = jax.tree_util.keystr(path)
        assert not jnp.issubdtype(leaf.dtype, jnp.floating) or leaf.dtype == np.float32, name
