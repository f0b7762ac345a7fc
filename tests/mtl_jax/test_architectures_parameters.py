"""Published and derived parameter counts of whole networks, without allocating one."""

import functools
import re

import jax
import jax.numpy as jnp
import ml_collections
import pytest
import traced

from mtl_jax import _discovery, architectures, encoders
from mtl_jax.errors import ConfigError

SEMSEG_DEPTH = {"semseg": 19, "depth": 1}


def resnet(depth, flags="FFT", rule="template", **options):
    return {
        "name": "resnet",
        "depth": depth,
        "width": 64,
        "replace_stride_with_dilation": flags,
        "dilation_rule": rule,
        "se": False,
        **options,
    }


def distillation(sharing, final_decoder, *, se=False):
    return {
        "architecture": "distillation",
        "encoder": resnet(34),
        "aspp": {"rates": (3, 6, 9), "channels": 256},
        "decoder": {"skip_channels": 48, "channels": 256},
        "attention": {"sharing": sharing, "gate_init": "zeros"},
        "final_decoder": final_decoder,
        "se": se,
    }


def segnet(architecture, convs="full"):
    return {
        "architecture": architecture,
        "widths": (64, 128, 256, 512, 512),
        "convs_per_stage": convs,
        "init": "kaiming_normal_fan_in",
    }


def mtan_resnet():
    return {
        "architecture": "mtan_resnet",
        "encoder": resnet(50, "FTT", "torchvision"),
        "aspp": {"rates": (12, 24, 36), "channels": 256, "dropout": 0.5},
    }


def fcn(encoder, tail="thesis", *, average_pool=0, kernel=0):
    return {
        "architecture": "fcn",
        "encoder": encoder,
        "tail": {
            "name": tail,
            "average_pool": average_pool,
            "classifier_kernel": kernel,
            "hidden": 4096,
            "dropout": 0.5,
        },
    }


def stacked_unet(output_stride=16, blocks=(2, 4, 4, 1)):
    return {
        "architecture": "stacked_unet",
        "encoder": {
            "name": "sunet",
            "width": 64,
            "blocks": blocks,
            "output_stride": output_stride,
            "dropout": 0.0,
            "init": "kaiming_normal_fan_out",
        },
        "head": {"channels": 512, "init": "kaiming_normal_fan_out"},
    }


def uncertainty():
    return {
        "architecture": "uncertainty",
        "encoder": resnet(101, "FTT", "torchvision"),
        "decoder": {"channels": 512, "init": "truncated_normal"},
        "resize": "tf1",
    }


RESNET18 = resnet(18, "FFF", ceil_mode=True)
VGG = {"name": "vgg", "width": 64}
ALEXNET = {"name": "alexnet", "width": 64, "padding": "published"}


# The same networks with other tasks, or other options of the same layers.
ALIKE = ("A shared", "MTAN 2", "MTAN 19", "SUNet OS 32", "SUNet 7")

_SHAPES = {}


def shapes(config, channels, size=(70, 50)):
    """(outputs, variables) as shapes; several tests look at the same network."""
    config = ml_collections.ConfigDict(config | {"dtype": "float32"})
    key = (config.to_json(), *channels.items(), size)
    if key not in _SHAPES:
        model = architectures.build(config, channels)
        image = jax.ShapeDtypeStruct((2, *size, 3), jnp.float32)
        init = functools.partial(model.init_with_output, jax.random.key(0), train=False)
        _SHAPES[key] = traced.shapes(init, image)
    return _SHAPES[key]


def count(tree) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


