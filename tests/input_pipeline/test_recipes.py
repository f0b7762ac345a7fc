"""The recipes of two families of papers, each step against what its papers' code does."""

import dataclasses
import math

import numpy as np
import pytest

from input_pipeline import labels, recipes, transforms

SPECS = {
    "image": labels.image(),
    "semseg": labels.classes(("a", "b", "c"), ()),
    "parts": labels.classes(("none", "head"), ()),
    "depth": labels.depth((0.01, 10.0)),
    "normals": labels.normals(),
    "edge": labels.edges(),
}


def example(height=30, width=40, seed=0):
    rng = np.random.default_rng(seed)
    normals = rng.normal(size=(height, width, 3))
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    normals[:3] = 0
    return {
        "image": rng.integers(0, 256, (height, width, 3)).astype(np.uint8),
        "semseg": rng.choice([0, 1, 2, 255], (height, width)).astype(np.int32),
        "parts": rng.choice([0, 1, 255], (height, width)).astype(np.int32),
        "depth": rng.uniform(1, 9, (height, width)).astype(np.float32),
        "normals": normals.astype(np.float32),
        "edge": (rng.random((height, width)) < 0.1).astype(np.float32),
    }


def augment(mode, arrays=None, seed=(0, 0), **options):
    arrays = example() if arrays is None else arrays
    augmentation = transforms.Augmentation(mode=mode, **options)
    return transforms.augment(arrays, {k: SPECS[k] for k in arrays}, augmentation, seed)


@pytest.mark.parametrize("mode", recipes.RECIPES)
def test_same_seed_same_example_and_every_seed_another(mode):
    options = {"crop": (20, 24), "scale": (0.5, 2.0), "flip": 0.5, "rotate": 20.0, "hue": 0.1}
    one, again, other = (augment(mode, seed=(1, n), **options) for n in (5, 5, 6))
    for key, value in one.items():
        np.testing.assert_array_equal(value, again[key])
        assert value.dtype == SPECS[key].dtype
        assert value.shape[:2] == (20, 24)
    assert any((one[key] != other[key]).any() for key in one)


class TestTransformer:
    def test_all_arrays_show_the_same_window(self):
        arrays = example()
        found = augment("transformer", arrays, crop=(10, 12))
        places = [
            (y, x)
            for y in range(21)
            for x in range(29)
            if (arrays["image"][y : y + 10, x : x + 12] == found["image"]).all()
        ]
        ((y, x),) = places
        for key, value in arrays.items():
            np.testing.assert_array_equal(found[key], value[y : y + 10, x : x + 12])

    def test_a_zoom_brings_depth_nearer_and_rounds_sides_down(self):
        arrays = example(21, 31)
        found = augment("transformer", arrays, crop=(31, 46), scale=(1.5, 1.5))
        assert set(np.unique(found["depth"])) <= set(
            np.unique(arrays["depth"] * np.float32(1 / 1.5))
        )
        assert set(np.unique(found["semseg"])) == {0, 1, 2, 255}  # nearest, and nothing is padded

    def test_smaller_images_are_padded_in_their_middle_with_what_means_unknown(self):
        found = augment("transformer", example(10, 12), crop=(13, 16))
        inside = np.zeros((13, 16), bool)
        inside[1:11, 2:14] = True  # of three missing rows one is above
        for key, fill in {
            "semseg": 255,
            "parts": 255,
            "edge": -1,
            "depth": 0,
            "normals": 0,
            "image": np.array([124, 116, 104]),
        }.items():
            assert (found[key][~inside] == fill).all(), key
            assert (
                found[key][inside].reshape(120, -1) == example(10, 12)[key].reshape(120, -1)
            ).all()

    def test_no_class_fills_three_quarters_of_a_crop_if_there_is_another_place(self):
        ids = np.zeros((40, 40), np.int32)
        ids[:, 28:] = 1
        ids[::2, :20] = 255  # does not count
        arrays = {"image": np.zeros((40, 40, 3), np.uint8), "semseg": ids}
        found = [
            augment("transformer", arrays, seed=(0, n), crop=(10, 10), balanced_by=name)["semseg"]
            for name in ("semseg", "")
            for n in range(40)
        ]

        def fits(crop):
            counts = np.bincount(crop[crop != 255], minlength=2)
            return counts.max() < 0.75 * counts.sum()

        balanced, uniform = (sum(map(fits, half)) for half in (found[:40], found[40:]))
        assert uniform < 12  # 4 of 31 columns
        assert balanced > 25  # 1 − (27 / 31)¹¹ of 40 is 31

    def test_a_mirror_image_negates_x(self):
        arrays = example()
        found = augment("transformer", arrays, flip=1.0)
        np.testing.assert_array_equal(found["semseg"], arrays["semseg"][:, ::-1])
        expected = arrays["normals"][:, ::-1] * [-1, 1, 1]
        np.testing.assert_allclose(found["normals"], expected)
        assert (arrays["normals"] == example()["normals"]).all()  # what was given is as it was

    def test_a_crop_without_parts_is_unlabelled(self):
        arrays = example()
        arrays["parts"][:] = 0
        arrays["parts"][0, 0] = 255
        found = augment("transformer", arrays, empty_is_unlabelled=("parts",))
        assert (found["parts"] == 255).all()
        assert (augment("transformer", arrays)["parts"] == arrays["parts"]).all()
        arrays["parts"][5, 5] = 1
        found = augment("transformer", arrays, empty_is_unlabelled=("parts",))
        assert (found["parts"] == arrays["parts"]).all()


