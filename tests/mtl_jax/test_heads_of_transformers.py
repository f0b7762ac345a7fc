"""Heads that read a vision transformer: published counts, and float64 by hand where it is short."""

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

from mtl_jax import architectures, encoders, layers
from mtl_jax.errors import ConfigError
from mtl_jax.heads import branches, dpt, linear, simple_pyramid


def shapes(module, *arrays, **options):
    """(outputs, variables) of arrays of these shapes."""
    arrays = jax.tree.map(
        lambda shape: jax.ShapeDtypeStruct(shape, jnp.float32),
        arrays,
        is_leaf=lambda x: isinstance(x, tuple) and isinstance(x[0], int),
    )
    return traced.shapes(
        functools.partial(module.init_with_output, **options), jax.random.key(0), *arrays
    )


def count(variables) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))


def taps(width, grid=(2, 3), number=4):
    return [(2, *grid, width)] * number, [(2, width)] * number


class TestDPT:
    @pytest.mark.parametrize(
        ("width", "expected"), [(384, 13_961_377), (768, 24_193_921), (1024, 34_190_017)]
    )
    def test_the_depth_head_has_the_published_parameters(self, width, expected):
        (out, features), variables = shapes(dpt.DPT(1, "depth"), *taps(width, (2, 4)), train=False)
        assert count(variables) == expected
        assert out.shape == (2, 32, 64, 1)
        assert features.shape == (2, 16, 32, 256)

    def test_the_segmentation_head(self):
        """BatchNorms in place of nothing, and a tail of its own."""
        (out, _), variables = shapes(dpt.DPT(21, "segmentation"), *taps(384, (2, 4)), train=False)
        depth = 13_961_377 - (590_080 + 331_969)
        units = 7 * 2 * 2 * 256  # three fusions with two residual units, the first with one
        assert count(variables) == depth + units + 9 * 256 * 256 + 2 * 256 + 21 * 257
        assert out.shape == (2, 32, 64, 21)

    def test_the_auxiliary_segmentation_head(self):
        """Of the same layers, after the third fusion of four; depths have none."""
        given = (*taps(384, (2, 4)),)
        (out, _, first), variables = shapes(
            dpt.DPT(21, auxiliary=True, form="segmentation"), *given, train=False
        )
        _, plain = shapes(dpt.DPT(21, "segmentation"), *given, train=False)
        assert count(variables) - count(plain) == 9 * 256 * 256 + 2 * 256 + 21 * 257
        assert (out.shape, first.shape) == ((2, 32, 64, 21), (2, 16, 32, 21))
        outputs, _ = shapes(dpt.DPT(1, "depth", auxiliary=True), *given, train=False)
        assert len(outputs) == 2

    def test_auxiliary_predictions_are_of_the_tasks_that_have_them(self):
        options = {"auxiliary": True, "ranges": {"depth": (0.5, 9.0)}}
        model = build({"name": "vit", "size": "T"}, "dpt", **options)
        out, _ = shapes(model, (2, 48, 80, 3), train=False)
        (first,) = out.auxiliary
        assert {task: x.shape for task, x in first.items()} == {
            task: (2, 48, 80, n) for task, n in CHANNELS.items() if task != "depth"
        }
        given = {"encoder": {"name": "vit"}, "decoder": {"name": "dpt", "auxiliary": True}}
        with pytest.raises(ConfigError, match=r"expected config.model.architecture='branched'"):
            architectures.make("distillation", CHANNELS, **given)

    def test_odd_grids(self):
        """Of 3×5 patches the coarsest map has 2×3, whose double is fitted by the finer ones."""
        (out, _), _ = shapes(dpt.DPT(3, "depth"), *taps(32, (3, 5)), train=False)
        assert out.shape == (2, 64, 96, 3)


