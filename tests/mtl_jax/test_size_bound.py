"""MLoRE and TaskPrompter against the released networks in float64: golden_decoders/README.md."""

import functools
import json
import pathlib

import golden_networks as golden
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import traced
from scipy import stats
from test_architectures_golden import assert_as_recorded, program_of

from mtl_jax import architectures, layers
from mtl_jax.architectures import _prompted_vit
from mtl_jax.architectures._prompted_vit import PromptedViT
from mtl_jax.architectures.mlore import MLoRE
from mtl_jax.architectures.task_prompter import TaskPrompter
from mtl_jax.encoders.vit import ViT
from mtl_jax.errors import ConfigError
from mtl_jax.heads import mlore
from mtl_jax.layers import experts

FOLDER = pathlib.Path(__file__).parent / "golden_decoders"
PASCAL = {"semseg": 21, "human_parts": 7, "sal": 2, "normals": 3, "edge": 1}
NYUD = {"semseg": 40, "depth": 1, "normals": 3, "edge": 1}
SMALL_VIT = {
    "width": 32,
    "depth": 4,
    "heads": 4,
    "patch": 16,
    "table": (4, 6),
    "rule": "plain",
    "taps": (0, 1, 2, 3),
    "class_token": False,
}


def slow(*values):
    return pytest.param(*values, marks=pytest.mark.slow)


def weekly(*values):
    return pytest.param(*values, marks=pytest.mark.weekly)


def model(name: str):
    if name.startswith("mlore"):
        side = mlore.Side(rank=3, kept=2, before_softmax=name == "mlore_before", noise=False)
        return MLoRE(ViT(**SMALL_VIT), golden.CHANNELS, 16, (2, 3, 4, 5), side)
    windows, reweighting = (2, True) if name == "task_prompter" else (1, False)
    encoder = PromptedViT(**SMALL_VIT, prompts=2, windows=windows)
    return TaskPrompter(encoder, golden.CHANNELS, 12, 16, reweighting)


def reference(name: str) -> dict:
    return json.loads((FOLDER / f"{name}.json").read_text())


def image() -> np.ndarray:
    return 1.7 * golden.uniform("image", (2, 64, 96, 3))


@pytest.mark.weekly
@pytest.mark.parametrize("name", ["mlore", "task_prompter"])
def test_training(name):
    recorded = reference(name)
    compute, variables, given = program_of(model(name), image(), recorded["training"]["shape"])
    assert_as_recorded(recorded, *compute(variables, given))


@pytest.mark.parametrize(
    "name",
    [
        slow("task_prompter"),
        slow("mlore"),
        weekly("mlore_before"),
        weekly("task_prompter_plain"),
    ],
)
def test_evaluation(name):
    """In float32, without gradients."""
    recorded = reference(name)
    network, given = model(name), jnp.float32(image())
    init = functools.partial(network.init, train=False)
    variables = golden.fill(traced.shapes(init, jax.random.key(0), given))
    variables = jax.tree.map(np.float32, variables)
    assert count(variables["params"]) == recorded["parameters"]
    out = jax.jit(functools.partial(network.apply, train=False))(variables, given)
    flat = np.concatenate([out.final[task] for task in golden.CHANNELS], axis=-1).reshape(-1)
    samples = flat[np.linspace(0, flat.size - 1, 24).astype(int)]
    expected = recorded["evaluation"]
    np.testing.assert_allclose(samples, expected["samples"], rtol=0, atol=1e-4 * expected["std"])


def count(tree) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def vit(size: str, table: tuple[int, int]) -> dict:
    return {"name": "vit", "size": size, "table": table, "class_token": False}


WIDE = {"selected": 768, "width": 768, "windows": 4, "reweighting": False}
MLORE_VIT_B = 259_132_406  # without what its authors' network has and does not read
FINE = {"selected": 780, "width": 1024, "windows": 4}


@pytest.mark.parametrize(
    ("name", "channels", "options", "parameters"),
    [
        slow("mlore", PASCAL, {"encoder": vit("L", (32, 32))}, 407_690_406),
        weekly(
            "mlore",
            NYUD,
            {
                "encoder": vit("L", (28, 36)),
                "width": 768,
                "ranks": tuple(range(16, 241, 16)),
                "own_rank": 16,
                "before_softmax": True,
            },
            551_625_533,
        ),
        weekly(
            "mlore",
            PASCAL,
            {"encoder": vit("B", (32, 32)), "width": 640, "own_rank": 64},
            MLORE_VIT_B,
        ),
        # What a survey prints: NYUD's tasks in the network of PASCAL-Context's options.
        weekly("mlore", NYUD, {"encoder": vit("L", (28, 36))}, 398_109_665),
        slow("task_prompter", PASCAL, {"encoder": vit("L", (32, 32))}, 401_104_864),
        slow("task_prompter", PASCAL, {"encoder": vit("B", (32, 32)), **FINE}, 418_332_214),
        slow("task_prompter", NYUD, {"encoder": vit("L", (28, 36)), **WIDE}, 513_505_709),
    ],
)
def test_published_parameters(name, channels, options, parameters):
    network = architectures.make(name, channels, **options)
    given = jax.ShapeDtypeStruct((1, *layers.image_sizes(network).only, 3), jnp.float32)
    init = functools.partial(network.init, train=False)
    assert count(traced.shapes(init, jax.random.key(0), given)["params"]) == parameters


