"""The ground: a street on a plane, with kerbs, strips along it and perhaps a street across.

The street's middle runs along X = κ·Z². Across it, the offset s = X − κ·Z² is measured; the
carriageway lies at Y = 0 for −left ≤ s ≤ right, everything beside it `kerb` metres higher.
"""

import dataclasses

import numpy as np

from input_pipeline.streets import classes
from input_pipeline.streets.camera import Grid, Pinhole
from input_pipeline.streets.solids import Frame, Paint

STRAIGHT_BEYOND = 120.0  # metres ahead; from there the street goes on along its tangent
SKY_SURFACE = -1


def ground_surface(region: int) -> int:
    """The code of a region of the ground in the buffer of surfaces (solids have codes ≥ 0)."""
    return -2 - region


@dataclasses.dataclass(frozen=True)
class Strip:
    """A strip along the street: its class, its width in metres and its looks."""

    semseg: int
    width: float
    paint: Paint


@dataclasses.dataclass(frozen=True)
class Line:
    """A painted line along the street: offset, width, dash period (0: solid) and dashed share."""

    offset: float
    width: float
    period: float
    share: float
    yellow: bool = False


# Regions of the ground; the strips on the left and on the right follow.
ROAD, KERB_LEFT, KERB_RIGHT, KERB_ACROSS, FIRST_STRIP = range(5)


@dataclasses.dataclass(frozen=True)
class Street:
    """A layout.

    Attributes:
      curvature: κ in 1/m.
      left, right: half-widths of the carriageway.
      kerb: height of what lies beside it; 0 where there is none.
      strips: outwards from the carriageway, (left, right); the last one has no end.
      crossing: (Z of the middle, half-width) of a street across, or None.
      lines: along the street. zebras: (least Z, greatest Z) of zebra crossings.
      paint: of the carriageway.
    """

    curvature: float
    left: float
    right: float
    kerb: float
    strips: tuple[tuple[Strip, ...], tuple[Strip, ...]]
    crossing: tuple[float, float] | None
    lines: tuple[Line, ...]
    zebras: tuple[tuple[float, float], ...]
    paint: Paint

    @property
    def regions(self) -> tuple[tuple[int, Paint], ...]:
        """(class, paint) by region."""
        kerb = Paint("kerb", ((0.3, 0.3, 0.29),))
        beside = [(strip.semseg, strip.paint) for side in self.strips for strip in side]
        kerbs = [(classes.SIDEWALK, kerb)] * (FIRST_STRIP - KERB_LEFT)
        return ((classes.ROAD, self.paint), *kerbs, *beside)

    def middle(self, z):
        """X of the street's middle and its slope dX/dZ at Z."""
        near = np.minimum(z, STRAIGHT_BEYOND)
        slope = 2 * self.curvature * near
        return self.curvature * near * near + slope * (z - near), slope

    def in_crossing(self, z):
        """Whether Z lies in the street across."""
        if self.crossing is None:
            return np.zeros(np.shape(z), bool)
        middle, half = self.crossing
        return np.abs(z - middle) < half

    def elevation(self, offset: float, z: float) -> float:
        """Height of the ground at an offset from the middle."""
        beside = not -self.left <= offset <= self.right
        return self.kerb if beside and not self.in_crossing(z) else 0.0

    def place(self, offset: float, z: float) -> Frame:
        """A frame on the ground at an offset from the middle, facing along the street."""
        x, slope = (float(value) for value in self.middle(z))
        length = float(np.sqrt(1 + slope * slope))
        direction = (slope / length, 1 / length)
        origin = (x + offset, self.elevation(offset, z), z)
        return Frame(origin).heading(*direction)


def _region(street: Street, offset: np.ndarray, raised: np.ndarray) -> np.ndarray:
    """Region under points of known offset."""
    region = np.zeros(offset.shape, np.int32)
    first = FIRST_STRIP
    for sign, half, strips in (
        (-1.0, street.left, street.strips[0]),
        (1.0, street.right, street.strips[1]),
    ):
        outward = sign * offset
        edge = half
        for k, strip in enumerate(strips):
            region[raised & (outward >= edge)] = first + k
            edge += strip.width
        first += len(strips)
    return region