class TestLinear:
    @pytest.mark.parametrize(("number", "expected"), [(1, 196_864), (4, 786_688)])
    def test_the_depth_head_has_the_published_parameters(self, number, expected):
        out, variables = shapes(linear.LinearBins(0.001, 10.0), *taps(384, number=number))
        assert count(variables) == expected
        assert out.shape == (2, 8, 12, 1)

    def test_the_segmentation_head(self):
        """2C + CK + K."""
        head = linear.LinearSegmentation(21)
        out, variables = shapes(head, taps(384)[0], train=False)
        assert count(variables) == 2 * 1536 + 1536 * 21 + 21
        assert out.shape == (2, 2, 3, 21)

    def test_bins(self):
        """The mean of 256 values by shares of ReLU(z) + 0.1; with no z above 0, their middle."""
        head = linear.LinearBins(1.0, 9.0)
        maps = [jnp.asarray(golden.uniform("map", (1, 2, 2, 4)), jnp.float32)]
        tokens = [jnp.asarray(golden.uniform("token", (1, 4)), jnp.float32)]
        variables = golden.fill(jax.eval_shape(head.init, jax.random.key(0), maps, tokens))
        found = head.apply(jax.tree.map(jnp.float32, variables), maps, tokens)
        x = np.concatenate([maps[0], np.broadcast_to(tokens[0][:, None, None], (1, 2, 2, 4))], -1)
        x = np.asarray(layers.resize_bilinear(jnp.asarray(x), (8, 8)), np.float64)
        score = variables["params"]["score"]
        z = np.maximum(x @ score["kernel"][0, 0] + score["bias"], 0) + 0.1
        expected = (z * np.linspace(1, 9, 256)).sum(-1) / z.sum(-1)
        np.testing.assert_allclose(found[..., 0], expected, rtol=1e-5)
        nothing = jax.tree.map(jnp.zeros_like, jax.tree.map(jnp.float32, variables))
        np.testing.assert_allclose(head.apply(nothing, maps, tokens), 5.0, rtol=1e-6)


class TestSimplePyramid:
    @pytest.mark.parametrize(
        ("width", "expected"), [(384, 3_298_144), (768, 5_560_000), (1024, 7_805_184)]
    )
    def test_parameters(self, width, expected):
        pyramid, variables = shapes(simple_pyramid.SimplePyramid(), (2, 4, 7, width))
        assert count(variables) == expected
        assert {stride: x.shape[1:] for stride, x in pyramid.features.items()} == {
            4: (16, 28, 256),
            8: (8, 14, 256),
            16: (4, 7, 256),
            32: (2, 3, 256),
        }
        assert pyramid.skip is not None

    def test_of_one_patch(self):
        pyramid, _ = shapes(simple_pyramid.SimplePyramid(), (2, 1, 2, 16))
        assert pyramid.features[32].shape == (2, 1, 1, 256)


CHANNELS = {"semseg": 5, "depth": 1, "normals": 3, "edges": 1}


def build(encoder, decoder, neck="none", channels=CHANNELS, **options):
    return architectures.make(
        "branched", channels, encoder=encoder, decoder={"name": decoder, **options}, neck=neck
    )


@pytest.mark.parametrize("neck", branches.NECKS)
@pytest.mark.parametrize("encoder", ["hrnet", "resnet", "vit"])
@pytest.mark.parametrize("decoder", branches.OPTIONS["decoder"].names())
def test_every_pair_works_or_says_which_do(encoder, decoder, neck):
    """Of encoders that give different things, with tasks of every kind, at a size of odd grids."""
    module = branches._MODULES[decoder]
    options = {"name": encoder} | ({"size": "T"} if encoder == "vit" else {})
    given = encoders.gives(encoder) if neck == "none" else {"skip", "strides"}
    if module.NEEDS not in {"last", *given}:
        with pytest.raises(ConfigError, match=f"{decoder}.* needs .*{encoder}.* does not give"):
            build(options, decoder, neck)
        return
    model = build(options, decoder, neck)
    out, _ = shapes(model, (2, 48, 80, 3), train=False)
    assert {task: x.shape for task, x in out.final.items()} == {
        task: (2, 48, 80, n) for task, n in CHANNELS.items()
    }


def test_a_wrong_pair_names_the_right_ones():
    with pytest.raises(ConfigError, match=r"'dpt' goes with vit; 'resnet' goes with the decoders"):
        build({"name": "resnet"}, "dpt")
    with pytest.raises(
        ConfigError,
        match=r"goes with the decoders deeplabv3, dpt, linear, and with .*neck='simple_pyramid'",
    ):
        build({"name": "vit"}, "deeplabv3plus")
    with pytest.raises(ConfigError, match=r"goes with the decoders deeplabv3, dpt, linear\.$"):
        architectures.make("mmoe", CHANNELS, encoder={"name": "vit"})  # it has no neck


