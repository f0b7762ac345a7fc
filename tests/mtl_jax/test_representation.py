"""Gradients at the features where a network's shared part ends, against float64 of one's own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from test_weightings_solvers import shortest_by_enumeration
from weighting_systems import TASKS, Network, Trainer, all_tasks, batch, gradients, section

from mtl_jax import architectures, options, sharing, system, weightings
from mtl_jax.configs import branched, cross_stitch, joint, mtan
from mtl_jax.errors import ConfigError

RATE = 0.1
SLOW, WEEKLY = pytest.mark.slow, pytest.mark.weekly


def flat(tree) -> np.ndarray:
    return np.concatenate([np.ravel(np.float64(leaf)) for leaf in jax.tree.leaves(tree)])


def at_features(params, data) -> np.ndarray:
    """[K, n]: each loss's gradient at what all heads are given, one task at a time."""
    x = (jnp.float32(data["image"]) / 255 - 0.5) / 0.25
    for k in range(2):
        x = nn.tanh(nn.Conv(6, (3, 3)).apply({"params": params[f"encoder_{k}"]}, x))
    found = []
    for name, task in all_tasks().items():

        def loss(x, name=name, task=task):
            head = nn.Conv(task.channels, (1, 1))
            maps = head.apply({"params": params[f"head_{name}"]}, x)
            return task.loss(maps, task.targets(data), jnp.ones(len(x), bool))

        found.append(flat(jax.jit(jax.grad(loss))(x)))
    return np.stack(found)


@pytest.fixture(scope="module")
def trainer():
    """One of MGDA, compiled once."""
    return Trainer(section("mgda", representation=True))


@pytest.mark.parametrize("unlabelled", [(), ("parts",)])
def test_weights_are_of_the_features_and_the_step_of_the_parameters(trainer, unlabelled):
    trainer.reset()
    data = batch(0, unlabelled)
    before = trainer.params()
    rows = at_features(before["model"], data)
    labelled = [task not in unlabelled for task in TASKS]
    expected = np.zeros(3)
    expected[labelled] = shortest_by_enumeration((rows @ rows.T)[np.ix_(labelled, labelled)])
    logs = trainer.step(data)
    weights = np.array([logs["weights"][task] for task in TASKS])
    np.testing.assert_allclose(weights, expected, atol=1e-4)
    _, each = gradients(before, data)
    after = trainer.params()["model"]
    step = jax.tree.map(lambda a, b: (np.float64(a) - b) / RATE, before["model"], after)
    for module in ("encoder_0", "encoder_1"):
        combined = sum(w * flat(each[t][module]) for w, t in zip(weights, TASKS, strict=True))
        np.testing.assert_allclose(flat(step[module]), combined, rtol=1e-3, atol=2e-5)
    for task in TASKS:
        head = f"head_{task}"
        np.testing.assert_allclose(flat(step[head]), flat(each[task][head]), rtol=1e-3, atol=2e-5)


