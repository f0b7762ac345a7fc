"""Homoscedastic uncertainty (Kendall, Gal, Cipolla, CVPR 2018; report E).

Each task has a learned s = log σ², which weighs its loss L and pays for the weight:

repo       ½ e^(−s) L + s      report E's formula and code; least at σ² = L / 2
gaussian   ½ e^(−s) L + s / 2  Kendall's for regression, used for every task; least at σ² = L
kendall      e^(−s) L + s / 2  for classification, `gaussian` for regression

The total may be negative: so is s where a task's loss is small.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from mtl_jax import weightings
from mtl_jax._options import Option, one_of
from mtl_jax.errors import ConfigError

FORMS = ("repo", "gaussian", "kendall")


OPTIONS = {
    "form": Option("gaussian", "of the loss, see the module", one_of(*FORMS)),
    "initial_variance": Option(
        (1.0, 1.0), "sigma² at the start, or the (low, high) of a uniform draw of it"
    ),
}


@dataclasses.dataclass(frozen=True)
class Uncertainty(weightings.Weighting):
    """Weights by learned variances.

    The parameters are {'log_variance': {task: s}}.

    Attributes:
      form: one of `FORMS`.
      classification: the tasks that the form 'kendall' weighs as such.
      initial_variance: (low, high), between which each σ² is drawn uniformly at the start.
    """

    form: str = "gaussian"
    classification: tuple[str, ...] = ()
    initial_variance: tuple[float, float] = (1.0, 1.0)

    def init(self, key):
        """See `Weighting.init`."""
        low, high = self.initial_variance
        draws = jax.random.uniform(key, (len(self.tasks),), jnp.float32)
        log_variances = jnp.log(low + (high - low) * draws)
        return {"log_variance": dict(zip(self.tasks, log_variances, strict=True))}, {}

    def combine(self, params, state, losses, labelled, key):
        """See `Weighting.combine`."""
        del state, key
        total = jnp.zeros((), jnp.float32)
        weights = {}
        for task in self.tasks:
            log_variance = params["log_variance"][task]
            is_classification = self.form == "kendall" and task in self.classification
            weights[task] = (1.0 if is_classification else 0.5) * jnp.exp(-log_variance)
            regulariser = log_variance if self.form == "repo" else 0.5 * log_variance
            # Without a label the variance is not to grow just because growing costs nothing.
            term = weights[task] * losses[task] + regulariser
            total += jnp.where(labelled[task], term, 0.0)
        return total, weights


def build(config, tasks) -> Uncertainty:
    """Builds the weighting.

    Args:
      config: `form`, and `initial_variance`, a number or the (low, high) of a uniform draw.
      tasks: {name: Task}; `classification` of each is read by the form 'kendall'.

    Raises:
      ConfigError: unknown form, or a variance that is not positive.
    """
    if config.form not in FORMS:
        raise ConfigError(
            f"config.weighting.form={config.form!r}; expected one of {', '.join(FORMS)}."
        )
    between = np.atleast_1d(np.asarray(config.initial_variance, np.float64))
    if between.size not in (1, 2) or not (np.all(between > 0) and np.all(np.isfinite(between))):
        raise ConfigError(
            f"config.weighting.initial_variance={config.initial_variance}; expected a number above "
            "0, or two for a uniform draw between them."
        )
    classification = ()
    if config.form == "kendall":
        classification = tuple(name for name, task in tasks.items() if task.classification)
    return Uncertainty(
        tasks=tuple(tasks),
        form=config.form,
        classification=classification,
        initial_variance=(float(between[0]), float(between[-1])),
    )
