"""Asynchronous SGD against its rule in plain Python, alone and inside the train step."""

import jax
import jax.numpy as jnp
import mixed_systems
import numpy as np
import optax
import pytest

from mtl_jax import checkpoints, optimizers
from mtl_jax.optimizers import asynchronous
from mtl_jax.sharing import task_losses

THRESHOLDS = {"common": 20, "semseg": 10, "parts": 10}
IMAGES_PER_EPOCH = {"common": 45, "semseg": 22, "parts": 23}
# Two batches without any image of one task, one after the other.
SEMSEG_IMAGES = (4, 0, 0, 8, 8, 3, 5, 1, 7, 2, 6, 4)


def thesis_config(**changes):
    return mixed_systems.config(optimizer__images_per_update=THRESHOLDS, **changes)


class Simulation:
    """One group, by the rule as the thesis states it: float64, one branch, no arrays of flags."""

    def __init__(self, threshold, images_per_epoch, epochs):
        self.threshold, self.rate, self.momentum, self.decay = threshold, 0.1, 0.9, 0.01
        self.total = int(np.ceil(images_per_epoch / threshold)) * epochs
        self.counter, self.updates, self.gradient, self.velocity = 0, 0, 0.0, 0.0

    def batch(self, parameter, gradient, images):
        self.gradient = self.gradient + np.asarray(gradient, np.float64)
        self.counter += images
        if self.counter < self.threshold:
            return parameter
        position = min(self.updates / self.total, 1)
        rate = self.rate * 0.5 * (1 + np.cos(np.pi * position))
        direction = self.gradient + self.decay * parameter
        self.velocity = self.momentum * self.velocity + direction
        self.counter -= self.threshold
        self.updates += 1
        self.gradient = 0.0
        return parameter - rate * self.velocity


def simulations(params, epochs):
    """{path: Simulation}, and what each path's group is."""
    groups = {}
    for path, _ in jax.tree_util.tree_leaves_with_path(params):
        name = jax.tree_util.keystr(path)
        groups[name] = next((t for t in ("semseg", "parts") if f"head_{t}" in name), "common")
    return {
        name: Simulation(THRESHOLDS[group], IMAGES_PER_EPOCH[group], epochs)
        for name, group in groups.items()
    }, groups


def by_name(tree):
    return {
        jax.tree_util.keystr(path): np.asarray(value, np.float64)
        for path, value in jax.tree_util.tree_leaves_with_path(tree)
    }


def test_groups_follow_the_rule_over_a_random_stream():
    """The transformation alone: gradients that are numbers, batches of 10 of any composition."""
    random = np.random.default_rng(3)
    params = {
        "model": {
            "encoder": {"conv": {"kernel": random.normal(size=(2, 3))}},
            "head_semseg": {"conv": {"kernel": random.normal(size=4)}},
            "head_parts": {"conv": {"kernel": random.normal(size=4)}},
        },
        "weighting": {},
    }
    params = jax.tree.map(jnp.float32, params)
    config = thesis_config(train__batch_size=10)
    optimizer, _ = optimizers.build(
        config, steps_per_epoch=4, total_steps=4 * 12, labelled_per_epoch=IMAGES_PER_EPOCH
    )
    state = optimizer.init(params)
    expected, (rule, groups) = by_name(params), simulations(params, 12)
    update = jax.jit(optimizer.update)
    for _ in range(60):
        n = int(random.integers(0, 11))
        images = {"common": 10, "semseg": n, "parts": 10 - n}
        gradients = jax.tree.map(lambda p: jnp.float32(random.normal(size=p.shape)), params)
        images_on_device = {group: jnp.int32(count) for group, count in images.items()}
        updates, state = update(gradients, state, params, images=images_on_device)
        params = jax.tree.map(jnp.add, params, updates)
        for name, gradient in by_name(gradients).items():
            expected[name] = rule[name].batch(expected[name], gradient, images[groups[name]])
        for name, value in by_name(params).items():
            np.testing.assert_allclose(value, expected[name], rtol=2e-5, atol=2e-6, err_msg=name)
        for name, group in groups.items():
            found = asynchronous.group_states(state)[group]
            assert (int(found.images), int(found.updates)) == (
                rule[name].counter,
                rule[name].updates,
            )
    assert rule["['model']['head_parts']['conv']['kernel']"].updates > 20


