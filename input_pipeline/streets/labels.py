"""From what every ray sees to the label maps. Integers and float64 only."""

import numpy as np

from input_pipeline.streets import classes, noise
from input_pipeline.streets.rng import Random
from input_pipeline.streets.solids import FACES, Solids
from input_pipeline.streets.street import SKY_SURFACE, Street, ground_surface

FARTHEST = 150.0  # metres; depth beyond is unknown, as stereo leaves it
NEAREST = 0.5
_BASELINE = 0.22  # metres between the two cameras of the imagined stereo rig

_ONE_TWO_ONE = (1, 2, 1)


def semantics(surface: np.ndarray, solids: Solids, street: Street) -> np.ndarray:
    """Train ids uint8 of all samples [2H+1, 2W+1]."""
    of_regions = [semseg for semseg, _ in street.regions]
    return _look_up(surface, solids.semseg, of_regions, classes.SKY).astype(np.uint8)


def instances(surface: np.ndarray, solids: Solids, street: Street) -> np.ndarray:
    """Instance ids uint16 of samples of any shape; 0 where there is none."""
    nothing = [0] * len(street.regions)
    return _look_up(surface, solids.instance, nothing, 0).astype(np.uint16)


def parts(surface: np.ndarray, solids: Solids, street: Street) -> np.ndarray:
    """Parts of people uint8 of samples of any shape."""
    nothing = [classes.BACKGROUND] * len(street.regions)
    return _look_up(surface, solids.part, nothing, classes.BACKGROUND).astype(np.uint8)


def _look_up(surface, of_solids: np.ndarray, of_regions: list[int], of_sky: int) -> np.ndarray:
    """Values of surfaces; negative codes count from the end, as they do for Python's indices."""
    ground = {ground_surface(region): value for region, value in enumerate(of_regions)}
    below_zero = {SKY_SURFACE: of_sky, **ground}
    tail = [below_zero[code] for code in range(-len(below_zero), 0)]
    table = np.concatenate([np.repeat(of_solids, FACES), np.array(tail, np.int64)])
    return table[surface]


def sharpen(labels: np.ndarray) -> np.ndarray:
    """Label of every pixel's centre, or IGNORE where most of the pixel shows something else.

    Args:
      labels: [2H+1, 2W+1] at pixel corners, edges and centres.

    Returns:
      [H, W]; IGNORE where the centre's label has less than half the weight of the tent filter
      with which the image is sampled.
    """
    centre = labels[1::2, 1::2]
    height, width = centre.shape
    weight = np.zeros(centre.shape, np.uint8)
    for i, row in enumerate(_ONE_TWO_ONE):
        for j, column in enumerate(_ONE_TWO_ONE):
            window = labels[i : i + 2 * height - 1 : 2, j : j + 2 * width - 1 : 2]
            weight += np.uint8(row * column) * (window == centre)
    return np.where(weight < 8, np.uint8(classes.IGNORE), centre)


def holes(depth: np.ndarray, focal: float, random: Random) -> np.ndarray:
    """Where a stereo rig would have found no depth: [H, W] bool.

    Pixels that the second camera cannot see because something nearer hides them, blobs in which
    matching failed, and single failures.

    Args:
      depth: [H, W] float64, 0 in the sky.
      focal: focal length in pixels.
      random: decides which blobs.
    """
    height, width = depth.shape
    disparity = np.where(depth > 0, _BASELINE * focal / np.where(depth > 0, depth, 1.0), 0.0)
    seen_at = np.arange(width) - disparity
    # Walking from the right, a pixel is hidden if one to its right appears to the left of it.
    leftmost = np.minimum.accumulate(seen_at[:, ::-1], axis=1)[:, ::-1]
    hidden = np.zeros(depth.shape, bool)
    hidden[:, :-1] = leftmost[:, 1:] < seen_at[:, :-1] - 0.5
    tile = noise.tiles()["fray"]
    shift = random.integer(noise.SIZE), random.integer(noise.SIZE)
    cells = 4.0 * noise.SIZE / width
    rows = np.floor(np.arange(height) * cells).astype(np.int64) + shift[0]
    columns = np.floor(np.arange(width) * cells).astype(np.int64) + shift[1]
    wrap = noise.SIZE - 1
    blobs = tile[np.ix_(rows // 4 & wrap, columns // 4 & wrap)] < random.uniform(0.02, 0.22)
    single = tile[np.ix_(rows * 7 & wrap, columns * 5 & wrap)] > 0.93
    return hidden | blobs | single
