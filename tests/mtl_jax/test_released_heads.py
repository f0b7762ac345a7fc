"""DINOv2's released heads: every name and layout, and the errors of what cannot be meant.

The files are made here, of the published names and shapes.
"""

import functools
import types

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import published_networks as networks
import pytest
import torch_files
import traced

from mtl_jax import architectures, system
from mtl_jax.configs import vit as configs
from mtl_jax.errors import ConfigError
from mtl_jax.heads import dpt
from mtl_jax.runs import learned
from mtl_jax.train_state import TrainState
from mtl_jax.weights import heads, released
from mtl_jax.weights.published import PretrainedError


def paths(tree) -> dict:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


@functools.cache
def dpt_shapes(width: int, channels: int = 256):
    """{our name: shape} of a depth head of DPT after features of a width."""
    tokens = [jnp.zeros((1, 2, 2, width))] * 4, [jnp.zeros((1, width))] * 4
    init = functools.partial(dpt.DPT(1, "depth", channels).init, train=False)
    return paths(traced.shapes(init, jax.random.key(0), *tokens))


@pytest.mark.parametrize(
    ("width", "expected"), [(384, 13_961_377), (768, 24_193_921), (1024, 34_190_017)]
)
def test_dpt_has_the_published_names_and_shapes(width, expected):
    shapes = networks.dinov2_dpt_head(width)
    assert sum(int(np.prod(shape)) for shape in shapes.values()) == expected
    file = {name: np.broadcast_to(np.float32(0), shape) for name, shape in shapes.items()}
    found = released.match(dpt_shapes(width), file, dpt.RELEASED, dpt.TRANSPOSED)
    assert found.wrong == []
    assert found.arrays.keys() == dpt_shapes(width).keys()


def test_every_array_of_dpt_is_in_its_place():
    """A transposed convolution has its inputs first, all others their outputs."""
    file = networks.arrays(networks.dinov2_dpt_head(16, 4))
    found = released.match(dpt_shapes(16, 4), file, dpt.RELEASED, dpt.TRANSPOSED).arrays
    head, fusion = "decode_head", "decode_head.fusion_blocks"
    for ours, theirs, axes in (
        ("reassemble_2/readout", f"{head}.reassemble_blocks.readout_projects.2.0", (1, 0)),
        ("reassemble_3/project", f"{head}.reassemble_blocks.projects.3.conv", (2, 3, 1, 0)),
        ("reassemble_0/resize", f"{head}.reassemble_blocks.resize_layers.0", (2, 3, 0, 1)),
        ("reassemble_1/resize", f"{head}.reassemble_blocks.resize_layers.1", (2, 3, 0, 1)),
        ("reassemble_3/resize", f"{head}.reassemble_blocks.resize_layers.3", (2, 3, 1, 0)),
        ("reassemble_1/conv", f"{head}.convs.1.conv", (2, 3, 1, 0)),
        ("fusion_0/res_conv_unit2/conv1", f"{fusion}.0.res_conv_unit2.conv1.conv", (2, 3, 1, 0)),
        ("fusion_3/res_conv_unit1/conv2", f"{fusion}.3.res_conv_unit1.conv2.conv", (2, 3, 1, 0)),
        ("fusion_2/project", f"{fusion}.2.project.conv", (2, 3, 1, 0)),
        ("project", f"{head}.project.conv", (2, 3, 1, 0)),
        ("head_0", f"{head}.conv_depth.head.0", (2, 3, 1, 0)),
        ("head_1", f"{head}.conv_depth.head.2", (2, 3, 1, 0)),
        ("head_2", f"{head}.conv_depth.head.4", (2, 3, 1, 0)),
    ):
        expected = file[f"{theirs}.weight"].transpose(axes)
        np.testing.assert_array_equal(found[f"params/{ours}/kernel"], expected, err_msg=ours)
    bias = file[f"{head}.reassemble_blocks.resize_layers.1.bias"]
    np.testing.assert_array_equal(found["params/reassemble_1/resize/bias"], bias)