@pytest.mark.parametrize(
    ("decoder", "options", "message"),
    [
        ("linear", {"ranges": {"depht": (1, 2)}}, "ranges names depht; expected some of"),
        ("linear", {"ranges": {"depth": (2, 1)}}, "least < greatest"),
        ("dpt", {"form": "normals"}, "segmentation"),
        ("dpt", {"form": "depth", "auxiliary": True}, "form='segmentation', found 'depth'"),
    ],
)
def test_impossible_options(decoder, options, message):
    with pytest.raises(ConfigError, match=message):
        build({"name": "vit"}, decoder, **options)


@pytest.mark.parametrize("decoder", ["linear", "dpt"])
def test_a_range_is_of_a_task_with_one_output(decoder):
    model = build({"name": "vit"}, decoder, ranges={"semseg": (1, 2)})
    with pytest.raises(ConfigError, match="'semseg', which has 5 outputs"):
        shapes(model, (2, 32, 32, 3), train=False)


def test_dpt_reads_four_layers():
    with pytest.raises(ConfigError, match=r"after 3\. Set it to 'even'"):
        shapes(build({"name": "vit", "taps": (1, 2, 3)}, "dpt"), (2, 32, 32, 3), train=False)


@pytest.mark.parametrize("train", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_depths_of_dpt_are_within_their_range_in_evaluation(train):
    """ReLU(z) + least; beyond `greatest` training keeps the value, and its gradient."""
    branch = dpt.Branch(8, "segmentation", {"depth": (0.5, 0.6)}, jnp.float32)
    raw = tuple(jnp.asarray(golden.uniform(str(i), (2, 1 + 4, 16)), jnp.float32) for i in range(4))
    pyramid = encoders.Pyramid({}, tokens=encoders.Tokens(raw, raw, (2, 2), 1))

    class Network(nn.Module):
        @nn.compact
        def __call__(self, pyramid):
            return branch(pyramid, 1, task="depth", train=train)[0]

    network = Network()
    variables = jax.tree.map(
        jnp.float32, golden.fill(jax.eval_shape(network.init, jax.random.key(0), pyramid))
    )
    found = jax.jit(network.apply)(variables, pyramid)
    assert found.min() == 0.5
    assert (found.max() > 0.6) == train


GOLDEN = pathlib.Path(__file__).parent / "golden_heads"
HEADS = {
    "dpt_depth": dpt.DPT(3, "depth", channels=8),
    "dpt_segmentation": dpt.DPT(3, "segmentation", channels=8),
    "simple_pyramid": simple_pyramid.SimplePyramid(channels=8),
}


@pytest.mark.parametrize(
    "name",
    [
        "dpt_depth",
        pytest.param("dpt_segmentation", marks=pytest.mark.slow),
        "simple_pyramid",
    ],
)
def test_outputs_are_those_of_a_float64_construction(name):
    """Of PyTorch's functions, weights and inputs by rule: golden_encoders/README.md."""
    head = HEADS[name]
    for grid, expected in json.loads((GOLDEN / f"{name}.json").read_text()).items():
        size = tuple(map(int, grid.split("x")))
        maps = [jnp.asarray(golden.uniform(f"map{i}", (2, *size, 16))) for i in range(4)]
        tokens = [jnp.asarray(golden.uniform(f"token{i}", (2, 16))) for i in range(4)]
        given = (maps[0],) if name == "simple_pyramid" else (maps, tokens)
        options = {} if name == "simple_pyramid" else {"train": False}
        init = functools.partial(head.init, **options)
        variables = golden.fill(traced.shapes(init, jax.random.key(0), *given))
        found = jax.jit(functools.partial(head.apply, **options))(variables, *given)
        found = found.features.values() if name == "simple_pyramid" else found[:1]
        for actual, summary in zip(found, expected, strict=True):
            flat = np.asarray(actual, np.float64).reshape(-1)
            samples = flat[np.linspace(0, flat.size - 1, 24).astype(int)]
            atol = 1e-5 * summary["std"]
            np.testing.assert_allclose(samples, summary["samples"], rtol=0, atol=atol)
            assert flat.std() == pytest.approx(summary["std"], rel=1e-5)
