"""Auto-Lambda's slopes by the weights, against derivatives that are taken one task at a time."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from weighting_systems import TASKS, Trainer, all_tasks, batch, gradients, held_out_seed, section

from mtl_jax import (
    architectures,
    look_ahead,
    optimizers,
    options,
    parallel,
    system,
    training,
    weightings,
)
from mtl_jax.configs import branched
from mtl_jax.errors import ConfigError
from mtl_jax.train_state import TrainState

RATE = 0.1


def flat(tree) -> np.ndarray:
    return np.concatenate([np.ravel(np.float64(leaf)) for leaf in jax.tree.leaves(tree)])


def test_beside_and_apart():
    first, second = {"image": 1, "depth": 2}, {"image": 3}
    assert look_ahead.apart(look_ahead.beside(first, second)) == (first, second)
    assert look_ahead.apart(first) == (first, {})


@pytest.mark.parametrize(
    ("primary", "unlabelled"),
    [
        ((), ()),
        pytest.param(("depth",), ("depth",), marks=pytest.mark.slow),
        pytest.param((), ("depth",), marks=pytest.mark.slow),
        pytest.param(("depth",), (), marks=pytest.mark.slow),
    ],
)
def test_slopes_are_the_derivatives_of_the_held_out_loss_after_a_step(primary, unlabelled):
    trainer = Trainer(section("auto_lambda", primary=primary, learning_rate=0.01))
    data, others = batch(0, unlabelled), batch(held_out_seed(0), ("parts",))
    before = trainer.params()["model"]
    _, each = gradients({"model": before}, data)
    steps = jax.tree.map(lambda *slopes: 0.1 * sum(slopes), *(each[task] for task in TASKS))
    there = jax.tree.map(lambda x, step: x - np.float32(RATE * step), before, steps)
    _, theirs = gradients({"model": there}, others)
    towards = sum(flat(theirs[task]) for task in primary or TASKS)
    slopes = np.array([-RATE * towards @ flat(each[task]) for task in TASKS])
    logs = trainer.step(data)
    memory = jax.device_get(trainer.state.weighting)
    np.testing.assert_allclose(memory["adam"]["first"], 0.1 * slopes, rtol=1e-4, atol=1e-9)
    # The step itself has the new weights: Adam's first one is as long as its rate.
    known = np.array([task not in unlabelled for task in TASKS])
    expected = np.where(known, 0.1 - 0.01 * np.sign(slopes), 0.1)
    np.testing.assert_allclose([logs["weights"][task] for task in TASKS], expected, rtol=1e-4)
    step = jax.tree.map(lambda a, b: (np.float64(a) - b) / RATE, before, trainer.params()["model"])
    combined = sum(w * flat(each[task]) for w, task in zip(expected, TASKS, strict=True))
    np.testing.assert_allclose(flat(step), combined, rtol=1e-3, atol=2e-5)


def test_weights_stay_where_nothing_is_held_out_with_a_label():
    trainer = Trainer(section("auto_lambda", primary=("parts",)))  # which no such batch has
    logs = [trainer.step(batch(seed)) for seed in range(2)]
    assert all(float(log["weights"][task]) == np.float32(0.1) for log in logs for task in TASKS)
    assert not np.any(trainer.state.weighting["adam"]["steps"])


@pytest.mark.slow
def test_the_network_learns_nothing_of_held_out_examples_but_weights():
    trainer = Trainer(section("auto_lambda", learning_rate=0.0))
    fixed = Trainer(section("fixed", weights=dict.fromkeys(TASKS, 0.1)))
    for seed in range(2):
        trainer.step(batch(seed))
        fixed.step(batch(seed))
    np.testing.assert_allclose(flat(trainer.params()), flat(fixed.params()), rtol=1e-5, atol=1e-7)


def test_an_unknown_primary_task_is_refused():
    with pytest.raises(ConfigError, match=r"AutoLambda\.primary names normals; expected .*depth"):
        weightings.make("auto_lambda", TASKS, primary=("depth", "normals"))


@pytest.mark.weekly
@pytest.mark.parametrize("protocol", ["streets_scratch", "streets"])
def test_layers_with_a_backward_pass_of_their_own_are_passed(protocol):
    """Traced alone, at a size where convolutions' gradients take their own forms."""
    config = branched.get_config(protocol)
    options.fill(config)
    tasks = {name: all_tasks()[name] for name in ("semseg", "depth")}
    model = architectures.build(config.model, {name: t.channels for name, t in tasks.items()})
    parts = system.System(
        model=model,
        tasks=tasks,
        weighting=weightings.make("auto_lambda", tuple(tasks)),
        image_mean=(0.5,) * 3,
        image_std=(0.25,) * 3,
        deep_supervision=False,
    )
    optimizer, schedule = optimizers.build(
        config,
        steps_per_epoch=10,
        total_steps=10,
        labelled_per_epoch=dict.fromkeys([optimizers.COMMON, *tasks], 80),
    )
    mesh = parallel.make_mesh(jax.devices()[:1])
    variables = parts.zeros((96, 192))
    params = {"model": variables["params"], "weighting": {}}
    state = TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        batch_stats=variables["batch_stats"],
        opt_state=optimizer.init(params),
        weighting=parts.weighting.init(jax.random.key(0))[1],
        epoch_losses={t: (jnp.zeros(()), jnp.zeros((), jnp.int32)) for t in tasks},
    )
    one = {
        "image": np.zeros((8, 96, 192, 3), np.uint8),
        "semseg": np.zeros((8, 96, 192), np.int32),
        "depth": np.ones((8, 96, 192), np.float32),
        "valid": np.ones(8, bool),
    }
    step = training.make_train_step(
        parts, optimizer, schedule, seed=0, steps_per_epoch=10, mesh=mesh
    )
    found, _ = jax.eval_shape(step, state, look_ahead.beside(one, one))
    assert jax.tree.structure(found) == jax.tree.structure(state)
