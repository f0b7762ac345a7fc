"""The renderer against independent geometry: ray casting written out, ground plane, gradients."""

import numpy as np
import pytest

from input_pipeline.datasets import _cityscapes_classes as cityscapes
from input_pipeline.streets import classes, labels, raster, render, scene, street
from input_pipeline.streets.camera import Grid, Pinhole, Sun, rotation
from input_pipeline.streets.rng import Random
from input_pipeline.streets.solids import (
    FACES,
    Frame,
    Paint,
    Tag,
    box,
    card,
    cylinder,
    ellipsoid,
    gather,
    slope,
)

HEIGHT, WIDTH = 64, 128
INDICES = range(12)
PAINT = Paint("plain", ((0.5, 0.5, 0.5),))
TAG = Tag(classes.CAR, 1)


@pytest.fixture(scope="module")
def drawn():
    return [render.example(0, 0, k, HEIGHT, WIDTH) for k in INDICES]


@pytest.fixture(scope="module")
def scenes():
    return [scene.random_scene(Random(0, 0, k)) for k in INDICES]


def _intrinsics(camera, height, width):
    """(focal length, principal x, principal y) in pixels; pixel centres lie at + 0.5."""
    return camera.focal * width, 0.5 * width, 0.5 * height


def _rays(camera, height, width):
    """Directions in the world [H, W, 3] of pixel centres, with 1 along the optical axis."""
    focal, cx, cy = _intrinsics(camera, height, width)
    j, i = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    in_camera = np.stack([(j - cx) / focal, (i - cy) / focal, np.ones_like(i)], -1)
    return in_camera @ camera.axes


def _draw(solid, camera, height=40, width=60):
    grid = camera.grid(height, width)
    solids = gather([solid])
    nearest = np.zeros((grid.rows, grid.columns))
    surface = np.full(nearest.shape, -1, np.int32)
    bounds = camera.bounds(solids.corners)
    raster.draw(solids, np.array([0]), camera.matrix(), *bounds, grid, nearest, surface)
    return nearest[1::2, 1::2], surface[1::2, 1::2]


FRAME = Frame((0.4, 0.3, 6.0)).turned(0.2).pitched(0.15).rolled(-0.1)
HALF = (0.9, 0.6, 1.3)
SOLIDS = {
    "box": box(FRAME, HALF, TAG, PAINT),
    "cut box": box(FRAME, HALF, TAG, PAINT, cuts=(slope(2, 1, 1.0, 0.3), slope(0, -1, 1.0, 0.5))),
    "ellipsoid": ellipsoid(FRAME, HALF, TAG, PAINT),
    "cylinder": cylinder(FRAME, HALF, TAG, PAINT),
    "square": card(FRAME, HALF, TAG, PAINT, "square"),
    "disc": card(FRAME, HALF, TAG, PAINT, "disc"),
    "triangle": card(FRAME, HALF, TAG, PAINT, "triangle"),
}


