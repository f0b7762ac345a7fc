"""Methods that need no more of the gradients than their inner products."""

import dataclasses
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from mtl_jax import _options
from mtl_jax.errors import ConfigError
from mtl_jax.weightings._base import GradientWeighting, inner_products, weighted_sum

# A solver's residual above this has not converged: it is counted, and training says so.
RESIDUAL_LIMIT = 1e-3


class Weights(NamedTuple):
    """What `weigh` finds.

    Attributes:
      values: [K] float32; Σ values_k g_k is the combined gradient.
      residual: how far they are from solving the method's own equations, relative.
      guarded: whether the method's formula was left, because it would have led uphill.
    """

    values: jax.Array
    residual: jax.Array | float = 0.0
    guarded: jax.Array | bool = False


@dataclasses.dataclass(frozen=True)
class GramWeighting(GradientWeighting):
    """A method on the Gram matrix M of the tasks' gradients, M_ij = g_i · g_j.

    A method implements `weigh`, and `start` if it learns or remembers anything. Rows and columns of
    tasks without a label are 0 in what `weigh` sees, and so are those of a task that has
    converged, whose gradient is 0: the tasks to solve for are those with M_kk ≠ 0 (NaN counts).

    Attributes:
      representation: the gradients are those at the features that the tasks' own modules are
        given, which takes one pass through the shared part. What a method promises holds for
        these, not for the parameters.
      log_losses: take the logarithms of the losses for the losses: M_ij / (L_i L_j) goes in, and
        w_k / L_k comes out. The units of the losses no longer matter.
      normalize_gradients: 'unit' takes gradients of unit length: the cosines go in, w / d out.
      update_every: solve at every n-th step only; the steps between weight the losses with the
        last solution, which takes one backward pass.
      gradient_chunks: in so many parts of the shared parameters gradients are found and compared;
        those of one part are in memory at a time, and a last pass back has the weights. With n
        parts the K passes back become about K (n + 1) / 2 + 1.
      max_norm: the combined gradient of the shared parameters is made no longer than this; 0 = as
        it is. With `representation` whoever pulls it back to them does that, by `shrink`.
      every_step: the method remembers something of each step, so that none can be left out.
    """

    every_step: ClassVar[bool] = False

    representation: bool = _options.option(
        False,
        "by gradients at the features where the shared part ends; one pass through it",
        _options.truth,
    )
    log_losses: bool = _options.option(
        False, "balance the logarithms of the losses", _options.truth
    )
    normalize_gradients: str = _options.option(
        "none", "'unit' balances gradients of unit length", _options.one_of("none", "unit")
    )
    update_every: int = _options.option(
        1, "solve at every n-th step, and keep the weights between", _options.whole(least=1)
    )
    gradient_chunks: int = _options.option(
        1,
        "keep the tasks' gradients of one n-th of the parameters at a time",
        _options.whole(least=1),
    )
    max_norm: float = _options.option(
        0.0, "longest combined gradient of the shared parameters; 0 = off", _options.number(least=0)
    )

    def __post_init__(self):
        super().__post_init__()
        if self.every_step and self.update_every > 1:
            raise ConfigError(
                f"{type(self).__name__}.update_every={self.update_every}; expected 1, as this "
                "method remembers something of every step."
            )
        if self.representation and self.gradient_chunks > 1:
            raise ConfigError(
                f"{type(self).__name__}.gradient_chunks={self.gradient_chunks} with "
                "representation=True; expected 1, as no gradient of the shared parameters is kept."
            )

    def start(self, key: jax.Array) -> tuple[dict, Any]:
        """What `weigh` gets first: (params, state). See `Weighting.init`."""
        del key
        return {}, {}

    def weigh(
        self,
        params: dict,
        state: Any,
        gram: jax.Array,
        losses: jax.Array,
        labelled: jax.Array,
        key: jax.Array,
    ) -> tuple[Weights, dict, Any]:
        """The weights of one step.

        Args:
          params, state: as `start` and earlier steps made them.
          gram: [K, K] float32, 0 in the rows and columns of tasks without a label.
          losses, labelled, key: as of `Weighting.total`.

        Returns:
          The weights; the gradient of `params`, {} if nothing is learned; the new state.
        """
        raise NotImplementedError

    def init(self, key, like=None):
        """The state holds the method's own as 'method', and what was found so far."""
        del like
        params, own = self.start(key)
        count = jnp.zeros((), jnp.int32)
        record = {"residual": jnp.zeros((), jnp.float32)}
        record |= dict.fromkeys(("unconverged", "ascents", "guarded"), count)
        weights = jnp.ones(len(self.tasks), jnp.float32)
        return params, {"method": own, "weights": weights, "record": record}

    def combine(self, params, state, gradients, losses, labelled, key):
        """Mask, Gram matrix, `weigh`, Σ w_k g_k; see `GradientWeighting.combine`."""
        gram = inner_products(gradients)
        weights, params_gradient, state = self.solve(params, state, gram, losses, labelled, key)
        return weighted_sum(weights, gradients), weights, params_gradient, state

    def solve(self, params, state, gram, losses, labelled, key):
        """One step from the Gram matrix: effective weights [K], params_gradient, state."""
        counts = labelled & (losses != 0) if self.log_losses else labelled
        gram = jnp.where(counts[:, None] & counts[None, :], gram, 0.0)
        scale = self._scale(gram, losses)
        seen = gram / scale[:, None] / scale[None, :]
        found, params_gradient, own = self.weigh(
            params, state["method"], seen, losses, labelled, key
        )
        weights = jnp.where(labelled, found.values / scale, 0.0)
        lengths = jnp.sqrt(jnp.diag(gram))
        # What rounding alone makes of an inner product that is 0 in exact numbers.
        rounding = 1e-5 * lengths * jnp.sum(jnp.abs(weights) * lengths)
        ascends = jnp.any(jnp.sum(gram * weights, axis=1) < -rounding)
        record = state["record"]
        record = {
            "residual": jnp.asarray(found.residual, jnp.float32),
            # NaN has not converged either.
            "unconverged": record["unconverged"]
            + jnp.logical_not(found.residual <= RESIDUAL_LIMIT),
            "ascents": record["ascents"] + ascends,
            "guarded": record["guarded"] + jnp.asarray(found.guarded, jnp.int32),
        }
        kept = weights * losses if self.log_losses else weights
        kept = jnp.where(labelled, kept, state["weights"])
        state = {"method": own, "weights": kept, "record": record}
        if not self.representation:
            weights *= self.shrink(jnp.sum(weights[:, None] * gram * weights[None, :]))
        return weights, params_gradient, state

    def between(self, state: Any, losses: jax.Array, labelled: jax.Array) -> jax.Array:
        """The weights [K] of a step that does not solve, before `shrink`."""
        weights = state["weights"]
        if self.log_losses:
            weights = jnp.where(losses != 0, weights / jnp.where(losses != 0, losses, 1.0), 0.0)
        return jnp.where(labelled, weights, 0.0)

    def diagnostics(self, state):
        """The last residual; how many steps ascended, were not solved, or left the formula."""
        return state["record"]

    def _scale(self, gram, losses):
        """[K]: what each gradient is divided by before the method sees it."""
        ones = jnp.ones_like(losses)
        scale = ones
        if self.log_losses:
            scale = jnp.where(losses != 0, jnp.where(losses < 0, jnp.nan, losses), ones)
        if self.normalize_gradients == "unit":
            squares = jnp.diag(gram)
            unit = jnp.where(squares != 0, jnp.sqrt(squares), ones)
            # Of unit length a gradient is that of the loss and of its logarithm, if there is one.
            scale = jnp.where(jnp.isnan(scale), jnp.nan, unit)
        return scale
