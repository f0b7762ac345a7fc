import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtl_jax import layers
from mtl_jax.layers import transposed


def reference(x, kernel, stride, dilation, padding, output_padding):
    """The definition, in float64: every input pixel strews its kernel over the output."""
    batch, height, width, _ = x.shape
    k, c_out = kernel.shape[0], kernel.shape[3]
    sides = [stride * (n - 1) + dilation * (k - 1) + 1 + output_padding for n in (height, width)]
    out = np.zeros((batch, *sides, c_out))
    for row, column, i, j in itertools.product(range(height), range(width), range(k), range(k)):
        r, c = row * stride + i * dilation, column * stride + j * dilation
        out[:, r, c] += x[:, row, column].astype(np.float64) @ kernel[i, j]
    return out[:, padding : sides[0] - padding, padding : sides[1] - padding]


@pytest.mark.parametrize(
    ("k", "stride", "dilation", "padding", "output_padding"),
    [
        (3, 2, 1, 1, 1),
        (3, 2, 1, 1, 0),
        (3, 1, 4, 4, 0),
        (3, 1, 1, 0, 0),
        (8, 4, 1, 0, 0),
        (8, 4, 1, 2, 0),
        (2, 3, 1, 0, 2),  # fewer taps than the stride: some pixels see nothing
    ],
)
def test_definition(k, stride, dilation, padding, output_padding):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 4, 3, 5)).astype(np.float32)
    module = transposed.ConvTranspose(
        2, k, stride, dilation, padding, output_padding, bias_init="pytorch"
    )
    params = {
        "kernel": rng.standard_normal((k, k, 5, 2)).astype(np.float32),
        "bias": np.float32([0.5, -1.5]),
    }
    out = module.apply({"params": params}, x)
    expected = reference(x, params["kernel"], stride, dilation, padding, output_padding)
    np.testing.assert_allclose(out, expected + params["bias"], rtol=1e-4, atol=1e-4)


def test_bfloat16():
    module = transposed.ConvTranspose(2, dtype=jnp.bfloat16)
    x = jnp.ones((1, 4, 4, 3))
    out, variables = jax.jit(module.init_with_output)(jax.random.key(0), x)
    assert out.dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype(jnp.float32)}


def test_stride_with_dilation():
    with pytest.raises(ValueError, match="stride=2 with dilation=2"):
        transposed.ConvTranspose(2, dilation=2, name="up").init(
            jax.random.key(0), jnp.ones((1, 4, 4, 3))
        )


class TestInitialisers:
    @pytest.mark.parametrize("factor", [2, 32])
    def test_bilinear_interpolates(self, factor):
        """As an upsampling with padding it equals half-pixel interpolation, off the border."""
        module = transposed.ConvTranspose(
            2, 2 * factor, factor, 1, factor // 2, 0, use_bias=False, kernel_init="bilinear"
        )
        x = np.random.default_rng(0).standard_normal((1, 4, 5, 2)).astype(np.float32)
        out, variables = jax.jit(module.init_with_output)(jax.random.key(0), x)
        expected = layers.resize_bilinear(jnp.asarray(x), (4 * factor, 5 * factor))
        inside = (slice(None), slice(factor, -factor), slice(factor, -factor))
        np.testing.assert_allclose(out[inside], expected[inside], rtol=1e-5, atol=1e-5)
        kernel = variables["params"]["kernel"]
        assert not np.any(kernel[:, :, 0, 1])
        assert not np.any(kernel[:, :, 1, 0])

    @pytest.mark.parametrize(("size", "taps"), [(3, [0.5, 1, 0.5]), (4, [0.25, 0.75, 0.75, 0.25])])
    def test_bilinear_kernel(self, size, taps):
        np.testing.assert_allclose(transposed.bilinear_kernel(size), np.outer(taps, taps))

    @pytest.mark.parametrize(
        ("name", "variance"),
        [
            # PyTorch counts the fans of a transposed convolution the other way round.
            ("kaiming_normal_fan_out", 2 / (9 * 64)),
            ("kaiming_normal_fan_in", 2 / (9 * 16)),
            ("xavier_normal", 2 / (9 * (64 + 16))),
            ("pytorch", 1 / (3 * 9 * 16)),
            ("zeros", 0),
        ],
    )
    def test_moments(self, name, variance):
        kernel = transposed.initializer(name)(jax.random.key(0), (3, 3, 64, 16), jnp.float32)
        assert kernel.shape == (3, 3, 64, 16)
        np.testing.assert_allclose(np.var(kernel), variance, rtol=0.05)
        np.testing.assert_allclose(np.mean(kernel), 0, atol=4 * (variance / kernel.size) ** 0.5)

    def test_bias(self):
        module = transposed.ConvTranspose(400)
        init = jax.jit(functools.partial(module.init, jax.random.key(0)))
        bias = init(jnp.ones((1, 2, 2, 3)))["params"]["bias"]
        bound = (9 * 400) ** -0.5
        assert 0.95 * bound < np.abs(bias).max() <= bound

    def test_unknown(self):
        with pytest.raises(ValueError, match="Initialiser 'tent' is unknown; known are bilinear"):
            transposed.initializer("tent")
