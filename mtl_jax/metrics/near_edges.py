"""A cheap figure of edge maps, for every evaluation of a training: F within a distance.

`mtl_jax.metrics.boundaries` has the field's odsF, which takes seconds for an image. This one thins,
suppresses and matches nothing, so that it favours thick lines; it says whether a network learns.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from mtl_jax.metrics._arithmetic import ratio

THRESHOLDS = tuple(np.arange(1, 100) / 100)


def near_edge_sums(
    truth: jax.Array, probability: jax.Array, mask: jax.Array, max_distance: float
) -> dict[str, jax.Array]:
    """Reduces one batch to what `near_edge_metrics` needs.

    Args:
      truth: [B, H, W] bool, edge or not.
      probability: [B, H, W] float32, of being an edge.
      mask: [B, H, W] bool, the pixels that count.
      max_distance: as a share of the diagonal of each image, without the rows and columns around it
        of which nothing counts, as padding; cut to whole pixels, along rows and columns.

    Returns:
      int32 counts: `said`, `right` (of those near or at an edge, and at one) and `found` (of edges
      near which, and at which, one is said), [2, T + 1] of pixels by the number of thresholds that
      they reach; `true`, scalar, edge pixels; `images` with a pixel that counts.
    """
    reach, most = _reach(mask, max_distance)
    truth = truth & mask
    probability = jnp.where(mask, probability, 0.0)
    near_truth = _most_around(truth.astype(jnp.float32), reach, most) > 0
    near_probability = _most_around(probability, reach, most)
    said = _levels(probability, mask)
    return {
        "said": jnp.stack([said, said]),
        "right": jnp.stack([_levels(probability, mask & near_truth), _levels(probability, truth)]),
        "found": jnp.stack([_levels(near_probability, truth), _levels(probability, truth)]),
        "true": jnp.sum(truth, dtype=jnp.int32),
        "images": jnp.sum(mask.any(axis=(1, 2)), dtype=jnp.int32),
    }


def near_edge_metrics(sums: Mapping[str, np.ndarray]) -> dict[str, float]:
    """The cheap metrics of edges, over all pixels of the split together, fractions 0 ... 1.

    * `f_near`: max over t = 0.01 ... 0.99 of F = 2PR / (P + R), p ≥ t, where P is the share of the
      said pixels that an edge is near, and R that of the edges' pixels that a said pixel is near;
    * `f_near_threshold`: the t where it is;
    * `f_exact`: the same with nothing but the pixel itself being near.
    """
    # A pixel that reaches n thresholds is said at the first n of them.
    said, right, found = (
        np.cumsum(np.asarray(sums[name], np.float64)[:, ::-1], axis=1)[:, -2::-1]
        for name in ("said", "right", "found")
    )
    precision, recall = (np.nan_to_num(r) for r in (ratio(right, said), ratio(found, sums["true"])))
    f = np.nan_to_num(ratio(2 * precision * recall, precision + recall))
    best = int(np.argmax(f[0]))
    values = {"f_near": f[0, best], "f_near_threshold": THRESHOLDS[best], "f_exact": f[1].max()}
    known = sums["images"] > 0
    return {name: float(value) if known else float("nan") for name, value in values.items()}


def _levels(values: jax.Array, mask: jax.Array) -> jax.Array:
    """[T + 1] int32: how many pixels of the mask reach just 0, 1 ... T thresholds."""
    levels = jnp.searchsorted(jnp.asarray(THRESHOLDS, jnp.float32), values, side="right")
    counts = len(THRESHOLDS) + 1

    def of_image(levels, mask):
        where = jnp.where(mask, levels, counts).ravel()  # beyond the end: dropped
        return jnp.zeros(counts, jnp.int32).at[where].add(1, mode="drop")

    # Image by image, so that a sharded batch is counted where it lies.
    return jnp.sum(jax.vmap(of_image)(levels, mask), axis=0)


def _reach(mask: jax.Array, max_distance: float) -> tuple[jax.Array, int]:
    """[B] int32, how many pixels an image's `max_distance` is, and the most that it can be."""

    def extent(axis):
        where = mask.any(axis=axis)
        first, last = jnp.argmax(where, axis=1), jnp.argmax(where[:, ::-1], axis=1)
        return where.shape[1] - last - first

    def pixels(height, width):
        # In float32 a distance of 5 pixels may be 4.9999995.
        return max_distance * jnp.hypot(jnp.float32(height), jnp.float32(width)) + 1e-4

    reach = pixels(extent(2), extent(1)).astype(jnp.int32)
    return reach, int(max_distance * float(np.hypot(*mask.shape[1:])) + 1e-4)


def _most_around(values: jax.Array, reach: jax.Array, most: int) -> jax.Array:
    """The greatest of [B, H, W] within each image's `reach` rows and columns, at most `most`."""

    def one_more(step, values):
        around = values
        for axis in (1, 2):
            window = [1, 1, 1]
            window[axis] = 3
            around = jax.lax.reduce_window(around, -jnp.inf, jax.lax.max, window, (1, 1, 1), "SAME")
        return jnp.where(step < reach[:, None, None], around, values)

    return jax.lax.fori_loop(0, most, one_more, values)