CHANNELS = {"semseg": 5, "depth": 1}
BINS = networks.dinov2_linear_head(768, 256, "depth")
CLASSES = networks.dinov2_linear_head(384, 5, "seg")


def config_of(decoder: str = "linear", **options):
    """Of heads of the last layer of DINOv2-S."""
    config = configs.get_config("nyuv2_linear").model
    config.encoder.taps = "even"
    config.decoder = {"name": decoder, "ranges": {"depth": (0.001, 10.0)}, **options}
    return config


def state_of(config) -> TrainState:
    """A state whose every variable is 0.25."""
    model = architectures.build(config, CHANNELS)
    init = functools.partial(model.init, train=False)
    shapes = traced.shapes(init, jax.random.key(0), jnp.zeros((1, 28, 28, 3)))
    small = {"params": {}, "batch_stats": {}}
    for collection, found in small.items():
        decoders = {k: v for k, v in shapes[collection].items() if k.startswith("decoder_")}
        found |= jax.tree.map(lambda leaf: jnp.full(leaf.shape, 0.25), decoders)
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params={"model": small["params"], "weighting": {}},
        batch_stats=small["batch_stats"],
        opt_state=(),
        weighting=(),
        epoch_losses={},
    )


def write(path, shapes, wrapped=True):
    arrays = networks.arrays(shapes)
    tensors = {
        name: torch_files.tensor(str(k), np.ascontiguousarray(array), legacy=False)
        for k, (name, array) in enumerate(arrays.items())
    }
    storages = {str(k): array.tobytes() for k, array in enumerate(arrays.values())}
    value = {"meta": {"epoch": 1}, "state_dict": tensors} if wrapped else tensors
    torch_files.write_zip(path, torch_files.pickled(value), storages)
    return arrays


def load(config, files):
    said: list[str] = []
    config.pretrained_heads = {task: str(path) for task, path in files.items()}
    state = heads.load(state_of(config), files, config, report=said.append)
    return paths(state.variables), said


def test_linear_heads_of_both_tasks_are_loaded(tmp_path):
    depth = write(tmp_path / "depth.pth", BINS)
    classes = write(tmp_path / "classes.pth", CLASSES, wrapped=False)
    files = {"depth": str(tmp_path / "depth.pth"), "semseg": str(tmp_path / "classes.pth")}
    found, said = load(config_of(), files)
    for name, array in (
        ("params/decoder_depth/score/kernel", depth["decode_head.conv_depth.weight"]),
        ("params/decoder_semseg/score/kernel", classes["decode_head.conv_seg.weight"]),
    ):
        np.testing.assert_array_equal(found[name], array.transpose(2, 3, 1, 0))
    for ours, theirs in (
        ("params/decoder_depth/score/bias", depth["decode_head.conv_depth.bias"]),
        ("params/decoder_semseg/bn/scale", classes["decode_head.bn.weight"]),
        ("batch_stats/decoder_semseg/bn/var", classes["decode_head.bn.running_var"]),
    ):
        np.testing.assert_array_equal(found[ours], theirs)
    assert [line.partition(" from ")[0] for line in said] == [
        "Loaded all 2 arrays of decoder_depth",
        "Loaded all 6 arrays of decoder_semseg",
    ]


def test_a_task_keeps_what_no_file_is_given_for(tmp_path):
    write(tmp_path / "depth.pth", BINS)
    found, _ = load(config_of(), {"depth": str(tmp_path / "depth.pth")})
    assert (found["params/decoder_semseg/score/kernel"] == 0.25).all()


