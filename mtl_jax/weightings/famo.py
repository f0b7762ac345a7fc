"""FAMO, fast adaptive multitask optimisation (Liu et al., NeurIPS 2023, arXiv 2306.03792).

All losses are to fall at the same relative rate. With z = softmax(ξ) the total is
Σ z log L / (Σ z / L), the denominator a constant; after the step, ξ moves so that what has fallen
least, δ = log L_before − log L_after, gets more weight.
"""

import dataclasses

import jax
import jax.numpy as jnp

from mtl_jax import _options
from mtl_jax.weightings import _adam
from mtl_jax.weightings._base import Weighting, softmax

LEAST = 1e-8  # added to every loss


@dataclasses.dataclass(frozen=True)
class FAMO(Weighting):
    """Weights (z / L) / Σ (z / L), which sum to 1; 0 for a loss that is 0 or less.

    The state is ξ as 'logits' [K], its Adam's moments, and in how many steps a loss was 0 or less
    and was taken for the least one. z is over the labelled tasks; ξ_k and its moments stay where k
    has no label.

    >>> method = FAMO(("semseg", "depth"))
    >>> state, labelled = method.init(jax.random.key(0))[1], jnp.array([True, True])
    >>> losses = jnp.array([1.2, 0.4])
    >>> print(method.total({}, state, losses, labelled, None)[1])
    [0.25 0.75]
    >>> state = method.after_step(state, losses, jnp.array([1.0, 0.4]), labelled)
    >>> print(method.total({}, state, losses, labelled, None)[1])
    [0.2407 0.7593]

    Attributes:
      learning_rate: of ξ.
      weight_decay: of ξ, added to its gradient.
    """

    needs_after = True

    learning_rate: float = _options.option(
        0.025, "of the weights' logits", _options.number(least=0, most=100)
    )
    weight_decay: float = _options.option(
        1e-3, "of the weights' logits, added to their gradient", _options.number(least=0, most=100)
    )

    def init(self, key, like=None):
        """See `Weighting.init`."""
        del key, like
        zeros = jnp.zeros(len(self.tasks), jnp.float32)
        return {}, {"logits": zeros, "adam": _adam.init(zeros), "clipped": jnp.zeros((), jnp.int32)}

    def total(self, params, state, losses, labelled, key):
        """See `Weighting.total`."""
        del params, key
        shares = softmax(state["logits"], labelled)
        safe = jnp.where(labelled, _above_zero(losses), 1.0)
        scale = jax.lax.stop_gradient(jnp.sum(shares / safe))
        scale = jnp.where(jnp.any(labelled), scale, 1.0)
        # A loss that was taken for the least one has no slope.
        moving = jnp.where(losses > 0, shares, jnp.where(jnp.isnan(losses), losses, 0.0))
        weights = jax.lax.stop_gradient(moving / safe) / scale
        return jnp.sum(shares * jnp.log(safe)) / scale, weights

    def after_step(self, state, before, after, labelled):
        """Moves ξ; see `Weighting.after_step`."""
        shares = softmax(state["logits"], labelled)
        fallen = jnp.log(_above_zero(before)) - jnp.log(_above_zero(after))
        fallen = jnp.where(labelled, fallen, 0.0)
        slope = shares * (fallen - jnp.sum(shares * fallen)) + self.weight_decay * state["logits"]
        step, adam = _adam.direction(jnp.where(labelled, slope, 0.0), state["adam"], labelled)
        clipped = jnp.any(labelled & ((before <= 0) | (after <= 0)))
        return {
            "logits": state["logits"] - self.learning_rate * step,
            "adam": adam,
            "clipped": state["clipped"] + clipped,
        }

    def diagnostics(self, state):
        """In how many steps a loss was 0 or less."""
        return {"clipped": state["clipped"]}


def _above_zero(losses):
    return jnp.where(losses <= 0, 0.0, losses) + LEAST
