"""Depthwise convolution in the CPU's own form against sums in float64, and where it is not used."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtl_jax import layers, parallel
from mtl_jax.layers import _depthwise


def convolve(x, kernel, cotangent, *, stride, padding, dilation):
    """Output and the gradients of sum(output · cotangent), tap by tap in float64.

    `cotangent` is of the output's shape, or a function of that shape.
    """
    x, kernel = np.float64(x), np.float64(kernel)
    padded = np.pad(x, ((0, 0), *padding, (0, 0)))
    reach = dilation * (len(kernel) - 1)
    size = [(n - reach - 1) // stride + 1 for n in padded.shape[1:3]]
    y = np.zeros((len(x), *size, x.shape[-1]))
    if callable(cotangent):
        cotangent = cotangent(y.shape)
    of_padded, of_kernel = np.zeros_like(padded), np.zeros_like(kernel)
    for i, j in np.ndindex(*kernel.shape[:2]):
        rows = slice(i * dilation, i * dilation + size[0] * stride - stride + 1, stride)
        columns = slice(j * dilation, j * dilation + size[1] * stride - stride + 1, stride)
        y += padded[:, rows, columns] * kernel[i, j, 0]
        of_padded[:, rows, columns] += cotangent * kernel[i, j, 0]
        of_kernel[i, j, 0] = (padded[:, rows, columns] * cotangent).sum((0, 1, 2))
    (top, _), (left, _) = padding
    return y, of_padded[:, top:, left:][:, : x.shape[1], : x.shape[2]], of_kernel


def waves(shape) -> np.ndarray:
    return np.cos(np.arange(np.prod(shape))).reshape(shape)


@pytest.mark.parametrize(
    ("size", "kernel_size", "stride", "padding", "dilation"),
    [
        ((8, 6), 3, 1, ((1, 1), (1, 1)), 1),
        ((8, 6), 3, 2, ((0, 1), (0, 1)), 1),
        ((9, 7), 3, 2, ((1, 1), (1, 1)), 1),
        ((8, 7), 5, 2, ((1, 2), (2, 2)), 1),
        ((9, 6), 5, 1, ((4, 4), (4, 4)), 2),
        ((5, 4), 3, 1, ((4, 4), (4, 4)), 4),
        ((7, 6), 3, 2, ((2, 2), (1, 2)), 2),
        ((9, 6), 3, 1, ((0, 0), (2, 0)), 1),
        ((1, 2), 5, 1, ((2, 2), (2, 2)), 1),
        ((6, 7), 1, 3, ((0, 0), (0, 0)), 1),
    ],
)
def test_value_and_gradients(size, kernel_size, stride, padding, dilation):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, *size, 3), np.float32)
    kernel = rng.standard_normal((kernel_size, kernel_size, 1, 3), np.float32)
    options = {"stride": stride, "padding": padding, "dilation": dilation}

    @jax.jit
    def ours(x, kernel):
        y, pullback = jax.vjp(functools.partial(_depthwise.convolve, **options), x, kernel)
        return y, *pullback(jnp.asarray(waves(y.shape), jnp.float32))

    for found, expected in zip(ours(x, kernel), convolve(x, kernel, waves, **options), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_eight_devices_give_the_gradients_of_one():
    """The gradient of the kernel adds up over all images, wherever they are."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((8, 6, 7, 3), np.float32)
    kernel = rng.standard_normal((5, 5, 1, 3), np.float32)
    options = {"stride": 2, "padding": ((1, 2), (2, 2)), "dilation": 1}

    def loss(x, kernel):
        y = _depthwise.convolve(x, kernel, **options)
        return (y * jnp.asarray(waves(y.shape), jnp.float32)).sum()

    mesh = parallel.make_mesh()
    whole, split = parallel.replicated(mesh), parallel.batch_sharding(mesh)
    gradient = jax.jit(jax.grad(loss, argnums=(0, 1)), in_shardings=(split, whole))
    expected = convolve(x, kernel, waves, **options)[1:]
    for found, exact in zip(gradient(x, kernel), expected, strict=True):
        np.testing.assert_allclose(found, exact, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("kernel_size", "stride"), [pytest.param(3, 1, marks=pytest.mark.slow), (5, 2)]
)
def test_within_a_network_at_full_size(kernel_size, stride):
    """1×1 convolution ─► BatchNorm ─► ReLU6 ─► depthwise ─► loss, compiled as one."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((8, 24, 48, 24), np.float32)
    expand = 0.2 * rng.standard_normal((24, 144), np.float32)
    kernel = 0.2 * rng.standard_normal((kernel_size, kernel_size, 1, 144), np.float32)
    conv = layers.DepthwiseConv(kernel_size, stride)
    norm = layers.BatchNorm()
    stats = {"mean": jnp.zeros(144), "var": jnp.ones(144)}
    scale, bias = {"scale": jnp.full(144, 2.0)}, {"bias": jnp.full(144, 0.5)}

    @jax.jit
    @functools.partial(jax.value_and_grad, argnums=(0, 1, 2))
    def ours(x, expand, kernel):
        variables = {"params": scale | bias, "batch_stats": stats}
        y, _ = norm.apply(variables, x @ expand, train=True, mutable=["batch_stats"])
        y = conv.apply({"params": {"kernel": kernel}}, jax.nn.relu6(y))
        return (y * jnp.asarray(waves(y.shape), jnp.float32)).sum()

    pixels = np.float64(x).reshape(-1, 24)
    y = pixels @ np.float64(expand)
    deviation = np.sqrt(y.var(0) + 1e-5)
    y = (y - y.mean(0)) / deviation
    active = np.clip(2 * y + 0.5, 0, 6)
    padding = tuple(layers.same_padding(n, kernel_size, stride=stride) for n in (24, 48))
    z, of_active, of_kernel = convolve(
        active.reshape(8, 24, 48, 144), kernel, waves, stride=stride, padding=padding, dilation=1
    )
    gradient = 2 * of_active.reshape(-1, 144) * ((active > 0) & (active < 6))
    gradient -= gradient.mean(0) + y * (gradient * y).mean(0)
    gradient /= deviation
    of_x = (gradient @ np.float64(expand).T).reshape(x.shape)

    loss, gradients = ours(x, expand, kernel)
    np.testing.assert_allclose(loss, (z * waves(z.shape)).sum(), rtol=1e-3, atol=1e-2)
    # A pixel within rounding of a kink of ReLU6 may fall on either side.
    for found, expected in zip(gradients, (of_x, pixels.T @ gradient, of_kernel), strict=True):
        error = np.linalg.norm(found - expected) / np.linalg.norm(expected)
        assert error < 1e-4


def test_bfloat16_is_added_up_in_float32():
    x = jnp.ones((4, 32, 64, 2), jnp.bfloat16)
    kernel = jnp.full((5, 5, 1, 2), 256.0, jnp.bfloat16).at[0, 0].set(1.0)
    padding = ((0, 0), (0, 0))

    def total(kernel):
        y = _depthwise.convolve(x, kernel, stride=1, padding=padding, dilation=1)
        return y.astype(jnp.float32).sum(), y

    (_, y), gradient = jax.jit(jax.value_and_grad(total, has_aux=True))(kernel)
    assert y.dtype == gradient.dtype == jnp.bfloat16
    np.testing.assert_array_equal(y, jnp.asarray(24 * 256.0 + 1, jnp.bfloat16))
    # Ones added up in bfloat16 would stop at 256.
    np.testing.assert_allclose(np.float32(gradient), 4 * 28 * 60, rtol=4e-3)


def test_other_platforms_keep_the_grouped_form():
    x, kernel = jnp.ones((1, 8, 8, 4)), jnp.ones((3, 3, 1, 4))

    def loss(x, kernel):
        options = {"stride": 1, "padding": ((1, 1), (1, 1)), "dilation": 1}
        return jnp.square(_depthwise.convolve(x, kernel, **options)).sum()

    traced = jax.jit(jax.value_and_grad(loss, argnums=(0, 1))).trace(x, kernel)
    found = {
        platform: traced.lower(lowering_platforms=(platform,)).as_text().count("convolution(")
        for platform in ("cpu", "cuda")
    }
    assert found == {"cpu": 0, "cuda": 3}


def test_more_padding_than_the_kernel_reaches():
    x, kernel = jnp.ones((1, 8, 8, 4)), jnp.ones((3, 3, 1, 4))
    with pytest.raises(ValueError, match=r"padding is \(\(3, 1\), \(1, 1\)\); expected 0 to 2"):
        _depthwise.convolve(x, kernel, stride=1, padding=((3, 1), (1, 1)), dilation=1)


@pytest.mark.parametrize(
    ("size", "kernel_size", "stride", "dilation", "expected"),
    [
        (8, 3, 2, 1, (0, 1)),
        (8, 5, 2, 1, (1, 2)),
        (7, 3, 2, 1, (1, 1)),
        (7, 5, 2, 1, (2, 2)),
        (8, 3, 1, 1, (1, 1)),
        (8, 5, 1, 2, (4, 4)),
        (8, 3, 2, 2, (1, 2)),
        (1, 3, 2, 1, (1, 1)),
        (4, 1, 2, 1, (0, 0)),
    ],
)
def test_same_padding(size, kernel_size, stride, dilation, expected):
    """TensorFlow's rule, as its documentation of tf.nn.convolution states it."""
    found = layers.same_padding(size, kernel_size, stride=stride, dilation=dilation)
    assert found == expected
    reach = dilation * (kernel_size - 1)
    assert (size + sum(found) - reach - 1) // stride + 1 == -(-size // stride)
