"""Nash-MTL (Navon et al., ICML 2022, arXiv 2202.01017): the gradients bargain.

The step of bounded length that maximises Σ log(g_k · g): M w = 1 / w. Its length is √K always, so
`max_norm` = 1 divides by that and by nothing else.
"""

import dataclasses

import jax.numpy as jnp

from mtl_jax import _options
from mtl_jax.weightings import _solvers
from mtl_jax.weightings._gram import GramWeighting, Weights


@dataclasses.dataclass(frozen=True)
class NashMTL(GramWeighting):
    """The Nash bargaining solution.

    >>> method = NashMTL(("semseg", "depth"))
    >>> gram = jnp.array([[18.0, -22.0], [-22.0, 38.0]])  # of (−4, 1, 1) and (6, 1, 1)
    >>> params, state = method.init(jax.random.key(0))
    >>> losses, labelled, key = jnp.ones(2), jnp.array([True, True]), jax.random.key(1)
    >>> weights, _, state = method.solve(params, state, gram, losses, labelled, key)
    >>> print(weights)
    [0.4182 0.2878]
    """

    head_cap = 10.0

    heads: str = _options.option(
        "weighted",
        "own parameters of a task: its gradient as it is, or times its weight",
        _options.one_of("plain", "weighted"),
    )
    max_norm: float = _options.option(
        1.0, "longest combined gradient of the shared parameters; 0 = off", _options.number(least=0)
    )

    def weigh(self, params, state, gram, losses, labelled, key):
        """See `GramWeighting.weigh`."""
        del params, labelled, key
        return Weights(*_solvers.power(gram, jnp.ones_like(losses), 1.0)), {}, state