class Fixed:
    """Draws that are what a test says."""

    def __init__(self, *halves, at=1.0, step=0):
        self._halves, self._at, self._step = iter(halves), at, step

    def uniform(self, low=0.0, high=1.0):
        return low + (high - low) * self._at

    def integer(self, count):
        return self._step

    def half(self):
        return next(self._halves)


STRENGTHS = transforms.Augmentation(brightness=32 / 255, contrast=0.5, saturation=0.5, hue=0.1)
PATCH = np.array([[[200, 100, 50], [10, 20, 30]]], np.uint8)


def distorted(*halves, **options):
    return recipes.distort(PATCH, STRENGTHS, Fixed(*halves, **options)).tolist()


def test_colours_are_left_alone_where_no_coin_says_so():
    assert distorted(False, False, False, False, True) == PATCH.tolist()


def test_brightness_is_added_and_contrast_multiplied_and_both_clipped():
    assert distorted(True, False, False, False, True) == [[[232, 132, 82], [42, 52, 62]]]
    assert distorted(False, True, False, False, True) == [[[255, 150, 75], [15, 30, 45]]]
    # First brighter, then more contrast.
    assert distorted(True, True, False, False, True)[0][1] == [63, 78, 93]


def test_saturation_and_hue_are_those_of_hsv():
    grey = np.full((1, 1, 3), 90, np.uint8)
    assert (recipes.distort(grey, STRENGTHS, Fixed(False, False, True, True, True)) == 90).all()
    more = np.array(distorted(False, False, True, False, True))[0, 0]
    assert more[0] == 200  # the greatest channel is the value, which stays
    assert more[2] < 10  # saturation 0.75 · 1.5 is 1
    turned = np.array(distorted(False, False, False, True, True, step=36))[0, 0]
    assert turned.max() == 200  # by 18 · 2 degrees from 20: yellow
    assert turned[1] > 180


def test_contrast_comes_before_or_after_the_colours():
    first, last = (distorted(False, True, True, False, coin) for coin in (True, False))
    assert first != last


class TestSurvey:
    def test_everything_becomes_one_size_whatever_its_aspect(self):
        arrays = example(10, 20)
        found = augment("survey", arrays, crop=(20, 20))
        np.testing.assert_array_equal(found["semseg"], arrays["semseg"].repeat(2, axis=0))
        length = np.linalg.norm(found["normals"], axis=-1)
        assert np.all((np.abs(length - 1) < 1e-5) | (length == 0))

    def test_normals_turn_with_the_picture(self):
        angle = math.radians(90)
        arrays = {"image": np.zeros((21, 21, 3), np.uint8), "normals": np.zeros((21, 21, 3))}
        arrays["normals"] = np.broadcast_to([0.6, 0.0, -0.8], (21, 21, 3)).astype(np.float32)
        for seed in range(3):
            found = augment("survey", arrays, seed=(0, seed), rotate=20.0)["normals"][10, 10]
            assert np.hypot(*found[:2]) == pytest.approx(0.6, abs=1e-3)
            assert abs(math.atan2(found[0], found[1]) - angle) <= math.radians(20)
        # A picture that turns counter-clockwise takes what points right upwards.
        cos, sin = math.cos(math.radians(20)), math.sin(math.radians(20))
        for x, y in ((0.6, 0.0), (0.0, 0.6)):
            normals = np.broadcast_to(np.float32([x, y, -0.8]), (21, 21, 3)).copy()
            turned = recipes._turned(normals, SPECS["normals"], 20.0, 1.0, (21, 21))[10, 10]
            expected = [cos * x + sin * y, cos * y - sin * x, -0.8]
            np.testing.assert_allclose(turned, expected, atol=1e-5)

    def test_corners_are_background_as_there(self):
        arrays = {"image": np.full((40, 40, 3), 9, np.uint8), "semseg": np.full((40, 40), 2)}
        arrays["semseg"] = arrays["semseg"].astype(np.int32)
        found = [augment("survey", arrays, seed=(0, n), rotate=20.0)["semseg"] for n in range(4)]
        assert all(crop[0, 0] == 0 for crop in found)
        assert all(crop[20, 20] == 2 for crop in found)

    def test_zooms_are_chosen_from_a_list(self):
        arrays = {"image": np.zeros((8, 8, 3), np.uint8), "depth": np.full((8, 8), 6.0, np.float32)}
        found = {
            round(
                float(
                    augment("survey", arrays, seed=(0, n), scales=(1.0, 1.2, 1.5))["depth"][4, 4]
                ),
                3,
            )
            for n in range(20)
        }
        assert found == {6.0, 5.0, 4.0}


def test_what_a_recipe_draws_is_within_what_it_is_given():
    options = {"scale": (0.5, 2.0), "flip": 0.5, "crop": (9, 9), "balanced_by": "semseg"}
    strengths = {f: getattr(STRENGTHS, f) for f in ("brightness", "contrast", "saturation", "hue")}
    augmentation = dataclasses.replace(
        transforms.Augmentation(mode="transformer", **options), **strengths
    )
    uniform = np.linspace(0, 0.999, recipes.NUMBERS)
    recipes.transformer(example(), SPECS, augmentation, uniform)  # StopIteration if there are more
