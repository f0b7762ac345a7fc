"""What every architecture and every encoder promises, over whatever modules there are.

A module is tested as the first config in configs/ sets it up that names it, or with its defaults if
none does, so a new one needs no edit here.
"""

import functools
import importlib
import json
import math
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
import traced
from jax import export as jax_export
from ml_collections import ConfigDict

from mtl_jax import _discovery, architectures, encoders, layers, optimizers, parallel

CHANNELS = {"semseg": 4, "depth": 1, "normals": 3}
# Not multiples of 32. A network that takes certain sizes only is given the next ones.
SIZE, ODD = (40, 56), (33, 47)

# Whose step takes a minute to compile: what costs most is tested of the others alone.
LONG = (
    *("cgc", "cross_stitch", "invpt", "mlore", "mmoe", "mti_net", "nddr", "pad_net", "ple"),
    "task_prompter",
)
MTAN = ("mtan", "mtan_resnet")  # not much shorter
# Of the long ones those of other kinds: side by side, experts, and stages.
KINDS = ("cross_stitch", "mmoe", "mtan", "pad_net")

# Most of the time here is compilation, and what is compiled runs once.
jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


@functools.cache
def model_configs():
    """Every `config.model` in configs/, the embedded defaults of all files first."""
    directory = pathlib.Path(__file__).parents[1] / "configs"
    defaults, others = [], []
    for path in sorted(directory.glob("*.py")):
        module = importlib.import_module(f"mtl_jax.configs.{path.stem}")
        first, *rest = getattr(module, "PROTOCOLS", ()) or [None]
        if first:
            defaults.append((path.name, module.get_config(first).model))
            others += [(path.name, module.get_config(protocol).model) for protocol in rest]
    return defaults + others


def config_of(kind: str, name: str):
    for _, model in model_configs():
        if kind == "architecture" and model.architecture == name:
            return model
        if kind == "encoder" and model.get("encoder", {}).get("name") == name:
            return model.encoder
    return ConfigDict({"architecture" if kind == "architecture" else "name": name})


def images(model, size=SIZE, batch: int = 2) -> jax.Array:
    """Of a size that the model takes."""
    size = layers.image_sizes(model).fitting(size)
    return jax.random.normal(jax.random.key(1), (batch, *size, 3), jnp.float32)


@functools.cache
def with_a_record() -> set[str]:
    """The architectures whose gradients and statistics are compared with recorded ones."""
    files = (pathlib.Path(__file__).parent / "mtl_jax" / "golden").glob("*.json")
    configs = [json.loads(file.read_text())["config"] for file in files]
    found = {c["model"]["architecture"] if "model" in c else c["arch"] for c in configs}
    decoders = (pathlib.Path(__file__).parent / "mtl_jax" / "golden_decoders").glob("*.json")
    return found | {file.stem for file in decoders}


def _weekly_but(marks):
    """The names of all architectures; some have the marks that are given."""
    names = _discovery.names(architectures)
    return [pytest.param(name, marks=marks.get(name, pytest.mark.weekly)) for name in names]


def without_a_record():
    """All others are recorded with their gradients and statistics, or take long.

    test_architectures_train sees for each of them that nothing stays as it was.
    """
    return [n for n in _discovery.names(architectures) if n not in {*LONG, *with_a_record()}]


def one_of_each_kind():
    """Two are not marked; of all others one of each kind is slow, and the rest weekly."""
    return _weekly_but(dict.fromkeys(KINDS, pytest.mark.slow) | {"branched": (), "segnet": ()})


def seldom_but_two():
    """Weekly; slow the default, and the one that pools with positions and unpools."""
    return _weekly_but(dict.fromkeys(("branched", "segnet"), pytest.mark.slow))


@functools.cache
def initialised(name: str, dtype: str = "float32", tasks: tuple[str, ...] = tuple(CHANNELS)):
    config = config_of("architecture", name).copy_and_resolve_references()
    tiny.narrow(config)
    config.dtype = dtype
    model = architectures.build(config, {task: CHANNELS[task] for task in tasks})
    init = functools.partial(model.init, train=False)
    like = traced.shapes(init, jax.random.key(0), images(model))
    rng = np.random.default_rng(0)

    def fill(path, leaf):
        """In the range of an initialisation, but zero nowhere: what starts at 0 hides the rest."""
        noise = rng.standard_normal(leaf.shape, np.float32)
        if path[-1].key == "kernel":
            return noise * np.sqrt(2 / np.prod(leaf.shape[:-1]), dtype=np.float32)
        if path[-1].key == "var":
            return np.exp(0.1 * noise)
        if path[-1].key == "alpha":  # factors of features that go on, as a kernel's are
            return 0.5 * noise
        return 0.1 * noise + np.float32(path[-1].key == "scale")

    return model, jax.tree_util.tree_map_with_path(fill, like)


@functools.cache
def evaluated(name: str, dtype: str):
    """Final predictions for `images`, and for the same with another first image."""
    model, variables = initialised(name, dtype)
    evaluate, image = jit(functools.partial(model.apply, train=False)), images(model)
    other = image.at[0].set(image[1, ::-1])
    return evaluate(variables, image).final, evaluate(variables, other).final