def test_the_worked_example_of_the_documentation():
    """docs/training.md: batches of ten, whose gradients are 1, 10, 100 and 1000."""
    expected = {  # (counter, sum of gradients handed on) after each batch
        ("common", 20): [(10, 0), (0, 11), (10, 0), (0, 1100)],
        ("semseg", 10): [(6, 0), (3, 11), (3, 0), (8, 0)],
        ("parts", 10): [(4, 0), (7, 0), (7, 111), (2, 1000)],
    }
    images = [
        {"common": 10, "semseg": 6, "parts": 4},
        {"common": 10, "semseg": 7, "parts": 3},
        {"common": 10, "semseg": 0, "parts": 10},
        {"common": 10, "semseg": 5, "parts": 5},
    ]
    for (group, threshold), rows in expected.items():
        transform = asynchronous.update_every(threshold, group, optax.identity())
        state = transform.init(jnp.float32(0))
        for batch, (counts, row) in enumerate(zip(images, rows)):
            update, state = transform.update(jnp.float32(10**batch), state, images=counts)
            assert (int(state.images), float(update)) == row, (group, batch)


@pytest.fixture(scope="module")
def uninterrupted():
    """A run of twelve mixed batches, and the state after each of them."""
    trainer = mixed_systems.Trainer(thesis_config())
    states = [jax.tree.map(np.asarray, trainer.state)]
    for seed, count in enumerate(SEMSEG_IMAGES):
        logs = trainer.step(mixed_systems.batch(seed, count))
        states.append(jax.tree.map(np.asarray, trainer.state))
    assert {group: int(n) for group, n in logs["updates"].items()} == {
        "common": 4,
        "semseg": 4,
        "parts": 4,
    }
    return trainer, states


def test_the_train_step_follows_the_rule(uninterrupted):
    """Each gradient is taken at the network's own parameters, so that errors do not add up."""
    trainer, states = uninterrupted
    parts = trainer.system

    @jax.jit
    def gradient(params, batch_stats, batch):
        def total(params):
            losses, _, _ = task_losses(
                parts, params["model"], batch_stats, batch, jax.random.key(0)
            )
            return losses["semseg"] + losses["parts"]

        return jax.grad(total)(params)

    expected, (rule, groups) = by_name(states[0].params), simulations(states[0].params, 3)
    for seed, count in enumerate(SEMSEG_IMAGES):
        images = {"common": 8, "semseg": count, "parts": 8 - count}
        before, after = states[seed], states[seed + 1]
        batch = mixed_systems.batch(seed, count)
        found = by_name(gradient(before.params, before.batch_stats, batch))
        for name, value in by_name(after.params).items():
            expected[name] = rule[name].batch(expected[name], found[name], images[groups[name]])
            np.testing.assert_allclose(value, expected[name], rtol=1e-4, atol=1e-5, err_msg=name)
    for group, state in asynchronous.group_states(states[-1].opt_state).items():
        total = {"common": 96, "semseg": 48, "parts": 48}[group]
        assert int(state.updates) == total // THRESHOLDS[group]
        assert int(state.images) == total % THRESHOLDS[group]


def test_without_enough_images_nothing_moves(uninterrupted):
    """After the first batch nobody has enough images: no decay, no momentum, only sums."""
    _, states = uninterrupted
    jax.tree.map(np.testing.assert_array_equal, states[0].params, states[1].params)
    moved = [
        not np.array_equal(a, b)
        for a, b in zip(*map(jax.tree.leaves, (states[0].batch_stats, states[1].batch_stats)))
    ]
    assert all(moved)


def test_it_resumes_bit_for_bit(uninterrupted, tmp_path):
    _, states = uninterrupted
    again = mixed_systems.Trainer(thesis_config())
    saved = jax.device_put(states[5], jax.tree.map(lambda x: x.sharding, again.state))
    with checkpoints.Checkpoints(tmp_path) as store:
        store.save_latest(saved, {})
        store.wait()
        again.state, _ = store.restore_latest(again.state, report=pytest.fail)
    for seed in range(5, len(SEMSEG_IMAGES)):
        again.step(mixed_systems.batch(seed, SEMSEG_IMAGES[seed]))
    jax.tree.map(np.testing.assert_array_equal, again.state, states[-1])


