"""Starting from published weights: every array in its place, nothing unsaid."""

import functools
import hashlib
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import published_networks as networks
import pytest
import test_safetensors_files as safetensors
import torch_files
import traced
from flax import linen as nn

from mtl_jax import architectures, encoders, layers
from mtl_jax.configs import common
from mtl_jax.configs import fcn as fcn_configs
from mtl_jax.encoders import alexnet, efficientnet_lite, resnet, vgg
from mtl_jax.train_state import TrainState
from mtl_jax.weights import load as pretrained
from mtl_jax.weights.load import PretrainedError

SIZES = {  # parameters, as torchvision's documentation and the packages' files have them
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "resnet101": 44_549_160,
    "vgg16": 138_357_544,
    "alexnet": 61_100_840,
    "efficientnet_lite0": 4_652_008,
    "efficientnet_lite1": 5_416_680,
    "efficientnet_lite2": 6_092_072,
}


def shapes_of(name: str, width: int = 64) -> dict[str, tuple[int, ...]]:
    if name.startswith("resnet"):
        return networks.resnet(int(name.removeprefix("resnet")), width)
    if name.startswith("efficientnet_lite"):
        return networks.efficientnet_lite(networks.LITE[int(name[-1])])
    return {"vgg16": networks.vgg16, "alexnet": networks.alexnet}[name](width)


def encoder_of(name: str, width: int = 64):
    """(config.model.encoder, its module)."""
    if name.startswith("resnet"):
        return common.resnet(int(name.removeprefix("resnet")), "FFT", width=width), resnet
    if name.startswith("efficientnet_lite"):
        return common.efficientnet_lite(int(name[-1])), efficientnet_lite
    protocol = {"vgg16": "pascal_vgg", "alexnet": "pascal_alexnet"}[name]
    config = fcn_configs.get_config(protocol).model.encoder
    config.width = width
    return config, {"vgg16": vgg, "alexnet": alexnet}[name]


@pytest.mark.parametrize("name", SIZES)
def test_names_and_shapes_are_the_published(name):
    """At full size, both ways: our encoder is the published network without its classifier."""
    expected = shapes_of(name)
    sizes = {n: int(np.prod(s)) for n, s in expected.items() if "running" not in n and s}
    assert sum(sizes.values()) == SIZES[name]
    config, module = encoder_of(name)
    init = functools.partial(encoders.build(config).init, train=False)
    variables = traced.shapes(init, jax.random.key(0), jnp.zeros((1, 64, 64, 3), jnp.float32))
    found = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(variables):
        *layer, last = [key.key for key in path[1:]]
        shape = leaf.shape if last != "kernel" else tuple(leaf.shape[i] for i in (3, 2, 0, 1))
        found[module.PUBLISHED.name("/".join(["encoder", *layer, last]))] = shape
    unused = module.PUBLISHED.unused
    assert found == {n: s for n, s in expected.items() if s and not n.startswith(unused)}


def joint_config(depth: int = 18, **options):
    config = common.base().model
    config.update(
        architecture="joint",
        encoder=common.resnet(depth, "FFT", **({"width": 8} | options)),
        aspp={"enabled": False, "rates": (3, 6, 9), "channels": 8},
        decoder={"skip": False, "skip_channels": 4, "channels": 8},
        se=False,
    )
    return config


def fcn_config(encoder: str, *, hidden: int = 16):
    config = fcn_configs.get_config(f"streets_{encoder}").model
    config.encoder.width, config.tail.hidden = 4, hidden
    return config