@functools.cache
def stepped(
    name: str, dtype: str = "float32", tasks: tuple[str, ...] = tuple(CHANNELS), devices: int = 0
):
    """Training outputs, new statistics, gradients; of a batch of eight if `devices` are given."""
    model, variables = initialised(name, dtype, tasks)
    image = images(model, batch=8 if devices else 2)
    if devices:
        mesh = parallel.make_mesh(jax.devices()[:devices])
        image = jax.device_put(image, parallel.batch_sharding(mesh))
        variables = jax.device_put(variables, parallel.replicated(mesh))

    def loss(params, variables, image):
        predictions, new = model.apply(
            variables | {"params": params},
            image,
            train=True,
            mutable=["batch_stats"],
            rngs={"dropout": jax.random.key(3)},
        )
        outputs = [predictions.final, *predictions.auxiliary]
        # Squared distance from a pattern: a plain mean would be blind after a BatchNorm.
        pattern = jax.random.normal(jax.random.key(2), (*image.shape[1:3], 1))
        total = sum(jnp.square(x - pattern).mean() for x in jax.tree.leaves(outputs))
        return total, (predictions, new.get("batch_stats", {}))

    step = jit(jax.grad(loss, has_aux=True))
    gradients, (predictions, stats) = step(variables["params"], variables, image)
    return predictions, stats, gradients


@functools.cache
def shapes(name: str, dtype: str, size: tuple[int, int]):
    """(image, predictions, variables) as shapes, of few layers: test_configs looks at all."""
    config = config_of("architecture", name).copy_and_resolve_references()
    tiny.narrow(config)
    config.dtype = dtype
    model = architectures.build(config, CHANNELS)
    image = jax.eval_shape(functools.partial(images, model, size))
    init = functools.partial(model.init_with_output, jax.random.key(0), train=False)
    return image, *traced.shapes(init, image)


TYPES_AND_SIZES = {"float32": ODD, "bfloat16": SIZE}


def of_both_types():
    """(architecture, type); in bfloat16 those that take long are slow."""
    return [
        pytest.param(name, dtype, marks=pytest.mark.slow if low and name in LONG else ())
        for name in _discovery.names(architectures)
        for low, dtype in enumerate(TYPES_AND_SIZES)
    ]


@pytest.mark.parametrize(("name", "dtype"), of_both_types())
def test_predictions_are_float32_at_the_inputs_resolution(name, dtype):
    image, out, _ = shapes(name, dtype, TYPES_AND_SIZES[dtype])
    for predictions in (out.final, *out.auxiliary):
        assert set(predictions) <= set(CHANNELS)
        for task, prediction in predictions.items():
            assert prediction.shape == (*image.shape[:3], CHANNELS[task])
            assert prediction.dtype == jnp.float32
    assert set(out.final) == set(CHANNELS)


@pytest.mark.parametrize(("name", "dtype"), of_both_types())
def test_variables_are_float32_and_those_of_any_size(name, dtype):
    variables = shapes(name, dtype, TYPES_AND_SIZES[dtype])[2]
    assert set(variables) <= {"params", "batch_stats"}
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype(jnp.float32)}
    assert variables == shapes(name, "float32", ODD)[2]


@pytest.mark.parametrize("name", _discovery.names(architectures))
class TestArchitectures:
    def test_the_optimizer_has_a_group_for_each_task(self, name):
        """Under names that show it, but where the last layer is that of all tasks."""
        params = shapes(name, "float32", ODD)[2]["params"]
        groups = {
            optimizers.group_of((jax.tree_util.DictKey("model"), *path), tuple(CHANNELS))
            for path, _ in jax.tree_util.tree_leaves_with_path(params)
        }
        module = _discovery.load(architectures, name, key="name")
        joint = hasattr(module, "SHARED_OUTPUTS")
        assert groups == ({"common"} if joint else {"common", *CHANNELS})

    @pytest.mark.slow
    @pytest.mark.parametrize("number", [1, 5])
    def test_tasks_of_any_number_and_name(self, name, number):
        """Of three there are those above."""
        channels = {f"anything{index}": 2 + index for index in range(number)}
        config = config_of("architecture", name).copy_and_resolve_references()
        tiny.narrow(config)
        model = architectures.build(config, channels)
        init = functools.partial(model.init_with_output, jax.random.key(0), train=False)
        out, _ = traced.shapes(init, jax.eval_shape(functools.partial(images, model)))
        assert {task: x.shape[-1] for task, x in out.final.items()} == channels


@pytest.mark.parametrize("name", seldom_but_two())
def test_bfloat16_is_close_to_float32(name):
    exact, rough = evaluated(name, "float32")[0], evaluated(name, "bfloat16")[0]
    for task, expected in exact.items():
        size = np.sqrt(np.mean(np.square(expected)))
        error = np.sqrt(np.mean(np.square(rough[task] - expected)))
        assert error < 0.15 * size, task  # a maximum may change places
        assert error > 1e-4 * size, "bfloat16 computes in float32"
    for gradient in jax.tree.leaves(stepped(name, "bfloat16", ("depth",))[2]):
        assert gradient.dtype == jnp.float32
        assert np.isfinite(gradient).all()


