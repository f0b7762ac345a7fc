"""IMTL-L, impartial multi-task learning of losses (Liu et al., ICLR 2021): Σ e^s L − s.

Every loss is scaled by a learned e^s, at whose optimum e^s L = 1 for all of them. It is twice
`uncertainty` in its form 'gaussian', with s for −s.
"""

import dataclasses

import jax.numpy as jnp

from mtl_jax.weightings._base import Weighting


@dataclasses.dataclass(frozen=True)
class IMTLL(Weighting):
    """Losses scaled to 1. The parameters are {'log_scale': {task: s}}, at first 0.

    The whole term of a task without a label is left out.

    >>> method = IMTLL(("semseg", "depth"))
    >>> params, state = method.init(jax.random.key(0))
    >>> losses, labelled = jnp.array([1.2, 0.4]), jnp.array([True, True])
    >>> gradient = jax.grad(lambda p: method.total(p, state, losses, labelled, None)[0])(params)
    >>> {task: f"{slope:.2f}" for task, slope in gradient["log_scale"].items()}
    {'depth': '-0.60', 'semseg': '0.20'}
    """

    linear = True

    def init(self, key, like=None):
        """See `Weighting.init`."""
        del key, like
        return {"log_scale": self.by_task(jnp.zeros(len(self.tasks), jnp.float32))}, {}

    def total(self, params, state, losses, labelled, key):
        """See `Weighting.total`."""
        del state, key
        log_scale = self.stack(params["log_scale"])
        weights = jnp.where(labelled, jnp.exp(log_scale), 0.0)
        return jnp.sum(jnp.where(labelled, weights * losses - log_scale, 0.0)), weights
