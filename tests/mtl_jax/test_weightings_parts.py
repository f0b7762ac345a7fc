"""Gradients that are found of a part of the batch, or of the parameters, at a time."""

import itertools

import jax
import numpy as np
import optax
import pytest
from test_weightings import surgery
from test_weightings_training import RATE, assert_close, flat, shared
from weighting_systems import TASKS, B, Network, Trainer, all_tasks, batch, gradients, section

from mtl_jax import parallel, sharing, system, training, weightings
from mtl_jax.errors import ConfigError
from mtl_jax.optimizers import freezing


@pytest.mark.slow
def test_pcgrad_of_accumulated_batches_is_that_of_their_whole_gradients():
    """Not the mean of what it makes of each; and a task's loss is that of the whole batch."""
    trainer = Trainer(section("pcgrad"), accumulate=2)
    before = trainer.params()["model"]
    halves = [batch(0), batch(1, ("parts",))]
    # Micro-batches are every second example.
    whole = {key: np.stack([half[key] for half in halves], 1) for key in halves[0]}
    whole = {key: value.reshape(2 * B, *value.shape[2:]) for key, value in whole.items()}
    losses, each = gradients(trainer.params(), whole)
    logs = trainer.step(whole)
    step = jax.tree.map(lambda a, b: (np.float64(a) - b) / RATE, before, trainer.params()["model"])
    stacked = np.stack([flat(shared(each[task])) for task in TASKS])
    assert np.min(stacked @ stacked.T) < 0, "no conflict, nothing tested"
    candidates = [
        surgery(stacked, orders) for orders in itertools.product([(0, 1, 2), (2, 1, 0)], repeat=3)
    ]
    distance = min(np.abs(flat(shared(step)) - c).max() for c in candidates)
    assert distance < 1e-4 * np.abs(stacked).max()
    assert_close(logs["losses"], losses, rtol=1e-5)


@pytest.mark.slow
def test_micro_batches_between_two_solutions():
    """A task that only one of them has a label of keeps its whole weight, in its head too."""
    options = {"heads": "weighted", "log_losses": True}
    one, two = (Trainer(section("mgda", update_every=2, **options), accumulate=n) for n in (1, 2))
    ragged = batch(1, TASKS)
    ragged["depth"][0] = 5.0
    for data in (batch(0), ragged):
        found, expected = two.step(data), one.step(data)
        assert_close(found["weights"], expected["weights"])
    assert expected["weights"]["depth"] > 0
    assert_close(two.params(), one.params())


@pytest.mark.slow
def test_gradients_in_chunks_are_the_whole_ones():
    """Also of micro-batches; the shared arrays are two kernels and two biases."""
    options = {"heads": "weighted", "max_norm": 0.3}
    one = Trainer(section("mgda", **options))
    split = sharing.Split(one.system, one.state.variables, (8, 8))
    # Biases of 6, kernels of 3·3·3·6 and 3·3·6·6.
    assert split.chunks(1) == [[0, 1, 2, 3]]
    assert split.chunks(2) == [[0, 1, 2], [3]]
    assert split.chunks(100) == [[0], [1], [2], [3]]
    three = Trainer(section("mgda", gradient_chunks=3, **options), accumulate=2)
    for data in (batch(0), batch(1, ("parts",))):
        found, expected = three.step(data), one.step(data)
        assert_close(found, expected)
    assert_close(three.state, one.state)
    with pytest.raises(ConfigError, match=r"MGDA\.gradient_chunks=2 with representation=True"):
        weightings.make("mgda", TASKS, gradient_chunks=2, representation=True)


def parts_of(names, freeze=()) -> system.System:
    """The network with some of the tasks, weighted by Nash-MTL."""
    chosen = {name: all_tasks()[name] for name in names}
    return system.System(
        model=Network({name: task.channels for name, task in chosen.items()}),
        tasks=chosen,
        weighting=weightings.make("nash_mtl", tuple(chosen)),
        image_mean=(0.5,) * 3,
        image_std=(0.25,) * 3,
        deep_supervision=False,
        freezing=freezing.Freezing(freeze, tasks=tuple(chosen)),
    )


def test_of_a_single_task_everything_is_shared():
    """Or its gradient would be 0, and so would its weight, by which its head is multiplied."""
    alone = parts_of(["depth"])
    assert all(sharing.Split(alone, alone.zeros((8, 8)), (8, 8)).shared)


def test_nothing_that_is_shared_and_trained_is_refused():
    frozen = parts_of(["depth", "parts"], freeze=("encoder",))
    mesh = parallel.make_mesh(jax.devices()[:1])
    with pytest.raises(ConfigError, match=r"of Network config\.train\.freeze=encoder leaves it"):
        training.create_state(frozen, optax.sgd(0.1), seed=0, image_shape=(8, 8), mesh=mesh)