def _inside(name, p):
    """Whether points [..., 3] in frame units lie in the solid (cards: within the outline)."""
    a, b, c = np.moveaxis(p, -1, 0)
    cube = (np.abs(p) <= 1).all(-1)
    if name == "cut box":
        front = c <= 1.0 + (0.3 - 1.0) * (b + 1) / 2
        left = -a <= 1.0 + (0.5 - 1.0) * (b + 1) / 2
        return cube & front & left
    return {
        "box": cube,
        "ellipsoid": a * a + b * b + c * c <= 1,
        "cylinder": (a * a + c * c <= 1) & (np.abs(b) <= 1),
        "square": (np.abs(a) <= 1) & (np.abs(b) <= 1),
        "disc": a * a + b * b <= 1,
        "triangle": (b >= -1) & (np.abs(a) <= (1 - b) / 2),
    }[name]


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in ("box", "ellipsoid", "disc") else pytest.mark.slow)
        for name in SOLIDS
    ],
)
def test_rasteriser_agrees_with_marching_along_rays(name):
    camera = Pinhole.looking((0.2, 1.4, 0.0), yaw=0.03, pitch=0.05, roll=0.02, focal=0.9)
    nearest, _ = _draw(SOLIDS[name], camera)
    rays = _rays(camera, *nearest.shape)
    axes = np.array(FRAME[1:])
    to_unit = (axes / np.array(HALF)[:, None]).T
    origin = (camera.position - np.array(FRAME.origin)) @ to_unit
    run = rays @ to_unit
    if SOLIDS[name].shape == 3:
        depth = -origin[2] / run[..., 2]
        inside = _inside(name, origin + run * depth[..., None])
        expected = np.where(inside, depth, np.inf)
        tolerance = 1e-9
    else:
        tolerance = 1e-3
        expected = np.full(nearest.shape, np.inf)
        for depth in np.arange(3.0, 9.0, tolerance):
            hit = _inside(name, origin + run * depth) & np.isinf(expected)
            expected[hit] = depth
    seen = nearest > 0
    # Marching can miss a sliver that is thinner than its step.
    assert (seen != np.isfinite(expected)).sum() <= (0 if tolerance < 1e-6 else 3)
    both = seen & np.isfinite(expected)
    assert both.sum() > 50
    np.testing.assert_allclose(1 / nearest[both], expected[both], atol=tolerance)


