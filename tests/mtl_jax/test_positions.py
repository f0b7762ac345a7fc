"""The three resamplings of a table of positions."""

import jax
import numpy as np
import pytest

from mtl_jax.errors import UsageError
from mtl_jax.layers import positions

TABLE = np.random.default_rng(0).normal(size=(7 * 7, 3)).astype(np.float32)


def by_hand(n_in, n_out, step):
    """Four taps of Keys's kernel with a = −¾, tap by tap, the index clamped to the border."""

    def kernel(x, a=-0.75):
        x = abs(x)
        if x <= 1:
            return (a + 2) * x**3 - (a + 3) * x**2 + 1
        return a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a if x < 2 else 0.0

    weights = np.zeros((n_out, n_in))
    for i in range(n_out):
        at = (i + 0.5) * step - 0.5
        for j in range(int(np.floor(at)) - 1, int(np.floor(at)) + 3):
            weights[i, min(max(j, 0), n_in - 1)] += kernel(at - j)
    return weights


@pytest.mark.parametrize("size", [(4, 5), (7, 12), (16, 9)])
def test_aa_is_jax_image_resize(size):
    expected = jax.image.resize(TABLE.reshape(7, 7, 3), (*size, 3), "cubic", antialias=True)
    found = positions.resample(TABLE, (7, 7), size, "aa")
    np.testing.assert_allclose(found.reshape(*size, 3), expected, atol=1e-5)


@pytest.mark.parametrize("n_out", [4, 12])
@pytest.mark.parametrize(("rule", "more"), [("plain", 0.0), ("offset", 0.1)])
def test_plain_and_offset_are_four_clamped_taps(rule, more, n_out):
    weights = positions.matrix(7, n_out, rule)
    np.testing.assert_allclose(weights, by_hand(7, n_out, 7 / (n_out + more)), atol=1e-12)
    np.testing.assert_allclose(weights.sum(axis=1), 1)


def test_rows_are_resampled_by_height():
    """The grid is not transposed: rows go with the first side."""
    found = positions.resample(TABLE, (7, 7), (7, 12), "plain").reshape(7, 12, 3)
    expected = np.einsum("wj,ijc->iwc", positions.matrix(7, 12, "plain"), TABLE.reshape(7, 7, 3))
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("rule", positions.RULES)
def test_a_grid_that_fits_is_left_alone(rule):
    np.testing.assert_array_equal(positions.resample(TABLE, (7, 7), (7, 7), rule), TABLE)


def test_a_grid_may_be_oblong():
    oblong = TABLE[:21]
    found = positions.resample(oblong, (3, 7), (5, 7), "aa").reshape(5, 7, 3)
    expected = np.einsum("hi,ijc->hjc", positions.matrix(3, 5, "aa"), oblong.reshape(3, 7, 3))
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_the_rules_differ():
    found = [positions.resample(TABLE, (7, 7), (9, 9), rule) for rule in positions.RULES]
    assert all(np.abs(a - b).max() > 0.02 for a, b in zip(found, found[1:] + found[:1]))


def test_refused():
    with pytest.raises(UsageError, match="Expected 7×7 positions, found 48"):
        positions.resample(TABLE[:48], (7, 7), (3, 3), "aa")
    with pytest.raises(UsageError, match="expected one of aa, plain, offset"):
        positions.resample(TABLE, (7, 7), (3, 3), "bilinear")
