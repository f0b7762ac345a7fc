"""GO4Align, group optimisation for multi-task alignment (Shen et al., NeurIPS 2024, 2404.06486).

Shares p ← p e^(−η L) / Σ of the losses' progress give x = p Σ L / L, and every task's weight is the
mean of x over its group. The groups are those that a one-dimensional k-means finds best: they are
neighbours in the sorted x, so that all ways to cut it are tried and none is left to chance.
"""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np

from mtl_jax import _options
from mtl_jax.errors import ConfigError
from mtl_jax.weightings._base import Weighting


@dataclasses.dataclass(frozen=True)
class GO4Align(Weighting):
    """Tasks of one group have one weight. The state is the shares p [K].

    A labelled loss of 0 is left out.

    >>> method = GO4Align(("a", "b", "c"), groups=2, step_size=0.05)
    >>> state, labelled = method.init(jax.random.key(0))[1], jnp.array([True, True, True])
    >>> losses = jnp.array([1.9597, 3.003, 2.2785])
    >>> print(method.total({}, state, losses, labelled, None)[1])
    [1.163 0.7803 1.163]

    Attributes:
      groups: how many.
      step_size: η.
    """

    groups: int = _options.option(1, "number of groups", _options.whole(least=1))
    step_size: float = _options.option(
        1e-4, "how fast the shares follow the losses", _options.number(least=0, most=1e3)
    )

    def __post_init__(self):
        super().__post_init__()
        if self.groups > len(self.tasks):
            raise ConfigError(
                f"GO4Align.groups={self.groups}; expected at most as many as tasks, "
                f"{len(self.tasks)}: {', '.join(self.tasks)}."
            )

    def init(self, key, like=None):
        """See `Weighting.init`."""
        del key, like
        return {}, jnp.full(len(self.tasks), 1 / len(self.tasks), jnp.float32)

    def total(self, params, state, losses, labelled, key):
        """See `Weighting.total`."""
        del params, key
        counts = labelled & (losses != 0)
        fixed = jax.lax.stop_gradient(losses)
        # Of the labelled tasks alone, as if there were no others.
        shares = jnp.where(counts, self._shares(state, fixed, counts), 0.0)
        shares = shares / jnp.where(jnp.any(counts), jnp.sum(shares), 1.0)
        spread = jnp.sum(jnp.where(counts, fixed, 0.0))
        x = jnp.where(counts, shares * spread / jnp.where(counts, fixed, 1.0), 0.0)
        weights = group_means(x, counts, self.groups)
        return sum(weights * losses), weights

    def after_step(self, state, before, after, labelled):
        """The shares that `total` used. See `Weighting.after_step`."""
        del after
        return self._shares(state, before, labelled & (before != 0))

    def _shares(self, shares, losses, counts):
        """[K]: those of tasks that do not count stay as they are, and so does the sum."""
        least = jnp.min(jnp.where(counts, losses, jnp.inf))  # a factor of all, which cancels
        less = jnp.where(counts, losses - least, 0.0)
        moved = jnp.where(counts, shares * jnp.exp(-self.step_size * less), 0.0)
        whole = jnp.sum(jnp.where(counts, shares, 0.0))
        total = jnp.sum(moved)
        return jnp.where(counts, moved * whole / jnp.where(total != 0, total, 1.0), shares)


def group_means(values: jax.Array, counts: jax.Array, groups: int) -> jax.Array:
    """[K]: the mean over each one's group, of the groups with the least squared deviations.

    Args:
      values: [K].
      counts: [K] bool; the others are in no group and get 0.
      groups: how many, at most K.
    """
    size = len(values)
    order = jnp.argsort(jnp.where(counts, values, jnp.inf))
    sorted_values, weights = values[order], counts[order].astype(jnp.float32)
    cuts = itertools.combinations(range(1, size), groups - 1)
    # [ways, K]: the group of each place in the order.
    ways = np.array([np.searchsorted(cut, np.arange(size), side="right") for cut in cuts])
    members = np.eye(groups)[ways].transpose(0, 2, 1)  # [ways, groups, K]
    mass = jnp.sum(members * weights, axis=2)
    means = jnp.sum(members * (weights * sorted_values), axis=2) / jnp.maximum(mass, 1.0)
    fitted = jnp.sum(members * means[:, :, None], axis=1)
    best = fitted[jnp.argmin(jnp.sum(weights * (sorted_values - fitted) ** 2, axis=1))]
    return jnp.where(counts, jnp.zeros(size, jnp.float32).at[order].set(best), 0.0)