@pytest.mark.slow
def test_eight_devices_equal_one(uninterrupted):
    _, states = uninterrupted
    eight = mixed_systems.Trainer(thesis_config(), devices=8)
    for seed, count in enumerate(SEMSEG_IMAGES[:6]):
        eight.step(mixed_systems.batch(seed, count))
    for name, value in by_name(eight.state).items():
        np.testing.assert_allclose(
            value, by_name(states[6])[name], rtol=1e-4, atol=1e-5, err_msg=name
        )


@pytest.mark.slow
def test_bfloat16_counts_the_same_and_sums_in_float32(uninterrupted):
    _, states = uninterrupted
    trainer = mixed_systems.Trainer(thesis_config(), dtype=jnp.bfloat16)
    for seed, count in enumerate(SEMSEG_IMAGES[:6]):
        logs = trainer.step(mixed_systems.batch(seed, count))
        assert np.isfinite(logs["total"])
    expected = asynchronous.group_states(states[6].opt_state)
    for group, state in asynchronous.group_states(trainer.state.opt_state).items():
        assert int(state.images) == int(expected[group].images)
        assert int(state.updates) == int(expected[group].updates)
        assert all(g.dtype == jnp.float32 for g in jax.tree.leaves(state.gradients))


def test_a_batch_without_any_label_counts_for_the_shared_group_alone():
    trainer = mixed_systems.Trainer(thesis_config())
    batch = mixed_systems.batch(0, 4)
    for key in mixed_systems.SPECS:
        batch[key][:] = mixed_systems.IGNORE
    logs = trainer.step(batch)
    assert float(logs["total"]) == 0.0
    groups = asynchronous.group_states(trainer.state.opt_state)
    assert {group: int(state.images) for group, state in groups.items()} == {
        "common": 8,
        "semseg": 0,
        "parts": 0,
    }
    assert not any(np.any(g) for g in jax.tree.leaves(groups["common"].gradients))


def test_the_schedules_length_is_the_thesis_s():
    """11,716 + 11,716 examples, 300 epochs: 1172 updates of each group in an epoch."""
    config = thesis_config(train__batch_size=10, schedule__learning_rate=2e-3)
    _, schedule = optimizers.build(
        config,
        steps_per_epoch=2343,
        total_steps=2343 * 300,
        labelled_per_epoch={"common": 23_432, "semseg": 11_716, "parts": 11_716},
    )
    for step in (0, 1, 2, 99_999, 702_899):
        rate = 1e-3 * (1 + np.cos(np.pi * (step // 2) / (1172 * 300)))
        np.testing.assert_allclose(schedule(jnp.int32(step)), rate, rtol=1e-4, atol=1e-10)


def test_a_group_that_has_more_images_than_its_share_stays_at_the_end_of_its_schedule():
    """Of 5 images in an epoch come 1 update, but a part of an epoch may bring 2."""
    config = thesis_config(schedule__name="polynomial")
    optimizer, _ = optimizers.build(
        config,
        steps_per_epoch=4,
        total_steps=4,
        labelled_per_epoch={"common": 45, "semseg": 5, "parts": 40},
    )
    params = {"model": {"head_semseg": {"kernel": jnp.float32(1)}}}
    images = {"common": 8, "semseg": 10, "parts": 0}
    state = optimizer.init(params)
    found = []
    for _ in range(3):
        updates, state = optimizer.update(params, state, params, images=images)
        found.append(-float(updates["model"]["head_semseg"]["kernel"]))
    # Gradient 1 and decay 0.01, with momentum 0.9; at the end the rate is a millionth.
    velocities = np.array([1, 1.9, 2.71]) * 1.01
    np.testing.assert_allclose(found, velocities * [0.1, 1e-7, 1e-7], rtol=1e-5)


@pytest.mark.parametrize(
    ("thresholds", "message"),
    [
        ({"common": 20, "semseg": 10}, r"'common', 'semseg'\]; expected .*'parts'"),
        ({"common": 20, "semseg": 10, "depth": 10}, "expected a number of images for each of"),
        ({"common": 20, "semseg": 4, "parts": 10}, r"\{'semseg': 4\}, fewer than .*batch_size=8"),
    ],
)
def test_impossible_thresholds_are_refused(thresholds, message):
    config = mixed_systems.config(optimizer__images_per_update=thresholds)
    with pytest.raises(ValueError, match=message):
        optimizers.build(
            config, steps_per_epoch=4, total_steps=12, labelled_per_epoch=IMAGES_PER_EPOCH
        )
