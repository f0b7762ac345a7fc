import functools
import re

import jax
import jax.numpy as jnp
import ml_collections
import pytest
import traced

from mtl_jax import encoders
from mtl_jax.encoders import resnet


def config(**changes) -> ml_collections.ConfigDict:
    options = {
        "name": "resnet",
        "depth": 34,
        "width": 64,
        "replace_stride_with_dilation": "FFT",
        "dilation_rule": "template",
        "se": False,
    }
    return ml_collections.ConfigDict(options | changes)


def shapes(size=(64, 96), **changes):
    """Features and variables, without computing any."""
    model = encoders.build(config(**changes))
    image = jax.ShapeDtypeStruct((2, *size, 3), jnp.float32)
    return traced.shapes(
        functools.partial(model.init_with_output, train=False), jax.random.key(0), image
    )


def count(tree) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


@pytest.mark.parametrize(
    ("depth", "se", "parameters"),
    [
        (18, False, 11_176_512),
        (34, False, 21_284_672),
        (50, False, 23_508_032),
        (101, False, 42_500_160),
        (50, True, 26_039_024),
    ],
)
def test_parameters(depth, se, parameters):
    for flags in ("FFF", "FTT"):
        variables = shapes(depth=depth, se=se, replace_stride_with_dilation=flags)[1]
        assert count(variables["params"]) == parameters


@pytest.mark.parametrize(
    ("depth", "stages"),
    [
        (34, (221_952, 1_116_416, 6_822_400, 13_114_368)),
        (50, (215_808, 1_219_584, 7_098_368, 14_964_736)),
    ],
)
def test_parameters_of_stages(depth, stages):
    params = shapes(depth=depth)[1]["params"]
    for number, expected in enumerate(stages, start=1):
        blocks = [block for name, block in params.items() if name.startswith(f"layer{number}_")]
        assert count(blocks) == expected


# (first block, others) of stages 2, 3 and 4.
RULES = [
    ("template", "FFF", ((1, 1), (1, 1), (1, 1)), 32),
    ("template", "FFT", ((1, 1), (1, 1), (2, 2)), 16),
    ("template", "FTT", ((1, 1), (2, 2), (2, 4)), 8),
    ("template", "TTT", ((2, 2), (2, 4), (2, 8)), 4),
    ("torchvision", "FFF", ((1, 1), (1, 1), (1, 1)), 32),
    ("torchvision", "FFT", ((1, 1), (1, 1), (1, 2)), 16),
    ("torchvision", "FTT", ((1, 1), (1, 2), (2, 4)), 8),
    ("torchvision", "TTT", ((1, 2), (2, 4), (4, 8)), 4),
]


@pytest.mark.parametrize(
    ("depth", "rule", "flags", "dilations", "output_stride"),
    [(34, *rule) for rule in RULES] + [(50, *rule) for rule in RULES if rule[1] == "TTT"],
)
def test_dilations(depth, rule, flags, dilations, output_stride):
    """Read off the convolutions that are really computed; a 1×1 is a matrix product."""
    model = encoders.build(
        config(depth=depth, width=8, replace_stride_with_dilation=flags, dilation_rule=rule)
    )
    # Large enough that no tap meets nothing but padding.
    image = jax.ShapeDtypeStruct((1, 256, 256, 3), jnp.float32)
    init = functools.partial(model.init_with_output, jax.random.key(0), train=False)
    jaxpr, (pyramid, _) = jax.make_jaxpr(init, return_shape=True)(image)
    lines = str(jaxpr)
    found = []
    pattern = r"conv_general_dilated\[.*?rhs_dilation=\((\d+), \1\).*?window_strides=\((\d+), \2\)"
    for dilation, stride in re.findall(pattern, lines, flags=re.DOTALL):
        found.append((int(dilation), int(stride)))

    expected = [(1, 2)]  # the stem
    for stage, (blocks, (first, others)) in enumerate(
        zip((3, 4, 6, 3), ((1, 1), *dilations)), start=1
    ):
        strided = stage > 1 and flags[stage - 2] == "F"
        for index in range(blocks):
            stride = 2 if strided and index == 0 else 1
            dilation = first if index == 0 else others
            expected += [(1, stride), (dilation, 1)] if depth == 34 else [(dilation, stride)]
    assert found == expected
    assert pyramid.strides[-1] == output_stride