@pytest.mark.slow
def test_every_method_that_offers_it_steps_on_several_devices():
    offering = [
        name for name in weightings.names() if "representation" in weightings.declared(name)
    ]
    assert {"cagrad", "graddrop"} <= set(offering)
    assert not {"moco", "db_mtl", "excess_mtl", "fixed"} & set(offering)
    one, four = (Trainer(section("graddrop", representation=True), devices=n) for n in (1, 4))
    for seed in range(2):
        found, expected = four.step(batch(seed)), one.step(batch(seed))
        np.testing.assert_allclose(found["gradient_norm"], expected["gradient_norm"], rtol=1e-4)
    np.testing.assert_allclose(flat(four.params()), flat(one.params()), rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_micro_batches_have_the_weights_of_the_whole_batch():
    """Of every method that sees all gradients, also of two devices and between two solutions."""
    options = {"representation": True, "update_every": 2, "heads": "weighted"}
    one = Trainer(section("mgda", **options))
    four = Trainer(section("mgda", **options), accumulate=4, devices=2)
    ragged = batch(1, ("parts",))
    ragged["parts"][5, :2] = 1  # of one micro-batch alone
    for data in (ragged, batch(2), batch(3)):
        found, expected = four.step(data), one.step(data)
        for task in TASKS:
            for kind in ("losses", "weights"):
                np.testing.assert_allclose(found[kind][task], expected[kind][task], rtol=1e-3)
    np.testing.assert_allclose(flat(four.params()), flat(one.params()), rtol=1e-3, atol=1e-6)


def test_micro_batches_drop_signs_at_their_own_features():
    """Draws are other ones, one for each coordinate: a feature is one of a certain example."""
    trainer = Trainer(section("graddrop", representation=True), accumulate=2)
    before = trainer.params()["model"]
    logs = trainer.step(batch(0))
    _, each = gradients({"model": before}, batch(0))
    head = jax.tree.map(lambda a, b: (np.float64(a) - b) / RATE, before, trainer.params()["model"])[
        "head_depth"
    ]
    np.testing.assert_allclose(flat(head), flat(each["depth"]["head_depth"]), rtol=1e-3, atol=2e-5)
    assert logs["gradient_norm"] > 0


class Refined(nn.Module):
    """What a head made goes through a shared module again."""

    channels: dict[str, int]

    @nn.compact
    def __call__(self, image, *, train):
        del train
        x = nn.Conv(6, (3, 3), name="encoder")(image)
        refine = nn.Conv(5, (1, 1), name="refine")
        final = {
            task: nn.Conv(count, (1, 1), name=f"out_{task}")(
                refine(nn.Conv(5, (1, 1), name=f"head_{task}")(x))
            )
            for task, count in self.channels.items()
        }
        return architectures.Predictions(final=final)


class Side(Network):
    """A head's output is added to what is shared, beside any module of its own."""

    @nn.compact
    def __call__(self, image, *, train):
        x = nn.Conv(1, (3, 3), name="encoder")(image)
        final = {task: x + nn.Conv(1, (1, 1), name=f"head_{task}")(x) for task in self.channels}
        return architectures.Predictions(final=final)


def split_of(model) -> tuple:
    """(system, variables, what tasks share of it)."""
    tasks = all_tasks()
    parts = system.System(
        model=model,
        tasks=tasks,
        weighting=weightings.make("mgda", tuple(tasks)),
        image_mean=(0.5,) * 3,
        image_std=(0.25,) * 3,
        deep_supervision=False,
    )
    variables = parts.zeros((8, 8))
    return parts, variables, sharing.Split(parts, variables, (8, 8))


def cut_of(model) -> sharing.Cut:
    parts, variables, split = split_of(model)
    return sharing.Cut(parts, split, variables, (8, 8))


@pytest.mark.parametrize(("network", "module"), [(Refined, "refine"), (Side, "encoder")])
def test_a_network_without_a_cut_is_refused(network, module):
    channels = {name: task.channels for name, task in all_tasks().items()}
    with pytest.raises(ConfigError, match=rf"{network.__name__} uses the shared {module}/"):
        cut_of(network(channels))


class Wary(Network):
    """As an ASPP that normalises its pooled branch over the batch."""

    @nn.compact
    def __call__(self, image, *, train):
        assert image.shape[0] > 1 or not train, "a statistic over one value"
        return super().__call__(image, train=train)


def test_a_network_that_needs_two_images_to_train_is_read_with_two():
    assert cut_of(Wary({name: task.channels for name, task in all_tasks().items()}))._which


def test_what_two_heads_are_given_is_one_feature():
    channels = {name: task.channels for name, task in all_tasks().items()}
    cut = cut_of(Network(channels))
    assert cut._which == [0, 0, 0]


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        # The last features and the skip.
        pytest.param(branched.get_config("streets_scratch"), 2, id="branched", marks=SLOW),
        # Those of all strides, whether or not they are read.
        pytest.param(branched.get_config("streets"), 5, id="top_down", marks=WEEKLY),
        pytest.param(joint.get_config(), "of Joint all is shared", id="joint", marks=SLOW),
        # Small networks of these kinds are refused above and below.
        pytest.param(mtan.get_config(), "MTAN uses the shared", id="mtan", marks=WEEKLY),
        pytest.param(
            cross_stitch.get_config(),
            "CrossStitch gives semseg and depth none in common",
            id="cross_stitch",
            marks=WEEKLY,
        ),
    ],
)
def test_networks_of_the_configs(found, expected):
    options.fill(found)
    model = architectures.build(found.model, {"semseg": 3, "depth": 1, "parts": 2})
    if isinstance(expected, str):
        with pytest.raises(ConfigError, match=expected):
            cut_of(model)
        return
    which = [place for place in cut_of(model)._which if place is not None]
    assert len(set(which)) == expected


class Pair(nn.Module):
    """A block that two of the three tasks use."""

    channels: dict[str, int]

    @nn.compact
    def __call__(self, image, *, train):
        del train
        x = nn.Conv(6, (3, 3), name="encoder")(image)
        y = nn.Conv(5, (1, 1), name="between")(x)
        final = {
            task: nn.Conv(count, (1, 1), name=f"head_{task}")(x if task == "parts" else y)
            for task, count in self.channels.items()
        }
        return architectures.Predictions(final=final)


def test_what_two_of_three_tasks_use_is_shared():
    """By gradients of parameters; at their features the third would never conflict with them."""
    model = Pair({name: task.channels for name, task in all_tasks().items()})
    _, variables, split = split_of(model)
    own = split.own_modules(variables["params"])
    assert own == {"head_semseg", "head_depth", "head_parts"}
    with pytest.raises(ConfigError, match="Pair gives semseg and parts none in common"):
        cut_of(model)