@pytest.mark.parametrize(
    ("config", "channels", "parameters", "statistics"),
    [
        pytest.param(*case, id=name, marks=pytest.mark.slow if name in ALIKE else ())
        for name, *case in [
            ("B", distillation("shared", "1x1"), SEMSEG_DEPTH, 33_327_144, 25_408),
            (
                "B SE",
                distillation("shared", "1x1", se=True),
                SEMSEG_DEPTH,
                33_361_000,
                25_408,
            ),
            ("A", distillation("per_direction", "3x3"), SEMSEG_DEPTH, 36_868_136, 27_456),
            ("A shared", distillation("shared", "3x3"), SEMSEG_DEPTH, 35_688_488, 27_456),
            ("MTAN 7", segnet("mtan"), {"semseg": 7, "depth": 1}, 41_206_984, 40_192),
            ("MTAN 2", segnet("mtan"), {"semseg": 2, "depth": 1}, 41_206_659, 40_192),
            ("MTAN 19", segnet("mtan"), SEMSEG_DEPTH, 41_207_764, 40_192),
            # 44,229,076 with the authors' three learned log-variances.
            ("MTAN NYUv2", segnet("mtan"), {"s": 13, "d": 1, "n": 3}, 44_229_073, 50_176),
            ("MTAN one", segnet("mtan", "one"), {"semseg": 7, "depth": 1}, 24_124_936, 30_848),
            ("SegNet", segnet("segnet"), {"semseg": 13}, 24_981_069, 14_336),
            ("MTAN ResNet", mtan_resnet(), {"s": 13, "d": 1, "n": 3}, 92_347_921, 110_592),
            ("SUNet 21", stacked_unet(), {"semseg": 21}, 12_976_981, 29_440),
            ("SUNet OS 8", stacked_unet(8), {"semseg": 20}, 12_976_468, 29_440),
            ("SUNet OS 32", stacked_unet(32), {"semseg": 19}, 12_975_955, 29_440),
            ("SUNet 7", stacked_unet(), {"semseg": 7}, 12_969_799, 29_440),
            ("SUNet heads", stacked_unet(), {"semseg": 21, "parts": 20}, 20_068_201, 31_488),
            ("SUNet ×4", stacked_unet(16, (2, 4, 4, 4)), {"semseg": 21}, 13_824_661, 37_504),
            ("E", uncertainty(), {"semseg": 34, "instance": 2, "depth": 1}, 71_620_197, 105_344),
        ]
    ],
)
def test_parameters(config, channels, parameters, statistics):
    out, variables = shapes(config, channels)
    assert {task: x.shape for task, x in out.final.items()} == {
        task: (2, 70, 50, outputs) for task, outputs in channels.items()
    }
    assert count(variables["params"]) == parameters
    assert count(variables["batch_stats"]) == statistics


@pytest.mark.parametrize(
    ("config", "channels", "parameters"),
    [
        pytest.param(*case, id=name)
        for name, *case in [
            ("ResNet-18", fcn(RESNET18, average_pool=7), {"semseg": 21}, 12_993_621),
            ("heads", fcn(RESNET18, average_pool=7), {"semseg": 21, "parts": 20}, 14_642_281),
            ("VGG-16", fcn(VGG, kernel=7), {"semseg": 21}, 136_152_917),
            ("AlexNet", fcn(ALEXNET, kernel=6), {"semseg": 21}, 58_896_213),
            ("VGG-16 corrected", fcn(VGG, "corrected", kernel=7), {"semseg": 21}, 136_152_917),
        ]
    ],
)
def test_fcn_parameters(config, channels, parameters):
    out, variables = shapes(config, channels, size=(512, 512))
    assert out.final["semseg"].shape == (2, 512, 512, 21)
    assert count(variables["params"]) == parameters
    for task, outputs in channels.items():
        upscore = variables["params"][f"head_{task}"]["upscore"]["kernel"]
        assert upscore.size == 4096 * outputs**2


def parts(config, channels, depth=1):
    """{path of `depth` names: parameters below it}."""
    totals = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(shapes(config, channels)[1]["params"]):
        name = "/".join(key.key for key in path[:depth])
        totals[name] = totals.get(name, 0) + leaf.size
    return totals


def test_parts_of_mtan():
    found = parts(segnet("mtan"), {"semseg": 7, "depth": 1})
    assert found["encoder"] + found["decoder"] == 24_943_296
    for task, head in (("semseg", 37_383), ("depth", 36_993)):
        assert found[f"head_{task}"] == head
        masks = sum(size for name, size in found.items() if name.startswith(f"mask_{task}"))
        assert masks == 2_984_576
    shared = sum(size for name, size in found.items() if name.startswith("attention"))
    assert shared == 10_220_160


def test_parts_of_stacked_unets():
    found = parts(stacked_unet(), {"semseg": 21}, depth=2)
    encoder = {
        name.removeprefix("encoder/"): size for name, size in found.items() if "encoder" in name
    }
    assert sum(encoder.values()) == 5_885_248
    assert encoder == {
        "conv1": 9_472,
        "residual1": 230_144,
        "unet1_0": 391_744,
        "unet1_1": 367_168,
        "unet2_0": 515_392,
        **{f"unet2_{index}": 400_704 for index in (1, 2, 3)},
        "unet3_0": 811_328,
        **{f"unet3_{index}": 434_240 for index in (1, 2, 3)},
        "unet4_0": 1_053_120,
        "bn2": 2_048,
    }
    assert sum(size for name, size in found.items() if "head" in name) == 7_091_733