def test_features():
    pyramid = shapes((64, 96))[0]
    assert pyramid.skip.shape == (2, 16, 24, 64)
    assert {stride: x.shape for stride, x in pyramid.features.items()} == {
        1: (2, 64, 96, 3),
        2: (2, 32, 48, 64),
        4: (2, 16, 24, 64),
        8: (2, 8, 12, 128),
        16: (2, 4, 6, 512),  # stage 4 overwrites stage 3
    }


def test_skip_is_stage_1_even_where_stage_4_has_its_stride():
    pyramid = shapes((64, 96), replace_stride_with_dilation="TTT")[0]
    assert pyramid.features[4].shape == pyramid.last.shape == (2, 16, 24, 512)
    assert pyramid.skip.shape == (2, 16, 24, 64)


def test_odd_sizes():
    pyramid = shapes((51, 77), replace_stride_with_dilation="FFF")[0]
    assert pyramid.features[32].shape == (2, 2, 3, 512)


def test_flags_as_booleans():
    both = [shapes(replace_stride_with_dilation=flags)[0] for flags in ("FTT", (False, True, True))]
    assert both[0] == both[1]


def test_torchvision_names():
    params = shapes(depth=50)[1]["params"]
    assert set(params["layer2_0"]) == {
        *("conv1", "bn1", "conv2", "bn2", "conv3", "bn3", "downsample_conv", "downsample_bn")
    }
    assert set(params["layer2_1"]) == {"conv1", "bn1", "conv2", "bn2", "conv3", "bn3"}
    assert set(params) == {
        *("conv1", "bn1"),
        *(f"layer{s}_{b}" for s, n in enumerate((3, 4, 6, 3), start=1) for b in range(n)),
    }


def test_initialisation():
    """Kaiming normal with fan_out: √(2 / (k²·c_out))."""
    block = resnet.BasicBlock(planes=128, stride=2, dilation=1, se=False, dtype=jnp.float32)
    init = jax.jit(functools.partial(block.init, train=False))
    params = init(jax.random.key(0), jnp.zeros((1, 4, 4, 64)))["params"]
    for name in ("conv1", "conv2", "downsample_conv"):
        kernel = params[name]["kernel"]
        expected = (2 / (kernel.shape[0] ** 2 * 128)) ** 0.5
        assert float(kernel.std()) == pytest.approx(expected, rel=0.03)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"depth": 35}, "depth=35; expected one of 18, 34, 50, 101"),
        ({"width": 0}, "width=0"),
        ({"dilation_rule": "pytorch"}, "dilation_rule='pytorch'; expected one of template"),
        ({"replace_stride_with_dilation": "FT"}, "'FT'; expected one flag for each"),
        ({"replace_stride_with_dilation": "FFX"}, "'FFX'; expected one flag for each"),
        ({"replace_stride_with_dilation": (0, 0, 2)}, "expected one flag for each"),
        ({"dilation": "template"}, "dilation is unknown. Did you mean 'dilation_rule'"),
    ],
)
def test_impossible_options(changes, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        encoders.build(config(**changes))


def test_options_have_defaults():
    """They make the published network."""
    model = encoders.build({"name": "resnet"})
    assert (model.depth, model.width, model.flags) == (18, 64, (False, False, False))
    assert not model.se
    assert not model.ceil_mode


def test_unknown_encoder():
    with pytest.raises(ValueError, match="Did you mean 'resnet'"):
        encoders.build(config(name="resnte"))


def test_plan():
    assert resnet.plan((False, True, True), "template") == (
        *((1, 1, 1), (2, 1, 1), (1, 2, 2), (1, 2, 4)),
    )