def fresh(config, **tasks: int) -> TrainState:
    """A state whose every variable is 0.25, of tasks and their outputs; semseg has 3."""
    config = config.copy_and_resolve_references()
    del config.pretrained, config.pretrained_scope
    channels = tasks if "semseg" in tasks else {"semseg": 3} | tasks  # the order counts
    model = architectures.build(config, channels)
    init = functools.partial(model.init, train=False)
    size = layers.image_sizes(model).fitting((32, 32))
    shapes = traced.shapes(init, jax.random.key(0), jnp.zeros((1, *size, 3), jnp.float32))
    variables = jax.tree.map(lambda leaf: jnp.full(leaf.shape, 0.25, leaf.dtype), shapes)
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params={"model": variables["params"], "weighting": {"w": jnp.ones(2)}},
        batch_stats=variables.get("batch_stats", {}),
        opt_state=(),
        weighting=(),
        epoch_losses={},
    )


def load(config, source, scope: str = "encoder"):
    """({name: array}, everything that was said)."""
    config.pretrained, config.pretrained_scope = str(source), scope
    said: list[str] = []
    state = pretrained.load(fresh(config), config, report=said.append)
    assert state.params["weighting"]["w"].tolist() == [1, 1]
    leaves = jax.tree_util.tree_leaves_with_path(state.variables)
    found = {jax.tree_util.keystr(path, simple=True, separator="/"): v for path, v in leaves}
    assert all(value.dtype == jnp.float32 for value in found.values())
    return {name: np.asarray(value) for name, value in found.items()}, "\n".join(said)


def save(path: Path, arrays) -> Path:
    if path.suffix == ".safetensors":
        return safetensors.save(path, arrays)
    return torch_files.save(path, arrays, legacy="legacy" in path.name)


@pytest.mark.parametrize("file", ["zip.pth", "legacy.pth", "a.safetensors"])
@pytest.mark.parametrize("dtype", [np.float32, np.float16, jnp.bfloat16])
def test_every_array_of_a_resnet_is_in_its_place(tmp_path, file, dtype):
    arrays = networks.arrays(networks.resnet(18, 8), dtype)
    found, said = load(joint_config(), save(tmp_path / file, arrays))
    params, stats = "params/encoder", "batch_stats/encoder"
    for name, ours in {
        "bn1.weight": f"{params}/bn1/scale",
        "bn1.bias": f"{params}/bn1/bias",
        "bn1.running_mean": f"{stats}/bn1/mean",
        "bn1.running_var": f"{stats}/bn1/var",
        "layer2.0.downsample.1.running_var": f"{stats}/layer2_0/downsample_bn/var",
    }.items():
        np.testing.assert_array_equal(found[ours], arrays[name].astype(np.float32), err_msg=name)
    for name, ours in {
        "conv1.weight": f"{params}/conv1/kernel",
        "layer4.1.conv2.weight": f"{params}/layer4_1/conv2/kernel",
        "layer2.0.downsample.0.weight": f"{params}/layer2_0/downsample_conv/kernel",
    }.items():
        expected = np.einsum("oihw->hwio", arrays[name].astype(np.float32))
        np.testing.assert_array_equal(found[ours], expected, err_msg=name)
    for name, value in found.items():
        assert (value == 0.25).all() == ("/encoder/" not in name), name
    encoder = sum("/encoder/" in name for name in found)
    assert f"Loaded {encoder} of {len(found)} arrays from {tmp_path / file}." in said
    assert "2 of the file are not used, there is no place for them: fc.weight, fc.bias" in said
    assert "20 of the file are not used, not learned: bn1.num_batches_tracked, " in said
    assert f"{len(found) - encoder} keep their initial value, being outside the encoder" in said


def test_reads_files_older_than_batch_counters(tmp_path):
    shapes = networks.resnet(50, 4)
    arrays = networks.arrays({name: s for name, s in shapes.items() if s})
    found, said = load(joint_config(50, width=4), save(tmp_path / "a.pth", arrays))
    kernel = found["params/encoder/layer3_5/conv3/kernel"]
    np.testing.assert_array_equal(kernel[0, 0], arrays["layer3.5.conv3.weight"][:, :, 0, 0].T)
    assert "counter" not in said


