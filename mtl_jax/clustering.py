"""From offsets to instances: two ways of grouping the centres that pixels point to.

Every thing pixel votes for a centre, its own position minus its offset. `vote` looks for places
with many votes, on the device and in milliseconds; `optics` clusters the votes as report E does, on
the host and in seconds. docs/tasks.md compares them.
"""

import math
import warnings
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

MIN_VOTES = 5.0

# Votes are smoothed with a binomial kernel: [1, 2, 1] / 4, so many times along each axis.
_PASSES = 4
_KERNEL_CENTRE = (math.comb(2 * _PASSES, _PASSES) / 4**_PASSES) ** 2
_KERNEL_STDDEV = 1 / math.sqrt(2 * math.pi * _KERNEL_CENTRE)
# In standard deviations of a centre's votes: how far they are counted to find that deviation, how
# far no second centre is looked for, and how far votes go to the centre. Beyond `_CLEARED`, another
# centre has to rise above `_TAIL` times the tail of this one.
_COUNTED = 2.0
_CLEARED = 2.5
_REACH = 4.0
_TAIL = 2.0


def vote(offsets: jax.Array, things: jax.Array, *, min_votes: float = MIN_VOTES) -> jax.Array:
    """Groups pixels by the place that they point to.

    Votes are counted in bins of one pixel and smoothed. The local maxima are taken as centres,
    highest first, if they have `min_votes` and stand clear of those taken before; how wide a centre
    spreads is read off its own votes, so sharp predictions keep centres apart that are 4 pixels
    from each other, and blurred ones are not cut to pieces. A pixel goes to the centre nearest to
    its vote, if that is within the centre's reach.

    Args:
      offsets: [B, H, W, 2] float32, (dy, dx) from the centre to the pixel, in pixels.
      things: [B, H, W] bool, the pixels that belong to instances.
      min_votes: of a centre, as if they all fell on one place, beyond what the tails of centres
        with more votes account for.

    Returns:
      [B, H, W] int32 instance ids from 1, by height of the centre; 0 where there is no thing, or
      where it points to no centre.
    """
    return jax.vmap(lambda o, t: _vote(o, t, min_votes * _KERNEL_CENTRE))(offsets, things)


class _Centres(NamedTuple):
    """What is known after some centres were found.

    Attributes:
      ids, distance: [H, W], the nearest centre of each pixel's vote, and its squared distance.
      free: [H, W] bool, the pixels whose votes no centre accounts for.
      score: [H, W], how high the votes rise above the tails of the centres; −∞ where none can be.
      count: how many there are.
    """

    ids: jax.Array
    distance: jax.Array
    free: jax.Array
    score: jax.Array
    count: jax.Array


def _vote(offsets: jax.Array, things: jax.Array, least: float) -> jax.Array:
    height, width = things.shape
    rows, columns = jnp.mgrid[:height, :width].astype(jnp.float32)
    vote_rows, vote_columns = rows - offsets[..., 0], columns - offsets[..., 1]
    density = _smooth(_histogram(vote_rows, vote_columns, things))
    peak = (density >= _neighbourhood_max(density)) & (density >= least)

    def next_centre(known: _Centres) -> _Centres:
        at = jnp.argmax(known.score)
        row, column = at // width, at % width
        top = density[row, column]
        distance = jnp.square(vote_rows - row) + jnp.square(vote_columns - column)
        variance = _variance(jnp.where(known.free, distance, jnp.inf), top)
        within_reach = things & (distance <= _REACH**2 * variance)
        nearer = within_reach & (distance < known.distance)
        around = jnp.square(rows - row) + jnp.square(columns - column)
        tail = _TAIL * top / jnp.square(1 + around / (2 * variance))
        clear = around > _CLEARED**2 * variance
        score = jnp.where(clear & (known.score - tail >= least), known.score - tail, -jnp.inf)
        return _Centres(
            ids=jnp.where(nearer, known.count + 1, known.ids),
            distance=jnp.where(nearer, distance, known.distance),
            free=known.free & (distance > _CLEARED**2 * variance),
            # The centre itself, whatever rounding made of its distance, is never taken again.
            score=score.at[row, column].set(-jnp.inf),
            count=known.count + 1,
        )

    start = _Centres(
        ids=jnp.zeros((height, width), jnp.int32),
        distance=jnp.full((height, width), jnp.inf),
        free=things,
        score=jnp.where(peak, density, -jnp.inf),
        count=jnp.int32(0),
    )
    return jax.lax.while_loop(lambda known: jnp.any(known.score > 0), next_centre, start).ids


