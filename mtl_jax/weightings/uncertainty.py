"""Homoscedastic uncertainty (Kendall, Gal, Cipolla, CVPR 2018; report E).

Each task has a learned s = log σ², which weights its loss L and pays for the weight:

repo       ½ e^(−s) L + s      report E's formula and code; least at σ² = L / 2
gaussian   ½ e^(−s) L + s / 2  Kendall's for regression, used for every task; least at σ² = L
kendall      e^(−s) L + s / 2  for classification, `gaussian` for regression

The total may be negative: so is s where a task's loss is small.
"""

import dataclasses

import jax
import jax.numpy as jnp

from mtl_jax import _options
from mtl_jax.errors import ConfigError
from mtl_jax.weightings._base import Weighting

FORMS = ("repo", "gaussian", "kendall")
_VARIANCE = _options.number(above=0)


def _check_variance(value) -> str | None:
    between = value if isinstance(value, tuple) else (value,)
    if len(between) not in (1, 2) or any(map(_VARIANCE, between)):
        return f"{_VARIANCE(None)}, or two for a uniform draw between them"
    return None


@dataclasses.dataclass(frozen=True)
class Uncertainty(Weighting):
    """Weights by learned variances.

    The parameters are {'log_variance': {task: s}}.

    >>> method = Uncertainty(("semseg", "depth"))
    >>> params, state = method.init(jax.random.key(0))
    >>> losses, labelled = jnp.array([1.2, 0.4]), jnp.array([True, True])
    >>> gradient = jax.grad(lambda p: method.total(p, state, losses, labelled, None)[0])(params)
    >>> {task: f"{slope:.2f}" for task, slope in gradient["log_variance"].items()}
    {'depth': '0.30', 'semseg': '-0.10'}

    Attributes:
      form: one of `FORMS`.
      initial_variance: σ² at the start, or (low, high), between which each is drawn uniformly.
      classification: the tasks that the form 'kendall' weights as such.
    """

    linear = True

    form: str = _options.option(
        "gaussian", "of a task's term: see docs/weightings.md", _options.one_of(*FORMS)
    )
    initial_variance: float | tuple[float, float] = _options.option(
        (1.0, 1.0), "σ² at the start, or the ends of a uniform draw", _check_variance
    )
    classification: tuple[str, ...] = ()

    def __post_init__(self):
        super().__post_init__()
        if unknown := sorted(set(self.classification) - set(self.tasks)):
            raise ConfigError(
                f"Uncertainty.classification names {', '.join(unknown)}; the tasks are "
                f"{', '.join(self.tasks)}."
            )

    @classmethod
    def fields_of(cls, options, tasks):
        """See `Weighting.fields_of`; a task says itself whether it is a classification."""
        fields = dict(options)
        if options["form"] == "kendall":
            classes = tuple(name for name, task in tasks.items() if task.classification)
            fields["classification"] = classes
        return fields

    def init(self, key, like=None):
        """See `Weighting.init`."""
        del like
        between = self.initial_variance
        low, high = between if isinstance(between, tuple) and len(between) == 2 else 2 * (between,)
        draws = jax.random.uniform(key, (len(self.tasks),), jnp.float32)
        return {"log_variance": self.by_task(jnp.log(low + (high - low) * draws))}, {}

    def total(self, params, state, losses, labelled, key):
        """See `Weighting.total`."""
        del state, key
        total = jnp.zeros((), jnp.float32)
        weights = []
        for index, task in enumerate(self.tasks):
            log_variance = params["log_variance"][task]
            is_classification = self.form == "kendall" and task in self.classification
            weight = (1.0 if is_classification else 0.5) * jnp.exp(-log_variance)
            regulariser = log_variance if self.form == "repo" else 0.5 * log_variance
            # Without a label the variance is not to grow just because growing costs nothing.
            term = weight * losses[index] + regulariser
            total += jnp.where(labelled[index], term, 0.0)
            weights.append(jnp.where(labelled[index], weight, 0.0))
        return total, jnp.stack(weights)