def test_squeeze_and_excitation_keeps_its_initial_value_and_says_so(tmp_path):
    path = save(tmp_path / "a.pth", networks.arrays(networks.resnet(18, 16)))
    found, said = load(joint_config(width=16, se=True), path)
    gates = [name for name in found if "/se/" in name]
    assert len(gates) == 8 * 4
    assert all((found[name] == 0.25).all() for name in gates)
    assert "32 keep their initial value, because the published network has no such layer" in said


@pytest.mark.parametrize("naming", ["torchvision", "timm"])
def test_vggs_fully_connected_layers_become_convolutions(tmp_path, naming):
    arrays = networks.arrays(networks.vgg16(4, 16, 10))
    if naming == "timm":
        path = save(tmp_path / "a.safetensors", networks.timm(arrays))
    else:
        path = save(tmp_path / "a.pth", arrays)
    found, said = load(fcn_config("vgg"), path, "all")
    check_classifier(found, arrays, 7, ("classifier.0", "classifier.3"))
    expected = np.einsum("oihw->hwio", arrays["features.28.weight"])
    np.testing.assert_array_equal(found["params/encoder/features_28/kernel"], expected)
    assert "no place for them: classifier.6.weight, classifier.6.bias" in said
    assert "3 keep their initial value, because the published network has no such layer" in said


def test_alexnets_fully_connected_layers_become_convolutions(tmp_path):
    arrays = networks.arrays(networks.alexnet(4, 16, 10))
    found, _ = load(fcn_config("alexnet"), save(tmp_path / "a.pth", arrays), "all")
    check_classifier(found, arrays, 6, ("classifier.1", "classifier.4"))


def check_classifier(found, arrays, side: int, places) -> None:
    """On a map of `side` × `side`, the convolution is the layer on the flattened map [C, H, W]."""
    fc6, fc7 = (found[f"params/classifier/{name}/kernel"] for name in ("fc6", "fc7"))
    features = np.random.default_rng(1).standard_normal((side, side, fc6.shape[2]))
    expected = arrays[f"{places[0]}.weight"] @ np.moveaxis(features, -1, 0).ravel()
    np.testing.assert_allclose(np.einsum("hwio,hwi->o", fc6, features), expected, rtol=1e-5)
    np.testing.assert_array_equal(fc7[0, 0], arrays[f"{places[1]}.weight"].T)
    for name, place in zip(("fc6", "fc7"), places):
        np.testing.assert_array_equal(
            found[f"params/classifier/{name}/bias"], arrays[f"{place}.bias"]
        )


def test_fully_connected_layers_are_outside_the_encoder(tmp_path):
    path = save(tmp_path / "a.pth", networks.arrays(networks.vgg16(4, 16, 10)))
    found, said = load(fcn_config("vgg"), path)
    assert (found["params/classifier/fc6/kernel"] == 0.25).all()
    assert "6 of the file are not used, there is no place for them" in said
    assert "7 keep their initial value, being outside the encoder: params/classifier/fc6" in said


def changed(arrays, **changes):
    result = arrays | {name.replace("__", "."): value for name, value in changes.items()}
    return {name: value for name, value in result.items() if value is not None}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bn1__running_var": None}, "bn1.running_var: not in the file, expected (8,)"),
        ({"layer5__weight": np.ones(3, np.float32)}, "layer5.weight: in the file only, (3,)"),
        (
            {"conv1__weight": np.ones((8, 4, 7, 7), np.float32)},
            "conv1.weight: expected (8, 3, 7, 7), found (8, 4, 7, 7)",
        ),
        ({"bn1__bias": np.ones(8, np.int64)}, "bn1.bias: expected real numbers, found int64"),
    ],
)
def test_refuses_any_difference_on_either_side(tmp_path, changes, message):
    arrays = changed(networks.arrays(networks.resnet(18, 8)), **changes)
    path = save(tmp_path / "a.pth", arrays)
    with pytest.raises(PretrainedError) as error:
        load(joint_config(), path)
    assert message in str(error.value)
    assert "1 arrays differ" in str(error.value)
    assert "(resnet, depth 18)" in str(error.value)
    assert str(path) in str(error.value)


