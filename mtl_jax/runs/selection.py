"""Which of a run's evaluations is its best: `config.eval.selection`."""

import dataclasses
import math
from collections.abc import Collection, Mapping
from typing import Any

from mtl_jax import metrics
from mtl_jax.errors import ConfigError, did_you_mean
from mtl_jax.runs.files import or_nan, without_nan

DIRECTIONS = {"max": 1.0, "min": -1.0}  # of config.eval.selection_mode


@dataclasses.dataclass(frozen=True)
class Selection:
    """Ranks evaluations.

    Attributes:
      metric: of which more, or less, is better.
      mode: 'max' or 'min'.
      headlines: {'<task>/<metric>': 'max' or 'min'} of all tasks.
    """

    metric: str
    mode: str
    headlines: Mapping[str, str]

    def rank(self, evaluation: Mapping[str, Any]) -> tuple[float, float, int]:
        """Of two evaluations the better one has the greater rank.

        An evaluation whose metric is not known, or not finite, is worse than every other. The tie
        between equal values of the reports' `multitask_score`, which saturates, is broken by the
        unclamped score; every other goes to the later step.

        Args:
          evaluation: `step`, and `metrics` with None or NaN for what is not a number.
        """
        found = {name: or_nan(value) for name, value in evaluation["metrics"].items()}
        by = [DIRECTIONS[self.mode] * found.get(self.metric, math.nan), 0.0]
        if self.metric == metrics.MULTITASK_SCORE:
            by[1] = DIRECTIONS[self.mode] * metrics.unclamped_multitask_score(found)
        score, tie = (value if math.isfinite(value) else -math.inf for value in by)
        return score, tie, evaluation["step"]

    def completed(self, evaluation: Mapping[str, Any]) -> dict[str, Any]:
        """With the metrics that span tasks, which an older version may not have computed."""
        found = {name: or_nan(value) for name, value in evaluation["metrics"].items()}
        spanning = metrics.composite(found, self.headlines)
        return {**evaluation, "metrics": without_nan(spanning | found)}


def build(how: Any, headlines: Mapping[str, str], known: Collection[str]) -> Selection:
    """The selection of a run.

    Args:
      how: `config.eval`.
      headlines: as of `Selection`.
      known: the names of all metrics that the run's evaluations have.

    Raises:
      ConfigError: there is no such metric or mode, or the mode is known to be the other one.
    """
    metric, mode = how.selection, how.selection_mode
    if mode not in DIRECTIONS:
        raise ConfigError(
            f"config.eval.selection_mode={mode!r}; expected one of {', '.join(DIRECTIONS)}."
        )
    if metric not in known:
        hint = did_you_mean(metric, known)
        shown = ", ".join(sorted(name for name in known if not metrics.is_member(name)))
        raise ConfigError(
            f"config.eval.selection={metric!r} is no metric of this run on "
            f"{how.split!r}.{hint} Expected one of: {shown or 'none, as nothing is labelled'}."
        )
    right = {metrics.HEADLINE_MEAN: "max", metrics.MULTITASK_SCORE: "max"} | dict(headlines)
    right |= {name: "min" for name in known if name == "loss" or name.endswith("/loss")}
    if right.get(metric, mode) != mode:
        raise ConfigError(
            f"config.eval.selection_mode={mode!r}, but of {metric!r} the best value is the "
            f"{right[metric]}: set config.eval.selection_mode={right[metric]!r}."
        )
    return Selection(metric, mode, headlines)
