"""IMTL, impartial multi-task learning (Liu et al., ICLR 2021): IMTL-G on losses scaled by IMTL-L.

Every loss is scaled by a learned e^s, which ∂/∂s of Σ e^s L − s trains; the gradients of the scaled
losses are combined as by IMTL-G. A task's own parameters get its gradient times e^s. There are no
logarithms of losses to balance: where their s is learned, the scaled losses have no units left.
"""

import dataclasses

import jax.numpy as jnp

from mtl_jax import _options
from mtl_jax.errors import ConfigError
from mtl_jax.weightings._gram import GramWeighting, Weights
from mtl_jax.weightings.imtl_g import impartial


@dataclasses.dataclass(frozen=True)
class IMTL(GramWeighting):
    """IMTL-G of e^s L. The parameters are {'log_scale': {task: s}}.

    >>> method = IMTL(("semseg", "depth"))
    >>> gram = jnp.array([[18.0, -22.0], [-22.0, 38.0]])  # of (−4, 1, 1) and (6, 1, 1)
    >>> params, state = method.init(jax.random.key(0))
    >>> losses, labelled, key = jnp.ones(2), jnp.array([True, True]), jax.random.key(1)
    >>> weights, _, state = method.solve(params, state, gram, losses, labelled, key)
    >>> print(weights)
    [0.5923 0.4077]
    """

    heads: str = _options.option(
        "weighted",
        "own parameters of a task: its gradient as it is, or times e^s",
        _options.one_of("plain", "weighted"),
    )

    def __post_init__(self):
        super().__post_init__()
        if self.log_losses:
            raise ConfigError(
                "IMTL.log_losses=True; expected False, as this method learns a scale of every loss "
                "already, and that of a logarithm would be another one."
            )

    def start(self, key):
        """See `GramWeighting.start`."""
        del key
        return {"log_scale": self.by_task(jnp.zeros(len(self.tasks), jnp.float32))}, {}

    def weigh(self, params, state, gram, losses, labelled, key):
        """See `GramWeighting.weigh`."""
        del key
        scale = jnp.exp(self.stack(params["log_scale"]))
        shares, guarded, residual = impartial(gram * scale[:, None] * scale[None, :])
        slope = jnp.where(labelled, scale * losses - 1.0, 0.0)
        learned = {"log_scale": self.by_task(slope)}
        return Weights(shares * scale, residual, guarded), learned, state

    def head_weights(self, params, weights, losses, labelled):
        """See `GradientWeighting.head_weights`."""
        del weights, losses, labelled
        if self.heads == "plain":
            return jnp.ones(len(self.tasks), jnp.float32)
        return jnp.exp(self.stack(params["log_scale"]))
