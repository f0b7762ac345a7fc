"""GradVac by parts of the parameters: each is as GradVac of that part alone."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtl_jax import weightings
from mtl_jax.errors import ConfigError

TASKS = ("a", "b", "c")
KNOWN = {"losses": jnp.array([1.0, 2.0, 0.5]), "labelled": jnp.ones(3, bool)}
GROUPS = {
    "model": [["head", "x/one/bias", "x/one/kernel", "x/two/kernel"]],
    "module": [["head"], ["x/one/bias", "x/one/kernel", "x/two/kernel"]],
    "layer": [["head"], ["x/one/bias", "x/one/kernel"], ["x/two/kernel"]],
    "array": [["head"], ["x/one/bias"], ["x/one/kernel"], ["x/two/kernel"]],
}


def gradients(seed: int) -> list[dict]:
    """Of three tasks that conflict."""
    shapes = {"head": (5,), "x": {"one": {"kernel": (3, 2), "bias": (2,)}, "two": {"kernel": (4,)}}}
    random = np.random.default_rng(seed)
    each = [
        jax.tree.map(
            lambda shape: random.normal(size=shape), shapes, is_leaf=lambda x: isinstance(x, tuple)
        )
        for _ in TASKS
    ]
    mean = jax.tree.map(lambda *leaves: np.mean(leaves, 0), *each)
    return [jax.tree.map(lambda x, m: np.float32(x - m), tree, mean) for tree in each]


def by_name(tree) -> dict[str, np.ndarray]:
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): np.asarray(leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


def two_steps(method, steps: list[list]) -> list[dict[str, np.ndarray]]:
    params, state = method.init(jax.random.key(0), like=steps[0][0])

    @jax.jit
    def combine(state, each, key):
        gradient, weights, _, state = method.combine(params, state, each, **KNOWN, key=key)
        assert (weights is None) == (method.groups != "model")
        return gradient, state

    found = []
    for number, each in enumerate(steps):
        gradient, state = combine(state, each, jax.random.key(number))
        found.append(by_name(gradient))
    return found


@functools.cache
def two_steps_alone(names: tuple[str, ...]):
    """Of a method that sees the parameters with those names, and no others."""
    alone = [[{n: by_name(g)[n] for n in names} for g in gradients(seed)] for seed in (0, 1)]
    return two_steps(weightings.make("gradvac", TASKS), alone)


@pytest.mark.parametrize(
    "groups",
    [g if g == "layer" else pytest.param(g, marks=pytest.mark.weekly) for g in GROUPS],
)
def test_a_group_is_as_if_it_were_all(groups):
    steps = [gradients(0), gradients(1)]
    found = two_steps(weightings.make("gradvac", TASKS, groups=groups), steps)
    for names in GROUPS[groups]:
        for a, b in zip(found, two_steps_alone(tuple(names)), strict=True):
            for name in names:
                np.testing.assert_allclose(a[name], b[name], rtol=1e-4, atol=1e-6)


def test_max_norm_is_of_the_whole():
    method = weightings.make("gradvac", TASKS, groups="layer", max_norm=0.5)
    (found,) = two_steps(method, [gradients(0)])
    assert np.isclose(sum(np.sum(leaf**2) for leaf in found.values()), 0.25, rtol=1e-4)
    (free,) = two_steps(weightings.make("gradvac", TASKS, groups="layer"), [gradients(0)])
    ratios = [found[name] / free[name] for name in free]
    np.testing.assert_allclose(np.concatenate([r.ravel() for r in ratios]), ratios[0].flat[0], 1e-4)


@pytest.mark.parametrize(
    "option", [{"representation": True}, {"heads": "weighted"}, {"gradient_chunks": 2}], ids=str
)
def test_groups_are_of_parameters_and_have_no_weight_of_the_whole(option):
    with pytest.raises(ConfigError, match=rf"GradVac\.{next(iter(option))}=.* with groups='layer'"):
        weightings.make("gradvac", TASKS, groups="layer", **option)
    with pytest.raises(ValueError, match=r"GradVac\.init needs `like`"):
        weightings.make("gradvac", TASKS, groups="layer").init(jax.random.key(0))


def test_a_share_of_beta_of_each_goal_is_renewed():
    """β = 0.5, as in all published values, would not tell which share is which."""
    method = weightings.make("gradvac", TASKS[:2], beta=0.25)
    known = {name: value[:2] for name, value in KNOWN.items()}
    each = [{"x": np.float32([2.0, 0.0])}, {"x": np.float32([3.0, 4.0])}]  # whose cosine is 0.6
    params, state = method.init(jax.random.key(0), like=each[0])
    for goal in (0.25 * 0.6, 0.25 * 0.6 * (1 + 0.75)):
        *_, state = method.combine(params, state, each, **known, key=jax.random.key(0))
        expected = goal * (1 - np.eye(2))
        np.testing.assert_allclose(state["method"]["goals"], expected, rtol=1e-6)