@pytest.mark.parametrize(
    ("shapes", "task", "described"),
    [
        (networks.dinov2_linear_head(4096, 21, "seg"), "semseg", "21 classes, .*'L'.*taps='last'"),
        (networks.dinov2_linear_head(3072, 256, "depth"), "depth", "'S'.*'all', encoder.taps='ev"),
        (networks.dinov2_linear_head(1536, 256, "depth"), "depth", r"'B'.*layers='last'\."),
        (networks.dinov2_dpt_head(768, 4), "depth", "DPT head for depth, .*'B'.*name='dpt' with"),
    ],
)
def test_a_file_of_another_head_says_which_it_fits(tmp_path, shapes, task, described):
    write(tmp_path / "head.pth", shapes)
    message = rf"pretrained_heads\.{task}: .* arrays differ:\n(?s:.*)\n.*{described}"
    with pytest.raises(PretrainedError, match=message):
        load(config_of(), {task: str(tmp_path / "head.pth")})


def test_a_name_that_is_none_and_a_file_that_is_none():
    with pytest.raises(PretrainedError, match=r"no such file, .* dinov2_vits14_nyu_dpt_head, "):
        load(config_of(), {"depth": "dinov2_vits14_nyu_head"})
    assert len(heads.ADDRESSES) == 30
    assert heads.ADDRESSES["dinov2_vitl14_voc2012_ms_head"] == (
        "https://dl.fbaipublicfiles.com/dinov2/dinov2_vitl14/dinov2_vitl14_voc2012_ms_head.pth"
    )


@pytest.mark.parametrize(
    ("change", "task", "message"),
    [
        ({}, "parts", "expected one of the tasks semseg, depth"),
        ({"pretrained": ""}, "depth", "its file or name in config.model.pretrained, found"),
        ({"encoder.variant": "augreg"}, "depth", "Expected .*variant='dinov2'.*'augreg'"),
        ({"decoder.layers": "all", "encoder.taps": "last"}, "depth", "'last'; expected 'even'"),
        ({"decoder.layers": "all"}, "semseg", "'even'; expected 'last'"),
        ({"encoder.taps": (1, 3)}, "semseg", r"taps=\(1, 3\); expected"),
        ({"decoder": {"name": "dpt"}}, "depth", r"a range for 'depth', .*\{'depth': \(0.001, 10"),
        (
            {
                "decoder": {"name": "dpt", "ranges": {"depth": (0.001, 10.0)}},
                "encoder.taps": "last",
            },
            "depth",
            "'last'; expected 'even'",
        ),
        ({"decoder": {"name": "deeplabv3"}}, "depth", "'dpt' and 'linear', found 'deeplabv3'"),
    ],
)
def test_what_no_released_head_can_be_for(change, task, message):
    config = config_of()
    with config.unlocked(), config.ignore_type():
        config.update_from_flattened_dict(change)
        config.pretrained_heads = {task: "head.pth"}
    with pytest.raises(ConfigError, match=message):
        architectures.build(config, CHANNELS)


def test_depths_in_metres_have_nothing_to_normalise():
    config = configs.get_config("nyuv2_dpt")
    config.tasks.depth.normalization = "log"
    with pytest.raises(ConfigError, match=r"tasks\.depth\.normalization='none', found 'log'"):
        system.check_ranges(config)


def test_a_task_with_a_released_head_is_learned_without_labels():
    tasks = {name: types.SimpleNamespace(key=name) for name in CHANNELS}
    model = config_of()
    model.pretrained_heads = {"depth": "head.pth"}
    assert learned.decide(tasks, {"semseg": {}}, model) == ["depth", "semseg"]


@pytest.mark.parametrize(
    ("architecture", "scope", "expected"),
    [
        ("invpt", "all", ["depth", "semseg"]),
        ("invpt", "encoder", ["semseg"]),
        ("branched", "all", ["semseg"]),  # of an encoder's file
    ],
)
def test_all_tasks_of_a_released_network_are_learned_without_labels(
    tmp_path, architecture, scope, expected
):
    file = tmp_path / "network.pth"
    file.touch()
    tasks = {name: types.SimpleNamespace(key=name) for name in CHANNELS}
    model = ml_collections.ConfigDict(
        {"architecture": architecture, "pretrained": str(file), "pretrained_scope": scope}
    )
    assert learned.decide(tasks, {"semseg": {}}, model) == expected