def test_refuses_another_depth_and_another_width(tmp_path):
    path = save(tmp_path / "a.pth", networks.arrays(networks.resnet(34, 8)))
    with pytest.raises(PretrainedError, match=r"layer1\.2\.bn1\.bias: in the file only"):
        load(joint_config(18), path)
    with pytest.raises(
        PretrainedError, match=r"have width 64, and config\.model\.encoder\.width=4"
    ):
        load(joint_config(34, width=4), path)


def test_architectures_with_an_encoder_of_their_own_have_no_published_weights(tmp_path):
    path = save(tmp_path / "a.pth", networks.arrays(networks.resnet(18, 8)))
    config = joint_config()
    state = fresh(config)
    config.pretrained = str(path)
    without = config.copy_and_resolve_references()
    del without.encoder
    with pytest.raises(PretrainedError, match=r"encoder is part of config\.model\.arch"):
        pretrained.load(state, without, report=print)
    config.encoder.name = "sunet"
    with pytest.raises(PretrainedError, match=r"no published weights for .*'sunet'"):
        pretrained.load(state, config, report=print)


@pytest.mark.parametrize("source", ["nowhere", "resnet35", "runs/nowhere", "tmm/resnet34"])
def test_says_what_can_be_started_from(source):
    with pytest.raises(PretrainedError, match=f"'{source}'.*no such work directory.*resnet34"):
        load(joint_config(), source)


def test_refuses_an_unknown_scope(tmp_path):
    with pytest.raises(PretrainedError, match="pretrained_scope='head'; expected one of encoder"):
        load(joint_config(), tmp_path, "head")


def test_checks_the_digits_in_torchvisions_file_names(tmp_path):
    arrays = networks.arrays(networks.resnet(18, 8))
    plain = save(tmp_path / "a.pth", arrays)
    digits = hashlib.sha256(plain.read_bytes()).hexdigest()[:8]
    right = plain.rename(tmp_path / f"resnet18-{digits}.pth")
    load(joint_config(), right)
    wrong = right.rename(tmp_path / "resnet18-f37072fd.pth")
    with pytest.raises(PretrainedError, match=f"begins with {digits}, expected f37072fd"):
        load(joint_config(), wrong)
    load(joint_config(), wrong.rename(tmp_path / "mine-20240101.pth"))


def test_a_damaged_file_is_named(tmp_path):
    for name in ("a.pth", "a.safetensors"):
        (tmp_path / name).write_bytes(b"nonsense")
        with pytest.raises(PretrainedError, match=f"{name} cannot be read"):
            load(joint_config(), tmp_path / name)


class TwoEncoders(nn.Module):
    """One ResNet for each of two tasks."""

    @nn.compact
    def __call__(self, image, *, train):
        for name in ("encoder_semseg", "encoder_depth"):
            pyramid = encoders.make("resnet", width=8).copy(name=name)(image, train=train)
        return pyramid.last


def test_each_of_several_encoders_starts_from_the_published_one(tmp_path):
    path = save(tmp_path / "resnet.pth", networks.arrays(networks.resnet(18, 8)))
    init = functools.partial(TwoEncoders().init, train=False)
    shapes = jax.eval_shape(init, jax.random.key(0), jnp.zeros((1, 32, 32, 3), jnp.float32))
    variables = jax.tree.map(lambda leaf: jnp.full(leaf.shape, 0.25, leaf.dtype), shapes)
    config = joint_config()
    config.pretrained = str(path)
    state = fresh(config).replace(
        params={"model": variables["params"], "weighting": {}}, batch_stats=variables["batch_stats"]
    )
    found = pretrained.load(state, config, report=lambda line: None).params["model"]
    one, other = (found[f"encoder_{task}"]["conv1"]["kernel"] for task in ("semseg", "depth"))
    assert np.array_equal(one, other)
    assert not np.all(one == 0.25)
