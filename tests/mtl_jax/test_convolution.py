"""The CPU's own form of the convolution against XLA's plain one."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from mtl_jax.layers import _convolution


def plain(x, kernel, *, stride, padding, dilation):
    """Zeros first, then an unpadded convolution."""
    return lax.conv_general_dilated(
        jnp.pad(x, ((0, 0), padding, padding, (0, 0))),
        kernel,
        (stride, stride),
        "VALID",
        rhs_dilation=(dilation, dilation),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def arrays(size, kernel_size, dtype=jnp.float32):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, *size, 3))
    kernel = rng.standard_normal((kernel_size, kernel_size, 3, 4))
    return jnp.asarray(x, dtype), jnp.asarray(kernel, dtype)


# (_MANY_OPERATIONS, _PATCH_BYTES): a row, some rows, all rows at a time; and a convolution.
FORMS = ((0, 1), (0, 2_000), (0, 10**9), (10**18, 1))
CASES = [
    # size, kernel, stride, padding, dilation
    ((8, 6), 3, 1, (1, 1), 1),
    ((8, 6), 3, 2, (1, 1), 1),
    ((9, 7), 3, 2, (1, 1), 1),
    ((9, 7), 7, 2, (3, 3), 1),
    ((8, 12), 3, 1, (9, 9), 9),  # no row but the middle one meets the image
    ((8, 12), 3, 1, (6, 6), 6),
    ((4, 4), 3, 2, (4, 4), 4),
    ((1, 1), 3, 1, (1, 1), 1),
    ((7, 5), 1, 2, (0, 0), 1),
    ((7, 5), 1, 1, (2, 2), 1),
    ((6, 5), 2, 1, (3, 0), 1),  # more padding than the kernel reaches
    ((5, 6), 3, 1, (8, 8), 1),
    ((5, 6), 4, 1, (1, 2), 1),
    # Less image than kernel.
    ((3, 2), 3, 1, (1, 1), 1),
    ((3, 4), 3, 1, (2, 2), 2),
    ((3, 4), 3, 1, (3, 3), 3),
    ((2, 3), 4, 1, (1, 2), 1),
    ((4, 3), 3, 1, (2, 0), 1),
]


@pytest.mark.parametrize(("size", "kernel_size", "stride", "padding", "dilation"), CASES)
def test_value_and_gradients(size, kernel_size, stride, padding, dilation, monkeypatch):
    options = {"stride": stride, "padding": padding, "dilation": dilation}

    def both(convolve, x, kernel):
        y, pullback = jax.vjp(functools.partial(convolve, **options), x, kernel)
        cotangent = jnp.cos(jnp.arange(y.size, dtype=jnp.float32)).reshape(y.shape)
        return y, pullback(cotangent)

    @jax.jit
    def all_forms(x, kernel):
        forms = []
        for many, patch_bytes in FORMS:
            monkeypatch.setattr(_convolution, "_MANY_OPERATIONS", many)
            monkeypatch.setattr(_convolution, "_PATCH_BYTES", patch_bytes)
            forms.append(both(_convolution.convolve, x, kernel))
        return both(plain, x, kernel), forms

    expected, forms = all_forms(*arrays(size, kernel_size))
    for form, found in zip(FORMS, forms, strict=True):
        message = f"many operations from, patches of: {form}"
        for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4, err_msg=message)


def test_bfloat16_gradient_is_summed_in_float32(monkeypatch):
    monkeypatch.setattr(_convolution, "_MANY_OPERATIONS", 0)
    monkeypatch.setattr(_convolution, "_PATCH_BYTES", 1)
    x, kernel = jnp.ones((8, 64, 64, 1), jnp.bfloat16), jnp.ones((3, 3, 1, 1), jnp.bfloat16)
    convolve = functools.partial(_convolution.convolve, stride=1, padding=(1, 1), dilation=1)
    gradient = jax.jit(jax.grad(lambda kernel: convolve(x, kernel).sum()))(kernel)
    assert gradient.dtype == jnp.bfloat16
    # Ones added up in bfloat16 would stop at 256.
    np.testing.assert_allclose(gradient[1, 1, 0, 0], 8 * 64 * 64, rtol=1e-2)


def test_dead_taps_are_not_computed():
    x, kernel = arrays((8, 16), 3)
    convolve = functools.partial(_convolution.convolve, stride=1, padding=(9, 9), dilation=9)
    lowered = jax.jit(convolve).lower(x, kernel).as_text()
    kernels = re.findall(r"convolution\(.*tensor<(\dx\d)x3x4xf32>\)", lowered)
    assert kernels == ["1x3"]


def test_other_platforms_keep_the_plain_gradient(monkeypatch):
    monkeypatch.setattr(_convolution, "_MANY_OPERATIONS", 0)
    x, kernel = arrays((8, 16), 3)
    convolve = functools.partial(_convolution.convolve, stride=1, padding=(1, 1), dilation=1)
    traced = jax.jit(jax.grad(lambda k: convolve(x, k).sum())).trace(kernel)
    convolutions = {
        platform: traced.lower(lowering_platforms=(platform,)).as_text().count("convolution(")
        for platform in ("cpu", "cuda")
    }
    assert convolutions == {"cpu": 0, "cuda": 1}


@pytest.mark.parametrize(
    ("height", "fitting", "rows"), [(32, 16, 16), (12, 5, 4), (13, 0, 1), (13, 99, 13), (8, 7, 4)]
)
def test_rows_at_a_time(height, fitting, rows):
    assert _convolution._rows_at_a_time(height, fitting) == rows


@pytest.mark.parametrize(
    ("channels", "size", "patches"),
    [
        (64, (64, 64), "256x576"),  # a row of four images: 0.6 MB of patches
        (512, (8, 16), "512x4608"),  # all, 9.4 MB: no fewer pixels than outputs
    ],
)
def test_patches_fit_into_a_cache_and_have_as_many_pixels_as_outputs(channels, size, patches):
    x = jax.ShapeDtypeStruct((4, *size, channels), jnp.float32)
    gather = functools.partial(
        _convolution._kernel_gradient_from_patches,
        size=(3, 3),
        stride=1,
        padding=((1, 1), (1, 1)),
        dilation=1,
    )
    lowered = jax.jit(gather).lower(x, x).as_text()
    assert set(re.findall(r"dot_general .*\(tensor<\d+x\d+xf32>, tensor<(\d+)x", lowered)) == {
        patches.split("x")[0]
    }
    assert f"tensor<{patches}xf32>" in lowered


@pytest.mark.parametrize(("inputs", "outputs"), [(3, 8), (8, 3), (4, 4)])
def test_gradients_of_a_1x1_kernel(inputs, outputs):
    """Whichever side is narrower."""
    rng = np.random.default_rng(0)
    x, kernel, gradient = (
        rng.standard_normal(shape).astype(np.float32)
        for shape in ((2, 5, 7, inputs), (1, 1, inputs, outputs), (2, 3, 4, outputs))
    )
    options = {"stride": 2, "padding": (0, 0), "dilation": 1}
    convolve = functools.partial(_convolution.convolve, **options)
    value, pullback = jax.vjp(convolve, x, kernel)
    np.testing.assert_allclose(value, x[:, ::2, ::2] @ kernel[0, 0], rtol=1e-5, atol=1e-5)
    of_x, of_kernel = pullback(gradient)
    expected = np.zeros_like(x)
    expected[:, ::2, ::2] = gradient @ kernel[0, 0].T
    np.testing.assert_allclose(of_x, expected, rtol=1e-5, atol=1e-5)
    expected = np.tensordot(np.float64(x[:, ::2, ::2]), np.float64(gradient), ([0, 1, 2],) * 2)
    np.testing.assert_allclose(of_kernel[0, 0], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("stride", "dilation"), [(1, 1), (2, 1), (1, 2)])
def test_gradients_on_a_cpu_are_fast_in_loops_too(stride, dilation):
    """XLA gives convolutions within a loop to Eigen only if their axes are in this order."""
    x, kernel = np.zeros((2, 9, 8, 3), np.float32), np.zeros((3, 3, 3, 4), np.float32)

    def gradients(x, kernel):
        convolve = functools.partial(
            _convolution.convolve, stride=stride, padding=(dilation, dilation), dilation=dilation
        )
        value, pullback = jax.vjp(convolve, x, kernel)
        return pullback(value)

    lowered = jax.jit(gradients).trace(x, kernel).lower(lowering_platforms=("cpu",)).as_text()
    orders = re.findall(r"dim_numbers = (\S.*?\]->\[.*?\])", lowered)
    assert orders == ["[b, 0, 1, f]x[0, 1, i, o]->[b, 0, 1, f]"] * 3
