"""Published files of ViT, DINOv2, Swin and HRNet, in all of their publishers' layouts.

The files are made here, of the published names and shapes.
"""

import functools

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import published_networks as networks
import pytest
import torch_files
import traced
from test_pretrained import load, save

from mtl_jax import architectures, encoders, layers
from mtl_jax.configs import common
from mtl_jax.configs import vit as vit_configs
from mtl_jax.encoders import _swin_files, _vit_files
from mtl_jax.layers import positions
from mtl_jax.weights import load as loading
from mtl_jax.weights import npz_files
from mtl_jax.weights.load import PretrainedError

FILES = {  # name: (options of the encoder, {name: shape}, parameters with the classifier)
    "vit_s_21k": ({"name": "vit"}, networks.vit(384, 12, classes=21_843), 30_075_219),
    "vit_l_384": (
        {"name": "vit", "size": "L", "table": (24, 24)},
        networks.vit(1024, 24, rows=577),
        304_715_752,
    ),
    "dinov2_b": (
        {"name": "vit", "size": "B", "variant": "dinov2"},
        networks.dinov2(768, 12),
        86_580_480,
    ),
    "dinov2_s_reg4": (
        {"name": "vit", "variant": "dinov2_reg"},
        networks.dinov2(384, 12, registers=4),
        22_058_112,
    ),
    "swin_t": ({"name": "swin"}, networks.swin(96, (2, 2, 6, 2), 7), 28_288_354),
    "swin_l": (
        {"name": "swin", "size": "L", "window": 12},
        networks.swin(192, (2, 2, 18, 2), 12),
        196_735_516,
    ),
    "hrnet": ({"name": "hrnet"}, networks.hrnet(), 15_597_464),
    "hrnet_w18": (
        {"name": "hrnet", "size": "w18"},
        networks.hrnet(4, (1, 4, 3), 4),
        21_299_004,
    ),
}


def theirs(options: dict) -> dict[str, tuple[int, ...]]:
    """{published name: shape as published} of all arrays of an encoder that files have."""
    model = encoders.build(options)
    published = encoders.published()[options["name"]]
    size = layers.image_sizes(model).fitting((64, 64))
    init = functools.partial(model.init, train=False)
    variables = traced.shapes(init, jax.random.key(0), jnp.zeros((1, *size, 3), jnp.float32))
    found = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(variables):
        name = published.name("/".join(["encoder", *(key.key for key in path[1:])]))
        shape = leaf.shape
        if path[-1].key == "kernel":
            *window, inputs, outputs = shape
            shape = (outputs, inputs, *window)
        if name is not None:
            found[name] = shape
    return found


@pytest.mark.parametrize(
    "file", [pytest.param(f, marks=pytest.mark.slow if f == "hrnet_w18" else ()) for f in FILES]
)
def test_names_and_shapes_are_the_published(file):
    """At full size, both ways: the encoder is the published network without its classifier."""
    options, shapes, parameters = FILES[file]
    published = encoders.published()[options["name"]]
    buffers = (*published.buffers, ".running_mean", ".running_var", ".num_batches_tracked")
    counted = sum(int(np.prod(s)) for n, s in shapes.items() if not n.endswith(buffers))
    assert counted == parameters
    unused = tuple(name for name in published.unused if name != "cls_token")  # only without one
    expected = {
        name: shape
        for name, shape in shapes.items()
        if not name.startswith(unused) and not name.endswith(published.buffers)
    }
    assert theirs(options) == expected


def config_of(**encoder):
    config = common.base().model
    config.update(architecture="branched", encoder=encoder, neck="simple_pyramid")
    config.decoder = ml_collections.ConfigDict({"name": "top_down", "channels": 4})
    return config


TINY_VIT = networks.vit(192, 12, classes=5)


