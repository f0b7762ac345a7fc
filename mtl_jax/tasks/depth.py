"""Depth: one value per pixel, regressed in normalised units.

The same type serves disparity and inverse depth, whose `LabelSpec` says so; "depth" below stands
for whichever quantity the labels hold.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mtl_jax import losses, metrics
from mtl_jax._options import Option, number, one_of
from mtl_jax.errors import ConfigError
from mtl_jax.pictures import maps as visualization
from mtl_jax.tasks._task import Task

LOSSES = {"l1": losses.l1, "l2": losses.l2, "berhu": losses.berhu}
# Of depths in their own unit and the whole batch; the others are of normalised errors.
SIGLOSS = "sigloss"
WARM_UP = 100  # updates in which SigLoss leaves the variance out
AVERAGING = {"image": losses.mean_per_image, "batch": losses.mean_per_batch}
KINDS = ("depth", "disparity", "inverse_depth")
_NORMALIZATIONS = ("standard", "minmax", "log", "none")

# Of what is None the data set's LabelSpec says; needed where it has no such labels.
OPTIONS = {
    "loss": Option(
        "l2",
        "'l1', 'l2', 'berhu' of normalised values, or 'sigloss' of logarithms over the batch",
        one_of(*LOSSES, SIGLOSS),
    ),
    "averaging": Option("image", "mean over each image, or over the batch", one_of(*AVERAGING)),
    "normalization": Option(
        "standard", "what is regressed in place of the depth itself", one_of(*_NORMALIZATIONS)
    ),
    "range": Option(None, "(least, greatest) depth that is predicted", measures=True),
    "mean": Option(None, "of all labels, for 'standard'", number(least=-1e12)),
    "stddev": Option(None, "of all labels, for 'standard'", number(above=0)),
}
# Reports A and B choose by it, as the depth half of their multitask score.
HEADLINE = ("si_log_rmse", "min")
TABLED = {"rel": "min", "abs": "min"}


@dataclasses.dataclass(frozen=True)
class Affine:
    """(d − offset) / scale: the 'standard', 'minmax' and 'none' normalisations (report B 4.2)."""

    offset: float
    scale: float

    def normalize(self, depth: jax.Array) -> jax.Array:
        return (depth - self.offset) / self.scale

    def invert(self, value: jax.Array) -> jax.Array:
        return value * self.scale + self.offset


@dataclasses.dataclass(frozen=True)
class Logarithmic:
    """ln(d − low + 1) / ln(high − low + 1): 0 at `low`, 1 at `high` (report B 4.2)."""

    low: float
    high: float

    def normalize(self, depth: jax.Array) -> jax.Array:
        return jnp.log(depth - self.low + 1.0) / math.log(self.high - self.low + 1.0)

    def invert(self, value: jax.Array) -> jax.Array:
        return jnp.exp(value * math.log(self.high - self.low + 1.0)) + (self.low - 1.0)


@dataclasses.dataclass(frozen=True)
class Depth(Task):
    """One positive value per pixel. See `mtl_jax.tasks.Task` for the methods.

    Attributes:
      name: of the task.
      key: of its labels in a batch: float32 [B, H, W].
      kind, unit: of the labels, as in LabelSpec.
      valid_range: predictions are clamped to it before metrics and output.
      invalid: the label that means "unknown". It alone is masked: a NaN, unless it is the invalid
        value itself, reaches the loss and the metrics, and makes them NaN.
      normalization: `Affine` or `Logarithmic`, between depth and what the network predicts.
      loss_name: a key of `LOSSES`, applied in normalised units, or `SIGLOSS`, which is of positive
        depths that are not beyond `valid_range`, over the whole batch whatever `averaging`.
      averaging: 'image' is the mean over each image's valid pixels, then over the images that have
        any (reports A, B); 'batch' the mean over all valid pixels of the batch (report C).
      warming_up: whether SigLoss leaves the variance out.
    """

    name: str
    key: str
    kind: str
    unit: str
    valid_range: tuple[float, float]
    invalid: float
    normalization: Affine | Logarithmic
    loss_name: str
    averaging: str
    warming_up: bool | jax.Array = False

    channels = 1
    headline = HEADLINE
    tabled = TABLED
    classification = False

    @property
    def absent(self) -> float:
        return self.invalid

    def at(self, step: jax.Array) -> "Depth":
        """The task as it is at one update; SigLoss changes after `WARM_UP` of them."""
        if self.loss_name != SIGLOSS:
            return self
        return dataclasses.replace(self, warming_up=step < WARM_UP)

    def loss_mask(self, targets: jax.Array, valid: jax.Array) -> jax.Array:
        """[B, H, W] bool; SigLoss leaves depths out that are not positive or beyond the range."""
        mask = self.mask(targets, valid)
        if self.loss_name == SIGLOSS:
            mask &= ~(targets <= 0) & ~(targets > self.valid_range[1])  # a NaN stays in
        return mask

    def loss(self, prediction: jax.Array, targets: jax.Array, valid: jax.Array) -> jax.Array:
        self.check(prediction, targets)
        mask = self.loss_mask(targets, valid)
        if self.loss_name == SIGLOSS:
            depth = self._depth(prediction)
            return losses.scale_invariant_log(depth, targets, mask, mean_alone=self.warming_up)
        error = prediction[..., 0].astype(jnp.float32) - self.normalization.normalize(targets)
        error = jnp.where(mask, error, 0.0)  # an invalid label may well be NaN by now
        return AVERAGING[self.averaging](LOSSES[self.loss_name](error), mask)

    def denominator(self, targets: jax.Array, valid: jax.Array) -> jax.Array:
        """Of pixels, or with `averaging` 'image', of which SigLoss knows nothing, of images."""
        if self.averaging == "batch" or self.loss_name == SIGLOSS:
            return super().denominator(targets, valid)
        known = jnp.any(self.loss_mask(targets, valid), axis=(1, 2))
        return jnp.sum(known, dtype=jnp.int32).astype(jnp.float32)

    def metric_sums(
        self, prediction: jax.Array, targets: jax.Array, valid: jax.Array
    ) -> dict[str, jax.Array]:
        self.check(prediction, targets)
        mask = self.mask(targets, valid)
        depth = self._depth(prediction)
        clamped = jnp.clip(depth, *self.valid_range)
        return metrics.depth_sums(targets, clamped, mask, unclamped=depth)

    def metrics(self, sums: Mapping[str, np.ndarray]) -> dict[str, float]:
        """See `mtl_jax.metrics.depth_metrics`."""
        return metrics.depth_metrics(sums)

    def postprocess(self, prediction: jax.Array) -> dict[str, jax.Array]:
        """{task: [B, H, W] float32}, in the labels' unit, clamped to `valid_range`."""
        return {self.name: jnp.clip(self._depth(prediction), *self.valid_range)}

    def _depth(self, prediction: jax.Array) -> jax.Array:
        """[B, H, W] float32 in the labels' unit, whatever the network says."""
        return self.normalization.invert(prediction[..., 0].astype(jnp.float32))

    def to_average(self, prediction: jax.Array, *, mirrored: bool, zoom: float) -> jax.Array:
        """[B, h, w, 1] in the labels' unit, clamped; neither mirror nor zoom changes it (report B).

        An object that a zoomed image shows larger is predicted nearer by a network that was trained
        so. Report B averages the maps as they are, and so does this.
        """
        del mirrored, zoom
        return self.postprocess(prediction)[self.name][..., None]

    def to_resize(self, prediction: jax.Array) -> jax.Array:
        """[B, h, w, 1] in the labels' unit, not clamped, which one of the metrics is not either."""
        return self._depth(prediction)[..., None]

    def from_average(self, average: jax.Array) -> jax.Array:
        return self.normalization.normalize(average)

    def visualize(self, value: np.ndarray) -> np.ndarray:
        return visualization.depth_picture(value, self._scale, invalid=self.invalid)

    def panel(self, image: np.ndarray, value: np.ndarray) -> visualization.Panel:
        """The depth map over the photograph without its colours, with a colour bar."""
        picture = visualization.lay_over(image, self.visualize(value))
        opacity = visualization.OPACITY
        return visualization.Panel(self.name, picture, depth_scale=self._scale, opacity=opacity)

    def error_panel(self, value: np.ndarray, target: np.ndarray) -> visualization.Panel:
        """The error as a share of the label."""
        known = ~np.isnan(target) & (target != self.invalid)
        error = np.abs(value - target) / np.where(known & (target != 0), np.abs(target), np.inf)
        title = f"{self.name}: error / label, mean {_mean(error, known):.2f}"
        return visualization.error_map(title, error, known, largest=0.5, unit="")

    def encode(self, value: np.ndarray) -> tuple[bytes, str, str]:
        """Metric depth as a 16-bit PNG in millimetres, anything else as float32 .npy."""
        if not self._metric:
            return super().encode(value)
        contents, clipped = visualization.encode_depth_png(value)
        limit = visualization.MAX_DEPTH_MILLIMETRES / 1000
        remark = (
            f"{clipped} of {np.size(value)} pixels are farther than {limit} m, the most that "
            "16-bit millimetres hold, and are written as that"
        )
        return contents, ".png", remark if clipped else ""

    def describe(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "unit": self.unit,
            "range": list(self.valid_range),
            "file": "millimetre_png" if self._metric else "npy",
        }

    @property
    def _metric(self) -> bool:
        return self.kind == "depth" and self.unit == "m"

    @property
    def _scale(self) -> visualization.DepthScale:
        low, high = self.valid_range
        # Perspective spreads near depths over most of the image: equal ratios look equal.
        logarithmic = self.kind == "depth" and low > 0
        return visualization.DepthScale(low, high, self.unit, logarithmic)


