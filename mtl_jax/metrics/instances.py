"""Metrics of instances: of offsets to centroids, and of label maps of instance ids."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from mtl_jax._segments import Segments
from mtl_jax.metrics._arithmetic import mean, ratio

# IoU thresholds 0.5, 0.55 ... 0.95 as integer shares of `_PARTS`, so that no rounding decides.
_PARTS = 20
_SHARES = tuple(range(10, 20))
# Predicted instances are ranked by area, in eighths of octaves up to 2²⁷ pixels.
_BINS_PER_OCTAVE = 8
_BINS = 27 * _BINS_PER_OCTAVE
# 20 · pixels must be an int32.
_MOST_PIXELS = 2**31 // _PARTS - 1


def offset_sums(
    target: jax.Array, prediction: jax.Array, mask: jax.Array, valid: jax.Array
) -> dict[str, jax.Array]:
    """Reduces one batch to what `offset_metrics` needs.

    Args:
      target, prediction: [B, H, W, 2] float32 offsets in pixels.
      mask: [B, H, W] bool, the pixels of instances.
      valid: [B] bool, False for padding.

    Returns:
      The int32 counts `pixels`, `images`, `images_with_instances`, and the float32 sums `squared`
      over pixels and `rms` over images.
    """
    squared = jnp.where(mask, jnp.sum(jnp.square(prediction - target), axis=-1), 0.0)
    by_image = jnp.sum(squared, axis=(1, 2))
    pixels = jnp.sum(mask, axis=(1, 2), dtype=jnp.int32)
    return {
        "pixels": jnp.sum(pixels),
        "images": jnp.sum(valid, dtype=jnp.int32),
        "images_with_instances": jnp.sum(pixels > 0, dtype=jnp.int32),
        "squared": jnp.sum(by_image),
        "rms": jnp.sum(jnp.sqrt(by_image / jnp.maximum(pixels, 1))),
    }


def offset_metrics(sums: Mapping[str, np.ndarray]) -> dict[str, float]:
    """The metrics of offsets, in pixels; NaN where the split has no instance.

    With the length of the 2-vector ŷ − y as the error of a pixel:

    * `rms`: the root mean square over an image's instance pixels, 0 for an image without any,
      averaged over all images (report E);
    * `rms_of_labelled`: the same, averaged over the images that have an instance;
    * `rms_global`: the root mean square over the split's instance pixels together.
    """
    labelled = sums["images_with_instances"]
    metrics = {
        "rms": ratio(sums["rms"], sums["images"]) if labelled else np.nan,
        "rms_of_labelled": ratio(sums["rms"], labelled),
        "rms_global": np.sqrt(ratio(sums["squared"], sums["pixels"])),
    }
    return {name: float(value) for name, value in metrics.items()}


def instance_sums(
    true_ids: jax.Array, predicted_ids: jax.Array, valid: jax.Array
) -> dict[str, jax.Array]:
    """Reduces one batch to what `instance_metrics` needs, for any ids and any number of them.

    A predicted and a true instance match where their IoU is above a threshold of at least 0.5. As
    instances do not overlap, each has at most one such partner, whatever order they are looked at.

    Args:
      true_ids, predicted_ids: [B, H, W] int32, 0 = no instance.
      valid: [B] bool, False for padding.

    Returns:
      `true`: int32, the true instances; `predicted` [S] int32, the predicted ones by area;
      `matched` [10, S] int32: those that match at the thresholds 0.5 ... 0.95; `iou`: float32, the
      sum of the IoUs of the matches at 0.5.

    Raises:
      ValueError: images of more than 107 million pixels.
    """
    if true_ids[0].size > _MOST_PIXELS:
        raise ValueError(
            f"instance_sums: expected at most {_MOST_PIXELS} pixels per image, found "
            f"{true_ids[0].size} ({true_ids.shape})."
        )

    def one(true, predicted):
        true, predicted = true.ravel(), predicted.ravel()
        ones = jnp.ones_like(true)
        of_true, of_predicted, both = Segments(true), Segments(predicted), Segments(true, predicted)
        true_area, predicted_area, common = (s.sum(ones) for s in (of_true, of_predicted, both))
        union = true_area + predicted_area - common
        pair = both.first & (true != 0) & (predicted != 0)
        shares = jnp.array(_SHARES, jnp.int32)[:, None]
        matches = pair & (_PARTS * common > shares * union)
        rank = jnp.floor(_BINS_PER_OCTAVE * jnp.log2(predicted_area.astype(jnp.float32)))

        def by_area(chosen):
            cell = jnp.where(chosen, rank.astype(jnp.int32), _BINS)  # index `_BINS` is dropped
            return jnp.zeros(_BINS, jnp.int32).at[cell].add(1, mode="drop")

        return {
            "true": jnp.sum(of_true.first & (true != 0), dtype=jnp.int32),
            "predicted": by_area(of_predicted.first & (predicted != 0)),
            "matched": jax.vmap(by_area)(matches),
            "iou": jnp.sum(jnp.where(matches[0], common / union, 0.0)),
        }

    hidden = ~valid[:, None, None]
    sums = jax.vmap(one)(jnp.where(hidden, 0, true_ids), jnp.where(hidden, 0, predicted_ids))
    return jax.tree.map(lambda x: jnp.sum(x, axis=0), sums)


def instance_metrics(sums: Mapping[str, np.ndarray]) -> dict[str, float]:
    """The metrics of instances, as fractions 0 ... 1; NaN where the split has no true instance.

    All instances are of one class, "thing" (class-agnostic), and no region is ignored.

    Returns:
      * `pq`: panoptic quality, Σ IoU of matches above 0.5 / (TP + FP/2 + FN/2), the product of
      * `sq`, the mean IoU of the matches, and `rq`, their F1 score (Kirillov et al. 2019);
      * `ap50`: average precision at IoU above 0.5: the area under the precision-recall curve, made
        monotone, with the predicted instances ranked by area, the larger first, as neither offsets
        nor clusters come with a confidence;
      * `ap`: the mean over the IoU thresholds 0.5, 0.55 ... 0.95.
    """
    true, predicted = float(sums["true"]), float(np.sum(sums["predicted"]))
    names = ("pq", "sq", "rq", "ap50", "ap")
    if not true:
        return dict.fromkeys(names, float("nan"))
    precision_at = [_average_precision(m, sums["predicted"], true) for m in sums["matched"]]
    matched = float(np.sum(sums["matched"][0]))
    values = (
        ratio(sums["iou"], (true + predicted) / 2),
        ratio(sums["iou"], matched),
        ratio(matched, (true + predicted) / 2),
        precision_at[0],
        mean(np.array(precision_at)),
    )
    return {name: float(value) for name, value in zip(names, values)}


def _average_precision(matched: np.ndarray, predicted: np.ndarray, true: float) -> float:
    """From [S] counts by area, and the number of true instances."""
    matched = np.cumsum(np.asarray(matched, np.float64)[::-1])
    predicted = np.cumsum(np.asarray(predicted, np.float64)[::-1])
    precision = np.nan_to_num(ratio(matched, predicted))
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float(np.sum(np.diff(matched / true, prepend=0.0) * envelope))
