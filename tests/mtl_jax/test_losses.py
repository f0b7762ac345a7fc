"""Losses against float64 NumPy, closed forms and the reports' worked examples."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtl_jax import losses

RNG = np.random.default_rng(0)
SHAPE = (3, 4, 5)
AVERAGES = [losses.mean_per_batch, losses.mean_per_image]


def _ragged_mask():
    mask = RNG.random(SHAPE) < 0.6
    mask[1] = False  # an image without any valid pixel
    return mask


def _cross_entropy_float64(logits, labels, mask):
    logits = np.asarray(logits, np.float64)[mask]
    shifted = logits - logits.max(-1, keepdims=True)
    log_probabilities = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    return -np.mean(log_probabilities[np.arange(len(logits)), labels[mask]])


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_cross_entropy_equals_float64(dtype):
    logits = jnp.asarray(RNG.normal(size=(*SHAPE, 7)) * 4, dtype)
    labels, mask = RNG.integers(0, 7, SHAPE).astype(np.int32), _ragged_mask()
    labels[~mask] = 255
    loss = jax.jit(losses.cross_entropy)(logits, labels, mask)
    assert loss.dtype == jnp.float32
    np.testing.assert_allclose(loss, _cross_entropy_float64(logits, labels, mask), rtol=2e-6)


def test_cross_entropy_gradient_is_softmax_minus_one_hot():
    logits = jnp.asarray(RNG.normal(size=(*SHAPE, 7)), jnp.float32)
    labels, mask = RNG.integers(0, 7, SHAPE).astype(np.int32), _ragged_mask()
    labels[~mask] = 255
    gradient = jax.jit(jax.grad(losses.cross_entropy))(logits, labels, mask)
    expected = np.asarray(jax.nn.softmax(logits)) - (labels[..., None] == np.arange(7))
    expected = expected * mask[..., None] / mask.sum()
    np.testing.assert_allclose(gradient, expected, atol=1e-7)


def test_cross_entropy_is_stable_and_ignores_a_common_offset():
    logits = np.float32([[[[1e4, -1e4, 0.0], [3.0, 1.0, 2.0]]]])
    labels, mask = np.int32([[[1, 0]]]), np.ones((1, 1, 2), bool)
    loss = losses.cross_entropy(logits, labels, mask)
    np.testing.assert_allclose(loss, _cross_entropy_float64(logits, labels, mask), rtol=1e-6)
    shifted = losses.cross_entropy(logits[:, :, 1:] + 1000.0, labels[:, :, 1:], mask[:, :, 1:])
    expected = losses.cross_entropy(logits[:, :, 1:], labels[:, :, 1:], mask[:, :, 1:])
    np.testing.assert_allclose(shifted, expected, rtol=1e-3)


@pytest.mark.parametrize("label", [-1, 3, 255])
def test_cross_entropy_never_hides_a_label_outside_the_class_table(label):
    logits, labels = jnp.zeros((1, 1, 2, 3)), np.int32([[[0, label]]])
    assert np.isnan(losses.cross_entropy(logits, labels, np.ones((1, 1, 2), bool)))
    masked = losses.cross_entropy(logits, labels, np.array([[[True, False]]]))
    np.testing.assert_allclose(masked, np.log(3), rtol=1e-6)


def test_berhu_worked_example():
    x = jnp.float32([0.1, -0.5, 2.0, -4.0])
    np.testing.assert_allclose(losses.berhu(x), [0.1, 0.5, 2.9, 10.4], rtol=1e-6)
    np.testing.assert_allclose(jnp.mean(losses.berhu(x)), 3.475, rtol=1e-6)


def test_berhu_gradient_takes_its_threshold_as_constant():
    x = np.float32([0.1, -0.5, 2.0, -4.0])
    gradient = jax.jit(jax.grad(lambda x: jnp.sum(losses.berhu(x))))(x)
    np.testing.assert_allclose(gradient, [1.0, -1.0, 2.0 / 0.8, -4.0 / 0.8], rtol=1e-6)


@pytest.mark.parametrize("scale", [0.0, 1e-30, 1e30])
def test_berhu_is_finite_and_homogeneous(scale):
    x = np.float32([0.1, -0.5, 2.0, -4.0]) * np.float32(scale)
    value, gradient = jax.jit(jax.value_and_grad(lambda x: jnp.sum(losses.berhu(x))))(x)
    np.testing.assert_allclose(value, 13.9 * scale, rtol=1e-5)
    assert np.all(np.isfinite(gradient))
    if scale == 0.0:
        np.testing.assert_array_equal(gradient, 0.0)


def test_l1_gradient_leaves_a_perfect_prediction_alone():
    gradient = jax.jit(jax.grad(lambda x: jnp.sum(losses.l1(x))))(np.float32([-3.0, 0.0, 2.0]))
    np.testing.assert_array_equal(gradient, [-1.0, 0.0, 1.0])


def test_averages_differ_by_the_weight_of_an_image():
    values = np.float32([[[1.0, 1.0, 1.0]], [[5.0, 9.0, 9.0]], [[7.0, 7.0, 7.0]]])
    mask = np.array([[[True, True, True]], [[True, False, False]], [[False, False, False]]])
    assert losses.mean_per_batch(values, mask) == 2.0  # (1 + 1 + 1 + 5) / 4
    assert losses.mean_per_image(values, mask) == 3.0  # (1 + 5) / 2, the third image skipped


@pytest.mark.parametrize("average", AVERAGES)
@pytest.mark.parametrize("pointwise", [losses.l1, losses.l2, losses.berhu])
def test_regression_equals_float64(pointwise, average):
    error, mask = RNG.normal(size=SHAPE).astype(np.float32) * 3, _ragged_mask()
    error[~mask] = 0
    exact = np.abs(error.astype(np.float64))
    c = exact.max() / 5
    exact = {
        losses.l1: exact,
        losses.l2: exact**2,
        losses.berhu: np.where(exact <= c, exact, (exact**2 + c**2) / (2 * c)),
    }[pointwise]
    images = [exact[i][mask[i]] for i in range(len(mask)) if mask[i].any()]
    expected = {
        losses.mean_per_batch: np.mean(np.concatenate(images)),
        losses.mean_per_image: np.mean([np.mean(image) for image in images]),
    }[average]
    np.testing.assert_allclose(average(pointwise(error), mask), expected, rtol=1e-6)


@pytest.mark.parametrize("average", AVERAGES)
def test_nothing_valid_gives_zero_without_gradient(average):
    mask = np.zeros(SHAPE, bool)
    values = jnp.full(SHAPE, jnp.nan)  # what is masked is never looked at
    loss, gradient = jax.jit(jax.value_and_grad(average))(values, mask)
    assert loss == 0
    np.testing.assert_array_equal(gradient, 0.0)
    logits, labels = jnp.ones((*SHAPE, 4)), np.full(SHAPE, 255, np.int32)
    loss, gradient = jax.jit(jax.value_and_grad(losses.cross_entropy))(logits, labels, mask)
    assert loss == 0
    np.testing.assert_array_equal(gradient, 0.0)


def test_sum_over_count_has_report_es_small_number():
    """10⁻⁴ is a ten-thousandth of a lone pixel, and far above float32's rounding."""
    mask = jnp.zeros((1, 2, 2), bool).at[0, 0, 0].set(True)
    found = losses.sum_over_count(jnp.full((1, 2, 2), 3.0), mask)
    assert float(found) == pytest.approx(3.0 / 1.0001, rel=1e-6)


