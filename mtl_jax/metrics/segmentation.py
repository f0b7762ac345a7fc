"""Metrics of label maps."""

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from mtl_jax.errors import UsageError
from mtl_jax.metrics._arithmetic import mean, ratio


def segmentation_sums(
    labels: jax.Array, predictions: jax.Array, mask: jax.Array, num_classes: int
) -> dict[str, jax.Array]:
    """Reduces one batch to what `segmentation_metrics` and `segmentation_variants` need.

    An image without any labelled pixel is unlabelled and enters none of the sums.

    Args:
      labels: [B, H, W] integer, true class ids.
      predictions: [B, H, W] integer, 0 ... C−1.
      mask: [B, H, W] bool, the pixels that carry a label.
      num_classes: C.

    Returns:
      `confusion`: [C + 1, C] int32, see `confusion_matrix`; `ignored`: [C] int32, the predictions
      on the pixels of labelled images that carry no label; `images`: int32, the labelled images;
      `image_miou`: float32, the sum over them of the mean IoU over the classes that occur in an
      image's truth or prediction.
    """
    by_image = _confusion_by_image(labels, predictions, mask, num_classes)
    labelled = jnp.any(mask, axis=(1, 2))
    void = ~mask & labelled[:, None, None]
    inside = by_image[:, :num_classes]
    intersection = jnp.diagonal(inside, axis1=1, axis2=2)
    union = jnp.sum(inside, axis=1) + jnp.sum(inside, axis=2) - intersection
    iou = intersection / jnp.maximum(union, 1)  # 0 where a class does not occur
    occurring = jnp.sum(union > 0, axis=1)
    return {
        "confusion": jnp.sum(by_image, axis=0),
        "ignored": jnp.sum(_count(predictions, void, num_classes), axis=0),
        "images": jnp.sum(labelled, dtype=jnp.int32),
        "image_miou": jnp.sum(jnp.sum(iou, axis=1) / jnp.maximum(occurring, 1)),
    }


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
    return jnp.sum(_confusion_by_image(labels, predictions, mask, num_classes), axis=0)


def _confusion_by_image(labels, predictions, mask, num_classes) -> jax.Array:
    """[B, C + 1, C] int32: `confusion_matrix` of every image."""
    known = (labels >= 0) & (labels < num_classes)
    cell = jnp.where(known, labels, num_classes) * num_classes + predictions
    counts = _count(cell, mask, (num_classes + 1) * num_classes)
    return counts.reshape(-1, num_classes + 1, num_classes)


def _count(cells: jax.Array, mask: jax.Array, size: int) -> jax.Array:
    """[B, size] int32: how often each of 0 ... size−1 occurs in [B, H, W] `cells` under `mask`."""
    cells = jnp.where(mask, cells, size).reshape(cells.shape[0], -1)  # index `size` is dropped

    def count(cells):
        return jnp.zeros(size, jnp.int32).at[cells].add(1, mode="drop")

    # Image by image, so that a sharded batch is counted where it lies.
    return jax.vmap(count)(cells)


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
      UsageError: some pixel had a label outside the class table.
    """
    confusion = np.asarray(confusion, np.float64)
    num_classes = len(class_names)
    if confusion.shape != (num_classes + 1, num_classes):
        raise ValueError(
            f"{where}: expected a confusion matrix of shape {(num_classes + 1, num_classes)} for "
            f"{num_classes} class names, found {confusion.shape}."
        )
    if confusion[-1].sum() > 0:
        raise UsageError(
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


def segmentation_variants(sums: Mapping[str, np.ndarray]) -> dict[str, float]:
    """What other codes call mIoU, under names of its own, as fractions 0 ... 1.

    Args:
      sums: of `segmentation_sums`, of the whole split.

    Returns:
      * `miou_thesis`: like `miou`, but predictions on pixels without a label count as false
        positives, n_ii / (t_i + Σ_j n_ji + ignored_i − n_ii): report D's published code;
      * `miou_per_image`: the mean over images of each image's mean IoU over the classes that occur
        in its truth or prediction: the tables of the MTAN paper (Liu et al. 2019).
    """
    confusion = np.asarray(sums["confusion"], np.float64)[:-1]
    intersection = np.diag(confusion)
    union = confusion.sum(axis=0) + confusion.sum(axis=1) + sums["ignored"] - intersection
    return {
        "miou_thesis": mean(ratio(intersection, union)),
        "miou_per_image": float(ratio(sums["image_miou"], sums["images"])),
    }


def miou_of_classes(confusion: np.ndarray, chosen: Sequence[int]) -> float:
    """The mean IoU over some of the classes, an absent one counting 0.

    A pixel of a chosen class that is taken for any other class is still wrong: the others are left
    out of the mean, not of the confusion.

    Args:
      confusion: [C + 1, C] of the whole split, as `confusion_matrix` makes it.
      chosen: class ids.
    """
    confusion = np.asarray(confusion, np.float64)[:-1]
    if not confusion.sum():
        return float("nan")
    return float(np.mean(np.nan_to_num(iou_from_confusion(confusion)[list(chosen)], nan=0.0)))
