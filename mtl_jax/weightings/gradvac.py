"""GradVac, gradient vaccine (Wang et al., ICLR 2021, arXiv 2010.05874).

As PCGrad, with a goal φ_ij for the cosine of every pair instead of 0: where it is less, g_i gets as
much of g_j as makes it φ_ij. The goals are moving averages of the cosines that were met: one for
each pair, or, as parts of a network conflict differently, one for each pair in each part of it.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from mtl_jax import _options
from mtl_jax.errors import ConfigError
from mtl_jax.weightings import _solvers
from mtl_jax.weightings._base import ascends, inner_products, weighted_sum
from mtl_jax.weightings._gram import GramWeighting, Weights

CANCELLED = 1e-6  # of a squared length, relative to that of the parts one after the other
_PARTS = ("model", "module", "layer", "array")


@dataclasses.dataclass(frozen=True)
class GradVac(GramWeighting):
    """Raises the cosine of each pair of gradients to what it has been on average.

    >>> method = GradVac(("semseg", "depth"))
    >>> gram = jnp.array([[18.0, -22.0], [-22.0, 38.0]])  # of (−4, 1, 1) and (6, 1, 1)
    >>> params, state = method.init(jax.random.key(0))
    >>> losses, labelled, key = jnp.ones(2), jnp.array([True, True]), jax.random.key(1)
    >>> weights, _, state = method.solve(params, state, gram, losses, labelled, key)
    >>> print(weights)
    [2.2222 1.5789]

    Attributes:
      beta: how much of a goal is renewed at a step.
      groups: each 'module' at the top of the tree of parameters, each 'layer' (the arrays whose
        names differ in their last part) or each 'array' has inner products, goals and weights of
        its own; 'model' takes all as one. With groups there are no effective weights of the whole.
    """

    every_step = True

    beta: float = _options.option(
        0.5, "how much of a goal is renewed at a step", _options.number(least=0, most=1)
    )

    groups: str = _options.option(
        "model",
        "what has goals of its own: all parameters as one, or parts of them",
        _options.one_of(*_PARTS),
    )

    def __post_init__(self):
        super().__post_init__()
        if self.groups == "model":
            return
        for option, expected in (
            ("representation", False),
            ("heads", "plain"),
            ("gradient_chunks", 1),
        ):
            if getattr(self, option) != expected:
                raise ConfigError(
                    f"GradVac.{option}={getattr(self, option)!r} with groups={self.groups!r}; "
                    f"expected {expected!r}, as groups are of parameters, and each has weights of "
                    "its own."
                )

    def init(self, key, like=None):
        """See `GramWeighting.init`; with groups the goals are [groups, K, K]."""
        params, state = super().init(key, like)
        if self.groups != "model":
            if like is None:
                raise ValueError(
                    f"GradVac.init needs `like`, a pytree like one task's gradient of the shared "
                    f"parameters, to know the groups of groups={self.groups!r}."
                )
            goals = state["method"]["goals"]
            count = max(self._group_of_each(like)) + 1
            state["method"] = {"goals": jnp.broadcast_to(goals, (count, *goals.shape))}
        return params, state

    def combine(self, params, state, gradients, losses, labelled, key):
        """See `GramWeighting.combine`; with groups, every one has a solution of its own."""
        if self.groups == "model":
            return super().combine(params, state, gradients, losses, labelled, key)
        groups = self._group_of_each(gradients[0])
        leaves = [jax.tree.leaves(gradient) for gradient in gradients]
        members = [
            [[leaf for leaf, g in zip(each, groups, strict=True) if g == group] for each in leaves]
            for group in range(max(groups) + 1)
        ]
        without_limit = dataclasses.replace(self, max_norm=0.0)  # which is for the whole

        def solve(gram, goals):
            own = state | {"method": {"goals": goals}}
            weights, _, new = without_limit.solve(params, own, gram, losses, labelled, key)
            return weights, new["method"]["goals"]

        grams = jnp.stack([inner_products(each) for each in members])
        weights, goals = jax.vmap(solve)(grams, state["method"]["goals"])
        found = [iter(weighted_sum(w, each)) for w, each in zip(weights, members, strict=True)]
        found = jax.tree.unflatten(
            jax.tree.structure(gradients[0]), [next(found[group]) for group in groups]
        )
        squared = sum(
            jnp.sum(jnp.square(leaf.astype(jnp.float32))) for leaf in jax.tree.leaves(found)
        )
        shrink = self.shrink(squared)
        found = jax.tree.map(lambda leaf: (shrink * leaf).astype(leaf.dtype), found)
        record = state["record"]
        uphill = ascends(gradients, found, labelled)
        record = record | {"ascents": record["ascents"] + uphill}
        return found, None, {}, state | {"method": {"goals": goals}, "record": record}

    def _group_of_each(self, tree: Any) -> list[int]:
        """Which group each array of a pytree belongs to."""
        paths = [path for path, _ in jax.tree_util.tree_leaves_with_path(tree)]
        names = {
            "module": [path[:1] for path in paths],
            "layer": [path[:-1] for path in paths],
            "array": paths,
        }[self.groups]
        order = {name: index for index, name in enumerate(dict.fromkeys(names))}
        return [order[name] for name in names]

    def start(self, key):
        """See `GramWeighting.start`. The state is the goals [K, K], at first 0: PCGrad's."""
        del key
        count = len(self.tasks)
        return {}, {"goals": jnp.zeros((count, count), jnp.float32)}

    def orders(self, key: jax.Array) -> jax.Array:
        """[K, K]: in which order each task meets all of them; it leaves itself out."""
        count = len(self.tasks)
        keys = jax.random.split(key, count)
        return jax.vmap(lambda key: jax.random.permutation(key, count))(keys)

    def weigh(self, params, state, gram, losses, labelled, key):
        """See `GramWeighting.weigh`."""
        del params, losses, labelled
        count = len(gram)
        counts, d = _solvers.counted(gram), _solvers.lengths(gram)

        def vaccinate(i, goals, order):
            def meet(carry, j):
                c, goals = carry
                square = jnp.sum(c * _solvers.times(gram, c))
                # What has cancelled is left with the rounding errors of its parts, which may be
                # below 0, and has no direction. Not `square > ...`: NaN is to be seen.
                nothing = square <= CANCELLED * jnp.sum(jnp.abs(c) * d) ** 2
                length = jnp.sqrt(jnp.where(nothing, 0.0, square))
                overlap = jnp.sum(c * gram[:, j])
                cos = overlap / jnp.where(length * d[j] != 0, length * d[j], 1.0)
                cos = jnp.clip(cos, -1.0, 1.0)
                goal = jnp.minimum(goals[j], 1 - 1e-6)
                sine, goal_sine = jnp.sqrt(1 - cos**2), jnp.sqrt(1 - goal**2)
                part = length * (goal * sine - cos * goal_sine) / (d[j] * goal_sine)
                meets = (j != i) & counts[i] & counts[j] & ~nothing
                # Not `cos < goal`: where it is NaN, that is to be seen.
                c = c.at[j].add(jnp.where(meets & ~(cos >= goal), part, 0.0))
                renewed = (1 - self.beta) * goals[j] + self.beta * cos
                return (c, goals.at[j].set(jnp.where(meets, renewed, goals[j]))), None

            start = jnp.zeros(count, jnp.float32).at[i].set(1.0)
            return jax.lax.scan(meet, (start, goals), order)[0]

        each, goals = jax.vmap(vaccinate)(jnp.arange(count), state["goals"], self.orders(key))
        return Weights(jnp.sum(each, axis=0)), {}, {"goals": goals}