def sigloss(prediction, target, mask):
    """In float64, by its formula."""
    g = (np.log(prediction + 1e-3) - np.log(target + 1e-3))[mask]
    return np.sqrt(g.var(ddof=1) + 0.15 * g.mean() ** 2)


def test_scale_invariant_log_is_its_formula():
    rng = np.random.default_rng(0)
    prediction, target = rng.uniform(0.5, 9, (2, 2, 3, 4))
    mask = rng.random((2, 3, 4)) < 0.6
    found = losses.scale_invariant_log(jnp.asarray(prediction, jnp.float32), target, mask)
    assert found == pytest.approx(sigloss(prediction, target, mask), rel=1e-5)
    alone = losses.scale_invariant_log(prediction, target, mask, mean_alone=True)
    g = (np.log(prediction + 1e-3) - np.log(target + 1e-3))[mask]
    assert alone == pytest.approx(np.sqrt(0.15) * abs(g.mean()), rel=1e-5)


def test_scale_invariant_log_never_hides_a_nan():
    depth, mask = jnp.full((1, 2, 2), 3.0), np.ones((1, 2, 2), bool)
    wrong = depth.at[0, 0, 0].set(jnp.nan)
    assert np.isnan(losses.scale_invariant_log(depth, wrong, mask))
    assert np.isnan(losses.scale_invariant_log(wrong, depth, mask))
    mask[0, 0, 0] = False
    assert losses.scale_invariant_log(depth, wrong, mask) == 0


@pytest.mark.parametrize("case", ["nothing counts", "exact", "one pixel", "negative"])
def test_scale_invariant_log_has_finite_gradients(case):
    target = jnp.full((1, 2, 2), 3.0)
    mask = jnp.zeros((1, 2, 2), bool) if case == "nothing counts" else jnp.ones((1, 2, 2), bool)
    if case == "one pixel":
        mask = mask.at[:, 1:].set(False).at[:, :, 1:].set(False)
    prediction = {"exact": target, "negative": target.at[0, 0, 0].set(-5.0)}.get(case, target + 1)
    value, gradient = jax.value_and_grad(losses.scale_invariant_log)(prediction, target, mask)
    assert np.isfinite(gradient).all()
    assert (value == 0) == (case in ("nothing counts", "exact"))
    if case == "negative":
        assert gradient[0, 0, 0] == 0
