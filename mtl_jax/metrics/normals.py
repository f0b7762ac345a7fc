"""Metrics of surface normals: angles between predicted and true directions."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from mtl_jax.metrics._arithmetic import ratio

# Degrees. The thresholds are those of Eigen & Fergus 2015, which everyone reports.
THRESHOLDS = (11.25, 22.5, 30.0)
BIN_WIDTH = 0.01
_BINS = round(180.0 / BIN_WIDTH)


def angles(target: jax.Array, prediction: jax.Array) -> jax.Array:
    """Angles in degrees, 0 ... 180, between vectors of any length.

    atan2(|a × b|, a · b) is exact to a few ulp everywhere, where arccos(a · b) loses half of the
    digits of a small angle. A zero vector, which has no direction, is at 90° to everything.

    Args:
      target, prediction: [..., 3] float32.
    """
    cross = jnp.linalg.norm(jnp.cross(target, prediction), axis=-1)
    dot = jnp.sum(target * prediction, axis=-1)
    no_direction = (cross == 0) & (dot == 0)
    return jnp.where(no_direction, 90.0, jnp.degrees(jnp.arctan2(cross, dot)))


def normals_sums(target: jax.Array, prediction: jax.Array, mask: jax.Array) -> dict[str, jax.Array]:
    """Reduces one batch to what `normals_metrics` needs.

    Args:
      target, prediction: [B, H, W, 3] float32 unit vectors.
      mask: [B, H, W] bool, the pixels that count.

    Returns:
      The float32 scalars `angle` and `squared` (sums of the angles in degrees and of their
      squares), and the int32 counts `within` [3], by threshold, and `histogram`, of angles in bins
      of 0.01°, the last cell for angles that are NaN.
    """
    angle = angles(jnp.where(mask[..., None], target, 1.0), prediction)
    cell = jnp.where(jnp.isnan(angle), _BINS, jnp.clip(angle / BIN_WIDTH, 0, _BINS - 1))
    cell = jnp.where(mask, cell.astype(jnp.int32), _BINS + 1)  # the index beyond is dropped

    def count(cells):
        return jnp.zeros(_BINS + 1, jnp.int32).at[cells].add(1, mode="drop")

    counted = jnp.where(mask, angle, 0.0)
    return {
        "angle": jnp.sum(counted),
        "squared": jnp.sum(jnp.square(counted)),
        "within": jnp.stack([jnp.sum(mask & (angle < t), dtype=jnp.int32) for t in THRESHOLDS]),
        # Image by image, so that a sharded batch is counted where it lies.
        "histogram": jnp.sum(jax.vmap(count)(cell.reshape(cell.shape[0], -1)), axis=0),
    }


def normals_metrics(sums: Mapping[str, np.ndarray]) -> dict[str, float]:
    """The metrics of surface normals, over all valid pixels of the split together.

    Returns:
      * `mean`, `rmse`: of the angle between prediction and truth, in degrees;
      * `median`: likewise, read off the histogram, so within 0.01° of the exact one; that of an
        even number of pixels is the mean of the two in the middle. It is the median of the whole
        split; a mean of the medians of batches is another number;
      * `within_11.25`, `within_22.5`, `within_30`: shares of the pixels with a smaller angle, as
        fractions 0 ... 1.
    """
    histogram = np.asarray(sums["histogram"], np.float64)
    pixels = histogram.sum()
    metrics = {
        "mean": ratio(sums["angle"], pixels),
        "median": np.nan if histogram[-1] else _median(histogram[:-1]),
        "rmse": np.sqrt(ratio(sums["squared"], pixels)),
    }
    metrics |= {
        f"within_{t:g}": ratio(count, pixels) for t, count in zip(THRESHOLDS, sums["within"])
    }
    return {name: float(value) for name, value in metrics.items()}


def _median(histogram: np.ndarray) -> float:
    """The middle angle, of an even number the mean of the two; NaN without counts.

    The angles of a bin count as evenly spread in it.
    """
    total = histogram.sum()
    if not total:
        return float("nan")
    until = np.cumsum(histogram)

    def ranked(rank: float) -> float:
        bin_ = int(np.searchsorted(until, rank, side="right"))
        share = (rank + 0.5 - (until[bin_] - histogram[bin_])) / histogram[bin_]
        return (bin_ + share) * BIN_WIDTH

    return (ranked((total - 1) // 2) + ranked(total // 2)) / 2
