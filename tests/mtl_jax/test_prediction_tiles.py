"""Tiles cover the image, and their blend is what one would have had of the whole."""

import numpy as np
import pytest

from mtl_jax.prediction import tiles

RNG = np.random.default_rng(0)
PLANS = [
    (7, 7, 3),
    (8, 7, 3),
    (20, 7, 3),
    (64, 32, 0),
    (65, 32, 0),
    (100, 32, 31),
    (1000, 256, 128),
]


@pytest.mark.parametrize(("length", "tile", "overlap"), PLANS)
def test_plan_covers_everything_with_few_overlapping_tiles(length, tile, overlap):
    starts = tiles.plan((length, length), (tile, tile), overlap).rows
    assert starts[0] == 0
    assert starts[-1] == length - tile
    shared = tile - np.diff(starts)
    assert np.all(shared >= overlap)
    # One tile fewer could not share as much.
    assert len(starts) == 1 or (len(starts) - 2) * (tile - overlap) < length - tile
    assert shared.size == 0 or np.ptp(shared) <= 1


@pytest.mark.parametrize(("length", "tile", "overlap"), PLANS)
def test_weights_are_a_smooth_partition_of_unity(length, tile, overlap):
    starts = tiles.plan((length, length), (tile, tile), overlap).rows
    weights = tiles.blending_weights(starts, tile, length)
    assert weights.shape == (len(starts), tile)
    total, profile = np.zeros(length), np.zeros((len(starts), length))
    for i, start in enumerate(starts):
        total[start : start + tile] += weights[i]
        profile[i, start : start + tile] = weights[i]
    np.testing.assert_allclose(total, 1.0, atol=1e-6)
    assert weights.min() > 0
    if overlap == 128:  # where there is room for it, no weight jumps
        assert np.abs(np.diff(profile, axis=1)).max() < 4 / overlap


def test_a_tile_counts_most_in_its_middle():
    weights = tiles.blending_weights((0, 4), 8, 12)
    # Pixels 4 ... 7 belong to both tiles: positions 4 ... 7 of the one and 0 ... 3 of the other.
    window = np.sin(np.pi * (np.arange(8) + 0.5) / 8) ** 2
    np.testing.assert_allclose(weights[0, 4:], window[4:] / (window[4:] + window[:4]), rtol=1e-6)
    np.testing.assert_allclose(weights[0, :4], 1.0)


@pytest.mark.parametrize("size", [(16, 16), (16, 50), (41, 16), (50, 61)])
def test_blending_what_the_image_holds_gives_the_image(size):
    image = RNG.normal(size=(*size, 3)).astype(np.float32)
    tiling = tiles.plan(size, (16, 16), 5)
    strips = list(tiling.blend({"a": tile, "b": tile[..., :1]} for tile in tiling.cut(image)))
    np.testing.assert_allclose(np.concatenate([s["a"] for s in strips]), image, atol=1e-6)
    np.testing.assert_allclose(np.concatenate([s["b"] for s in strips]), image[..., :1], atol=1e-6)


def test_blend_is_the_weighted_mean_of_the_tiles():
    tiling = tiles.plan((20, 20), (8, 12), 3)
    predicted = RNG.normal(size=(len(tiling.rows) * len(tiling.columns), 8, 12, 2))
    found = np.concatenate([s["a"] for s in tiling.blend({"a": p} for p in predicted)])
    rows, columns = (np.sin(np.pi * (np.arange(n) + 0.5) / n) ** 2 for n in (8, 12))
    window = rows[:, None] * columns
    total, expected = np.zeros((20, 20)), np.zeros((20, 20, 2))
    at = [(row, column) for row in tiling.rows for column in tiling.columns]
    for (row, column), value in zip(at, predicted):
        total[row : row + 8, column : column + 12] += window
        expected[row : row + 8, column : column + 12] += window[..., None] * value
    np.testing.assert_allclose(found, expected / total[..., None], atol=1e-5)


def test_rows_are_given_as_soon_as_they_are_final():
    tiling = tiles.plan((1000, 16), (16, 16), 4)
    asked = []

    def predicted():
        for i, _ in enumerate(tiling.rows):
            asked.append(i)
            yield {"a": np.zeros((16, 16, 1), np.float32)}

    heights = []
    for i, strip in enumerate(tiling.blend(predicted())):
        assert len(asked) == i + 1
        heights.append(len(strip["a"]))
    assert sum(heights) == 1000
