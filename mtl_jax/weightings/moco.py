"""MoCo, multi-objective gradient correction (Fernando et al., ICLR 2023).

Averages y of the gradients q_k = L_k g_k / d_k are tracked, and with them weights λ:
y ← y − β t^(−½) (y − q), λ ← softmax(λ − γ t^(−½) (yyᵀ + ρ I) λ), and the step is Σ λ_k y_k. The
softmax is what the authors' code has; the paper projects on the simplex instead.
"""

import dataclasses

import jax
import jax.numpy as jnp

from mtl_jax import _options
from mtl_jax.weightings._base import (
    GradientWeighting,
    ascends,
    inner_products,
    softmax,
    weighted_sum,
)


@dataclasses.dataclass(frozen=True)
class MoCo(GradientWeighting):
    """A weighted sum of tracked gradients. There are no weights of the step's own to log.

    The state has every task's tracked gradient, K times the size of the gradient. Those of a task
    without a label stay, and are not in the sum.

    >>> method = MoCo(("semseg", "depth"))
    >>> gradients = [jnp.array([-4.0, 1.0, 1.0]), jnp.array([6.0, 1.0, 1.0])]
    >>> params, state = method.init(jax.random.key(0), like=gradients[0])
    >>> losses, labelled = jnp.ones(2), jnp.array([True, True])
    >>> print(method.combine(params, state, gradients, losses, labelled, None)[0])
    [0.0076 0.0995 0.0995]

    Attributes:
      beta, beta_sigma: step size of the tracking and the power of t by which it falls.
      gamma, gamma_sigma: the same of λ.
      rho: ρ.
    """

    beta: float = _options.option(
        0.5, "step size of the tracked gradients", _options.number(least=0, most=1)
    )
    beta_sigma: float = _options.option(
        0.5, "power of the steps by which that falls", _options.number(least=0, most=10)
    )
    gamma: float = _options.option(
        0.1, "step size of the weights", _options.number(least=0, most=1e3)
    )
    gamma_sigma: float = _options.option(
        0.5, "power of the steps by which that falls", _options.number(least=0, most=10)
    )
    rho: float = _options.option(
        0.0, "pulls the weights together", _options.number(least=0, most=1e3)
    )

    def init(self, key, like=None):
        """See `Weighting.init`."""
        del key
        count = len(self.tasks)
        return {}, {
            "tracked": self.zeros(like),
            "shares": jnp.full(count, 1 / count, jnp.float32),
            "steps": jnp.zeros((), jnp.int32),
            "ascents": jnp.zeros((), jnp.int32),
        }

    def combine(self, params, state, gradients, losses, labelled, key):
        """See `GradientWeighting.combine`."""
        del params, key
        steps = state["steps"] + jnp.any(labelled)
        time = jnp.maximum(steps, 1).astype(jnp.float32)
        beta, gamma = self.beta / time**self.beta_sigma, self.gamma / time**self.gamma_sigma
        lengths = jnp.sqrt(jnp.diag(inner_products(gradients)))
        scale = losses / jnp.where(lengths != 0, lengths, 1.0)
        tracked = {}
        for k, task in enumerate(self.tasks):

            def follow(old, gradient, k=k):
                new = gradient.astype(jnp.float32) * scale[k]
                return jnp.where(labelled[k], old - beta * (old - new), old)

            tracked[task] = jax.tree.map(follow, state["tracked"][task], gradients[k])
        each = [tracked[task] for task in self.tasks]
        gram = jnp.where(labelled[:, None] & labelled[None, :], inner_products(each), 0.0)
        known = jnp.where(labelled, state["shares"], 0.0)
        pull = jnp.sum(gram * known, axis=1) + self.rho * known
        shares = softmax(known - gamma * pull, labelled)
        gradient = weighted_sum(shares, each)
        state = {
            "tracked": tracked,
            "shares": jnp.where(labelled, shares, state["shares"]),
            "steps": steps,
            "ascents": state["ascents"] + ascends(gradients, gradient, labelled),
        }
        return gradient, None, {}, state

    def diagnostics(self, state):
        """How many steps led uphill for a task."""
        return {"ascents": state["ascents"]}
