"""Smooth Tchebycheff scalarisation (Lin et al., ICML 2024, arXiv 2402.19078).

Of the losses, nearly the largest: μ log Σ exp(· / μ). Two readings of it are in use:

log=False  μ log Σ exp(L / (K μ)), whose weights depend on the units of the losses
log=True   for some epochs Σ log L; then K μ log Σ exp(y / μ) with y = log(L / nadir), where nadir
           is each task's mean loss over the last of those epochs
"""

import dataclasses

import jax
import jax.numpy as jnp

from mtl_jax import _options
from mtl_jax.weightings._base import Weighting, softmax
from mtl_jax.weightings.log import log_sum


@dataclasses.dataclass(frozen=True)
class SmoothTchebycheff(Weighting):
    """Nearly the largest loss.

    With log=True the state is {'nadir': [K], 0 where no epoch had a label; 'epochs': so many}. In
    a step, K is the number of labelled tasks.

    >>> method = SmoothTchebycheff(("a", "b", "c"), log=False, mu=0.5)
    >>> losses, labelled = jnp.array([1.2, 3.0, 0.4]), jnp.array([True, True, True])
    >>> total, weights = method.total({}, {}, losses, labelled, None)
    >>> print(f"{total:.4f} {weights}")
    1.1953 [0.0679 0.2255 0.0399]

    Attributes:
      log: which reading.
      mu: μ; the smaller, the nearer to the largest alone.
      warmup_epochs: with log=True, the epochs of Σ log L.
    """

    log: bool = _options.option(True, "of the losses' logarithms, after a warm-up", _options.truth)
    mu: float = _options.option(
        1.0, "the smaller, the nearer to the largest loss alone", _options.number(least=1e-3)
    )
    warmup_epochs: int = _options.option(
        5, "epochs of Σ log L, with log=True", _options.whole(least=0)
    )

    def init(self, key, like=None):
        """See `Weighting.init`."""
        del key, like
        if not self.log:
            return {}, {}
        nadir = jnp.zeros(len(self.tasks), jnp.float32)
        return {}, {"nadir": nadir, "epochs": jnp.zeros((), jnp.int32)}

    def total(self, params, state, losses, labelled, key):
        """See `Weighting.total`."""
        del params, key
        count = jnp.maximum(jnp.sum(labelled), 1)
        if not self.log:
            total, shares = _smooth_maximum(losses / count, labelled, self.mu)
            return total, jax.lax.stop_gradient(shares / count)
        counts = labelled & (losses != 0)
        nadir = jnp.where(state["nadir"] > 0, state["nadir"], 1.0)
        relative = jnp.log(jnp.where(counts, losses / nadir, 1.0))
        total, shares = _smooth_maximum(relative, counts, self.mu)
        weights = jnp.where(counts, count * shares / jnp.where(counts, losses, 1.0), 0.0)
        after = count * total, jax.lax.stop_gradient(weights)
        before = log_sum(losses, labelled)
        warms_up = state["epochs"] < self.warmup_epochs
        return jax.tree.map(lambda x, y: jnp.where(warms_up, x, y), before, after)

    def end_epoch(self, state, mean_losses, labelled, scores=None):
        """The nadir of the last warm-up epoch, or of the first after it that has a label."""
        del scores
        if not self.log:
            return state
        warms_up = state["epochs"] < self.warmup_epochs
        renewed = labelled & (warms_up | (state["nadir"] == 0))
        nadir = jnp.where(renewed, mean_losses, state["nadir"])
        return {"nadir": nadir, "epochs": state["epochs"] + 1}


def _smooth_maximum(values, counts, mu):
    """μ log Σ exp(v / μ) of those that count, 0 if none does, and its derivatives [K]."""
    scaled = jnp.where(counts, values, 0.0) / mu
    total = mu * jax.nn.logsumexp(scaled, where=counts)
    return jnp.where(jnp.any(counts), total, 0.0), softmax(scaled, counts)
