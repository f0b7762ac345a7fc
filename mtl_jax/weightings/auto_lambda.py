"""Auto-Lambda (Liu, James, Davison, Johns, TMLR 2022, arXiv 2202.03091).

The weights λ are learned so that a step along Σ λ_k g_k lowers the loss of examples that are not
trained on. With θ′ = θ − α Σ λ_k g_k,

∂/∂λ_k of L_held_out(θ′) = −α ∇L_held_out(θ′) · g_k,

which is exact here: the directional derivatives of all K losses along ∇L_held_out(θ′), at once. The
authors' code approximates them by differences of gradients at two perturbed points.
"""

import dataclasses

import jax.numpy as jnp

from mtl_jax import _options
from mtl_jax.errors import ConfigError
from mtl_jax.weightings import _adam
from mtl_jax.weightings._base import Weighting


@dataclasses.dataclass(frozen=True)
class AutoLambda(Weighting):
    """Weights by what helps on held-out examples.

    The state is λ as 'weights' [K], of any sign, and its Adam's moments. λ_k and its moments stay
    where k has no label, or nothing of the held-out examples has one.

    >>> method = AutoLambda(("semseg", "depth"), learning_rate=0.01)
    >>> state, labelled = method.init(jax.random.key(0))[1], jnp.array([True, True])
    >>> slopes = jnp.array([-3.0, 1.0])  # of the held-out loss, by the weights
    >>> state = method.look_ahead(state, slopes, labelled)
    >>> print(method.total({}, state, jnp.ones(2), labelled, None)[1])
    [0.11 0.09]

    Attributes:
      initial: λ at the start.
      learning_rate: of λ.
      primary: the tasks whose held-out losses are to fall; () = all.
    """

    linear = True
    needs_held_out = True

    initial: float = _options.option(0.1, "of every weight", _options.number(least=1e-6, most=1e6))
    learning_rate: float = _options.option(
        1e-4, "of the weights, by Adam", _options.number(least=0, most=100)
    )
    primary: tuple[str, ...] = _options.option(
        (), "the tasks whose held-out losses are to fall; () = all", _options.each(_options.text)
    )

    def __post_init__(self):
        super().__post_init__()
        if unknown := [task for task in self.primary if task not in self.tasks]:
            raise ConfigError(
                f"AutoLambda.primary names {', '.join(unknown)}; expected some of "
                f"{', '.join(self.tasks)}."
            )
        # As a tuple the method can be hashed, as others can.
        object.__setattr__(self, "primary", tuple(self.primary))

    def init(self, key, like=None):
        """See `Weighting.init`."""
        del key, like
        weights = jnp.full(len(self.tasks), self.initial, jnp.float32)
        return {}, {"weights": weights, "adam": _adam.init(weights)}

    def total(self, params, state, losses, labelled, key):
        """See `Weighting.total`."""
        del params, labelled, key
        return jnp.sum(state["weights"] * losses), state["weights"]

    def held_out_weights(self):
        """See `Weighting.held_out_weights`: 1 for what is primary."""
        chosen = self.primary or self.tasks
        return jnp.array([float(task in chosen) for task in self.tasks], jnp.float32)

    def look_ahead(self, state, slopes, labelled):
        """One step of λ; see `Weighting.look_ahead`."""
        step, adam = _adam.direction(
            jnp.where(labelled, slopes, 0.0), state["adam"], moves=labelled
        )
        return {"weights": state["weights"] - self.learning_rate * step, "adam": adam}
