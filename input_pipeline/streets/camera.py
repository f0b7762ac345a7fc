"""Cameras as 4×4 matrices: the pinhole that looks at the scene and the sun that looks at it too.

Both map (x, y, 1, λ) to a homogeneous point of the world, linearly:

* pinhole: (λ·o + d(x, y), λ), with x, y on the image plane at distance 1 and λ = 1 / depth;
* sun: (g(x, y) + λ·l, 1), with x, y on the ground, l the direction towards the sun, λ ≥ 0.

In both, the surface that is seen first is the one with the largest λ, a plane gives a λ that is
linear in (x, y), and a quadric gives a quadratic equation in λ; one rasteriser does both.

World axes: X right, Y up, Z ahead along the street. Only + − × ÷ √ of float64 are used, which IEEE
754 rounds the same way everywhere; angles are given as τ = tan(angle / 2), because then sine and
cosine are rational.
"""

import dataclasses

import numpy as np

NEAR = 0.3  # metres; nothing closer to the camera is drawn


def rotation(tau: float) -> tuple[float, float]:
    """(cosine, sine) of the angle 2·atan(tau), about 2·tau radians for small tau."""
    square = tau * tau
    return (1 - square) / (1 + square), 2 * tau / (1 + square)


@dataclasses.dataclass(frozen=True)
class Grid:
    """Sample positions x0 + dx·j, y0 + dy·i."""

    x0: float
    dx: float
    columns: int
    y0: float
    dy: float
    rows: int

    @property
    def xs(self) -> np.ndarray:
        return self.x0 + self.dx * np.arange(self.columns, dtype=np.float64)

    @property
    def ys(self) -> np.ndarray:
        return self.y0 + self.dy * np.arange(self.rows, dtype=np.float64)


@dataclasses.dataclass(frozen=True)
class Pinhole:
    """A camera without distortion.

    Attributes:
      position: of the optical centre in the world, metres.
      axes: the camera's right, down and forward as unit vectors of the world, [3, 3].
      focal: focal length in image widths.
    """

    position: np.ndarray
    axes: np.ndarray
    focal: float

    @classmethod
    def looking(cls, position, *, yaw: float, pitch: float, roll: float, focal: float):
        """Yaw to the right, pitch down and roll clockwise, each as tan(angle / 2)."""
        (cy, sy), (cp, sp), (cr, sr) = rotation(yaw), rotation(pitch), rotation(roll)
        right = np.array([cy, 0.0, -sy])
        level = np.array([sy, 0.0, cy])
        up = np.array([0.0, 1.0, 0.0])
        forward = cp * level - sp * up
        down = -(cp * up + sp * level)
        axes = np.stack([cr * right + sr * down, cr * down - sr * right, forward])
        return cls(np.array(position, np.float64), axes, focal)

    def matrix(self) -> np.ndarray:
        """[4, 4]; columns x, y, 1, λ."""
        matrix = np.zeros((4, 4))
        matrix[:3, :3] = self.axes.T
        matrix[:3, 3] = self.position
        matrix[3, 3] = 1
        return matrix

    def grid(self, height: int, width: int) -> Grid:
        """Pixel corners, edges and centres: (2·height + 1) × (2·width + 1) samples.

        The centre of pixel (i, j) is sample (2i + 1, 2j + 1). The principal point is the middle.
        """
        step = 0.5 / (self.focal * width)
        return Grid(-step * width, step, 2 * width + 1, -step * height, step, 2 * height + 1)

    def bounds(self, corners: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where boxes of these corners [N, 8, 3] are seen.

        Returns:
          Image-plane boxes [N, 4] (least x, y, greatest x, y), and the greatest λ [N]. What lies
          behind the near plane is cut off; a box that is wholly behind it is empty (least above
          greatest).
        """
        moved = corners - self.position
        x, y, z = (
            moved[..., 0] * axis[0] + moved[..., 1] * axis[1] + moved[..., 2] * axis[2]
            for axis in self.axes
        )
        visible = z >= NEAR
        safe = np.where(visible, z, 1.0)
        px, py = x / safe, y / safe
        low = np.stack([np.where(visible, p, np.inf).min(1) for p in (px, py)], 1)
        high = np.stack([np.where(visible, p, -np.inf).max(1) for p in (px, py)], 1)
        for n in np.flatnonzero(visible.any(1) & ~visible.all(1)):
            for a, b in _EDGES:
                if visible[n, a] != visible[n, b]:
                    share = (NEAR - z[n, a]) / (z[n, b] - z[n, a])
                    for axis, values in enumerate((x, y)):
                        at = (values[n, a] + share * (values[n, b] - values[n, a])) / NEAR
                        low[n, axis] = min(low[n, axis], at)
                        high[n, axis] = max(high[n, axis], at)
        return np.concatenate([low, high], 1), 1 / np.maximum(z.min(1), NEAR)


@dataclasses.dataclass(frozen=True)
class Sun:
    """Parallel light; `direction` points towards it, scaled so that its Y is 1."""

    direction: np.ndarray

    def matrix(self) -> np.ndarray:
        """[4, 4]; columns x (world X), y (world Z), 1, λ (height above the ground)."""
        matrix = np.zeros((4, 4))
        matrix[0, 0] = matrix[2, 1] = matrix[3, 2] = 1
        matrix[:3, 3] = self.direction
        return matrix

    def bounds(self, corners: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Like `Pinhole.bounds`: the shadow's box on the ground."""
        x = corners[..., 0] - corners[..., 1] * self.direction[0]
        y = corners[..., 2] - corners[..., 1] * self.direction[2]
        return np.stack([x.min(1), y.min(1), x.max(1), y.max(1)], 1), corners[..., 1].max(1)


# Corner k of a box has sign − or + on axis a as bit a of k is 0 or 1.
_EDGES = tuple((k, k | 1 << a) for k in range(8) for a in range(3) if not k & 1 << a)
