"""Metrics of label maps."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from mtl_jax.metrics._arithmetic import mean, ratio


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
    return ratio(intersection, confusion.sum(axis=0) + confusion.sum(axis=1) - intersection)


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
        "miou": mean(iou),
        "classes_averaged": float(np.sum(~np.isnan(iou))),
        "miou_all": float(np.mean(np.nan_to_num(iou, nan=0.0))) if total else float("nan"),
        "pixel_accuracy": float(ratio(np.trace(confusion), total)),
        "mean_accuracy": mean(ratio(np.diag(confusion), confusion.sum(axis=1))),
    }
    metrics.update({f"iou/{name}": float(value) for name, value in zip(class_names, iou)})
    return metrics
