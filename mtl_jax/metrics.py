"""Metrics of a whole split, in two halves.

On the device, `confusion_matrix` and `depth_sums` reduce one batch to a few sums. The caller adds
them up over the split, in float64, and `segmentation_metrics` and `depth_metrics` turn the totals
into numbers, in NumPy. Averages of batch averages, which change with the batch size, never occur.

A metric of which the split has no valid pixel is NaN.
"""

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

# Depths are raised to this (in their own unit) before logarithms and ratios (reports A, B).
LOG_FLOOR = 0.01


def confusion_matrix(
    labels: jax.Array, predictions: jax.Array, mask: jax.Array, num_classes: int
) -> jax.Array:
    """Counts pixels by true and predicted class, exactly.

    Args:
      labels: [B, H, W] integer, true class ids.
      predictions: [B, H, W] integer, 0 ... C−1.
      mask: [B, H, W] bool, the pixels that count.
      num_classes: C.

    Returns:
      [C + 1, C] int32: rows are true classes, columns predicted ones. The last row counts the
      pixels whose true label is none of 0 ... C−1, which `segmentation_metrics` refuses.
    """
    known = (labels >= 0) & (labels < num_classes)
    cell = jnp.where(known, labels, num_classes) * num_classes + predictions
    size = (num_classes + 1) * num_classes
    cell = jnp.where(mask, cell, size).reshape(labels.shape[0], -1)  # index `size` is dropped

    def count(cells):
        return jnp.zeros(size, jnp.int32).at[cells].add(1, mode="drop")

    # Image by image, so that a sharded batch is counted where it lies.
    return jnp.sum(jax.vmap(count)(cell), axis=0).reshape(num_classes + 1, num_classes)


def iou_from_confusion(confusion: np.ndarray) -> np.ndarray:
    """Intersection over union by class, n_ii / (t_i + Σ_j n_ji − n_ii).

    Args:
      confusion: [C, C], rows are true classes.

    Returns:
      [C] float64 fractions, NaN for a class absent from both truth and prediction.
    """
    confusion = np.asarray(confusion, np.float64)
    intersection = np.diag(confusion)
    return _ratio(intersection, confusion.sum(axis=0) + confusion.sum(axis=1) - intersection)


def segmentation_metrics(
    confusion: np.ndarray, class_names: Sequence[str], *, where: str = "split"
) -> dict[str, float]:
    """The metrics of a label map, as fractions 0 ... 1.

    Args:
      confusion: [C + 1, C] of the whole split, as `confusion_matrix` makes it.
      class_names: C names.
      where: the task's name, for the error.

    Returns:
      * `miou`: mean IoU over the classes that occur in truth or prediction;
      * `classes_averaged`: how many those are;
      * `miou_all`: mean IoU over all C classes, an absent one counting 0 (reports A, B);
      * `pixel_accuracy`: share of the pixels that are right;
      * `mean_accuracy`: mean recall over the classes that occur in the truth;
      * `iou/<class name>`: IoU by class, NaN for a class that occurs in neither.

    Raises:
      ValueError: some pixel had a label outside the class table.
    """
    confusion = np.asarray(confusion, np.float64)
    num_classes = len(class_names)
    if confusion.shape != (num_classes + 1, num_classes):
        raise ValueError(
            f"{where}: expected a confusion matrix of shape {(num_classes + 1, num_classes)} for "
            f"{num_classes} class names, found {confusion.shape}."
        )
    if confusion[-1].sum() > 0:
        raise ValueError(
            f"{where}: {confusion[-1].sum():.0f} pixels carry a label that is neither one of the "
            f"{num_classes} classes nor the ignored id. Check the data set's labels."
        )
    confusion = confusion[:-1]
    iou = iou_from_confusion(confusion)
    total = confusion.sum()
    metrics = {
        "miou": _mean(iou),
        "classes_averaged": float(np.sum(~np.isnan(iou))),
        "miou_all": float(np.mean(np.nan_to_num(iou, nan=0.0))) if total else float("nan"),
        "pixel_accuracy": float(_ratio(np.trace(confusion), total)),
        "mean_accuracy": _mean(_ratio(np.diag(confusion), confusion.sum(axis=1))),
    }
    metrics.update({f"iou/{name}": float(value) for name, value in zip(class_names, iou)})
    return metrics


