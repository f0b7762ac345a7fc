"""Saliency: whether a pixel belongs to what stands out."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mtl_jax._options import Option, one_of
from mtl_jax.errors import ConfigError
from mtl_jax.metrics import saliency as metrics
from mtl_jax.pictures import maps as visualization
from mtl_jax.tasks._probability import IGNORED, UNKNOWN, Probability

OPTIONS = {
    "channels": Option(
        1, "one logit (the survey), or two whose difference it is (InvPT)", one_of(1, 2)
    ),
    "ignored": IGNORED,
}
KINDS = ("classes",)
HEADLINE = ("maxF", "max")


@dataclasses.dataclass(frozen=True)
class Saliency(Probability):
    """One probability per pixel. See `mtl_jax.tasks.Task` for the methods.

    Attributes:
      name: of the task.
      key: of its labels in a batch: int32 [B, H, W], 1 = salient, 0 = not, or `ignore`.
      channels: 1 or 2. The loss of two is that of one logit, their difference.
      ignored: of the loss, see `OPTIONS`.
      ignore: the id that counts in no metric.
    """

    name: str
    key: str
    channels: int
    ignored: str
    ignore: int

    headline = HEADLINE

    def targets(self, batch: Mapping[str, jax.Array]) -> jax.Array:
        """[B, H, W] float32, 1 or 0; −1 where unknown."""
        labels = self.labels(batch)
        if self.key not in batch:
            return labels  # which are all unknown
        return jnp.where(labels == self.ignore, UNKNOWN, labels)

    def loss(self, prediction: jax.Array, targets: jax.Array, valid: jax.Array) -> jax.Array:
        """`losses.balanced_binary_cross_entropy`, weighted by the share of 0 in the batch."""
        return self.balanced_loss(prediction, targets, valid, positive_weight=None)

    def metric_sums(
        self, prediction: jax.Array, targets: jax.Array, valid: jax.Array
    ) -> dict[str, Any]:
        self.check(prediction, targets)
        probability = self.postprocess(prediction)[self.name]
        return metrics.saliency_sums(targets > 0, probability, self.mask(targets, valid))

    def metrics(self, sums: Mapping[str, Any]) -> dict[str, float]:
        """See `mtl_jax.metrics.saliency.saliency_metrics`."""
        return metrics.saliency_metrics(sums)

    def error_panel(self, value: np.ndarray, target: np.ndarray) -> visualization.Panel:
        """Which pixels are on the wrong side of a half."""
        known = target != UNKNOWN
        wrong = known & ((value >= 0.5) != (target > 0))
        share = np.sum(wrong) / max(np.sum(known), 1)
        return visualization.wrong_pixels(f"{self.name}: {100 * share:.1f} % wrong", wrong, known)


def build(name: str, options: Any, spec: Mapping[str, Any] | None) -> Saliency:
    """Builds the task `name`.

    Args:
      name: of the task.
      options: `config.tasks.<name>`: `key`, set, and `OPTIONS`.
      spec: the data set's LabelSpec of the task's key as a dict, or None if it has no such key.

    Raises:
      ConfigError: the key holds a map of other than two classes.
    """
    key, ignore = options.key, 255
    if spec is not None:
        if len(spec["class_names"]) != 2:
            raise ConfigError(
                f"config.tasks.{name}: saliency has the classes 'not' and 'salient', but the data "
                f"set's {key!r} has {len(spec['class_names'])}. Set config.tasks.{name}.key to "
                "another key, or type to 'segmentation'."
            )
        ignore = ignore if spec["ignore"] is None else spec["ignore"]
    return Saliency(
        name=name, key=key, channels=options.channels, ignored=options.ignored, ignore=ignore
    )
