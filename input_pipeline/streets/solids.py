"""The solids that a scene is built of: convex polyhedra, ellipsoids, cylinders and flat cards.

Every solid is given by a frame (centre, three unit axes, three half extents) in which it fits the
cube [−1, 1]³:

* `box`: the cube, cut by further planes (n, c), n·p ≤ c, in the frame's units;
* `ellipsoid`: |p| ≤ 1; with `ragged` > 0 its outline is frayed, as foliage is;
* `cylinder`: p0² + p2² ≤ 1 and |p1| ≤ 1, so axis 1 is its axis;
* `card`: p2 = 0, of the outline that `outline` names.
"""

import dataclasses
from typing import NamedTuple

import numpy as np

from input_pipeline.streets import classes
from input_pipeline.streets.camera import rotation

Vector = tuple[float, float, float]
BOX, ELLIPSOID, CYLINDER, CARD = range(4)
OUTLINES = ("square", "disc", "ring", "triangle", "pickets")
FACES = 16  # more than the faces of any solid: solid * FACES + face names a surface

_CUBE = (
    (-1.0, 0.0, 0.0, 1.0),
    (1.0, 0.0, 0.0, 1.0),
    (0.0, -1.0, 0.0, 1.0),
    (0.0, 1.0, 0.0, 1.0),
    (0.0, 0.0, -1.0, 1.0),
    (0.0, 0.0, 1.0, 1.0),
)
BOTTOM, TOP = 2, 3  # faces of the cube


class Frame(NamedTuple):
    """An origin and three orthonormal axes: where a thing stands and which way it faces."""

    origin: Vector
    right: Vector = (1.0, 0.0, 0.0)
    up: Vector = (0.0, 1.0, 0.0)
    forward: Vector = (0.0, 0.0, 1.0)

    def point(self, a: float, b: float, c: float) -> Vector:
        """The world point a to the right, b up and c forward of the origin."""
        o, r, u, f = self
        return (
            o[0] + a * r[0] + b * u[0] + c * f[0],
            o[1] + a * r[1] + b * u[1] + c * f[1],
            o[2] + a * r[2] + b * u[2] + c * f[2],
        )

    def at(self, a: float, b: float, c: float) -> "Frame":
        """The same axes at another point."""
        return self._replace(origin=self.point(a, b, c))

    def reversed(self) -> "Frame":
        """Facing the other way."""
        (a, b, c), (d, e, f) = self.right, self.forward
        return self._replace(right=(-a, -b, -c), forward=(-d, -e, -f))

    def turned(self, tau: float) -> "Frame":
        """Turned about `up`, to the right, by the angle of tan(angle / 2) = tau."""
        cos, sin = rotation(tau)
        return self._replace(
            right=_combine(cos, self.right, -sin, self.forward),
            forward=_combine(sin, self.right, cos, self.forward),
        )

    def heading(self, x: float, z: float) -> "Frame":
        """Upright, facing the unit direction (x, z) of the ground."""
        return Frame(self.origin, (z, 0.0, -x), (0.0, 1.0, 0.0), (x, 0.0, z))

    def pitched(self, tau: float) -> "Frame":
        """Turned about `right`, up leaning forward."""
        cos, sin = rotation(tau)
        return self._replace(
            up=_combine(cos, self.up, sin, self.forward),
            forward=_combine(cos, self.forward, -sin, self.up),
        )

    def rolled(self, tau: float) -> "Frame":
        """Turned about `forward`, up leaning right."""
        cos, sin = rotation(tau)
        return self._replace(
            up=_combine(cos, self.up, sin, self.right),
            right=_combine(cos, self.right, -sin, self.up),
        )


def _combine(a: float, u: Vector, b: float, v: Vector) -> Vector:
    return (a * u[0] + b * v[0], a * u[1] + b * v[1], a * u[2] + b * v[2])


class Tag(NamedTuple):
    """What a solid is in the label maps."""

    semseg: int
    instance: int = 0
    part: int = classes.BACKGROUND


class Paint(NamedTuple):
    """How a solid looks: a texture's name, its linear RGB colours and its numbers."""

    texture: str
    colours: tuple[Vector, ...]
    numbers: tuple[float, ...] = ()


class Solid(NamedTuple):
    """One solid; see the module's docstring."""

    shape: int
    frame: Frame
    half: Vector
    tag: Tag
    paint: Paint
    cuts: tuple[tuple[float, float, float, float], ...] = ()
    outline: int = 0
    ragged: float = 0.0
    shadow: bool = True


def box(frame, half, tag, paint, *, cuts=(), shadow=True) -> Solid:
    return Solid(BOX, frame, half, tag, paint, cuts=cuts, shadow=shadow)