def test_parts_of_the_others():
    assert parts(fcn(VGG, "corrected", kernel=7), {"s": 21})["encoder"] == 14_714_688
    assert parts(fcn(ALEXNET | {"padding": "same"}, "corrected"), {"s": 2})["encoder"] == 2_469_696
    found = parts(uncertainty(), {"semseg": 34, "instance": 2, "depth": 1})
    assert found == {
        "encoder": 42_500_160,
        "decoder_semseg": 9_717_794,
        "decoder_instance": 9_701_378,
        "decoder_depth": 9_700_865,
    }
    assert parts(distillation("shared", "1x1"), SEMSEG_DEPTH)["attention"] == 1_179_648


def takes_any_encoder(architecture: str) -> bool:
    options = architectures.PART.options(architecture, key="config.model.architecture")
    return "encoder" in options and not options["encoder"].only


def encoders_of_each_kind():
    """All; those are weekly tests that give an architecture what one gives that is before them."""
    first = dict(reversed([(encoders.gives(name), name) for name in _discovery.names(encoders)]))
    return [
        pytest.param(name, marks=() if name in first.values() else pytest.mark.weekly)
        for name in _discovery.names(encoders)
    ]


@pytest.mark.parametrize("encoder", encoders_of_each_kind())
@pytest.mark.parametrize(
    "architecture", [name for name in _discovery.names(architectures) if takes_any_encoder(name)]
)
def test_any_encoder(architecture, encoder):
    """With all defaults; or it is said what the encoder lacks."""
    config = {"architecture": architecture, "encoder": {"name": encoder}}
    told = ""
    try:
        out, _ = shapes(config, SEMSEG_DEPTH, size=(64, 128))
    except ConfigError as error:
        told = str(error)
    lacks = f"needs .* and config.model.encoder(.name='{encoder}' does not give| gives)"
    assert re.search(lacks, told) or out.final["semseg"].shape == (2, 64, 128, 19)


@pytest.mark.parametrize("tasks", [1, 2, 4])
@pytest.mark.parametrize("sharing", ["shared", "per_direction"])
def test_attention_between_tasks(sharing, tasks):
    """Every task receives from every other one."""
    variables = shapes(distillation(sharing, "1x1"), {f"t{i}": 1 for i in range(tasks)})[1]
    gates = [name for name in variables["params"] if name.startswith("attention")]
    assert len(gates) == (tasks * (tasks - 1) if sharing == "per_direction" else min(tasks - 1, 1))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (distillation("both", "1x1"), "attention.sharing='both'; expected one of shared, per_"),
        (distillation("shared", "2x2"), "final_decoder='2x2'; expected one of 1x1, 3x3"),
        (segnet("mtan") | {"encoder": VGG}, "model.encoder is an option of branched, "),
        (segnet("segnet", "two"), "convs_per_stage='two'; expected one of full, one"),
        (segnet("mtan") | {"widths": (1, 2)}, "expected 5 values, each a whole number from 1"),
        (segnet("mtan") | {"init": "he"}, "init='he'; expected one of pytorch"),
        (mtan_resnet() | {"encoder": VGG}, "encoder.name='vgg'; expected resnet"),
        (fcn(RESNET18, "thessis"), "tail.name='thessis'; expected one of thesis, corrected"),
        (fcn(RESNET18, "corrected", average_pool=7), "has no place in the corrected tail"),
        (fcn(VGG | {"width": 0}), "width=0; expected a whole number from 1"),
        (fcn(ALEXNET | {"padding": "valid"}), "padding='valid'; expected one of published, same"),
        (stacked_unet(4), "output_stride=4; expected one of 8, 16, 32"),
        (stacked_unet(16, (2, 4, 4)), "expected 4 values, each a whole number from 1"),
        (uncertainty() | {"resize": "cubic"}, "resize='cubic'; expected one of tf1, half_pixel"),
    ],
)
def test_impossible_options(config, message):
    with pytest.raises(ValueError, match=message):
        shapes(config, SEMSEG_DEPTH)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (fcn(VGG, kernel=7), "unpadded 7×7 convolution on features of 3×3 pixels"),
        (fcn(RESNET18, average_pool=7), "Average pooling over 7×7 needs features at least that"),
        (fcn(ALEXNET, kernel=6), "unpadded 6×6 convolution on features of 2×2 pixels"),
    ],
)
def test_images_too_small_for_the_thesis_tail(config, message):
    with pytest.raises(ValueError, match=message):
        shapes(config, SEMSEG_DEPTH, size=(96, 96))