@pytest.mark.parametrize("file", ["wrapped.pth", "a.npz"])
def test_every_array_of_a_vit_is_in_its_place(tmp_path, file):
    arrays = networks.arrays(TINY_VIT)
    path = tmp_path / file
    if file == "a.npz":
        np.savez(path, **{f"opt/target/{n}": a for n, a in networks.google(arrays, 3).items()})
    else:
        tensors = {
            name: torch_files.tensor(str(k), np.ascontiguousarray(array), legacy=False)
            for k, (name, array) in enumerate(arrays.items())
        }
        storages = {str(k): array.tobytes() for k, array in enumerate(arrays.values())}
        pickle = torch_files.pickled({"model": tensors, "epoch": 3})
        torch_files.write_zip(path, pickle, storages)
    found, said = load(config_of(name="vit", size="T"), path)
    encoder = {n.removeprefix("params/encoder/"): a for n, a in found.items() if "/encoder/" in n}
    assert len(encoder) == len(arrays) - 2
    kernel = arrays["blocks.7.attn.qkv.weight"].T
    np.testing.assert_array_equal(encoder["blocks_7/attn/qkv/kernel"], kernel)
    for ours, name in (
        ("cls_token", "cls_token"),
        ("pos_embed", "pos_embed"),
        ("blocks_0/norm2/scale", "blocks.0.norm2.weight"),
        ("blocks_11/mlp/fc1/bias", "blocks.11.mlp.fc1.bias"),
    ):
        np.testing.assert_array_equal(encoder[ours], arrays[name])
    np.testing.assert_array_equal(
        encoder["patch_embed/kernel"], arrays["patch_embed.proj.weight"].transpose(2, 3, 1, 0)
    )
    np.testing.assert_array_equal(
        encoder["blocks_3/attn/proj/kernel"], arrays["blocks.3.attn.proj.weight"].T
    )
    assert "2 of the file are not used, there is no place for them: head.weight, head.bias" in said


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("Transformer/encoderblock_0/MultiHeadDotProductAttention_1/query/kernel", (0, 3, 64)),
        ("Transformer/encoderblock_0/MultiHeadDotProductAttention_1/key/kernel", (191, 3, 64)),
        ("Transformer/encoderblock_0/MlpBlock_3/Dense_0/kernel", (192, 0)),
    ],
)
def test_shapes_that_cannot_be_are_one_message(tmp_path, name, shape):
    arrays = networks.google(networks.arrays(TINY_VIT), 3)
    assert name in arrays
    np.savez(tmp_path / "a.npz", **arrays | {name: np.zeros(shape, np.float32)})
    with pytest.raises(PretrainedError, match=r"a\.npz is damaged, or of no network of this kind"):
        loading._from_published({}, tmp_path / "a.npz", config_of(name="vit", size="T"), print)


def test_a_table_without_a_row_is_described_and_left_alone():
    arrays = {"norm.weight": np.zeros(192), "pos_embed": np.zeros((1, 0, 192))}
    assert "0×0 positions" in _vit_files.describe(arrays)
    for rows in (0, 1):
        table = np.zeros((1, rows, 192))
        same = _vit_files.resample("encoder/pos_embed", table, (1, 5, 192), (2, 2), "plain")
        assert same is table


def test_a_table_of_another_grid_is_resampled_and_lora_starts_at_nothing(tmp_path):
    arrays = networks.arrays(networks.vit(192, 12, rows=17, classes=0))
    path = save(tmp_path / "vit.safetensors", arrays)
    config = config_of(name="vit", size="T", table=(3, 5), positions="plain", lora_rank=2)
    found, said = load(config, path)
    table = arrays["pos_embed"][0]
    expected = positions.resample(jnp.asarray(table[1:]), (4, 4), (3, 5), "plain")
    ours = found["params/encoder/pos_embed"][0]
    np.testing.assert_array_equal(ours[0], table[0])
    np.testing.assert_allclose(ours[1:], expected, rtol=1e-6)
    assert "1 are resampled: pos_embed (1, 17, 192) ─► (1, 16, 192)" in said
    assert "48 keep their initial value, because the published network has no such layer" in said


@pytest.mark.parametrize("name", ["mlore", "task_prompter"])
def test_networks_without_a_class_token_start_from_the_published_vit(tmp_path, name):
    """Their authors do; positions keep the class token's row, and prompts their initial values."""
    arrays = networks.arrays(TINY_VIT)
    np.savez(tmp_path / "a.npz", **networks.google(arrays, 3))
    config = config_of(name="vit", size="T", table=(2, 3), class_token=False, positions="plain")
    encoder = architectures.make(name, {"depth": 1}, encoder=dict(config.encoder)).encoder
    init = functools.partial(encoder.init, train=False)
    shapes = traced.shapes(init, jax.random.key(0), jnp.zeros((1, 32, 48, 3)))
    wanted = {
        "/".join(["params", "encoder", *(key.key for key in path[1:])]): leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(shapes)
    }
    said = []
    found, kept = loading._from_published(wanted, tmp_path / "a.npz", config, said.append)
    of_prompts = {n for n in wanted if n.endswith("task_prompts") or "/token_trans" in n}
    assert set(kept["because the published network has no such layer"]) == of_prompts
    assert len(of_prompts) == (1 + 12 * 4 if name == "task_prompter" else 0)
    assert found.keys() == wanted.keys() - of_prompts
    kernel = arrays["blocks.11.mlp.fc2.weight"].T
    np.testing.assert_array_equal(found["params/encoder/blocks_11/mlp/fc2/kernel"], kernel)
    table = found["params/encoder/pos_embed"]
    np.testing.assert_array_equal(table[:, 0], arrays["pos_embed"][:, 0])
    assert table.shape == (1, 7, 192)
    assert "3 of the file are not used, there is no place for them: cls_token" in " ".join(said)


