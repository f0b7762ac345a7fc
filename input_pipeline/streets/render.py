"""Draws one example: the image and all its labels."""

import numpy as np

from input_pipeline.streets import ground, labels, light, raster, street, textures
from input_pipeline.streets.camera import Grid, Pinhole
from input_pipeline.streets.rng import Random
from input_pipeline.streets.scene import Scene, random_scene
from input_pipeline.streets.solids import (
    BOTTOM,
    BOX,
    CARD,
    CYLINDER,
    ELLIPSOID,
    FACES,
    TOP,
    Solids,
    gather,
)

F32 = np.float32
_SHADOWS = Grid(x0=-34.0, dx=0.25, columns=272, y0=-2.0, dy=0.25, rows=248)
_GLOSS = {"cabin": 0.75, "hull": 0.3, "bus": 0.3, "cargo": 0.12, "facade": 0.08}


def example(seed: int, split: int, index: int, height: int, width: int) -> dict[str, np.ndarray]:
    """Draws example `index` of a split.

    The same (seed, split, index) shows the same scene at every resolution of the same aspect.

    Args:
      seed, split, index: non-negative integers.
      height, width: of the image in pixels.

    Returns:
      `image` uint8 [H, W, 3]; `semseg` uint8 [H, W], Cityscapes train ids, 255 unknown; `depth`
      float32 [H, W], metres along the optical axis, 0 unknown; `instance` uint16 [H, W], 0 none;
      `parts` uint8 [H, W], Person-Part, 255 unknown; `normals` float32 [H, W, 3], x right, y down,
      z ahead, the zero vector where unknown.
    """
    scene = random_scene(Random(seed, split, index))
    return draw(scene, height, width, Random(seed, split, index, height, width))


def draw(scene: Scene, height: int, width: int, random: Random) -> dict[str, np.ndarray]:
    """Draws a scene; `random` is for sensor noise and for holes in the depth."""
    camera = scene.camera
    grid = camera.grid(height, width)
    solids = gather(scene.solids)
    nearest = np.zeros((grid.rows, grid.columns))
    surface = np.full(nearest.shape, street.SKY_SURFACE, np.int32)
    street.draw(scene.street, camera, grid, nearest, surface)
    everything = np.arange(len(solids.items))
    bounds = camera.bounds(solids.corners)
    raster.draw(solids, everything, camera.matrix(), *bounds, grid, nearest, surface)

    view = _View(camera, grid, nearest, surface, solids)
    normals = view.normals(scene.street, solids)
    radiance = _shade(scene, solids, view, normals)

    seen = surface[1::2, 1::2]
    depth = _depth(nearest[1::2, 1::2])
    semseg = labels.sharpen(labels.semantics(surface, solids, scene.street))
    facing = normals[:, : seen.size].reshape(3, height, width)
    known = depth > 0
    instance = labels.instances(seen, solids, scene.street)
    parts = labels.sharpen(labels.parts(surface, solids, scene.street))
    hidden = labels.holes(depth, camera.focal * width, random) | (depth > labels.FARTHEST)
    if scene.bonnet is not None:
        covered = light.bonnet_mask(scene.bonnet, height, width)
        semseg[covered] = 255
        instance[covered] = 0
        parts[covered] = 0
        known &= ~covered
    image = _downsample(radiance, height, width)
    return {
        "image": light.expose(image, scene.weather, scene.bonnet, random),
        "semseg": semseg,
        "depth": np.where(known & ~hidden, depth, 0).astype(F32),
        "instance": instance,
        "parts": parts,
        "normals": np.where(known[:, :, None], _in_camera(facing, camera), 0).astype(F32),
    }


def _depth(nearest: np.ndarray) -> np.ndarray:
    """1 / λ, and 0 in the sky."""
    return np.divide(1, nearest, out=np.zeros(nearest.shape), where=nearest > 0)


def _in_camera(normals: np.ndarray, camera: Pinhole) -> np.ndarray:
    """[3, H, W] in the world to [H, W, 3] in the camera's axes."""
    x, y, z = normals
    return np.stack([x * axis[0] + y * axis[1] + z * axis[2] for axis in camera.axes], -1)


