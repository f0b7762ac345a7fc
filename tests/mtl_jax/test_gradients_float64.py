"""Gradients as training computes them, in programs compiled as training compiles them, against
float64.

An operation's own gradient rule is exact only as long as what it keeps and what the compiler
computes a second time for the backward pass agree: XLA fuses, and thereby rounds, either as it
likes. So a rule is tested inside a network, at sizes where the compiler does that, and may be no
farther from float64 than twice XLA's plain rule is.

That alone is what the 30 operations and sizes here keep on the machine where they were written (the
worst is 1.97 times as far as the plain rule, both at 1e-7). It cannot be asked of whole networks:
there a pixel that is within rounding of another one, or of a ReLU's zero, goes either way, in the
plain rule, too. MTAN's plain gradient is 3.5e-3 of its norm away from float64, and 27 of its 232
arrays are more than twice as far as plain's, as other pixels have changed sides. How far that moves
an array is measured, by moving all parameters within their rounding.
"""

import dataclasses
import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import plain
import pytest
import test_configs
from conftest import TRAINING_COMPILATION
from flax import linen as nn
from golden_networks import flat, perturbed
from test_conformance_models import LONG

from mtl_jax import _discovery, architectures, layers, parallel, sharing, system, training
from mtl_jax.layers import _convolution, pooling, transposed
from mtl_jax.weightings import fixed

# Two pixels of a window or a ReLU's input may lie within float32's rounding of each other; then
# either way is right. Moving all numbers by about that shows how far apart the two ways are.
ROUNDING, DRAWS = 2e-7, 3


def assert_no_farther_than_plain(found, loss, params, *rest):
    """`found`, the gradient of `loss(params, *rest)`, leaf by leaf."""
    # Unoptimised, XLA's convolution in float64 takes minutes.
    options = {"compiler_options": {"xla_backend_optimization_level": 3}}
    in_float64 = plain.gradient(loss, params, plain.FLOAT64, *rest, **options)
    in_float32 = plain.gradient(loss, params, plain.FLOAT32, *rest)
    exact = flat(in_float64(params, *rest))
    others = [in_float32(params, *rest)]
    double = jax.tree.map(lambda x: np.asarray(x, np.float64), params)
    others += [in_float64(perturbed(double, ROUNDING, seed), *rest) for seed in range(DRAWS)]
    others, found = [flat(other) for other in others], flat(found)
    assert found.keys() == exact.keys()
    whole = np.sqrt(sum(np.square(np.linalg.norm(value)) for value in exact.values()))
    for path, value in exact.items():
        distances = [np.linalg.norm(other[path] - value) for other in others]
        distance = np.linalg.norm(found[path] - value)
        norm = np.linalg.norm(value)
        # A bias that a BatchNorm cancels has no gradient but for rounding.
        assert distance <= 2 * max(*distances, 1e-7 * norm, 1e-8 * whole), (
            f"{path}: {distance / norm:.1e} of its norm away from float64, where XLA's plain "
            f"gradient is {distances[0] / norm:.1e} away, and rounding the parameters otherwise "
            f"changes it by up to {max(distances[1:]) / norm:.1e}."
        )


def unpooled(x):
    """SegNet's way: down, with the maxima's positions, and up again."""
    pooled, position = pooling.max_pool_2x2(x)
    return pooling.max_unpool_2x2(jnp.square(pooled), position, x.shape[1:3])


OPERATIONS = {
    "max_pool": lambda x: layers.max_pool(x, 3, 2, 1),
    "max_pool_ceil": lambda x: pooling.max_pool_ceil(x, 2, 2),
    "unpooled": unpooled,
    "convolution": lambda x: layers.Conv(24)(x),
    "pointwise": lambda x: layers.Conv(8, 1)(layers.Conv(48, 1)(x)),
    "strided": lambda x: layers.Conv(24, stride=2)(x),
    "dilated": lambda x: layers.Conv(24, dilation=6)(x),
    # More kernel than image, whose gradient has a form of its own.
    "large_kernel": lambda x: layers.Conv(32, 5)(x[:, ::8, ::8]),
    "depthwise": lambda x: layers.DepthwiseConv(5, stride=2)(layers.DepthwiseConv(3)(x)),
    "transposed": lambda x: transposed.ConvTranspose(8, 8, 4, padding=2, output_padding=0)(x),
}


class Chain(nn.Module):
    """What surrounds an operation in a network; or several, side by side."""

    operations: tuple[str, ...]

    @nn.compact
    def __call__(self, x):
        x = layers.Conv(16, 7, stride=2)(x)
        x = nn.relu(layers.BatchNorm()(x, train=True))
        return [OPERATIONS[name](x) for name in self.operations]


