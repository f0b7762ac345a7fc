"""odsF, oisF and AP of predicted edges, over a whole split, in NumPy and SciPy.

The field's numbers come from a MATLAB tool (SEISM, as the Boundary-Detection-Evaluation-Tools ship
it). The steps here are its steps: suppression across the edge's orientation, a hundred and one
thresholds, thinning, and a one-to-one matching of predicted and true pixels within a distance. The
tool's matcher adds random outlier links and loses up to three pairs in one call of ten, so its
figures are up to 0.002 lower and not repeatable; here the matching is the largest one.

Three protocols share the name odsF; `PROTOCOLS` has each, and a figure belongs to one of them.
"""

import collections
import concurrent.futures
import dataclasses
import multiprocessing
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
from scipy import ndimage, sparse, spatial

from mtl_jax.metrics.thinning import thin

MAX_DISTANCE = {"pascal_context": 0.0075, "nyud": 0.011}  # as shares of the image's diagonal


@dataclasses.dataclass(frozen=True)
class Protocol:
    """How a predicted edge map becomes masks, one for each threshold.

    Attributes:
      thresholds: of the map in 0 ... 1, rising.
      strict: E > t, otherwise E ≥ t.
      suppression: pixels on either side across the edge that have to be weaker; 0 = none.
      smooth: E itself is smoothed by (1 2 1)/4 first, and what is left stored in 8 bits.
    """

    thresholds: tuple[float, ...]
    strict: bool
    suppression: int
    smooth: bool = False


_PERCENTS = tuple(np.arange(1, 100) / 100)
PROTOCOLS = {
    # InvPT and those who use its tool.
    "invpt": Protocol((0.001, *_PERCENTS, 0.999), strict=True, suppression=1),
    # Vandenhende et al.'s survey.
    "survey": Protocol(_PERCENTS, strict=False, suppression=0),
    # MTDP_Lib and SAK.
    "mtdp": Protocol(_PERCENTS, strict=False, suppression=4, smooth=True),
}


def boundary(labels: np.ndarray) -> np.ndarray:
    """[H, W] bool: where a label differs from that of its right, lower or lower right neighbour."""
    labels = np.asarray(labels)
    differs = np.zeros(labels.shape, bool)
    differs[:, :-1] |= labels[:, :-1] != labels[:, 1:]
    differs[:-1] |= labels[:-1] != labels[1:]
    differs[:-1, :-1] |= labels[:-1, :-1] != labels[1:, 1:]
    return differs


def true_edges(labels: np.ndarray) -> np.ndarray:
    """[H, W] bool: the thinned boundaries between the labels [H, W], which the tool counts as true.

    For PASCAL-Context these are the 459 classes; for NYUD the tool takes the *edge image* for
    labels, so that both sides of every line are true.
    """
    return thin(boundary(labels))


def orientation(edges: np.ndarray) -> np.ndarray:
    """[H, W] float64 in [0, π): the direction across the edge at every pixel of a map [H, W]."""
    kernel = np.array([1, 2, 3, 4, 5, 4, 3, 2, 1]) / 25
    smooth = edges.astype(np.float64)
    for axis in (0, 1):
        smooth = ndimage.convolve1d(smooth, kernel, axis=axis, mode="reflect")
    down, right = _slope(smooth, 0), _slope(smooth, 1)
    right_right = _slope(right, 1)
    down_down, down_right = _slope(down, 0), _slope(down, 1)
    slope = down_down * np.sign(-down_right) / (right_right + 1e-5)
    return np.mod(np.arctan(slope), np.pi)


def _slope(values: np.ndarray, axis: int) -> np.ndarray:
    """The derivative along an axis; 0 where that is a single pixel long."""
    return np.gradient(values, axis=axis) if values.shape[axis] > 1 else np.zeros_like(values)


