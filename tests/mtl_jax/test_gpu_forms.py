"""What a GPU computes in another form is the same: at real sizes, inside jit, beside float64.

The forms are run here by the CPU; cuDNN's attention has a stand-in that takes what it takes.
"""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.interpreters import ad

from mtl_jax import export
from mtl_jax.layers import _attention, _normalisation, _platform, resize


@pytest.fixture
def for_cuda(monkeypatch):
    monkeypatch.setattr(_platform, "cuda_capability", lambda: 9.0)


def normal(*shape, seed=0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def is_close(found, expected, tolerance):
    """Beside the largest value."""
    found, expected = np.float64(found), np.float64(expected)
    assert np.abs(found - expected).max() <= tolerance * np.abs(expected).max()


# Statistics of a batch


@pytest.fixture
def small_cache(monkeypatch, for_cuda):
    monkeypatch.setattr(_normalisation, "_CACHE_BYTES", 0)


@pytest.mark.parametrize(
    ("offset", "spread"), [(0.0, 1.0), (30.0, 1.0), (1000.0, 0.5)], ids=["", "30", "1000"]
)
def test_moments_in_one_pass(small_cache, offset, spread):
    x = normal(8, 32, 64, 64) * np.float32(spread) + np.float32(offset)
    mean, var = jax.jit(_normalisation._moments)(x)
    is_close(mean, np.float64(x).mean((0, 1, 2)), 1e-6)
    is_close(var, np.float64(x).var((0, 1, 2)), 1e-5)


def test_moments_where_every_fourth_value_lies(small_cache):
    """They lie four standard deviations off, as far as they can."""
    x = 1e-3 * normal(4, 32, 64, 8)
    x[:, ::4, ::4] += 50.0
    mean, var = jax.jit(_normalisation._moments)(x)
    is_close(mean, np.float64(x).mean((0, 1, 2)), 1e-5)
    is_close(var, np.float64(x).var((0, 1, 2)), 1e-5)


def test_moments_of_equal_values(small_cache):
    mean, var = jax.jit(_normalisation._moments)(np.full((2, 5, 3, 4), 0.1, np.float32))
    np.testing.assert_allclose(mean, 0.1, rtol=1e-6)
    assert np.all((var >= 0) & (var < 1e-14))


def test_moments_are_made_in_one_pass_of_what_is_large_and_for_a_gpu(monkeypatch):
    def is_one_pass(batch):
        # A function of its own, as JAX traces each once.
        jaxpr = jax.make_jaxpr(lambda x: _normalisation._moments(x))
        return "max" in str(jaxpr(jax.ShapeDtypeStruct((batch, 64, 128, 64), jnp.bfloat16)))

    assert not is_one_pass(64)
    monkeypatch.setattr(_platform, "cuda_capability", lambda: 9.0)
    assert is_one_pass(64)
    assert not is_one_pass(8)


# Resizes

RESIZES = (resize.resize_bilinear, resize.resize_bilinear_align_corners, resize.resize_bilinear_tf1)
SIZES = [
    ((64, 128), (256, 512)),
    ((16, 32), (64, 128)),
    ((32, 64), (64, 128)),
    ((24, 40), (9, 80)),
    ((1, 1), (8, 16)),
]


def functions_and_sizes():
    """All; often one size for each function, and for one function all sizes."""
    for function, (before, after) in itertools.product(RESIZES, SIZES):
        often = function is RESIZES[0] or before == (24, 40)
        sizes = "-".join("x".join(map(str, size)) for size in (before, after))
        marks = () if often else pytest.mark.weekly
        yield pytest.param(function, before, after, id=f"{function.__name__}-{sizes}", marks=marks)


@pytest.mark.parametrize(("function", "before", "after"), [*functions_and_sizes()])
def test_resize_by_taps(monkeypatch, function, before, after):
    """Beside the products of matrices in float64; the gradient is gathered, too."""
    x, gradient = normal(2, *before, 8), normal(2, *after, 8, seed=1)

    def both(x, gradient):
        y, pullback = jax.vjp(lambda x: function(x, after), x)
        return y, pullback(gradient)[0]

    with jax.enable_x64(True):
        expected = jax.jit(both)(x.astype(np.float64), gradient.astype(np.float64))
    monkeypatch.setattr(_platform, "cuda_capability", lambda: 9.0)
    operations = str(jax.make_jaxpr(both)(x, gradient))
    assert "gather" in operations
    assert "scatter" not in operations
    assert "dot" not in operations
    for ours, theirs in zip(jax.jit(both)(x, gradient), expected, strict=True):
        is_close(ours, theirs, 1e-6)


def test_resize_of_bfloat16_is_rounded_once(for_cuda):
    x = jnp.asarray(normal(2, 16, 16, 8), jnp.bfloat16)
    found = jax.jit(resize.resize_bilinear, static_argnums=1)(x, (40, 56))
    exact = resize.resize_bilinear(x.astype(jnp.float32), (40, 56))
    assert found.dtype == jnp.bfloat16
    np.testing.assert_array_equal(found, exact.astype(jnp.bfloat16))


def test_resize_by_many_taps_is_a_product(for_cuda):
    """Of a map made 32 times as large a pixel gets gradients of 64 rows."""
    jaxpr = jax.make_jaxpr(lambda x: resize.resize_bilinear(x, (64, 64)))(normal(1, 2, 2, 3))
    assert "dot_general" in str(jaxpr)
    assert "gather" not in str(jaxpr)


def test_resize_has_second_derivatives_without_scatters(for_cuda):
    """As Auto-Lambda takes them: through the pullback."""

    def along(x, direction):
        y, pullback = jax.vjp(lambda x: resize.resize_bilinear(x, (16, 16)), x)
        _, forward = jax.vjp(lambda by: pullback(by)[0], jnp.ones_like(y))
        return forward(direction)[0]

    x, direction = normal(2, 8, 8, 3), normal(2, 8, 8, 3, seed=1)
    assert "scatter" not in str(jax.make_jaxpr(along)(x, direction))
    np.testing.assert_allclose(
        jax.jit(along)(x, direction), resize.resize_bilinear(direction, (16, 16)), atol=1e-6
    )


# Attention


def kernel(q, k, v, *, implementation, key_value_seq_lengths=None, query_seq_lengths=None):
    """Takes what cuDNN's kernel takes, and computes it step by step."""
    assert implementation == "cudnn"
    assert q.shape[1] % 2 == 0
    scores = jnp.einsum("bqhd,bkhd->bhqk", q, k) / np.sqrt(q.shape[-1])
    if key_value_seq_lengths is not None:
        there = jnp.arange(k.shape[1]) < key_value_seq_lengths[:, None]
        scores = jnp.where(there[:, None, None], scores, -jnp.inf)
    y = jnp.einsum("bhqk,bkhd->bqhd", jax.nn.softmax(scores, axis=-1), v)
    if query_seq_lengths is not None:  # what it writes behind them is nobody's business
        y = jnp.where((jnp.arange(q.shape[1]) < query_seq_lengths[:, None])[..., None, None], y, 7)
    return y.astype(q.dtype)


def in_float64(q, k, v, gradient):
    """Attention and its gradients by the chain rule."""
    q, k, v, gradient = (np.float64(array) for array in (q, k, v, gradient))
    scale = q.shape[-1] ** -0.5
    scores = np.einsum("bqhd,bkhd->bhqk", q, k) * scale
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    of_weights = np.einsum("bqhd,bkhd->bhqk", gradient, v)
    of_scores = weights * (of_weights - (weights * of_weights).sum(-1, keepdims=True)) * scale
    return np.einsum("bhqk,bkhd->bqhd", weights, v), (
        np.einsum("bhqk,bkhd->bqhd", of_scores, k),
        np.einsum("bhqk,bqhd->bkhd", of_scores, q),
        np.einsum("bhqk,bqhd->bkhd", weights, gradient),
    )


@pytest.mark.parametrize("tokens", [512, 513])  # of 256×512 pixels, without and with a class token
@pytest.mark.parametrize("form", ["plain", "fused"])
def test_attention_and_its_gradients(monkeypatch, form, tokens):
    monkeypatch.setattr(jax.nn, "dot_product_attention", kernel)
    attend = {"plain": _attention.plain, "fused": _attention._fused}[form]
    q, k, v, gradient = normal(4, 1, tokens, 4, 64)

    @jax.jit
    def both(q, k, v, gradient):
        y, pullback = jax.vjp(attend, q, k, v)
        return y, pullback(gradient)

    expected = jax.tree.leaves(in_float64(q, k, v, gradient))
    for ours, theirs in zip(jax.tree.leaves(both(q, k, v, gradient)), expected, strict=True):
        is_close(ours, theirs, 3e-6)


@pytest.mark.slow
def test_attention_by_a_kernel_has_second_derivatives(monkeypatch):
    """Of which cuDNN has none; as Auto-Lambda takes them, through the pullback, in every slope.

    They are linear in the gradient, so the derivative along another one is the slopes of that.
    """
    monkeypatch.setattr(jax.nn, "dot_product_attention", kernel)
    q, k, v, gradient, *directions = normal(7, 1, 513, 2, 64)

    @jax.jit
    def along(gradient, directions):
        _, pullback = jax.vjp(_attention._fused, q, k, v)
        _, forward = jax.vjp(pullback, gradient)
        return forward(tuple(directions))[0]

    # Σ d · slopes(g) is linear in g: its derivative by g, times another g, is itself of that g.
    expected = sum(
        (d * s).sum() for d, s in zip(directions, in_float64(q, k, v, q)[1], strict=True)
    )
    found = np.float64(along(gradient, directions))
    np.testing.assert_allclose((found * q).sum(), expected, rtol=1e-4)


@pytest.mark.weekly
def test_attention_along_a_change_of_its_keys(monkeypatch):
    """Beside differences in float64."""
    monkeypatch.setattr(jax.nn, "dot_product_attention", kernel)
    q, k, v, gradient, direction = normal(5, 1, 513, 2, 64)

    def of_key(k):
        return jax.vjp(_attention._fused, q, k, v)[1](gradient)[0]

    found = jax.jit(lambda k, d: jax.jvp(of_key, (k,), (d,))[1])(k, direction)
    step = 1e-5 * np.float64(direction)
    high, low = (in_float64(q, key, v, gradient)[1][0] for key in (k + step, k - step))
    is_close(found, (high - low) / 2e-5, 1e-5)


def test_attention_by_a_kernel_is_not_gone_back_through_with_zeros(monkeypatch):
    monkeypatch.setattr(jax.nn, "dot_product_attention", kernel)
    seen, slopes = [], _attention._slopes
    monkeypatch.setattr(_attention, "_slopes", lambda *args: seen.append(args) or slopes(*args))
    q, k, v = normal(3, 1, 6, 1, 8)
    y, pullback = jax.vjp(lambda q: (_attention._fused(q, k, v), q.sum()), q)
    nothing = ad.Zero(jax.typeof(y[0]).to_tangent_aval())
    np.testing.assert_array_equal(pullback((nothing, 1.0))[0], np.ones(q.shape))
    assert not seen
    pullback((y[0], 1.0))
    assert seen


@pytest.mark.parametrize(
    ("dtype", "width", "capability", "uses"),
    [
        ("bfloat16", 64, 9.0, True),
        ("bfloat16", 32, 8.0, True),
        ("bfloat16", 64, 7.5, False),
        ("bfloat16", 12, 9.0, False),
        ("float32", 64, 9.0, False),
    ],
)
def test_attention_by_a_kernel_where_it_can_take_it(monkeypatch, dtype, width, capability, uses):
    seen = []
    monkeypatch.setattr(_platform, "cuda_capability", lambda: capability)
    monkeypatch.setattr(
        jax.nn, "dot_product_attention", lambda *a, **k: seen.append(k) or kernel(*a, **k)
    )
    q, k, v = jnp.asarray(normal(3, 1, 6, 2, width), dtype)
    # A function of its own, as JAX traces each once. It is lowered for the CPU, in the plain form.
    found = jax.jit(lambda *args: _attention.attend(*args))(q, k, v)
    np.testing.assert_array_equal(found, jax.jit(_attention.plain)(q, k, v))
    assert bool(seen) == uses


def test_a_cpu_is_no_gpu():
    assert not _platform.is_cuda()
    for device in (jax.devices("cpu")[0], "cpu"):
        with jax.default_device(device):
            assert _platform.cuda_capability() == 0


@pytest.mark.slow
def test_what_is_exported_is_the_same_from_a_machine_with_a_gpu(monkeypatch):
    """It is for other platforms, too, and a kernel of cuDNN's can be written to no file."""

    def call(variables, image):
        x = image.astype(jnp.bfloat16) * variables["params"]["scale"].astype(jnp.bfloat16)
        x = resize.resize_bilinear(x, (8, 8)).reshape(-1, 64, 3, 1)
        return {"task": _attention.attend(*(jnp.tile(x, (1, 1, 1, 8)),) * 3)}

    texts, weights = [], {"params/scale": np.ones(1, np.float32)}
    for gpu in (0.0, 9.0):
        monkeypatch.setattr(
            _platform,
            "cuda_capability",
            lambda gpu=gpu: 0 if jax.config.jax_default_device else gpu,
        )
        texts.append(export.lower(lambda *args: call(*args), weights, (4, 4)).mlir_module())
    assert texts[0] == texts[1]