def test_what_does_not_fit_is_said_with_what_would(tmp_path):
    path = save(tmp_path / "vit.safetensors", networks.arrays(TINY_VIT))
    with pytest.raises(PretrainedError, match=r"\(vit, size S\).*\n(?s:.*)size='T', .variant='aug"):
        load(config_of(name="vit", size="S"), path)
    with pytest.raises(PretrainedError, match=r"ls1.gamma: not in the file"):
        load(config_of(name="vit", size="T", variant="dinov2"), path)


def test_a_file_of_a_head_is_told_from_one_of_an_encoder():
    head = networks.arrays(networks.dinov2_linear_head(384, 5, "seg"))
    assert "config.model.pretrained_heads.<task>" in _vit_files.describe(head)


SMALL = {"width": 6, "depth": 2, "rows": 5, "patch": 2}


def same(found, expected):
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)


def test_timm_has_dinov2s_registers_under_other_names_and_a_row_less():
    """timm adds the first row of the table to the class token; ours is added when it is used."""
    arrays = networks.arrays(networks.dinov2(**SMALL, registers=4))
    timm = dict(arrays)
    del timm["mask_token"]
    timm["reg_token"] = timm.pop("register_tokens")
    timm["cls_token"] = arrays["cls_token"] + arrays["pos_embed"][:, :1]
    timm["pos_embed"] = arrays["pos_embed"][:, 1:]
    found = _vit_files.translate(timm)
    first = found["cls_token"] + found["pos_embed"][:, :1]
    np.testing.assert_array_equal(first, arrays["cls_token"] + arrays["pos_embed"][:, :1])
    assert not found["mask_token"].any()
    rest = ("cls_token", "pos_embed", "mask_token")
    same(
        {n: a for n, a in found.items() if n not in rest},
        {n: a for n, a in arrays.items() if n not in rest},
    )
    np.testing.assert_array_equal(found["pos_embed"][:, 1:], arrays["pos_embed"][:, 1:])


def test_checkpoints_of_dinov2s_training_have_chunks_of_blocks():
    arrays = networks.arrays(networks.dinov2(**SMALL))
    chunked = {
        n.replace("blocks.", f"blocks.{n.split('.')[1]}.") if n.startswith("blocks") else n: a
        for n, a in arrays.items()
    }
    assert "blocks.1.1.norm1.weight" in chunked
    same(_vit_files.translate(chunked), arrays)
    teacher = {f"backbone.{name}": array for name, array in chunked.items()}
    heads = {"dino_head.mlp.0.weight": np.zeros((2, 2)), "ibot_head.mlp.0.bias": np.zeros(2)}
    same(_vit_files.translate(teacher | heads), arrays | heads)
    assert all(name.startswith(encoders.published()["vit"].unused) for name in heads)


def test_google_and_pytorch_have_the_same_arrays():
    arrays = networks.arrays(networks.vit(**SMALL, classes=3))
    same(_vit_files.translate(networks.google(arrays, heads=3)), arrays)


@pytest.mark.parametrize("broken", ["key", "scalar", "unknown"])
def test_what_a_google_file_lacks_or_has_besides_is_not_passed_over(broken):
    google = networks.google(networks.arrays(networks.vit(**SMALL, classes=0)), heads=3)
    name = "Transformer/encoderblock_1/MultiHeadDotProductAttention_1/query/kernel"
    if broken == "key":
        del google[name]
    elif broken == "scalar":
        google[name] = np.float32(1)
    else:
        google["Transformer/encoderblock_1/Adapter_9/kernel"] = np.zeros((2, 2), np.float32)
    found = _vit_files.translate(google)
    assert ("blocks.1.attn.qkv.weight" in found) == (broken == "unknown")
    assert any(name.startswith("Transformer/encoderblock_1/") for name in found)