def ellipsoid(frame, half, tag, paint, *, ragged=0.0, shadow=True) -> Solid:
    return Solid(ELLIPSOID, frame, half, tag, paint, ragged=ragged, shadow=shadow)


def cylinder(frame, half, tag, paint, *, shadow=True) -> Solid:
    return Solid(CYLINDER, frame, half, tag, paint, shadow=shadow)


def card(frame, half, tag, paint, outline, *, shadow=True) -> Solid:
    half = (half[0], half[1], 0.01)
    outline = OUTLINES.index(outline)
    return Solid(CARD, frame, half, tag, paint, outline=outline, shadow=shadow)


def slope(axis: int, side: int, at_bottom: float, at_top: float):
    """A cut that leans: the face `side` (±1) of `axis` goes from at_bottom to at_top (0 ... 1)."""
    normal = [0.0, at_bottom - at_top, 0.0]
    normal[axis] = 2.0 * side
    return (*normal, at_bottom + at_top)


@dataclasses.dataclass(frozen=True)
class Solids:
    """The solids of a scene as arrays; N of them, P planes at most.

    Attributes:
      items: the solids themselves.
      to_local: [N, 3, 4], world (homogeneous) to frame units.
      axes: [N, 3, 3] rows are the frame's unit axes; half: [N, 3].
      corners: [N, 8, 3] of the bounding cube.
      shape, outline, semseg, instance, part: [N] integers.
      ragged: [N]; pattern: [N, 2] where an outline's fraying starts in its tile.
      planes: [N, P, 4] of the boxes in frame units, n·p − c ≤ 0 as (n, −c), filled up with planes
        that cut nothing; plane_count: [N].
    """

    items: list[Solid]
    to_local: np.ndarray
    axes: np.ndarray
    half: np.ndarray
    corners: np.ndarray
    shape: np.ndarray
    outline: np.ndarray
    semseg: np.ndarray
    instance: np.ndarray
    part: np.ndarray
    ragged: np.ndarray
    pattern: np.ndarray
    planes: np.ndarray
    plane_count: np.ndarray

    def face_normals(self) -> np.ndarray:
        """[N, P, 3] outward unit normals of the boxes' faces in the world."""
        local = self.planes[:, :, :3] / self.half[:, None, :]
        world = sum(local[:, :, k, None] * self.axes[:, None, k] for k in range(3))
        return world / np.sqrt(np.maximum(_dot(world, world), 1e-300))[:, :, None]

    def cube_faces(self) -> np.ndarray:
        """[N, P]: of which face of the cube a box's face, cut ones included, is the nearest."""
        normal = self.planes[:, :, :3]
        axis = np.abs(normal).argmax(2)
        positive = np.take_along_axis(normal, axis[:, :, None], 2)[:, :, 0] > 0
        return 2 * axis + positive


def gather(items: list[Solid]) -> Solids:
    """Turns a list of solids into arrays."""
    axes = np.array([s.frame[1:] for s in items])
    half = np.array([s.half for s in items])
    centre = np.array([s.frame.origin for s in items])
    scaled = axes / half[:, :, None]
    offset = -_dot(scaled, centre[:, None, :])
    reach = axes * half[:, :, None]
    signs = np.array([[1 if k >> a & 1 else -1 for a in range(3)] for k in range(8)], np.float64)
    corners = centre[:, None, :] + sum(signs[:, k, None] * reach[:, None, k] for k in range(3))
    counts = [6 + len(s.cuts) if s.shape == BOX else 0 for s in items]
    planes = np.zeros((len(items), max([6, *counts]), 4))
    planes[:, :, 3] = 1
    planes[:, :6] = _CUBE
    for n, solid in enumerate(items):
        if solid.cuts:
            planes[n, 6 : 6 + len(solid.cuts)] = solid.cuts
    planes[:, :, 3] *= -1
    frayed = [s.paint.numbers[:2] if s.ragged else (0, 0) for s in items]
    return Solids(
        items=items,
        to_local=np.concatenate([scaled, offset[:, :, None]], 2),
        axes=axes,
        half=half,
        corners=corners,
        shape=np.array([s.shape for s in items], np.int64),
        outline=np.array([s.outline for s in items], np.int64),
        semseg=np.array([s.tag.semseg for s in items], np.int64),
        instance=np.array([s.tag.instance for s in items], np.int64),
        part=np.array([s.tag.part for s in items], np.int64),
        ragged=np.array([s.ragged for s in items]),
        pattern=np.array(frayed, np.int64),
        planes=planes,
        plane_count=np.array(counts, np.int64),
    )


def _dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Sum over the last axis of 3, in a fixed order."""
    return a[..., 0] * b[..., 0] + a[..., 1] * b[..., 1] + a[..., 2] * b[..., 2]