def test_gates_by_hand():
    """Of four scores the two largest are kept; only one way normalises them again."""
    scores = jnp.float32([[0.0, 3.0, 1.0, 2.0]])
    e = np.exp([0.0, 3.0, 1.0, 2.0])
    after = np.where([0, 1, 0, 1], e / e.sum(), 0)
    before = np.where([0, 1, 0, 1], e / (e[1] + e[3]), 0)
    for expected, which in ((after, False), (before, True)):
        found = experts.gates(scores, 2, before_softmax=which)
        np.testing.assert_allclose(found[0], expected, rtol=1e-6)


@pytest.mark.weekly
def test_noise_moves_the_gates_in_training_alone():
    side = mlore.Side(3, 2, False, noise=True)
    network = model("mlore").clone(side=side, channels={"depth": 1})
    given = jnp.float32(image())
    init = functools.partial(network.init, train=False)
    variables = jax.tree.map(np.float32, golden.fill(traced.shapes(init, jax.random.key(0), given)))

    @functools.partial(jax.jit, static_argnames="train")
    def balance(seed, train):
        rngs = {"dropout": jax.random.key(seed)}
        out, _ = network.apply(variables, given, train=train, mutable=["batch_stats"], rngs=rngs)
        return out.penalties["balance"]

    quiet = [float(balance(seed, train=False)) for seed in (0, 1)]
    noisy = [float(balance(seed, train=True)) for seed in (0, 1)]
    assert quiet[0] == quiet[1]
    assert noisy[0] != noisy[1]


@pytest.mark.slow
def test_the_balance_is_the_released_one():
    """In training without noise, (deviation / mean)² of the gates' means, summed over 8 blocks."""
    network, given = model("mlore"), jnp.float32(image())
    init = functools.partial(network.init, train=False)
    variables = jax.tree.map(np.float32, golden.fill(traced.shapes(init, jax.random.key(0), given)))

    @jax.jit
    def balance(variables):
        out, _ = network.apply(variables, given, train=True, mutable=["batch_stats"])
        return out.penalties["balance"]

    expected = 3e-4 * reference("mlore")["balance"]
    np.testing.assert_allclose(balance(variables), expected, rtol=1e-4)


@pytest.mark.slow
def test_heads_start_as_their_authors_have_it():
    """The last 3×3 convolution of a task is drawn as linear layers are, N(0, 0.02²) cut off.

    And prompts around 1, also cut off.
    """
    x = jnp.zeros((1, 2, 2, 64))
    draw = jax.jit(functools.partial(mlore.Head(3).init, train=False))
    kernel = draw(jax.random.key(0), x)["params"]["conv"]["kernel"]
    assert 0.039 < np.abs(kernel).max() <= 0.04
    draw = jax.jit(experts.Router(3).init)
    router = draw(jax.random.key(0), jnp.zeros((1, 20, 20, 8)))["params"]
    assert np.abs(router["places"]["kernel"]).max() <= 0.04  # PyTorch's own reach 0.05
    assert not router["places"]["bias"].any()
    draw = jax.jit(lambda key: _prompted_vit.drawn_prompts(key, (5, 8000), jnp.float32))
    prompts = np.asarray(draw(jax.random.key(0)))
    expected = stats.truncnorm(-3, 1, loc=1)  # within −2 and 2
    assert -2 <= prompts.min() < -1.5 < 1.99 < prompts.max() <= 2
    np.testing.assert_allclose(prompts.mean(), expected.mean(), atol=0.02)
    np.testing.assert_allclose(prompts.std(), expected.std(), rtol=0.02)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("mlore", {"width": 66}, "expected a width that is divisible by 4"),
        ("mlore", {"kept": 16}, "at most 15 experts"),
        ("mlore", {"ranks": (4,), "kept": 1}, r"ranks=\(4,\) is one; expected balance=0"),
        ("task_prompter", {"windows": 3}, "expected a divisor of both sides of .*14, 14"),
        ("task_prompter", {"encoder": {"name": "vit", "lora_rank": 2}}, "lora_rank=0"),
    ],
)
def test_impossible_options(name, options, message):
    with pytest.raises(ConfigError, match=message):
        architectures.make(name, golden.CHANNELS, **options)