# The smallest at which a rule that compared recomputed pixels went wrong.
SHAPE, SMALL, LARGE = (6, 64, 96), (2, 32, 64), (8, 96, 192)
# Those whose gradients have two forms, for few operations and for many.
CONVOLUTIONS = ("convolution", "strided", "dilated")
# Whose rules no quicker test sees within a network, and the one whose rule was wrong in one.
OFTEN = ("convolution", "large_kernel", "max_pool", "transposed")
# The depthwise one takes longest, and is tested at full size in test_depthwise.
ALL = tuple(name for name in OPERATIONS if name != "depthwise")


# Most of the time is compilation, which operations in one program share.
@pytest.mark.parametrize(
    ("operations", "shape", "many"),
    [
        pytest.param(OFTEN, SHAPE, 0, id="some"),
        pytest.param(ALL, LARGE, 0, id="all", marks=pytest.mark.slow),
        pytest.param(CONVOLUTIONS, LARGE, 10**18, id="convolutions", marks=pytest.mark.slow),
    ],
)
def test_operations_side_by_side(operations, shape, many, monkeypatch):
    assert_exact(operations, shape, many, monkeypatch)


@pytest.mark.weekly
@pytest.mark.parametrize(
    ("operation", "shape", "many"),
    [(*each, 0) for each in itertools.product(OPERATIONS, (SHAPE, SMALL, LARGE))]
    + [(name, LARGE, 10**18) for name in CONVOLUTIONS],
)
def test_operation(operation, shape, many, monkeypatch):
    assert_exact((operation,), shape, many, monkeypatch)


def assert_exact(operations, shape, many, monkeypatch):
    """The gradient of a network with these operations, by the rules of many operations or few."""
    monkeypatch.setattr(_convolution, "_MANY_OPERATIONS", many)
    rng = np.random.default_rng(0)
    image = rng.standard_normal((*shape, 3)).astype(np.float32)
    model = Chain(operations)
    variables = jax.jit(model.init)(jax.random.key(0), image)
    stats = {"batch_stats": variables["batch_stats"]}

    def loss(params, image):
        loss = 0.0
        for out in model.apply({"params": params, **stats}, image, mutable=["batch_stats"])[0]:
            weights = jnp.cos(jnp.arange(out.size, dtype=jnp.float32)).reshape(out.shape)
            loss += jnp.mean(out * weights + jnp.square(out))
        return loss

    gradient = jax.jit(jax.grad(loss), compiler_options=TRAINING_COMPILATION)
    assert_no_farther_than_plain(
        gradient(variables["params"], image), loss, variables["params"], image
    )


def keep_gradient() -> optax.GradientTransformation:
    """An optimiser that moves nothing; its state is the gradient."""
    return optax.GradientTransformation(
        lambda params: jax.tree.map(jnp.zeros_like, params),
        lambda gradient, state, params=None, **_: (
            jax.tree.map(jnp.zeros_like, gradient),
            gradient,
        ),
    )


# The embedded default's, whose encoder is made of depthwise and 1×1 convolutions.
DEFAULT = "default"


@functools.cache
def streets_config(architecture: str):
    """The first of configs/ that trains the architecture on Streets; or the default."""
    if architecture == DEFAULT:
        return test_configs.load("branched", "streets")
    return test_configs.on_streets(architecture)


@pytest.mark.weekly  # every layer that has a gradient of its own is an operation above
@pytest.mark.parametrize(
    "architecture",
    [name for name in (DEFAULT, *_discovery.names(architectures)) if name not in LONG],
)
def test_train_step(architecture):
    """At the size of the embedded defaults: 8 images of 96×192.

    Those that are left out have no layers that the others have not, and golden gradients.
    """
    config = streets_config(architecture)
    parts = system.build(config, test_configs.specs_of(config))
    tasks = tuple(parts.tasks)
    parts = dataclasses.replace(parts, weighting=fixed.Fixed(tasks, weights=(1.0,) * len(tasks)))
    batch = test_configs.synthetic_batch(parts, 8, 96, 192)
    mesh = parallel.make_mesh(jax.devices()[:1])
    optimizer = optax.with_extra_args_support(keep_gradient())
    state = training.create_state(parts, optimizer, seed=0, image_shape=(96, 192), mesh=mesh)
    params, stats = jax.device_get((state.params["model"], state.batch_stats))
    step = training.make_train_step(
        parts, optimizer, lambda step: 1.0, seed=0, steps_per_epoch=10, mesh=mesh
    )
    compiled = step.lower(state, batch).compile(TRAINING_COMPILATION)
    found = jax.device_get(compiled(state, parallel.put_batch(mesh, batch))[0].opt_state["model"])

    key = jax.random.split(jax.random.fold_in(jax.random.key(0), 0))[0]

    def loss(params, batch):
        losses, _, _ = sharing.task_losses(parts, params, stats, batch, key)
        return sum(losses.values())

    assert_no_farther_than_plain(found, loss, params, batch)