def _histogram(rows: jax.Array, columns: jax.Array, things: jax.Array) -> jax.Array:
    """[H, W] float32 counts of the votes; those for places outside the image are left out."""
    height, width = things.shape
    row, column = jnp.rint(rows), jnp.rint(columns)
    inside = things & (row >= 0) & (row < height) & (column >= 0) & (column < width)
    bins = jnp.where(inside, row * width + column, height * width).astype(jnp.int32)
    counts = jnp.zeros(height * width, jnp.int32).at[bins.ravel()].add(1, mode="drop")
    return counts.reshape(height, width).astype(jnp.float32)


def _smooth(counts: jax.Array) -> jax.Array:
    for _ in range(_PASSES):
        padded = jnp.pad(counts, ((1, 1), (0, 0)))
        counts = (padded[:-2] + 2 * padded[1:-1] + padded[2:]) / 4
        padded = jnp.pad(counts, ((0, 0), (1, 1)))
        counts = (padded[:, :-2] + 2 * padded[:, 1:-1] + padded[:, 2:]) / 4
    return counts


def _neighbourhood_max(density: jax.Array) -> jax.Array:
    """The greatest value of the 3×3 pixels around each pixel."""
    padded = jnp.pad(density, ((1, 1), (0, 0)))
    tallest = jnp.maximum(jnp.maximum(padded[:-2], padded[1:-1]), padded[2:])
    padded = jnp.pad(tallest, ((0, 0), (1, 1)))
    return jnp.maximum(jnp.maximum(padded[:, :-2], padded[:, 1:-1]), padded[:, 2:])


def _variance(distance: jax.Array, top: jax.Array) -> jax.Array:
    """The variance of the votes for a centre, in pixels².

    n votes with a normal distribution of variance s² rise to n / 2πs². Counting them within a few s
    gives a larger s, until it includes them all; votes for other centres, farther away, stay out.

    Args:
      distance: squared distances of the votes.
      top: the smoothed number of votes at the centre.
    """
    variance = jnp.float32(_KERNEL_STDDEV**2)
    for _ in range(4):
        within = jnp.sum(distance <= _COUNTED**2 * variance, dtype=jnp.int32)
        variance = jnp.maximum(within / (2 * jnp.pi * top), _KERNEL_STDDEV**2)
    return variance


def optics(
    offsets: np.ndarray,
    things: np.ndarray,
    *,
    min_points: int = 5,
    eps: float = 5.0,
    threshold: float = 1.0,
) -> np.ndarray:
    """Groups the pixels of one image by OPTICS (Ankerst et al. 1999; report E).

    The votes are ordered by reachability, by scikit-learn. The order is cut wherever the
    reachability is above `threshold`; pieces of at least `min_points` are instances. The defaults
    are the report's.

    Args:
      offsets: [H, W, 2] float, (dy, dx) from the centre to the pixel, in pixels.
      things: [H, W] bool, the pixels that belong to instances.
      min_points: the neighbours within `eps`, itself included, that make a vote a core point, and
        the size of the smallest instance.
      eps: radius of the neighbourhood, in pixels.
      threshold: reachability at which the order is cut, in pixels.

    Returns:
      [H, W] int32 instance ids from 1, in the order found; 0 elsewhere, and for pixels in pieces
      that are too small.
    """
    from sklearn.cluster import compute_optics_graph  # takes a second to import, and few need it

    ids = np.zeros(things.shape, np.int32)
    centres = np.argwhere(things) - np.asarray(offsets, np.float64)[things]
    if len(centres) < min_points:
        return ids
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "All reachability values are inf")  # that is no instance
        order, _, reachability, _ = compute_optics_graph(
            centres,
            min_samples=min_points,
            max_eps=eps,
            metric="euclidean",
            p=2,
            metric_params=None,
            algorithm="kd_tree",
            leaf_size=30,
            n_jobs=None,
        )
    piece = np.cumsum(reachability[order] > threshold)
    _, number, size = np.unique(piece, return_inverse=True, return_counts=True)
    large = size >= min_points
    instance = np.where(large, np.cumsum(large), 0)[number]
    of_vote = np.empty(len(centres), np.int32)
    of_vote[order] = instance
    ids[things] = of_vote
    return ids