def _downsample(samples: np.ndarray, height: int, width: int) -> np.ndarray:
    """Pixels [C, H, W] from pixel centres and corners [C, n]: 1/2 and 4 × 1/8."""
    centres = samples[:, : height * width].reshape(-1, height, width)
    corners = samples[:, height * width :].reshape(-1, height + 1, width + 1)
    pairs = corners[:, :-1] + corners[:, 1:]
    return F32(0.5) * centres + F32(0.125) * (pairs[:, :, :-1] + pairs[:, :, 1:])


class _View:
    """What is seen at the pixels' centres, then at their corners: arrays [n] with n of both."""

    def __init__(self, camera: Pinhole, grid: Grid, nearest, surface, solids: Solids):
        axes = camera.axes
        direction = [
            np.concatenate(
                [
                    ((axes[0, k] * x + axes[2, k])[None, :] + (axes[1, k] * y)[:, None]).ravel()
                    for x, y in ((grid.xs[1::2], grid.ys[1::2]), (grid.xs[::2], grid.ys[::2]))
                ]
            )
            for k in range(3)
        ]
        self.surface = self.pick(surface)
        depth = _depth(self.pick(nearest))
        point = [camera.position[k] + direction[k] * depth for k in range(3)]
        self.depth = depth.astype(F32)
        self.point = [component.astype(F32) for component in point]
        self.direction = [component.astype(F32) for component in direction]
        self.on_solid = np.flatnonzero(self.surface >= 0)
        self.on_ground = np.flatnonzero(self.surface < street.SKY_SURFACE)
        self.on_sky = np.flatnonzero(self.surface == street.SKY_SURFACE)
        self.solid, self.face = np.divmod(self.surface[self.on_solid].astype(np.intp), FACES)
        self.region = street.ground_surface(0) - self.surface[self.on_ground]
        self.unit = self._local(solids, point)

    @staticmethod
    def pick(samples: np.ndarray) -> np.ndarray:
        """The centres and corners among all samples [2H+1, 2W+1]."""
        return np.concatenate([samples[1::2, 1::2].ravel(), samples[::2, ::2].ravel()])

    def _local(self, solids: Solids, point: list[np.ndarray]) -> list[np.ndarray]:
        """Points on solids in the solids' frame units: three arrays [n]."""
        x, y, z = (component[self.on_solid] for component in point)
        table = solids.to_local.reshape(-1, 12).T.copy()
        return [
            (
                np.take(table[k], self.solid) * x
                + np.take(table[k + 1], self.solid) * y
                + np.take(table[k + 2], self.solid) * z
                + np.take(table[k + 3], self.solid)
            ).astype(F32)
            for k in (0, 4, 8)
        ]

    def normals(self, layout: street.Street, solids: Solids) -> np.ndarray:
        """Unit normals [3, n] in the world, towards the camera; 0 in the sky."""
        result = np.zeros((3, len(self.surface)), F32)
        result[:, self.on_ground] = street.normals(
            layout, self.region, self.point[2][self.on_ground]
        )
        shape = solids.shape[self.solid]
        normal = np.zeros((3, len(self.solid)), F32)
        where = np.flatnonzero(shape == BOX)
        normal[:, where] = solids.face_normals()[self.solid[where], self.face[where]].T
        where = np.flatnonzero(shape == CARD)
        normal[:, where] = solids.axes[self.solid[where], 2].T
        where = np.flatnonzero((shape == ELLIPSOID) | (shape == CYLINDER))
        normal[:, where] = self._round_normals(solids, where)
        d = [component[self.on_solid] for component in self.direction]
        away = normal[0] * d[0] + normal[1] * d[1] + normal[2] * d[2] > 0
        result[:, self.on_solid] = np.where(away, -normal, normal)
        return result

    def _round_normals(self, solids: Solids, where: np.ndarray) -> np.ndarray:
        """Unit normals [3, n] of ellipsoids and cylinders."""
        owner, face = self.solid[where], self.face[where]
        half = solids.half.T.astype(F32)
        gradient = [self.unit[k][where] / half[k][owner] for k in range(3)]
        long = solids.shape[owner] == CYLINDER
        top, bottom = face == TOP, face == BOTTOM
        cap = long & (top | bottom)
        zero, one = F32(0), F32(1)
        gradient[0] = np.where(cap, zero, gradient[0])
        gradient[2] = np.where(cap, zero, gradient[2])
        gradient[1] = np.where(cap, np.where(top, one, -one), np.where(long, zero, gradient[1]))
        axes = solids.axes.reshape(-1, 9).T.astype(F32)
        x, y, z = (
            gradient[0] * axes[k][owner]
            + gradient[1] * axes[k + 3][owner]
            + gradient[2] * axes[k + 6][owner]
            for k in range(3)
        )
        return np.stack([x, y, z]) / np.sqrt(x * x + y * y + z * z)