@pytest.mark.parametrize("publisher", [networks.timm_swin, networks.torchvision_swin])
def test_all_publishers_of_swin_have_the_same_arrays(publisher):
    arrays = networks.arrays(networks.swin(32, (1, 2, 1, 1), 2, classes=3))
    found = _swin_files.translate({publisher(name): array for name, array in arrays.items()})
    same({n.replace("head.fc.", "head."): a for n, a in found.items()}, arrays)


def test_tables_of_windows_are_resampled():
    """7 to 12: 13×13 rows to 23×23, of every head by itself."""
    published = encoders.published()["swin"]
    array = networks.arrays({"a": (13 * 13, 3)})["a"]
    name = "encoder/layers_0/blocks_0/attn/relative_position_bias_table"
    found = published.adapt(name, array, (23 * 23, 3), {})
    matrix = positions.matrix(13, 23, "plain")
    expected = np.einsum("hi,wj,ijc->hwc", matrix, matrix, array.reshape(13, 13, 3))
    np.testing.assert_allclose(found, expected.reshape(-1, 3), atol=1e-5)
    assert published.adapt(name, array, array.shape, {}) is array


def test_a_swin_file_says_what_it_is_of():
    shapes = networks.swin(192, (2, 2, 18, 2), 12)
    arrays = {name: np.broadcast_to(np.float32(0), shape) for name, shape in shapes.items()}
    assert _swin_files.describe(arrays).endswith(".size='L' and .window=12.")
    assert _swin_files.describe({}) == ""


@pytest.mark.parametrize(
    ("shapes", "size"),
    [(networks.hrnet(), "'small_v2'."), (networks.hrnet(4, (1, 4, 3), 4), "'w18'."), ({}, "")],
)
def test_an_hrnet_file_says_what_it_is_of(shapes, size):
    arrays = {name: np.broadcast_to(np.float32(0), shape) for name, shape in shapes.items()}
    found = encoders.published()["hrnet"].describe(arrays)
    assert found.removeprefix("The file is of config.model.encoder.size=") == size


@pytest.mark.parametrize("variant", ["augreg", "dinov2"])
def test_images_are_normalised_as_the_weights_expect(variant):
    config = config_of(name="vit", variant=variant)
    imagenet = encoders.IMAGENET_MEAN, encoders.IMAGENET_STD
    expected = ((0.5,) * 3,) * 2 if variant == "augreg" else imagenet
    assert encoders.image_statistics(config) == expected
    config.image_mean = encoders.IMAGENET_MEAN  # as InvPT, whichever weights it starts from
    assert encoders.image_statistics(config)[0] == encoders.IMAGENET_MEAN


def test_npz_files_that_are_none(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, a=np.array([{}], object))
    with pytest.raises(npz_files.NpzError, match="besides arrays of numbers"):
        npz_files.read(path)
    whole = path.read_bytes()
    for content in (b"", b"PK\x03\x04", whole[:-40], b"\x93NUMPY"):
        path.write_bytes(content)
        with pytest.raises(npz_files.NpzError, match="no zip file of arrays, or cut off"):
            npz_files.read(path)
    np.savez(path, a=np.arange(100.0))
    whole = bytearray(path.read_bytes())
    whole[500] ^= 1
    path.write_bytes(whole)
    with pytest.raises(npz_files.NpzError, match="damaged"):
        npz_files.read(path)


def test_linear_heads_warm_up_as_in_dinov3s_rerun():
    """For 1,500 of 40,000 steps."""
    config = vit_configs.get_config("cityscapes_linear")
    steps = 2975 // config.train.batch_size
    assert (round(config.schedule.warmup_epochs * steps), config.train.max_steps) == (1500, 40_000)


@pytest.mark.parametrize("protocol", vit_configs.PROTOCOLS)
def test_protocols_start_from_weights_of_their_own_encoder(protocol):
    config = vit_configs.get_config(protocol).model
    sources = encoders.published()["vit"].sources
    assert not config.pretrained or config.pretrained in sources
    assert config.pretrained.startswith("dinov2") == (
        config.encoder.get("variant", "augreg") != "augreg"
    )