@pytest.mark.weekly
@pytest.mark.parametrize("name", LONG)
def test_eight_devices_equal_one(name):
    """Outputs, statistics and gradients in training; test_parallel has whole steps of a network.

    Gradients by their norm: a ReLU's input within rounding of 0 may fall to either side.
    """
    one, eight = stepped(name, devices=1), stepped(name, devices=8)
    for ours, expected in zip(jax.tree.leaves(eight[:2]), jax.tree.leaves(one[:2]), strict=True):
        scale = np.abs(expected).max()
        np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-3 * scale)
    flat, expected = (np.concatenate([*map(np.ravel, jax.tree.leaves(x[2]))]) for x in (eight, one))
    assert np.linalg.norm(flat - expected) < 1e-2 * np.linalg.norm(expected)


# Convolutions with one decoder for each task, and what pools with indices.
@pytest.mark.parametrize("name", one_of_each_kind())
def test_evaluation_sees_each_image_alone(name):
    ours, others = evaluated(name, "float32")
    for task, expected in ours.items():
        np.testing.assert_allclose(others[task][1], expected[1], rtol=1e-4, atol=1e-4)
        assert not np.allclose(others[task][0], expected[0], rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("name", without_a_record())
def test_every_parameter_has_a_gradient(name):
    unread, met = layers.unread(initialised(name)[0]), set()
    for path, gradient in jax.tree_util.tree_leaves_with_path(stepped(name)[2]):
        path = jax.tree_util.keystr(path, simple=True, separator="/")
        assert np.isfinite(gradient).all(), path
        declared = {end for end in unread if f"/{path}".endswith(f"/{end}")}
        met |= declared
        assert np.any(gradient) != bool(declared), f"{path}: has a gradient, or has none unsaid"
    assert met == set(unread), "declared to be read by nothing, and not there"


@pytest.mark.parametrize("name", without_a_record())
def test_every_running_statistic_moves(name):
    _, before = initialised(name)
    after = stepped(name)[1]
    before = before.get("batch_stats", {})
    assert jax.tree.structure(after) == jax.tree.structure(before)
    moved = jax.tree.map(lambda a, b: bool(np.any(a != b)), before, after)
    assert all(jax.tree.leaves(moved)), moved


@functools.cache
def encoded(name: str):
    """Shapes, twice (image, pyramid): a float32 batch of two, a bfloat16 one of unknown size."""
    config = config_of("encoder", name).copy_and_resolve_references()
    if "size" in config:
        config.update({"size": "T"})  # of the fewest layers
    model = encoders.build(config, dtype=jnp.float32)
    image = jax.eval_shape(functools.partial(images, model, ODD))
    init = functools.partial(model.init_with_output, jax.random.key(0), train=False)
    pyramid, variables = traced.shapes(init, image)
    model = encoders.build(config, dtype=jnp.bfloat16)
    size = layers.image_sizes(model).fitting(SIZE)
    unknown = jax.ShapeDtypeStruct(
        jax_export.symbolic_shape(f"batch, {size[0]}, {size[1]}, 3"), jnp.float32
    )
    apply = functools.partial(model.apply, train=False)
    return (image, pyramid), (unknown, traced.shapes(apply, variables, unknown))


def encoders_with_the_long_ones_slow():
    """All of them; what is slow here is in other default tests as part of a network."""
    long = ("efficientnet_lite", "sunet", "swin")
    return [
        pytest.param(name, marks=pytest.mark.slow if name in long else ())
        for name in _discovery.names(encoders)
    ]


@pytest.mark.parametrize("name", encoders_with_the_long_ones_slow())
class TestEncoders:
    def test_strides(self, name):
        for image, pyramid in encoded(name):
            assert isinstance(pyramid, encoders.Pyramid)
            batch, *size, _ = image.shape
            for stride, features in pyramid.features.items():
                assert features.shape[:3] == (batch, *(-(-n // stride) for n in size))
            if pyramid.skip is not None:
                assert pyramid.skip.shape[:3] == (batch, -(-size[0] // 4), -(-size[1] // 4))
            if pyramid.tokens is not None:
                tokens = pyramid.tokens
                shape = (batch, tokens.prefix + math.prod(tokens.grid), pyramid.last.shape[-1])
                assert {x.shape for x in (*tokens.raw, *tokens.normed)} == {shape}
            given = {"strides"} if len(pyramid.strides) > 1 else set()
            given |= {what for what in ("skip", "tokens") if getattr(pyramid, what) is not None}
            assert given == encoders.gives(name)

    def test_a_batch_of_a_size_that_is_not_known(self, name):
        """As exported networks have it; an architecture's own is tested with them."""
        _, (_, pyramid) = encoded(name)
        leaves = jax.tree.leaves((pyramid.features, pyramid.skip))
        assert {str(leaf.shape[0]) for leaf in leaves} == {"batch"}

    def test_features_have_the_type_that_is_asked_for(self, name):
        assert [str(pyramid.last.dtype) for _, pyramid in encoded(name)] == ["float32", "bfloat16"]
