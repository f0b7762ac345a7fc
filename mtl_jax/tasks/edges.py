"""Edges: the probability that a pixel lies on a boundary."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from mtl_jax._options import Option, number, one_of, text
from mtl_jax.errors import ConfigError
from mtl_jax.metrics import boundaries, edge_scores, near_edges
from mtl_jax.pictures import maps as visualization
from mtl_jax.tasks._probability import IGNORED, UNKNOWN, Probability

# The weight of an edge pixel in the loss of published code; that of any other is 1 minus it.
WEIGHTS = {
    "invpt": 0.95,  # InvPT, TaskPrompter, MTMamba and the survey, on both benchmarks
    "atrc_nyud": 0.8,  # ATRC, DeMT and MTDP_Lib on NYUD; 0.95 on PASCAL-Context
    "mlore_pascal_l": 0.925,
    "mlore_nyud": 0.88,
    "taskdiffusion_nyud": 0.9,
}
BY_SHARE = "share"


def _weight(value: Any) -> str | None:
    if value in (BY_SHARE, *WEIGHTS) or number(least=0, most=1)(value) is None:
        return None
    return f"a number from 0 to 1, {BY_SHARE!r} (that of other pixels) or {', '.join(WEIGHTS)}"


OPTIONS = {
    "positive_weight": Option(
        0.95, "of an edge pixel in the loss; that of any other is 1 minus it", _weight
    ),
    "ignored": IGNORED,
    "max_distance": Option(
        boundaries.MAX_DISTANCE["pascal_context"],
        "how near counts in metrics, as a share of the diagonal; "
        f"NYUD: {boundaries.MAX_DISTANCE['nyud']}",
        number(above=0),
        measures=True,
    ),
    "truth": Option(
        "lines",
        "of odsF: 'lines', thinned labels; 'sides', boundaries between values of labels, as NYUD's",
        one_of(*edge_scores.TRUTHS),
        measures=True,
    ),
    "truth_key": Option(
        None, "the batch's key of that truth; None: the labels themselves", text, measures=True
    ),
}
KINDS = ("edges",)
HEADLINE = ("f_near", "max")
TABLED = {"odsF": "max"}


@dataclasses.dataclass(frozen=True)
class Edges(Probability):
    """One probability per pixel. See `mtl_jax.tasks.Task` for the methods.

    Attributes:
      name: of the task.
      key: of its labels in a batch: float32 [B, H, W], 0 ... 1, −1 where unknown.
      positive_weight: of `losses.balanced_binary_cross_entropy`; None = the share of other pixels.
      ignored: of the loss, see `OPTIONS`.
      max_distance, truth, truth_key: of the metrics, see `OPTIONS`.
    """

    name: str
    key: str
    positive_weight: float | None
    ignored: str
    max_distance: float
    truth: str
    truth_key: str

    channels = 1
    headline = HEADLINE
    tabled = TABLED

    def loss(self, prediction: jax.Array, targets: jax.Array, valid: jax.Array) -> jax.Array:
        """`losses.balanced_binary_cross_entropy` of soft targets."""
        return self.balanced_loss(prediction, targets, valid, self.positive_weight)

    def metric_sums(
        self, prediction: jax.Array, targets: jax.Array, valid: jax.Array
    ) -> dict[str, jax.Array]:
        self.check(prediction, targets)
        probability = self.postprocess(prediction)[self.name]
        mask = self.mask(targets, valid)
        return near_edges.near_edge_sums(targets >= 0.5, probability, mask, self.max_distance)

    def metrics(self, sums: Mapping[str, np.ndarray]) -> dict[str, float]:
        """See `mtl_jax.metrics.near_edges.near_edge_metrics`."""
        return near_edges.near_edge_metrics(sums)

    @property
    def scored_keys(self) -> tuple[str, ...]:
        """The key of the truth of odsF, which need not be the training's."""
        return (self.truth_key,)

    def scorer(self, options: Mapping[str, Any]) -> edge_scores.EdgeScorer | None:
        """odsF, oisF and AP; see `mtl_jax.metrics.edge_scores`."""
        if not options["protocols"]:
            return None
        return edge_scores.EdgeScorer(
            self.truth_key,
            self.truth,
            max_distance=self.max_distance,
            protocols=options["protocols"],
            workers=options["workers"],
        )

    def error_panel(self, value: np.ndarray, target: np.ndarray) -> visualization.Panel:
        """Edges that are missed and edges that are invented, at a probability of a half."""
        found, there = (value >= 0.5) & (target != UNKNOWN), target >= 0.5
        return visualization.missed_and_invented(self.name, found, there)


def build(name: str, options: Any, spec: Mapping[str, Any] | None) -> Edges:
    """Builds the task `name`.

    Args:
      name: of the task.
      options: `config.tasks.<name>`: `key`, set, and `OPTIONS`.
      spec: the data set's LabelSpec of the task's key as a dict, or None if it has no such key.

    Raises:
      ConfigError: 'unknown' is not −1 in the labels.
    """
    key = options.key
    if spec is not None and spec.get("invalid") != UNKNOWN:
        raise ConfigError(
            f"config.tasks.{name}: expected −1 to mean 'unknown' in the data set's {key!r}, found "
            f"invalid={spec.get('invalid')}."
        )
    weight = WEIGHTS.get(options.positive_weight, options.positive_weight)
    return Edges(
        name=name,
        key=key,
        positive_weight=None if weight == BY_SHARE else float(weight),
        ignored=options.ignored,
        max_distance=options.max_distance,
        truth=options.truth,
        truth_key=options.truth_key or key,
    )