def _shadows(scene: Scene, solids: Solids) -> np.ndarray:
    """Height of the highest shadow-casting surface along the sun's rays, over the ground."""
    sun = scene.weather.sun
    height = np.zeros((_SHADOWS.rows, _SHADOWS.columns))
    casting = np.flatnonzero([solid.shadow for solid in solids.items])
    surface = np.zeros(height.shape, np.int32)
    bounds = sun.bounds(solids.corners)
    raster.draw(solids, casting, sun.matrix(), *bounds, _SHADOWS, height, surface)
    return height


def _lit(scene: Scene, solids: Solids, view: _View, normals: np.ndarray) -> np.ndarray:
    """Share of the sunlight [n] that arrives at every sample."""
    height = _shadows(scene, solids)
    sun = scene.weather.sun.direction
    where = np.flatnonzero(view.surface != street.SKY_SURFACE)
    # From a little above the surface, so that it does not shade itself.
    x, y, z = (view.point[k][where] + F32(0.3) * normals[k][where] for k in range(3))
    # Quarters of cells; three taps soften the edges of shadows.
    limit = 4 * np.array([_SHADOWS.columns, _SHADOWS.rows]) - 8
    column = np.clip((x - y * F32(sun[0]) - F32(_SHADOWS.x0)) * F32(4 / _SHADOWS.dx), 0, limit[0])
    row = np.clip((z - y * F32(sun[2]) - F32(_SHADOWS.y0)) * F32(4 / _SHADOWS.dy), 0, limit[1])
    column, row = column.astype(np.intp), row.astype(np.intp)
    total = np.zeros(len(where), np.int8)
    heights = height.astype(F32).ravel()
    for down, right in ((1, 2), (3, 0), (2, 4)):
        cell = (row + down >> 2) * _SHADOWS.columns + (column + right >> 2)
        total += np.take(heights, cell) > y
    lit = np.ones(view.surface.shape, F32)
    lit[where] -= total * F32(scene.weather.shadow / 3)
    return lit


def _shade(scene: Scene, solids: Solids, view: _View, normals: np.ndarray) -> np.ndarray:
    """Radiance [3, n] float32 of the view's samples."""
    weather = scene.weather
    depth = view.depth
    albedo = np.zeros((3, len(depth)), F32)
    boxes = solids.shape[view.solid] == BOX
    face = np.where(boxes, solids.cube_faces()[view.solid, view.face], view.face)
    albedo[:, view.on_solid] = textures.albedo(
        solids, view.solid, face, view.unit, depth[view.on_solid]
    )
    albedo[:, view.on_ground] = ground.albedo(
        scene.street,
        view.region,
        view.point[0][view.on_ground],
        view.point[2][view.on_ground],
        depth[view.on_ground],
    )
    lit = _lit(scene, solids, view, normals)
    radiance = light.surfaces(weather, albedo, normals, lit)
    shine = np.array([_GLOSS.get(solid.paint.texture, 0.0) for solid in solids.items], F32)
    gloss = np.zeros(len(depth), F32)
    gloss[view.on_solid] = shine[view.solid]
    radiance = light.reflections(weather, radiance, gloss, normals, view.direction)
    radiance = light.fogged(weather, radiance, depth)
    radiance[:, view.on_sky] = light.sky(weather, *(d[view.on_sky] for d in view.direction))
    return radiance