def test_small_solids_drawn_together_look_as_they_do_alone():
    random = Random(5)
    items = []
    for _ in range(60):
        frame = Frame(tuple(random.uniform(*r) for r in ((-3, 3), (0, 2.5), (6, 20))))
        make = random.choice((box, ellipsoid, cylinder))
        half = tuple(random.uniform(0.02, 0.7) for _ in range(3))
        items.append(make(frame.turned(random.uniform(-1, 1)), half, TAG, PAINT))
    camera = Pinhole.looking((0, 1.4, 0), yaw=0.0, pitch=0.02, roll=0.0, focal=0.9)
    grid = camera.grid(48, 96)

    def draw(chosen_at_once):
        solids = gather(items)
        nearest = np.zeros((grid.rows, grid.columns))
        surface = np.full(nearest.shape, -1, np.int32)
        for chosen in chosen_at_once:
            bounds = camera.bounds(solids.corners)
            raster.draw(solids, chosen, camera.matrix(), *bounds, grid, nearest, surface)
        return nearest, surface

    together = draw([np.arange(60)])
    alone = draw([np.array([n]) for n in range(60)])
    np.testing.assert_array_equal(together[0], alone[0])
    np.testing.assert_array_equal(together[1], alone[1])
    assert len(np.unique(together[1] // FACES)) > 30


def test_solids_behind_the_camera_and_around_it_are_not_drawn():
    camera = Pinhole.looking((0, 1.4, 0), yaw=0.0, pitch=0.0, roll=0.0, focal=0.9)
    behind = box(Frame((0, 1, -5)), (1, 1, 1), TAG, PAINT)
    around = ellipsoid(Frame((0, 1, 0)), (3, 3, 3), TAG, PAINT)
    for solid in (behind, around):
        nearest, _ = _draw(solid, camera)
        assert not nearest.any()


def test_sun_sees_the_shadow_of_a_box():
    sun = Sun(np.array([0.5, 1.0, -0.25]))
    solids = gather([box(Frame((1.0, 2.0, 5.0)), (0.5, 0.5, 0.5), TAG, PAINT)])
    grid = Grid(-5.0, 0.1, 100, 0.0, 0.1, 100)
    height = np.zeros((100, 100))
    surface = np.zeros((100, 100), np.int32)
    bounds = sun.bounds(solids.corners)
    raster.draw(solids, np.array([0]), sun.matrix(), *bounds, grid, height, surface)
    # The top face, 2.5 m up, is shifted by −2.5 · (0.5, −0.25) on the ground.
    j, i = np.meshgrid(grid.xs, grid.ys)
    top = (np.abs(j - (1 - 1.25)) < 0.499) & (np.abs(i - (5 + 0.625)) < 0.499)
    np.testing.assert_allclose(height[top], 2.5, atol=1e-12)
    assert height.max() == pytest.approx(2.5)
    assert 100 < np.count_nonzero(height) < 300


def test_rotation_is_a_rotation():
    for tau in (-0.7, 0.0, 0.1, 2.0):
        cos, sin = rotation(tau)
        assert cos == pytest.approx(np.cos(2 * np.arctan(tau)))
        assert sin == pytest.approx(np.sin(2 * np.arctan(tau)))


def test_camera_axes_are_right_handed_and_pitch_looks_down():
    camera = Pinhole.looking((0, 1, 0), yaw=0.1, pitch=0.05, roll=0.02, focal=1.0)
    np.testing.assert_allclose(camera.axes @ camera.axes.T, np.eye(3), atol=1e-12)
    right, down, forward = camera.axes
    # World axes X right, Y up, Z ahead are left-handed; right, down, forward are right-handed.
    np.testing.assert_allclose(np.cross(right, down), -forward, atol=1e-12)
    assert forward[0] > 0  # yaw to the right
    assert forward[1] < 0  # pitch down
    assert down[1] < 0


def test_depth_of_the_carriageway_is_that_of_the_ground_plane(drawn, scenes):
    compared = 0
    for example, made in zip(drawn, scenes):
        camera = made.camera
        rays = _rays(camera, HEIGHT, WIDTH)
        road = (example["semseg"] == classes.ROAD) & (example["depth"] > 0)
        expected = camera.position[1] / -rays[road][:, 1]
        np.testing.assert_allclose(example["depth"][road], expected, rtol=2e-7)
        compared += road.sum()
        up = example["normals"][road] @ camera.axes
        np.testing.assert_allclose(up, np.tile([0, 1.0, 0], (len(up), 1)), atol=1e-6)
    assert compared > 0.15 * HEIGHT * WIDTH * len(drawn)


def test_depth_beside_the_road_is_one_kerb_higher(drawn, scenes):
    compared = 0
    for example, made in zip(drawn, scenes):
        terrain = (example["semseg"] == classes.TERRAIN) & (example["depth"] > 0)
        rays = _rays(made.camera, HEIGHT, WIDTH)[terrain]
        expected = (made.camera.position[1] - made.street.kerb) / -rays[:, 1]
        np.testing.assert_allclose(example["depth"][terrain], expected, rtol=2e-7)
        compared += terrain.sum()
    assert compared > 500


def test_kerb_faces_stand_on_the_edge_of_the_carriageway():
    """Rays that hit a kerb end at |offset| = half-width, between the two levels of the ground."""
    seen = 0
    for index in range(20):
        made = scene.random_scene(Random(0, 0, index))
        layout, camera = made.street, made.camera
        grid = camera.grid(HEIGHT, WIDTH)
        nearest = np.zeros((grid.rows, grid.columns))
        surface = np.full(nearest.shape, street.SKY_SURFACE, np.int32)
        street.draw(layout, camera, grid, nearest, surface)
        for region, edge in ((street.KERB_LEFT, -layout.left), (street.KERB_RIGHT, layout.right)):
            i, j = np.nonzero(surface == street.ground_surface(region))
            depth = 1 / nearest[i, j]
            sides = np.stack([grid.xs[j], grid.ys[i], np.ones(len(i))], 1) @ camera.axes
            point = camera.position + sides * depth[:, None]
            near = (point[:, 2] > 0) & (point[:, 2] < street.STRAIGHT_BEYOND)
            if layout.crossing:
                near &= np.abs(point[:, 2] - layout.crossing[0]) > layout.crossing[1] + 1
            offset = point[near, 0] - layout.curvature * point[near, 2] ** 2
            np.testing.assert_allclose(offset, edge, atol=1e-6)
            assert (point[near, 1] > -1e-9).all()
            assert (point[near, 1] < layout.kerb + 1e-9).all()
            seen += near.sum()
    assert seen > 500


def test_normals_agree_with_gradients_of_depth(drawn, scenes):
    """On smooth surfaces the normal is the cross product of neighbouring points' differences."""
    agreements = []
    for example, made in zip(drawn, scenes):
        depth = example["depth"].astype(np.float64)
        focal, cx, cy = _intrinsics(made.camera, HEIGHT, WIDTH)
        j, i = np.meshgrid(np.arange(WIDTH) + 0.5, np.arange(HEIGHT) + 0.5)
        point = np.stack([(j - cx) / focal * depth, (i - cy) / focal * depth, depth], -1)
        across = point[1:-1, 2:] - point[1:-1, :-2]
        along = point[2:, 1:-1] - point[:-2, 1:-1]
        estimate = np.cross(across, along)
        estimate /= np.maximum(np.linalg.norm(estimate, axis=-1, keepdims=True), 1e-12)
        normal = example["normals"][1:-1, 1:-1]
        # One plane around the pixel: the normals of its neighbours are the same.
        smooth = np.ones(normal.shape[:2], bool)
        for di, dj in ((0, 1), (2, 1), (1, 0), (1, 2)):
            there = (slice(di, HEIGHT - 2 + di), slice(dj, WIDTH - 2 + dj))
            smooth &= np.abs(example["normals"][there] - normal).max(-1) < 1e-6
            smooth &= depth[there] > 0
            smooth &= np.abs(depth[there] / np.maximum(depth[1:-1, 1:-1], 1e-9) - 1) < 0.15
            smooth &= example["instance"][there] == example["instance"][1:-1, 1:-1]
            smooth &= example["semseg"][there] == example["semseg"][1:-1, 1:-1]
        smooth &= (depth[1:-1, 1:-1] > 0) & (depth[1:-1, 1:-1] < 25)
        agreements.append(np.abs((estimate * normal).sum(-1))[smooth])
    agreement = np.concatenate(agreements)
    assert len(agreement) > 10_000
    # Two parallel planes one behind the other look smooth too: a few pixels.
    assert np.mean(agreement > 0.999) > 0.97


def test_normals_are_unit_vectors_towards_the_camera(drawn, scenes):
    for example, made in zip(drawn, scenes):
        normals = example["normals"].astype(np.float64)
        length = np.linalg.norm(normals, axis=-1)
        known = length > 0
        np.testing.assert_allclose(length[known], 1, atol=1e-5)
        rays = _rays(made.camera, HEIGHT, WIDTH) @ made.camera.axes.T
        assert ((rays * normals).sum(-1)[known] < 1e-6).all()
        assert not known[example["semseg"] == classes.SKY].any()
        assert known[example["depth"] > 0].all()


def test_sharpen_ignores_pixels_that_mostly_show_something_else():
    samples = np.zeros((7, 9), np.uint8)
    samples[1::2, 1::2] = 0
    samples[3, 3] = 5  # one sample alone: a quarter of the weight
    samples[:, 5] = 7  # a line through the centres of a column: half of the weight
    result = labels.sharpen(samples)
    assert result.shape == (3, 4)
    assert result[1, 1] == classes.IGNORE
    assert (result[:, 2] == 7).all()
    assert (np.delete(result, (1, 2), axis=1) == 0).all()


def test_holes_are_where_a_second_camera_would_see_something_nearer():
    depth = np.full((4, 64), 40.0)
    depth[:, 30:40] = 4.0
    focal = 100.0
    hidden = labels.holes(depth, focal, Random(3))
    near, far = 0.22 * focal / 4, 0.22 * focal / 40
    expected = np.zeros(64, bool)
    for j in range(30):  # brute force
        expected[j] = any(k - near < j - far - 0.5 for k in range(30, 40))
    assert expected.sum() >= 4
    assert (hidden[:, expected]).all()
    assert hidden[:, :30][:, ~expected[:30]].mean() < 0.5


def test_class_ids_are_those_of_cityscapes():
    for train_id, name in enumerate(cityscapes.NAMES):
        assert getattr(classes, name.upper().replace(" ", "_")) == train_id
