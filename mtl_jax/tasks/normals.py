"""Surface normals: a direction per pixel."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mtl_jax import losses, metrics
from mtl_jax._options import Option, one_of
from mtl_jax.errors import ConfigError
from mtl_jax.pictures import maps as visualization
from mtl_jax.tasks._task import Task

LOSSES = {
    "cosine": losses.cosine_distance,
    "l1": losses.l1_per_element,
    "l1_pixel": losses.l1_per_pixel,
}
OPTIONS = {"loss": Option("cosine", "of normalised predictions", one_of(*LOSSES))}

# Shorter predictions are not brought to unit length in the loss: their gradient, which is inversely
# proportional to their length, would overflow where a network starts at zero.
LEAST_LENGTH = 1e-3
KINDS = ("normals",)
HEADLINE = ("mean", "min")
TABLED = {
    "mean": "min",
    "median": "min",
    "within_11.25": "max",
    "within_22.5": "max",
    "within_30": "max",
}


@dataclasses.dataclass(frozen=True)
class Normals(Task):
    """One unit vector per pixel, x right, y down, z ahead. See `mtl_jax.tasks.Task`.

    Attributes:
      name: of the task.
      key: of its labels in a batch: float32 [B, H, W, 3], the zero vector where unknown.
      loss_name: a key of `LOSSES`, of normalised predictions, the mean over the batch's valid
        pixels: 'cosine' is 1 − cos, 'l1' |ŷ − y| averaged over the three components, 'l1_pixel'
        summed over them, which is three times as much. Code bases differ in it.
    """

    name: str
    key: str
    loss_name: str

    channels = 3
    label_channels = (3,)
    headline = HEADLINE
    tabled = TABLED
    classification = False

    def targets(self, batch: Mapping[str, jax.Array]) -> jax.Array:
        """[B, H, W, 3] float32 unit vectors; all zero if the batch has no such labels.

        Labels are normalised once more, as interpolation and half precision shorten them.
        """
        return unit_vectors(self.labels(batch))

    def loss(self, prediction: jax.Array, targets: jax.Array, valid: jax.Array) -> jax.Array:
        self.check(prediction, targets)
        prediction = prediction.astype(jnp.float32)
        squared = jnp.sum(jnp.square(prediction), axis=-1, keepdims=True)
        direction = prediction * jax.lax.rsqrt(jnp.maximum(squared, LEAST_LENGTH**2))
        distance = LOSSES[self.loss_name](direction, targets)
        return losses.mean_per_batch(distance, self.loss_mask(targets, valid))

    def metric_sums(
        self, prediction: jax.Array, targets: jax.Array, valid: jax.Array
    ) -> dict[str, jax.Array]:
        self.check(prediction, targets)
        predicted = self.postprocess(prediction)[self.name]
        return metrics.normals_sums(targets, predicted, self.mask(targets, valid))

    def metrics(self, sums: Mapping[str, np.ndarray]) -> dict[str, float]:
        """See `mtl_jax.metrics.normals_metrics`."""
        return metrics.normals_metrics(sums)

    def postprocess(self, prediction: jax.Array) -> dict[str, jax.Array]:
        """{task: [B, H, W, 3] float32 unit vectors}; a prediction of exactly 0 stays 0."""
        return {self.name: unit_vectors(prediction)}

    def to_average(self, prediction: jax.Array, *, mirrored: bool, zoom: float) -> jax.Array:
        """[B, h, w, 3] unit vectors; in a mirror image right is left.

        The direction of their mean vector is the mean direction.
        """
        del zoom
        direction = self.postprocess(prediction)[self.name]
        return direction * jnp.float32([-1, 1, 1]) if mirrored else direction

    def visualize(self, value: np.ndarray) -> np.ndarray:
        unknown = ~np.asarray(value).any(axis=-1)
        return visualization.hatched(visualization.normals_picture(value), unknown)

    def panel(self, image: np.ndarray, value: np.ndarray) -> visualization.Panel:
        """The normals over the photograph without its colours, and a legend of directions."""
        axes = {"right": (1, 0, 0), "up": (0, -1, 0), "towards the camera": (0, 0, -1)}
        colours = visualization.normals_picture(np.array([list(axes.values())], np.float32))[0]
        legend = tuple((name, tuple(colour.tolist())) for name, colour in zip(axes, colours))
        picture = visualization.lay_over(image, self.visualize(value))
        opacity = visualization.OPACITY
        return visualization.Panel(self.name, picture, legend=legend, opacity=opacity)

    def error_panel(self, value: np.ndarray, target: np.ndarray) -> visualization.Panel:
        """The angle between prediction and label."""
        known = target.any(axis=-1)
        angle = np.degrees(np.arccos(np.clip(np.sum(value * target, axis=-1), -1, 1)))
        mean = float(angle[known].mean()) if known.any() else 0.0
        title = f"{self.name}: angle, mean {mean:.1f}°"
        return visualization.error_map(title, angle, known, largest=60.0, unit="°")

    def encode(self, value: np.ndarray) -> tuple[bytes, str, str]:
        """An RGB PNG, as `mtl_jax.pictures.maps.normals_picture` colours them."""
        return visualization.encode_png(visualization.normals_picture(value)), ".png", ""

    def describe(self) -> dict[str, Any]:
        return {"kind": "normals", "axes": ["right", "down", "ahead"], "file": "normals_png"}


def unit_vectors(vectors: jax.Array) -> jax.Array:
    """[..., 3] ─► float32 of length 1 in the same direction; zero vectors stay zero."""
    vectors = vectors.astype(jnp.float32)
    # Scaled first, as the squares of very large or small numbers are not floats any more.
    largest = jnp.max(jnp.abs(vectors), axis=-1, keepdims=True)
    scaled = vectors / jnp.where(largest == 0, 1.0, largest)
    length = jnp.linalg.norm(scaled, axis=-1, keepdims=True)
    return scaled / jnp.where(length == 0, 1.0, length)


def build(name: str, options: Any, spec: Mapping[str, Any] | None) -> Normals:
    """Builds the task `name`.

    Args:
      name: of the task.
      options: `config.tasks.<name>`: `key` and `OPTIONS`.
      spec: the data set's LabelSpec of the task's key as a dict, or None if it has no such key.

    Raises:
      ConfigError: the key holds something else than normals.
    """
    key = options.key
    if spec is not None and spec.get("invalid") not in (None, 0.0):
        raise ConfigError(
            f"config.tasks.{name}: expected the zero vector to mean 'unknown' in the data set's "
            f"{key!r}, found invalid={spec['invalid']}."
        )
    return Normals(name=name, key=key, loss_name=options.loss)
