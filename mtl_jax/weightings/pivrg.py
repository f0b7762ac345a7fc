"""PIVRG, performance-informed variance reduction of gradients (Qin et al., CVPR 2025).

FairGrad's equation with α = 2 and preferences from how much worse each task is than its single-task
baseline: M w = (p / w)^(1/2), p = K softmax(s / T), s in per cent, T = max(range s / ln b, 10).
The scores are of held-out *training* images, once an epoch; before the first evaluation s = 0.
"""

import dataclasses
import math

import jax.numpy as jnp

from mtl_jax import _options
from mtl_jax.weightings import _solvers
from mtl_jax.weightings._base import softmax
from mtl_jax.weightings._gram import GramWeighting, Weights


@dataclasses.dataclass(frozen=True)
class PIVRG(GramWeighting):
    """α-fair weights that prefer the tasks that have lost most.

    >>> method = PIVRG(("semseg", "depth"), max_norm=0)
    >>> gram = jnp.array([[18.0, -22.0], [-22.0, 38.0]])  # of (−4, 1, 1) and (6, 1, 1)
    >>> params, state = method.init(jax.random.key(0))
    >>> losses, labelled, key = jnp.ones(2), jnp.array([True, True]), jax.random.key(1)
    >>> weights, _, state = method.solve(params, state, gram, losses, labelled, key)
    >>> print(weights)
    [0.4714 0.3195]

    Attributes:
      baselines: with what the training loop of this project compares; in another one `end_epoch` is
        told the scores.
    """

    needs_scores = True

    bound: float = _options.option(
        2.0, "how many times one preference may be another", _options.number(least=1.001, most=1e6)
    )
    min_temperature: float = _options.option(
        10.0, "least temperature of the preferences", _options.number(above=0)
    )
    baselines: tuple[str, ...] = _options.option(
        (),
        "work directories of single-task runs, evaluated on the split 'held_out'",
        _options.each(_options.text),
    )
    max_norm: float = _options.option(
        1.0, "longest combined gradient of the shared parameters; 0 = off", _options.number(least=0)
    )

    def start(self, key):
        """See `GramWeighting.start`."""
        del key
        return {}, {"scores": jnp.zeros(len(self.tasks), jnp.float32)}

    def weigh(self, params, state, gram, losses, labelled, key):
        """See `GramWeighting.weigh`."""
        del params, losses, key
        scores = state["scores"]
        high = jnp.max(jnp.where(labelled, scores, -jnp.inf))
        low = jnp.min(jnp.where(labelled, scores, jnp.inf))
        spread = jnp.where(jnp.any(labelled), high - low, 0.0)
        temperature = jnp.maximum(spread / math.log(self.bound), self.min_temperature)
        preference = jnp.sum(labelled) * softmax(scores / temperature, labelled)
        preference = jnp.where(labelled, preference, 1.0)
        return Weights(*_solvers.power(gram, preference, 2.0)), {}, state

    def end_epoch(self, state, mean_losses, labelled, scores=None):
        """New preferences, if there are new scores; see `Weighting.end_epoch`."""
        del mean_losses, labelled
        if scores is None:
            return state
        return state | {"method": {"scores": jnp.asarray(scores, jnp.float32)}}
