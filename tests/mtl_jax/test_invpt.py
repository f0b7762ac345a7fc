"""InvPT's decoder against the released one in float64: golden_decoders/README.md."""

import functools
import json
import pathlib

import golden_networks as golden
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import traced
from flax import linen as nn
from test_architectures_golden import assert_as_recorded, program_of

from mtl_jax import architectures, layers
from mtl_jax.architectures.invpt import InvPT
from mtl_jax.encoders import Pyramid, Tokens
from mtl_jax.errors import ConfigError, UsageError

FILE = pathlib.Path(__file__).parent / "golden_decoders" / "invpt.json"
GRID, WIDTH, BATCH = (8, 12), 12, 2
PASCAL = {"semseg": 21, "human_parts": 7, "sal": 2, "normals": 3, "edge": 1}
NYUD = {"semseg": 40, "depth": 1, "normals": 3, "edge": 1}


class Encoder(nn.Module):
    """Four layers of tokens that stand in the image's first pixels."""

    patch: int = 16

    def __call__(self, image, *, train):
        del train
        flat = image.reshape(len(image), -1)[:, : 4 * GRID[0] * GRID[1] * WIDTH]
        each = flat.reshape(len(image), 4, -1, WIDTH)
        layers = tuple(each[:, i] for i in range(4))
        return Pyramid({}, tokens=Tokens(raw=layers, normed=layers, grid=GRID, prefix=0))


def image() -> np.ndarray:
    shape = (BATCH, *GRID, WIDTH)
    layers = [1.7 * golden.uniform(f"tokens {i}", shape).reshape(BATCH, -1) for i in range(4)]
    flat = np.zeros((BATCH, 16 * GRID[0] * 16 * GRID[1] * 3))
    found = np.concatenate(layers, axis=1)
    flat[:, : found.shape[1]] = found
    return flat.reshape(BATCH, 16 * GRID[0], 16 * GRID[1], 3)


def model(width: int = 16) -> InvPT:
    return InvPT(Encoder(), golden.CHANNELS, width)


@pytest.mark.weekly
def test_decoder():
    reference = json.loads(FILE.read_text())
    compute, variables, given = program_of(model(), image(), reference["training"]["shape"])
    gradients, outputs = compute(variables, given)
    assert_as_recorded(reference, gradients, outputs)
    found = {path for path, value in golden.flat(gradients).items() if not np.any(value)}
    assert found == set(reference["unread"]) == set(model().unread)


@pytest.mark.slow
def test_evaluation():
    """The same in float32, without gradients."""
    expected = json.loads(FILE.read_text())["evaluation"]
    network, given = model(), jnp.float32(image())
    shapes = traced.shapes(lambda: network.init(jax.random.key(0), given, train=False))
    variables = jax.tree.map(jnp.float32, golden.fill(shapes))
    out = jax.jit(functools.partial(network.apply, train=False))(variables, given)
    maps = [x[task] for x in (out.final, *out.auxiliary) for task in golden.CHANNELS]
    flat = np.concatenate(maps, axis=-1).reshape(-1)
    samples = flat[np.linspace(0, flat.size - 1, 24).astype(int)]
    np.testing.assert_allclose(samples, expected["samples"], rtol=0, atol=1e-4 * expected["std"])


def count(tree) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


@pytest.mark.parametrize(
    ("channels", "table", "parameters", "statistics"),
    [
        pytest.param(PASCAL, (32, 32), 422_929_810, 39_840, marks=pytest.mark.slow),
        (NYUD, (28, 36), 402_092_888, 31_872),
    ],
)
def test_published_parameters(channels, table, parameters, statistics):
    encoder = {"name": "vit", "size": "L", "table": table, "positions": "plain"}
    network = architectures.make("invpt", channels, encoder=encoder)
    init = functools.partial(network.init, train=False)
    found = traced.shapes(init, jax.random.key(0), jnp.zeros((1, 64, 64, 3)))
    assert count(found["params"]) == parameters
    assert count(found["batch_stats"]) == statistics