def draw(street: Street, camera: Pinhole, grid: Grid, nearest, surface) -> None:
    """Draws the ground into empty buffers.

    Args:
      nearest: [H, W] float64 zeros, becomes 1 / depth.
      surface: [H, W] int32 filled with SKY_SURFACE.
    """
    position, axes = camera.position, camera.axes
    xs, ys = grid.xs[None, :], grid.ys[:, None]
    fall = (axes[0, 1] * xs + axes[2, 1]) + axes[1, 1] * ys
    seen = fall < -1e-9
    below = slice(int(seen.any(1).argmax()), None)  # rows with the horizon and all under it
    seen, ys = seen[below], ys[below]
    fall = np.where(seen, fall[below], -1.0)
    run_x = (axes[0, 0] * xs + axes[2, 0]) + axes[1, 0] * ys
    run_z = (axes[0, 2] * xs + axes[2, 2]) + axes[1, 2] * ys

    def land(height):
        depth = (position[1] - height) / -fall
        z = position[2] + run_z * depth
        middle, _ = street.middle(z)
        offset = position[0] + run_x * depth - middle
        beside = (offset < -street.left) | (offset > street.right)
        return depth, offset, beside & ~street.in_crossing(z)

    low_depth, low_offset, low_raised = land(0.0)
    if street.kerb:
        depth, offset, raised = land(street.kerb)
    else:
        depth, offset, raised = low_depth, low_offset, low_raised
    region = _region(street, offset, raised)
    down = ~raised
    depth = np.where(down, low_depth, depth)
    wall = np.nonzero(seen & down & low_raised)
    if wall[0].size:
        depth[wall], region[wall] = _kerb(
            street,
            position,
            run_x[wall],
            run_z[wall],
            (position[1] - street.kerb) / -fall[wall],
            low_depth[wall],
            low_offset[wall] > 0,
        )
    np.copyto(nearest[below], 1 / depth, where=seen)
    np.copyto(surface[below], ground_surface(0) - region, where=seen)


def _kerb(street, position, run_x, run_z, above, below, on_right):
    """Depth and region where rays that pass over the carriageway meet a kerb's face."""
    edge = np.where(on_right, street.right, -street.left)
    # κ·Z² − X + edge = 0 along the ray, a·t² + b·t + c = 0.
    a = street.curvature * run_z * run_z
    b = 2 * street.curvature * position[2] * run_z - run_x
    c = street.curvature * position[2] * position[2] - position[0] + edge
    root = np.sqrt(np.maximum(b * b - 4 * a * c, 0.0))
    # The stable pair of roots: q / a and c / q.
    q = -0.5 * (b + np.where(b < 0, -root, root))
    roots = [np.where(a != 0, q / np.where(a != 0, a, 1.0), 0.0)]
    roots.append(np.where(q != 0, c / np.where(q != 0, q, 1.0), 0.0))
    beside = np.where(on_right, KERB_RIGHT, KERB_LEFT)
    regions = [beside, beside]
    if street.crossing is not None:
        # Looking ahead, of the two edges of the street across only the far one shows its face.
        middle, half = street.crossing
        roots.append((middle + half - position[2]) / np.maximum(run_z, 1e-9))
        regions.append(np.full(beside.shape, KERB_ACROSS))
    best, region = above, beside
    for root, named in zip(roots, regions, strict=True):
        better = (root >= best) & (root <= below)
        best = np.where(better, root, best)
        region = np.where(better, named, region)
    return best, region


def normals(street: Street, region: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Unit normals [3, n] float32 of the ground in the world.

    Args:
      region: [n]; z: [n] where in the world.
    """
    result = np.zeros((3, len(region)), np.float32)
    result[1] = 1
    where = np.flatnonzero((region >= KERB_LEFT) & (region < FIRST_STRIP))
    if where.size:
        kind = region[where]
        _, slope = street.middle(z[where])
        inward = np.where(kind == KERB_LEFT, 1.0, -1.0)
        length = np.sqrt(1 + slope * slope)
        across = kind == KERB_ACROSS
        result[0, where] = np.where(across, 0.0, inward / length)
        result[1, where] = 0
        result[2, where] = np.where(across, -1.0, -inward * slope / length)
    return result
