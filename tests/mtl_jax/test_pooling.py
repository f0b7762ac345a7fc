import itertools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtl_jax.layers import pooling

SIZES = [(4, 6), (5, 7), (1, 3), (2, 1)]


def images(shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def windows_2x2(x):
    """{(row, column): the pixels of its 2×2 window, in row-major order}, for one [H, W] map."""
    height, width = x.shape
    for row, column in itertools.product(range(0, height, 2), range(0, width, 2)):
        pixels = [
            (r, c) for r in (row, row + 1) for c in (column, column + 1) if r < height and c < width
        ]
        yield row // 2, column // 2, pixels


class TestMaxPoolCeil:
    @pytest.mark.parametrize(
        ("size", "window", "stride", "padding", "expected"),
        [
            (256, 3, 2, 1, 129),  # a ResNet's stem in report D
            (255, 3, 2, 1, 128),
            (127, 3, 2, 0, 63),  # AlexNet's at 512 pixels
            (63, 3, 2, 0, 31),
            (31, 3, 2, 0, 15),
            (64, 3, 2, 0, 32),
            (33, 2, 2, 0, 17),
            (1, 2, 2, 0, 1),
            (3, 2, 2, 1, 2),  # a window that would begin in the padding after does not count
        ],
    )
    def test_size(self, size, window, stride, padding, expected):
        x = jax.ShapeDtypeStruct((1, size, 200, 1), jnp.float32)
        out = jax.eval_shape(lambda x: pooling.max_pool_ceil(x, window, stride, padding), x)
        assert out.shape[1] == expected

    @pytest.mark.parametrize(("window", "stride", "padding"), [(2, 2, 0), (3, 2, 0), (3, 2, 1)])
    @pytest.mark.parametrize("size", [(7, 8), (6, 5)])
    def test_values(self, size, window, stride, padding):
        x = images((2, *size, 3)) - 5  # all negative: padding by 0 would win
        pool = jax.jit(pooling.max_pool_ceil, static_argnums=(1, 2, 3))
        out = np.asarray(pool(x, window, stride, padding))
        for row, column in itertools.product(*map(range, out.shape[1:3])):
            first, left = row * stride - padding, column * stride - padding
            seen = x[:, max(first, 0) : first + window, max(left, 0) : left + window]
            np.testing.assert_array_equal(out[:, row, column], seen.max((1, 2)))

    def test_too_small(self):
        with pytest.raises(ValueError, match="has no window in features of 1×9 pixels"):
            pooling.max_pool_ceil(jnp.zeros((1, 1, 9, 1)), 5, 2, 0)


class TestAveragePool:
    @pytest.mark.parametrize("size", SIZES)
    def test_2x2(self, size):
        x = images((2, *size, 3))
        out = jax.device_get(jax.jit(pooling.average_pool_2x2)(x))
        assert out.shape == (2, -(-size[0] // 2), -(-size[1] // 2), 3)
        for row, column, pixels in windows_2x2(x[0, :, :, 0]):
            mean = np.mean([x[:, r, c].astype(np.float64) for r, c in pixels], axis=0)
            np.testing.assert_allclose(out[:, row, column], mean, rtol=1e-5, atol=1e-6)

    def test_valid(self):
        x = images((2, 8, 9, 3))
        out = pooling.average_pool_valid(x, 7)
        assert out.shape == (2, 2, 3, 3)
        expected = x[:, 1:8, 2:9].astype(np.float64).mean((1, 2))
        np.testing.assert_allclose(out[:, 1, 2], expected, rtol=1e-4, atol=1e-6)

    def test_too_small(self):
        with pytest.raises(ValueError, match="needs features at least that large, and these have"):
            pooling.average_pool_valid(jnp.zeros((1, 8, 6, 1)), 7)


@pytest.mark.parametrize("size", SIZES)
class TestMaxPoolWithPositions:
    def test_pool_and_unpool(self, size):
        x = images((2, *size, 3)) - 5
        y = images((2, -(-size[0] // 2), -(-size[1] // 2), 3), seed=1)

        @jax.jit
        def down_and_up(x, y):
            pooled, position = pooling.max_pool_2x2(x)
            return pooled, position, pooling.max_unpool_2x2(y, position, size)

        pooled, position, out = jax.device_get(down_and_up(x, y))
        assert position.dtype == jnp.int8
        expected = np.zeros_like(x)
        for row, column, pixels in windows_2x2(x[0, :, :, 0]):
            values = np.stack([x[:, r, c] for r, c in pixels])
            np.testing.assert_array_equal(pooled[:, row, column], values.max(0))
            for b, c in itertools.product(range(2), range(3)):
                r, k = pixels[values[:, b, c].argmax()]
                expected[b, r, k, c] = y[b, row, column, c]
        np.testing.assert_array_equal(out, expected)

    def test_gradients(self, size):
        """Both ways it is the other's transpose."""
        x = images((1, *size, 2))
        y = images((1, -(-size[0] // 2), -(-size[1] // 2), 2), seed=2)

        @jax.jit
        def both(x, y):
            (pooled, position), pullback = jax.vjp(pooling.max_pool_2x2, x)
            (gradient,) = pullback((y, np.zeros(position.shape, jax.dtypes.float0)))
            unpooled = pooling.max_unpool_2x2(y, position, size)
            _, pullback = jax.vjp(lambda p: pooling.max_unpool_2x2(p, position, size), pooled)
            return (gradient, unpooled), (pullback(x)[0], pooled)

        for found, expected in both(x, y):
            np.testing.assert_array_equal(found, expected)


def test_the_first_of_equal_maxima_wins():
    """As in PyTorch; after a ReLU equal pixels are common."""
    x = jnp.asarray([[0.0, 3.0, 1.0, 1.0], [3.0, 3.0, 1.0, 1.0]])[None, :, :, None]
    _, position = pooling.max_pool_2x2(x)
    np.testing.assert_array_equal(position[0, 0, :, 0], [1, 0])
    gradient = jax.jit(jax.grad(lambda x: pooling.max_pool_2x2(x)[0].sum()))(x)
    np.testing.assert_array_equal(gradient[0, :, :, 0], [[0, 1, 1, 0], [0, 0, 0, 0]])


@pytest.mark.parametrize("place", range(4))
def test_nan_is_not_lost(place):
    x = np.zeros(4, np.float32)
    x[place] = np.nan
    pooled, position = pooling.max_pool_2x2(x.reshape(1, 2, 2, 1))
    assert np.isnan(pooled).all()
    assert position.item() == place


def test_unpooling_to_another_size():
    position = jnp.zeros((1, 2, 2, 3), jnp.int8)
    with pytest.raises(ValueError, match=re.escape("needs features and positions of shape")):
        pooling.max_unpool_2x2(jnp.zeros((1, 2, 2, 3)), position, (5, 4))
    with pytest.raises(ValueError, match=re.escape("(1, 2, 2, 3) and (1, 1, 2, 3)")):
        pooling.max_unpool_2x2(jnp.zeros((1, 2, 2, 3)), position[:, :1], (4, 4))


@pytest.mark.slow
@pytest.mark.parametrize("pool", [pooling.average_pool_valid, pooling.average_pool_ceil])
def test_a_mean_of_bfloat16_is_of_all(pool):
    """And so is its gradient, which for windows that overlap is a sum of as many."""
    x = jnp.ones((1, 40, 40, 2), jnp.bfloat16)
    y, pullback = jax.vjp(lambda x: pool(x, 20), x)
    assert y.dtype == jnp.bfloat16
    np.testing.assert_array_equal(y, np.ones(y.shape))
    gradient = np.asarray(pullback(jnp.ones_like(y))[0], np.float64)
    np.testing.assert_allclose(gradient.sum(), y.size, rtol=1e-2)