class OfSeveralStrides(nn.Module):
    """What the decoder makes of the same tokens, as features; at stride 8 other ones."""

    def __call__(self, image, *, train):
        tokens = Encoder(parent=None)(image, train=train).tokens
        _, middle, _, last = tokens.maps(normed=True)
        size = GRID[0] // 2, GRID[1] // 2
        fine = layers.resize_bilinear(middle, (2 * GRID[0], 2 * GRID[1]))
        return Pyramid({8: fine, 16: middle, 32: layers.resize_bilinear(last, size)})


@pytest.mark.weekly
def test_after_features_of_several_strides():
    """With nothing at stride 8 it is the network of the same tokens, as its weights are."""
    plain, several = model(), model().clone(encoder=OfSeveralStrides())
    given = jnp.float32(image())
    outputs = {}
    for name, network in (("plain", plain), ("several", several)):
        shapes = traced.shapes(lambda n=network: n.init(jax.random.key(0), given, train=False))
        variables = jax.tree.map(jnp.float32, golden.fill(shapes))
        apply = jax.jit(functools.partial(network.apply, train=False))
        outputs["with it", name] = apply(variables, given).final["semseg"]
        skip = variables["params"]["skip_8"]
        variables["params"]["skip_8"] = jax.tree.map(jnp.zeros_like, skip)
        outputs["without", name] = apply(variables, given).final["semseg"]
    assert "skip_unused" not in variables["params"]
    assert not any(end.startswith("skip_unused") for end in several.unread)
    scale = float(jnp.std(outputs["without", "plain"]))
    np.testing.assert_allclose(
        outputs["without", "several"], outputs["without", "plain"], rtol=0, atol=1e-4 * scale
    )
    moved = outputs["with it", "several"] - outputs["without", "several"]
    assert float(jnp.abs(moved).max()) > 0.1 * scale


@pytest.mark.slow
def test_parameters_after_swin_l():
    """Those after ViT-L but for the encoder and the layers that read it: a reading of our own."""
    network = architectures.make("invpt", NYUD, encoder={"name": "swin", "size": "L", "window": 12})
    assert network.size_multiple == 64
    init = functools.partial(network.init, train=False)
    found = traced.shapes(init, jax.random.key(0), jnp.zeros((1, 64, 64, 3)))
    vit = 303_301_632 + (28 * 36 - 14 * 14) * 1024
    first = 9 * (1536**2 - 1024**2) + 2 * 512 + 9 * 512 * 512
    skips = 9 * 144 * (1024 - 384) + 9 * 288 * (1024 - 768) + 9 * 1024 * 576 + 576
    decoder = 402_092_888 - vit + 4 * first - skips
    assert count(found["params"]) == 195_198_516 + 2_688 + decoder


def test_the_last_convolutions_start_as_linear_layers_do():
    """N(0, 0.02²), cut off at two deviations; all other convolutions as PyTorch's do."""
    drawn = {}

    def note(call, args, kwargs, context):
        if isinstance(context.module, layers.Conv):
            drawn[context.module.name] = context.module.kernel_init
        return call(*args, **kwargs)

    network, given = model(), jnp.float32(image())
    with nn.intercept_methods(note):
        jax.eval_shape(lambda: network.init(jax.random.key(0), given, train=False))
    last = {f"mix_{task}_conv" for task in golden.CHANNELS}
    assert {name for name, init in drawn.items() if init == "transformer"} == last
    assert {init for name, init in drawn.items() if name not in last} == {"pytorch"}
    kernel = layers.initializer("transformer")(jax.random.key(0), (40_000,))
    assert 0.039 < np.abs(kernel).max() <= 0.04


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 20}, "width=20; expected a multiple of 8"),
        ({"encoder": {"name": "vit", "taps": (1, 3)}}, "four blocks.*gives those after 2"),
    ],
)
def test_impossible_options(options, message):
    with pytest.raises(ConfigError, match=message):
        architectures.make("invpt", golden.CHANNELS, **{"encoder": {"name": "vit"}} | options)


def test_sizes():
    assert model().size_multiple == 64
    with pytest.raises(UsageError, match=r"multiples of 64, found 96×128"):
        jax.eval_shape(
            lambda: model().init(jax.random.key(0), jnp.zeros((1, 96, 128, 3)), train=False)
        )