def suppress(edges: np.ndarray, angle: np.ndarray, radius: int = 1) -> np.ndarray:
    """Keeps of a map [H, W] in 0 ... 1 what no neighbour across the edge exceeds by 1 %.

    The outermost five rows and columns are faded out, as the tool does.

    Args:
      edges: [H, W], the map itself, not a smoothed one.
      angle: [H, W] radians, from `orientation`.
      radius: how far the neighbours are, 1 ... radius pixels on either side.
    """
    edges = edges.astype(np.float64)
    height, width = edges.shape
    rows, columns = np.indices(edges.shape)
    kept = edges.copy()
    for distance in (d for d in range(-radius, radius + 1) if d):
        y = np.clip(rows + distance * np.sin(angle), 0, height - 1.001)
        x = np.clip(columns + distance * np.cos(angle), 0, width - 1.001)
        beside = ndimage.map_coordinates(edges, (y, x), order=1, mode="nearest")
        kept[edges * 1.01 < beside] = 0.0
    for axis, size in ((0, height), (1, width)):
        border = min(5, size // 2)
        fade = np.ones(size)
        fade[:border] = np.arange(border) / border
        fade[size - border :] = np.minimum(fade[size - border :], np.arange(border)[::-1] / border)
        kept *= np.expand_dims(fade, 1 - axis)
    return kept


def masks(image: np.ndarray, protocol: Protocol) -> Iterable[np.ndarray]:
    """The thinned mask [H, W] of every threshold of an 8-bit edge map [H, W], in order."""
    edges = np.asarray(image, np.float64) / 255
    if protocol.smooth:
        for axis in (0, 1):
            edges = ndimage.convolve1d(
                edges, np.array([0.25, 0.5, 0.25]), axis=axis, mode="reflect"
            )
    if protocol.suppression:
        edges = suppress(edges, orientation(edges), protocol.suppression)
    if protocol.smooth:
        edges = np.rint(edges * 255) / 255
    edges = edges.astype(np.float32)  # so that 51/255 is 0.2, as it is for the tool
    for threshold in np.asarray(protocol.thresholds, np.float32):
        yield thin(edges > threshold if protocol.strict else edges >= threshold)


def matches(prediction: np.ndarray, truth: np.ndarray, distance: float) -> int:
    """The largest number of pairs of one predicted and one true pixel at most `distance` apart.

    Args:
      prediction, truth: [H, W] bool.
      distance: in pixels.
    """
    predicted, true = np.argwhere(prediction), np.argwhere(truth)
    if not len(predicted) or not len(true):
        return 0
    near = spatial.cKDTree(predicted).query_ball_point(true, distance)
    starts = np.concatenate([[0], np.cumsum([len(pixels) for pixels in near])])
    if not starts[-1]:
        return 0
    columns = np.concatenate([np.asarray(pixels, np.int32) for pixels in near])
    graph = sparse.csr_array(
        (np.ones(len(columns), bool), columns, starts), shape=(len(true), len(predicted))
    )
    partners = sparse.csgraph.maximum_bipartite_matching(graph, perm_type="column")
    return int(np.sum(partners >= 0))


def image_counts(
    image: np.ndarray, truth: np.ndarray, max_distance: float, protocol: Protocol
) -> np.ndarray:
    """What one image adds to the split.

    Args:
      image: [H, W] uint8, the predicted edge map: trunc(255 · probability).
      truth: [H, W] bool, thin, from `true_edges`.
      max_distance: as a share of the image's diagonal, see `MAX_DISTANCE`.
      protocol: one of `PROTOCOLS`.

    Returns:
      [thresholds, 3] int64: pairs, predicted pixels, true pixels.

    Raises:
      ValueError: the two differ in size.
    """
    image, truth = np.asarray(image), np.asarray(truth, bool)
    if image.shape != truth.shape:
        raise ValueError(
            f"The edge map is {image.shape}, its truth {truth.shape}; expected one size [H, W]. "
            "Resize or crop the prediction to the size of the file."
        )
    distance = max_distance * float(np.hypot(*truth.shape))
    true = int(truth.sum())
    counts, before = [], None
    for mask in masks(image, protocol):
        # At most thresholds the mask is that of the one before, and its pairs are too.
        if before is None or not np.array_equal(mask, before):
            found, before = (matches(mask, truth, distance), int(mask.sum()), true), mask
        counts.append(found)
    return np.array(counts, np.int64)


def summary(counts: Sequence[np.ndarray], protocol: Protocol) -> dict[str, float]:
    """The figures of a split.

    Args:
      counts: for each image [thresholds, 3], from `image_counts`.
      protocol: that they were made with.

    Returns:
      * `odsF`: F at the threshold that is best for the whole split, all pixels together;
      * `oisF`: F of all pixels, each image at the threshold that is best for it;
      * `AP`: the precisions at the 101 recalls 0, 0.01 ... 1, linear between thresholds and 0
        beyond the least and the highest recall, summed up and divided by 100, as the tool does: a
        precision of 1 at all of them is 1.01;
      * `ods_threshold`, `ods_precision`, `ods_recall`: where odsF is.
    """
    every = np.asarray(counts, np.float64)
    total = every.sum(axis=0)
    precision, recall, f = (np.array(v) for v in zip(*(_prf(*row) for row in total), strict=True))
    best = int(np.argmax(f))
    own = np.array([[_prf(*row)[2] for row in image] for image in every]).argmax(axis=1)
    own_total = every[np.arange(len(every)), own].sum(axis=0)
    # Of equal recalls the first, that is the lowest threshold, stands for all.
    recalls, first = np.unique(recall, return_index=True)
    at = np.arange(101) / 100
    if len(recalls) > 1:
        average = float(np.interp(at, recalls, precision[first], left=0.0, right=0.0).sum() / 100)
    else:
        average = 0.0  # one point is no curve
    return {
        "odsF": float(f[best]),
        "oisF": float(_prf(*own_total)[2]),
        "AP": average,
        "ods_threshold": float(protocol.thresholds[best]),
        "ods_precision": float(precision[best]),
        "ods_recall": float(recall[best]),
    }


def _prf(pairs: float, predicted: float, true: float) -> tuple[float, float, float]:
    """Precision, recall and F as the tool has them where there is nothing to find or found."""
    if not true:
        precision, recall = 0.0, 1.0
    elif not predicted:
        precision, recall = 1.0, 0.0
    else:
        precision, recall = pairs / predicted, pairs / true
    total = precision + recall
    return precision, recall, 2 * precision * recall / total if total else 0.0


class Pool:
    """Counts of images, in their order, by processes; few images wait at any time."""

    def __init__(self, workers: int):
        """Starts the processes with the first image.

        Args:
          workers: how many; 1 = this process does it.
        """
        self._pool = None
        if workers > 1:
            # Spawned, as a fork of a process that has started JAX's threads may hang.
            self._pool = concurrent.futures.ProcessPoolExecutor(
                workers, mp_context=multiprocessing.get_context("spawn")
            )
        self._most = 4 * workers
        self._waiting: collections.deque = collections.deque()

    def add(self, *args) -> list[np.ndarray]:
        """Gives `image_counts` of these arguments to a process; returns what is done by now."""
        if self._pool is None:
            return [image_counts(*args)]
        self._waiting.append(self._pool.submit(image_counts, *args))
        full = len(self._waiting) >= self._most
        return [self._waiting.popleft().result()] if full else []

    def rest(self) -> Iterator[np.ndarray]:
        """Yields what is still being worked on, and ends the processes."""
        while self._waiting:
            yield self._waiting.popleft().result()
        self.close()

    def close(self) -> None:
        """Ends the processes."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)


def evaluate(
    pairs: Iterable[tuple[np.ndarray, np.ndarray]],
    *,
    max_distance: float,
    protocol: str = "invpt",
    workers: int = 1,
    progress: Callable[[int], None] = lambda done: None,
) -> dict[str, float]:
    """The figures of a whole split.

    An image of 375 × 500 takes about 10 s of one core (a hundred and one matchings), so give it
    the cores that there are.

    Args:
      pairs: for each image ([H, W] uint8 edge map, [H, W] bool thin truth).
      max_distance: see `MAX_DISTANCE`.
      protocol: a name in `PROTOCOLS`.
      workers: processes; 1 = this one.
      progress: called with the number of images done.

    Returns:
      As of `summary`.

    Raises:
      ValueError: no such protocol, no image, or a map of another size than its truth.
    """
    if protocol not in PROTOCOLS:
        raise ValueError(
            f"The edge protocol {protocol!r} is unknown; expected one of {', '.join(PROTOCOLS)}."
        )
    rules = PROTOCOLS[protocol]
    counts, pool = [], Pool(workers)

    def keep(done):
        for found in done:
            counts.append(found)
            progress(len(counts))

    try:
        for image, truth in pairs:
            keep(pool.add(image, truth, max_distance, rules))
        keep(pool.rest())
    finally:
        pool.close()
    if not counts:
        raise ValueError("The split has no image with edges; expected at least one.")
    return summary(counts, rules)
