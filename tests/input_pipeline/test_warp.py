"""The one warp of each array, beside a plain one in float64."""

import dataclasses

import cv2
import numpy as np
import pytest

from input_pipeline import labels, transforms
from input_pipeline._warp import LARGEST_SIDE, Warp
from input_pipeline.errors import DatasetError
from input_pipeline.transforms import Augmentation

TIE = 2.0**-15  # of a pixel: nearer to a border between pixels, either of them is the nearest
SOFT = dataclasses.replace(labels.depth((1, 80), zoom=False), interpolation="bilinear")
SPECS = {
    "image": labels.image(),
    "semseg": labels.classes(("a", "b", "c"), (), flip_swap=((1, 2),)),
    "depth": labels.depth((0.1, 80.0)),
    "instance": labels.instances(),
    "normals": labels.normals(),
    "edge": labels.edges(),
    "soft": SOFT,
    "many": labels.LabelSpec("other", "float32", channels=6, fill=-3),
}


def example(height, width):
    rng = np.random.default_rng(0)
    normals = rng.normal(size=(height, width, 3)).astype(np.float32)
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    normals[:3] = 0
    y, x = np.mgrid[:height, :width]
    soft = (10 + np.sin(x / 7) + np.cos(y / 5)).astype(np.float32)
    soft[height // 3 : height // 2, 5:20] = 0
    return {
        "image": rng.integers(0, 256, (height, width, 3)).astype(np.uint8),
        "semseg": rng.choice([0, 1, 2, 255], (height, width)).astype(np.int32),
        "depth": np.where(y < 4, 0, rng.uniform(1, 79, (height, width))).astype(np.float32),
        "instance": rng.integers(0, 70000, (height, width)).astype(np.int32),
        "normals": normals,
        "edge": rng.choice([-1, 0, 0.25, 1], (height, width)).astype(np.float32),
        "soft": soft,
        "many": rng.normal(size=(height, width, 6)).astype(np.float32),
    }


def points(matrix, height, width):
    """Where the centres of the output's pixels lie in the input."""
    y, x = np.mgrid[:height, :width] + 0.5
    return matrix[0, 0] * x + matrix[0, 1] * y + matrix[0, 2], (
        matrix[1, 0] * x + matrix[1, 1] * y + matrix[1, 2]
    )


def nearest(value, x, y, fill):
    height, width = value.shape[:2]
    row, column = np.floor(y).astype(int), np.floor(x).astype(int)
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    found = value[row.clip(0, height - 1), column.clip(0, width - 1)]
    return np.where(inside if value.ndim == 2 else inside[..., None], found, fill), inside


def bilinear(value, x, y):
    """Between the four neighbours; beyond the centres of the last ones, these."""
    height, width = value.shape[:2]
    value = np.float64(value if value.ndim == 3 else value[..., None])
    row, column = np.floor(y - 0.5), np.floor(x - 0.5)
    down, across = (y - 0.5 - row)[..., None], (x - 0.5 - column)[..., None]
    result = 0
    for i, weight_y in ((0, 1 - down), (1, down)):
        for j, weight_x in ((0, 1 - across), (1, across)):
            tap = (row + i).clip(0, height - 1).astype(int), (column + j).clip(0, width - 1)
            result = result + weight_y * weight_x * value[tap[0], tap[1].astype(int)]
    return result


def away_from_ties(x, y):
    return np.minimum(np.abs(x - np.rint(x)), np.abs(y - np.rint(y))) > TIE


def plain(key, value, geometry):
    """(what `augment` should make of one array, where that is certain)."""
    spec, (x, y) = SPECS[key], points(transforms.output_to_input(geometry), *geometry.size)
    if spec.interpolation == "bilinear":
        _, inside = nearest(value, x, y, 0)
        certain = away_from_ties(x, y) | inside
        if key == "image":
            return np.where(inside[..., None], bilinear(value, x, y), 0), certain
        weight = np.where(inside, bilinear(value != 0, x, y)[..., 0], 0)
        mixed = bilinear(value, x, y)[..., 0] / np.maximum(weight, 0.5)
        return np.where(weight >= 0.5, mixed, 0), certain & (np.abs(weight - 0.5) > 1e-3)
    found, _ = nearest(value, x, y, spec.fill)
    if key == "depth":
        found = found / geometry.zoom
    if key == "semseg" and geometry.flip:
        found = np.select([found == 1, found == 2], [2, 1], found)
    if key == "normals":
        found = found * ([-1, 1, 1] if geometry.flip else [1, 1, 1])
        cos, sin = np.cos(geometry.angle), np.sin(geometry.angle)
        u, v, w = np.moveaxis(found, -1, 0)
        found = np.stack([cos * u + sin * v, cos * v - sin * u, w], axis=-1)
    return found, away_from_ties(x, y)


@pytest.mark.parametrize("size", [(48, 64), (64, 40)])
def test_every_kind_of_array_is_that_of_a_plain_warp(size):
    arrays = example(53, 71)
    augmentation = Augmentation(crop=size, scale=(0.5, 2), flip=0.5, rotate=25)
    outside = 0
    for n in range(8):
        geometry, _ = transforms.draw(augmentation, (5, n), (53, 71))
        found = transforms.augment(arrays, SPECS, augmentation, (5, n))
        for key, value in arrays.items():
            expected, certain = plain(key, value, geometry)
            assert certain.mean() > 0.97
            assert found[key].dtype == value.dtype
            difference = np.abs(np.float64(found[key]) - expected)[certain]
            tolerance = {"image": 0.51, "soft": 1e-3, "semseg": 0, "instance": 0, "edge": 0}
            assert difference.max() <= tolerance.get(key, 5e-5), key
        outside += (found["many"] == -3).all(-1).mean()
    assert 0.5 < outside < 7  # some windows show the frame, and none is outside altogether


def in_three_channels(value, matrix, inside, fill):
    """OpenCV's warp of [H, W, 3] as it is, and `fill` laid over what is outside."""
    linear, size = matrix[:, :2], inside.shape[::-1]
    matrix = np.column_stack([linear, matrix[:, 2] + linear.sum(axis=1) / 2 - 0.5])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    found = cv2.warpAffine(value, matrix, size, None, flags, cv2.BORDER_REPLICATE)
    found[~inside] = fill
    return found


@pytest.mark.parametrize("size", [(128, 256), (512, 512), (375, 1242)])
def test_at_the_sizes_of_training_a_warp_is_the_plain_one_bit_for_bit(size):
    """Whose coordinates are shifted in 64 bits and whose three channels OpenCV takes as three."""
    arrays = {key: example(*size)[key] for key in ("image", "semseg", "normals")}
    augmentation = Augmentation(crop=size, scale=(0.5, 2), flip=0.5, rotate=10)
    covered = 0
    for n in range(6):
        geometry, _ = transforms.draw(augmentation, (5, n), size)
        matrix = transforms.output_to_input(geometry)
        warp = Warp(matrix, size, size)
        rows, columns = transforms.fixed_point(matrix, size)
        x, y = (np.add.outer(*parts) >> transforms.FRACTION_BITS for parts in zip(rows, columns))
        expected, inside = nearest(arrays["semseg"], x, y, 255)
        np.testing.assert_array_equal(warp.nearest(arrays["semseg"], 255), expected)
        for key in ("image", "normals"):
            expected = in_three_channels(arrays[key], matrix, inside, 7)
            np.testing.assert_array_equal(warp.bilinear(arrays[key], 7), expected, err_msg=key)
        covered += inside.all()
    assert 0 < covered < 6


def test_a_mirrored_window_is_a_copy():
    """Where nothing is turned or scaled, an interpolation between pixels takes one of them."""
    image = example(20, 30)["image"]
    geometry = transforms.Geometry((20, 30), (20, 30), (-2, 3), (24, 20), True, 0.0)
    warp = Warp(transforms.output_to_input(geometry), (20, 30), (24, 20))
    expected = np.pad(image, ((2, 2), (0, 0), (0, 0)))[:, 3:23][:, ::-1]
    np.testing.assert_array_equal(warp.bilinear(image, 0), expected)
    np.testing.assert_array_equal(warp.nearest(image, 0), expected)


def test_points_far_outside_are_outside():
    """Beyond 32 bits of fixed point, and beyond the 16 bits of OpenCV's positions."""
    value = np.ones((40, 50), np.int32)
    for factor in (900.0, 40000.0):
        matrix = np.array([[factor, 0, -5 * factor], [0, factor, -5 * factor]])
        x, y = points(matrix, 10, 12)
        expected, inside = nearest(value, x, y, 7)
        assert not inside.all()
        np.testing.assert_array_equal(Warp(matrix, (40, 50), (10, 12)).nearest(value, 7), expected)


def test_arrays_that_are_too_large_are_refused():
    with pytest.raises(DatasetError, match=f"1×40000 .* at most {LARGEST_SIDE} pixels"):
        Warp(np.eye(2, 3), (1, 40000), (4, 4))


def test_opencv_starts_no_threads():
    assert cv2.getNumThreads() == 1