def build(name: str, options: Any, spec: Mapping[str, Any] | None) -> Depth:
    """Builds the task `name`.

    Args:
      name: of the task.
      options: `config.tasks.<name>`: `key`, set, and `OPTIONS`. What they say about range, mean and
        stddev goes before what `spec` says.
      spec: the data set's LabelSpec of the task's key as a dict, or None if it has no such key.

    Raises:
      ConfigError: a fact that the normalisation needs is missing.
    """
    key, spec = options.key, spec or {"kind": "depth", "unit": "m"}
    facts = {
        "range": options.range or spec.get("valid_range"),
        "mean": spec.get("mean") if options.mean is None else options.mean,
        "stddev": spec.get("stddev") if options.stddev is None else options.stddev,
    }
    invalid = spec.get("invalid")
    return Depth(
        name=name,
        key=key,
        kind=spec["kind"],
        unit=spec["unit"],
        valid_range=_valid_range(name, key, facts["range"]),
        invalid=0.0 if invalid is None else float(invalid),
        normalization=_normalization(name, key, options.normalization, facts),
        loss_name=options.loss,
        averaging=options.averaging,
    )


def _mean(error: np.ndarray, known: np.ndarray) -> float:
    return float(error[known].mean()) if known.any() else 0.0


def _valid_range(name, key, value) -> tuple[float, float]:
    if value is None:
        raise ConfigError(
            f"config.tasks.{name}: the range of valid depths is unknown, as the data set says "
            f"none for {key!r}. Set config.tasks.{name}.range, e.g. (1.0, 100.0)."
        )
    if len(value) != 2 or not value[0] < value[1] or not np.all(np.isfinite(value)):
        raise ConfigError(
            f"config.tasks.{name}.range: expected (least, greatest) depth, found {value}."
        )
    return float(value[0]), float(value[1])


def _normalization(name, key, method, facts) -> Affine | Logarithmic:
    low, high = _valid_range(name, key, facts["range"])

    def standard():
        mean, stddev = facts["mean"], facts["stddev"]
        if mean is None or stddev is None or not stddev > 0:
            raise ConfigError(
                f"config.tasks.{name}.normalization='standard' needs the mean and a positive "
                f"standard deviation of {key!r}, found mean={mean}, stddev={stddev}. Set "
                f"config.tasks.{name}.mean and .stddev, or choose 'minmax' or 'log'."
            )
        return Affine(float(mean), float(stddev))

    methods = {
        "standard": standard,
        "minmax": lambda: Affine(low, high - low),
        "log": lambda: Logarithmic(low, high),
        "none": lambda: Affine(0.0, 1.0),
    }
    return methods[method]()