def depth_sums(
    target: jax.Array, prediction: jax.Array, mask: jax.Array, *, floor: float = LOG_FLOOR
) -> dict[str, jax.Array]:
    """Reduces one batch to what `depth_metrics` needs.

    Args:
      target: [B, H, W] float32, the true depth.
      prediction: [B, H, W] float32, in the same unit, already within the valid range.
      mask: [B, H, W] bool, the pixels that count.
      floor: least depth that enters a logarithm or a ratio to the prediction.

    Returns:
      Scalars: the int32 counts `pixels`, `images` (with a valid pixel), `delta1`, `delta2`,
      `delta3`, and the float32 sums `abs`, `rel`, `sq_rel`, `squared`, `log_squared` over pixels
      and `si_log` over images.
    """
    target = jnp.where(mask, target, 1.0)
    prediction = jnp.where(mask, prediction, 1.0)
    error = prediction - target
    floored_target = jnp.maximum(target, floor)
    floored_prediction = jnp.maximum(prediction, floor)
    log_error = jnp.log(floored_target) - jnp.log(floored_prediction)
    ratio = jnp.maximum(floored_target / floored_prediction, floored_prediction / floored_target)

    pixels = jnp.sum(mask, axis=(1, 2), dtype=jnp.int32)
    divisor = jnp.maximum(pixels, 1)
    # The variance of the log error in two passes: mean(e²) − mean(e)² cancels.
    mean = jnp.sum(log_error, axis=(1, 2)) / divisor  # 0 outside the mask, by construction
    deviation = jnp.where(mask, log_error - mean[:, None, None], 0.0)
    variance = jnp.sum(jnp.square(deviation), axis=(1, 2)) / divisor

    def within(bound):
        return jnp.sum(mask & (ratio < bound), dtype=jnp.int32)

    return {
        "pixels": jnp.sum(pixels),
        "images": jnp.sum(pixels > 0, dtype=jnp.int32),
        "abs": jnp.sum(jnp.abs(error)),
        "rel": jnp.sum(jnp.abs(error) / target),
        "sq_rel": jnp.sum(jnp.square(error) / target),
        "squared": jnp.sum(jnp.square(error)),
        "log_squared": jnp.sum(jnp.square(log_error)),
        "si_log": jnp.sum(jnp.sqrt(variance)),
        "delta1": within(1.25),
        "delta2": within(1.25**2),
        "delta3": within(1.25**3),
    }


def depth_metrics(sums: Mapping[str, float]) -> dict[str, float]:
    """The metrics of a depth map, from the sums over a whole split.

    With y the truth, ŷ the prediction and e = ln y − ln ŷ:

    * `si_log_rmse`: 100·√(mean(e²) − mean(e)²) per image, averaged over the images that have a
      valid pixel (reports A, B);

    and, over all valid pixels of the split together,

    * `abs`: mean |y − ŷ|, in the depth's unit;
    * `rel`: mean |y − ŷ| / y, a plain ratio;
    * `sq_rel`: mean (y − ŷ)² / y (Eigen et al. 2014), in the depth's unit;
    * `rmse`: √mean (y − ŷ)², in the depth's unit;
    * `log_rmse`: √mean e², natural logarithm, not scaled;
    * `delta1`, `delta2`, `delta3`: share of the pixels with max(y/ŷ, ŷ/y) < 1.25, 1.25², 1.25³,
      as fractions 0 ... 1.
    """
    pixels, images = sums["pixels"], sums["images"]
    metrics = {"si_log_rmse": 100.0 * _ratio(sums["si_log"], images)}
    metrics |= {name: _ratio(sums[name], pixels) for name in ("abs", "rel", "sq_rel")}
    metrics["rmse"] = np.sqrt(_ratio(sums["squared"], pixels))
    metrics["log_rmse"] = np.sqrt(_ratio(sums["log_squared"], pixels))
    metrics |= {name: _ratio(sums[name], pixels) for name in ("delta1", "delta2", "delta3")}
    return {name: float(value) for name, value in metrics.items()}


def multitask_score(miou_all: float, si_log_rmse: float) -> float:
    """max(100·mIoU − 50, 0) + max(50 − SI-logRMSE, 0), from 0 to 100 (reports A, B).

    Args:
      miou_all: fraction 0 ... 1, over all classes.
      si_log_rmse: scaled by 100, as `depth_metrics` gives it.
    """
    return float(np.maximum(100.0 * miou_all - 50.0, 0.0) + np.maximum(50.0 - si_log_rmse, 0.0))


def composite(metrics: Mapping[str, float]) -> dict[str, float]:
    """Adds the metrics that span tasks.

    Args:
      metrics: {'<task>/<metric>': value} of all tasks.

    Returns:
      `metrics` and, where exactly one task has a `miou_all` and exactly one a `si_log_rmse`,
      their `multitask_score`. (With two label maps, say semantics and parts, the score is not
      defined.)
    """
    miou_all = [value for name, value in metrics.items() if name.endswith("/miou_all")]
    si_log_rmse = [value for name, value in metrics.items() if name.endswith("/si_log_rmse")]
    if len(miou_all) != 1 or len(si_log_rmse) != 1:
        return dict(metrics)
    return {**metrics, "multitask_score": multitask_score(miou_all[0], si_log_rmse[0])}


def _ratio(numerator, denominator) -> np.ndarray:
    """numerator / denominator in float64, NaN where the denominator is 0."""
    numerator = np.asarray(numerator, np.float64)
    denominator = np.asarray(denominator, np.float64)
    empty = denominator == 0
    return np.where(empty, np.nan, numerator / np.where(empty, 1.0, denominator))


def _mean(values: np.ndarray) -> float:
    """The mean of the values that are not NaN, NaN if there are none."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")
