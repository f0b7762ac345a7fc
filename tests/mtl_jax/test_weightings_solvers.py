"""The solvers against float64 enumeration of active sets, and against their own equations."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtl_jax.weightings import _solvers
from mtl_jax.weightings._base import inner_products

COUNTS = (3, pytest.param(8, marks=pytest.mark.slow))
shortest = jax.jit(_solvers.shortest)
cone = jax.jit(_solvers.cone)
eigen = jax.jit(_solvers.eigen)


def gradients(count: int, spread: float, seed: int = 0) -> np.ndarray:
    """[trials, K, 12] float32 that conflict, of lengths up to 10^±spread apart."""
    random = np.random.default_rng(seed)
    found = random.normal(size=(6, count, 12))
    found -= 0.5 * found.mean(axis=1, keepdims=True)
    found *= 10.0 ** random.uniform(-spread, spread, (6, count, 1)) * 1e-3
    return found.astype(np.float32).astype(np.float64)


def shortest_by_enumeration(gram: np.ndarray) -> np.ndarray:
    """The best of the solutions on all faces of the simplex."""
    count, best = len(gram), (np.inf, None)
    for size in range(1, count + 1):
        for face in map(list, itertools.combinations(range(count), size)):
            part = np.linalg.lstsq(gram[np.ix_(face, face)], np.ones(size), rcond=None)[0]
            if part.sum() > 0 and np.all(part >= 0):
                w = np.zeros(count)
                w[face] = part / part.sum()
                best = min(best, (w @ gram @ w, tuple(w)))
    return np.array(best[1])


def cone_by_enumeration(gram: np.ndarray, least: np.ndarray) -> np.ndarray:
    """The best of the solutions with each set of v_k at their bounds."""
    count, best = len(gram), (np.inf, None)
    for size in range(count + 1):
        for free in map(list, itertools.combinations(range(count), size)):
            v, bound = least.copy(), [k for k in range(count) if k not in free]
            if free:
                side = -gram[np.ix_(free, bound)] @ least[bound]
                v[free] = np.linalg.lstsq(gram[np.ix_(free, free)], side, rcond=None)[0]
            if np.all(v >= least - 1e-12):
                best = min(best, (v @ gram @ v, tuple(v)))
    return np.array(best[1])


def assert_near(found, expected, rows, rtol=1e-4):
    lengths = np.linalg.norm(rows, axis=1)
    found = np.asarray(found, np.float64)
    distance = np.max(np.abs(found - expected) * lengths)
    assert distance <= rtol * np.max(np.abs(expected) * lengths), (found, expected)


@pytest.mark.parametrize("spread", [0, 2])
@pytest.mark.parametrize("count", COUNTS)
def test_shortest_combination_and_cone(count, spread):
    least = np.full(count, 1 / count)
    for rows in gradients(count, spread):
        gram = rows @ rows.T
        found, residual = shortest(jnp.float32(gram))
        assert residual < 1e-3
        assert_near(found, shortest_by_enumeration(gram), rows)
        found, residual = cone(jnp.float32(gram), jnp.float32(least))
        assert residual < 1e-5
        scale = np.trace(gram)
        assert_near(found, cone_by_enumeration(gram / scale, least), rows)


@pytest.mark.parametrize("alpha", [1.0, 2.0])
@pytest.mark.parametrize("count", COUNTS)
def test_power_solves_its_equation(count, alpha):
    solve = jax.jit(lambda gram, p: _solvers.power(gram, p, alpha))
    preference = np.linspace(0.5, 2.0, count)
    for rows in gradients(count, 2):
        gram = rows @ rows.T
        found, residual = solve(jnp.float32(gram), jnp.float32(preference))
        w = np.asarray(found, np.float64)
        assert np.all(w > 0)
        own = np.max(np.abs(gram @ w * (w / preference) ** (1 / alpha) - 1))
        assert own < 2e-3
        assert residual < 1e-3
        # Not below what is: the residual is measured in float32.
        assert abs(own - float(residual)) < 5e-4


@pytest.mark.parametrize("scale", [1e-8, 1.0, 1e8])
def test_solutions_do_not_depend_on_units(scale):
    rows = gradients(3, 0)[0] * 1e3
    gram = jnp.float32(rows @ rows.T)
    np.testing.assert_allclose(shortest(gram * scale)[0], shortest(gram)[0], rtol=1e-4)
    least = jnp.full(3, 1 / 3)
    np.testing.assert_allclose(cone(gram * scale, least)[0], cone(gram, least)[0], rtol=1e-4)


def test_small_eigenvalues_are_as_exact_as_large_ones():
    """Lengths 1e-3, 1, 1e3, which a float32 `eigh` of M cannot tell from 0."""
    rows = np.array([[1e-3, 2e-4, 0], [0.3, 1.0, 0.1], [200.0, -100.0, 1e3]])
    gram = rows @ rows.T
    values, vectors = eigen(jnp.float32(gram))
    expected = np.linalg.svd(rows, compute_uv=False)[::-1] ** 2
    np.testing.assert_allclose(values, expected, rtol=1e-4)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(3), atol=1e-5)


def test_rank_is_read_from_directions():
    rows = np.array([[1.0, 2.0], [-2e-3, -4e-3], [0.0, 0.0]])
    values, _ = eigen(jnp.float32(rows @ rows.T))
    np.testing.assert_array_equal(np.asarray(values) > 0, [False, False, True])


def test_rounding_of_dependent_gradients_is_not_a_rank():
    """Taken for one, it would be the least eigenvalue, that aligned_mtl scales all others to."""
    random = np.random.default_rng(0)
    vectors = random.normal(size=(100, 2, 1000)).astype(np.float32)
    first, second = vectors[:, 0], vectors[:, 1]
    for rows, rank in (
        ([first] * 5, 1),
        ([first, np.float32(3.3) * first], 1),
        ([first, second, first + second], 2),
    ):
        products = jax.jit(jax.vmap(inner_products))([jnp.asarray(each) for each in rows])
        values, _ = jax.jit(jax.vmap(_solvers.eigen))(products)
        np.testing.assert_array_equal(np.sum(np.asarray(values) > 0, axis=1), rank)
    nearly = np.array([[1.0, 0.0], [np.cos(0.01), np.sin(0.01)]])
    assert np.all(np.asarray(eigen(jnp.float32(nearly @ nearly.T))[0]) > 0)


def test_gradients_that_cancel_have_bounded_weights():
    """Elsewhere a combination that is 0 has ever larger ones, until rounding is the whole step."""
    for rows in gradients(8, 0):
        rows[1] = -rows[0]
        gram, lengths = rows @ rows.T, np.linalg.norm(rows, axis=1)
        least = np.full(8, 1 / 8)
        found, residual = cone(jnp.float32(gram), jnp.float32(least))
        v = np.asarray(found, np.float64)
        assert residual < 1e-3
        assert np.max(v * lengths) < 100 * np.max(least * lengths)
        assert np.min(rows @ (v @ rows) / lengths) > -1e-3 * np.max(lengths)


def test_a_matrix_that_rounding_has_made_indefinite_has_finite_weights():
    gram = jnp.array([[1.0, -1.0 - 2e-6], [-1.0 - 2e-6, 1.0]])
    found, residual = _solvers.power(gram, jnp.ones(2), 1.0)
    assert np.all(np.isfinite(found))
    assert residual > 1e-3


def test_what_does_not_count_is_zero_and_what_is_not_a_number_is_seen():
    gram = np.diag([4.0, 0.0, 1.0]).astype(np.float32)
    for found in (shortest(gram)[0], cone(gram, jnp.ones(3))[0]):
        assert found[1] == 0
        assert np.all(found[np.array([0, 2])] > 0)
    broken = jnp.array(gram).at[0, 0].set(jnp.nan)
    assert np.isnan(shortest(broken)[0]).any()
    assert np.isnan(cone(broken, jnp.ones(3))[0]).any()
    assert np.isnan(_solvers.power(broken, jnp.ones(3), 1.0)[0]).any()


@pytest.mark.slow
def test_an_unsolved_problem_has_a_large_residual():
    rows = gradients(8, 0)[0]
    gram = jnp.float32(rows @ rows.T)
    assert _solvers.power(gram, jnp.ones(8), 1.0, steps=1)[1] > 1e-3
    matrix = gram / jnp.trace(gram)
    _, residual = _solvers.simplex(
        gram, lambda w: _solvers.times(matrix, w), lambda _: matrix, steps=1
    )
    assert residual > 1e-3
