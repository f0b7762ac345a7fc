import dataclasses

import numpy as np
import pytest
import toy_dataset
from PIL import Image, ImageOps
from scipy import ndimage

from input_pipeline import labels, recipes, transforms
from input_pipeline.transforms import Augmentation

# The recipes of benchmarks have steps of their own, see test_recipes.py.
MODES = tuple(mode for mode in transforms.MODES if mode not in recipes.RECIPES)

SPECS = toy_dataset.SPECS
REPORT_D = {"crop": (96, 96), "scale": (0.5, 2.0), "flip": 0.5, "rotate": 10.0}


def augment(example, specs, augmentation, seed=(0, 0)):
    return transforms.augment(example, specs, augmentation, seed)


def geometry(augmentation, seed, height, width):
    """The draws that `augment` makes."""
    philox = np.random.Philox(key=np.array(seed, np.uint64), counter=1 << 192)
    uniform = (philox.random_raw(9) >> np.uint64(11)) / 2**53
    return transforms.draw_geometry(augmentation, uniform[:5], (height, width))


def input_points(drawn, points, height, width):
    """Where output points (x, y) come from: the steps undone one by one, in float64."""
    x, y = np.asarray(points, np.float64).T
    centre_x, centre_y = drawn.size[1] / 2, drawn.size[0] / 2
    # A counter-clockwise turn on the screen is clockwise in coordinates whose y points down.
    turned = ((x - centre_x) + 1j * (y - centre_y)) * np.exp(1j * np.float64(drawn.angle))
    x, y = turned.real + centre_x, turned.imag + centre_y
    if drawn.flip:
        x = drawn.size[1] - x
    x, y = x + drawn.offset[1], y + drawn.offset[0]
    return np.stack([x * width / drawn.scaled[1], y * height / drawn.scaled[0]], axis=-1)


def smooth_scene(height=120, width=160, cell=40):
    """An image of soft waves, and a class map of large cells."""
    y, x = np.mgrid[:height, :width] + 0.5
    waves = [np.sin(x / 19), np.cos(y / 17), np.sin((x + y) / 23)]
    image = (127 + 90 * np.stack(waves, axis=-1)).astype(np.uint8)
    semseg = ((x // cell + y // cell) % 3).astype(np.int32)
    return {"image": image, "semseg": semseg}


def test_nothing_asked_nothing_changed():
    example = toy_dataset.example("train", 0)
    for mode in MODES:
        result = augment(example, SPECS, Augmentation(mode=mode))
        for key, value in example.items():
            np.testing.assert_array_equal(result[key], value)
            assert result[key].dtype == value.dtype


@pytest.mark.parametrize("size", [(12, 9), (30, 9), (20, 28), (41, 43)])
def test_crop_copies_a_window_and_pads_what_is_missing_centred(size):
    example = toy_dataset.example("train", 1)
    drawn = geometry(Augmentation(crop=size), (3, 4), 20, 28)
    result = augment(example, SPECS, Augmentation(crop=size), (3, 4))
    for key, value in example.items():
        top, left = drawn.offset
        missing = np.maximum(np.array(size) - (20, 28), 0)
        before = missing // 2
        assert all(
            (offset == -pad) if pad else (0 <= offset <= room)
            for offset, pad, room in zip(drawn.offset, before, np.array((20, 28)) - size)
        )
        widths = [*zip(before, missing - before), (0, 0)][: value.ndim]
        padded = np.pad(value, widths, constant_values=255 if key == "semseg" else 0)
        top, left = max(top, 0), max(left, 0)
        expected = padded[top : top + size[0], left : left + size[1]]
        np.testing.assert_array_equal(result[key], expected, err_msg=key)


def test_crop_reaches_every_position_about_equally_often():
    tops = [geometry(Augmentation(crop=(17, 28)), (0, n), 20, 28).offset[0] for n in range(200)]
    assert np.bincount(tops, minlength=4).min() > 30  # of 50 expected at each of 4 positions
    assert max(tops) == 3


def test_draws_cover_their_ranges():
    augmentation = Augmentation(scale=(0.5, 2), flip=0.25, rotate=10)
    drawn = [geometry(augmentation, (1, n), 100, 200) for n in range(200)]
    zoom = np.array([d.zoom for d in drawn])
    assert 0.49 < zoom.min() < 0.53
    assert 1.96 < zoom.max() < 2.001
    assert np.mean(zoom) == pytest.approx(1.25, abs=0.1)
    assert np.mean([d.flip for d in drawn]) == pytest.approx(0.25, abs=0.1)
    degrees = np.degrees([d.angle for d in drawn])
    assert -10 <= degrees.min() < -9.6
    assert 9.6 < degrees.max() <= 10


def test_flip_mirrors_swaps_sides_and_negates():
    example = toy_dataset.example("train", 2)
    result = augment(example, SPECS, Augmentation(flip=1.0))
    mirrored = {key: value[:, ::-1] for key, value in example.items()}
    for key in ("image", "depth", "instance"):
        np.testing.assert_array_equal(result[key], mirrored[key])
    swapped = np.select(
        [mirrored["semseg"] == 1, mirrored["semseg"] == 2], [2, 1], mirrored["semseg"]
    )
    np.testing.assert_array_equal(result["semseg"], swapped)
    np.testing.assert_array_equal(result["normals"], mirrored["normals"] * [-1, 1, 1])


def test_flip_happens_as_often_as_asked():
    example = {"image": toy_dataset.example("train", 0)["image"]}
    flips = [
        np.array_equal(
            augment(example, SPECS, Augmentation(flip=0.5), (5, n))["image"],
            example["image"][:, ::-1],
        )
        for n in range(60)
    ]
    assert 15 < sum(flips) < 45


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("zoom", [0.5, 2.0])
def test_zoom_changes_values_as_the_spec_says(mode, zoom):
    depth = np.full((16, 24), 12.0, np.float32)
    depth[:, ::3] = 0
    example = {
        "image": np.zeros((16, 24, 3), np.uint8),
        "depth": depth,
        "untouched": depth,
        "disparity": depth,
        "holes": np.where(depth == 0, -1, depth),
    }
    specs = {
        "image": labels.image(),
        "depth": labels.depth((1, 80)),
        "untouched": labels.depth((1, 80), zoom=False),
        "disparity": labels.LabelSpec("disparity", "float32", zoom_power=1, invalid=0.0),
        "holes": labels.LabelSpec("depth", "float32", fill=-1, zoom_power=-1, invalid=-1.0),
    }
    result = augment(
        example, specs, Augmentation(scale=(zoom, zoom), crop=(8, 12), mode=mode), (0, 3)
    )
    for key, value in (("depth", 12 / zoom), ("untouched", 12.0), ("disparity", 12 * zoom)):
        assert set(np.unique(result[key])) <= {0.0, np.float32(value)}
        assert (result[key] > 0).any()
    assert set(np.unique(result["holes"])) <= {-1, np.float32(12 / zoom)}
    assert (result["holes"] == -1).any()


def test_the_map_undoes_the_steps_in_turn():
    augmentation = Augmentation(crop=(64, 80), scale=(0.5, 2), flip=0.5, rotate=30)
    points = np.random.default_rng(0).uniform(0, 64, (20, 2))
    for n in range(20):
        drawn = geometry(augmentation, (2, n), 50, 90)
        matrix = transforms.output_to_input(drawn)
        mapped = np.concatenate([points, np.ones((20, 1))], axis=1) @ matrix.T
        np.testing.assert_allclose(mapped, input_points(drawn, points, 50, 90), atol=1e-9)


@pytest.mark.parametrize("mode", MODES)
def test_a_landmark_arrives_where_the_steps_carry_it(mode):
    height, width = 90, 120
    y, x = np.mgrid[:height, :width] + 0.5
    blob = np.exp(-((x - 70) ** 2 + (y - 40) ** 2) / (2 * 4.0**2))
    example = {"image": np.repeat((255 * blob)[..., None], 3, axis=-1).astype(np.uint8)}
    augmentation = Augmentation(**REPORT_D, mode=mode)
    seen = 0
    for n in range(24):
        result = augment(example, SPECS, augmentation, (4, n))["image"][..., 0].astype(np.float64)
        drawn = geometry(augmentation, (4, n), height, width)
        rows, columns = np.mgrid[:96, :96] + 0.5
        if result.max() < 200:
            continue  # the blob left the window
        centre = np.array([(result * columns).sum(), (result * rows).sum()]) / result.sum()
        if np.abs(centre - 48).max() > 24:
            continue  # a part of it may have
        source = input_points(drawn, centre[None], height, width)[0]
        assert np.linalg.norm(source - (70, 40)) * drawn.zoom < 1
        seen += 1
    assert seen >= 6


def test_composed_and_stepwise_agree_up_to_interpolation():
    example = smooth_scene()
    agreements, differences = [], []
    for n in range(20):
        composed, stepwise = (
            augment(example, SPECS, Augmentation(**REPORT_D, mode=mode), (9, n))
            for mode in ("composed", "stepwise")
        )
        both = (composed["semseg"] != 255) & (stepwise["semseg"] != 255)
        assert both.mean() > 0.2
        # What the window shows in one is not lost in the other, but for the rotated corners.
        assert (stepwise["semseg"] != 255).mean() <= (composed["semseg"] != 255).mean() + 0.02
        agreements.append((composed["semseg"] == stepwise["semseg"])[both].mean())
        # Bicubic interpolation lets the fill bleed two pixels into the image.
        body = ndimage.binary_erosion(both, iterations=3)
        difference = np.abs(composed["image"].astype(int) - stepwise["image"])[body]
        differences.append(np.percentile(difference, 99))
    assert np.mean(agreements) > 0.98
    assert min(agreements) > 0.95
    assert max(differences) <= 3


def test_stepwise_takes_the_reports_filters():
    """Report D: photographs bilinearly resized and bicubically turned, labels by nearest."""
    image = np.random.default_rng(0).integers(0, 256, (50, 70, 3)).astype(np.uint8)
    example = {"image": image, "semseg": (image[..., 0] % 3).astype(np.int32)}
    specs = {"image": labels.image(), "semseg": labels.classes(("a", "b", "c"), ())}
    augmentation = Augmentation(**REPORT_D, mode="stepwise")
    for n in range(6):
        drawn = geometry(augmentation, (3, n), 50, 70)
        top, left = drawn.offset
        box = (left, top, left + 96, top + 96)

        def steps(picture, resize, turn, box=box, drawn=drawn):
            picture = picture.resize(drawn.scaled[::-1], resize).crop(box)  # 0 outside
            picture = ImageOps.mirror(picture) if drawn.flip else picture
            return np.asarray(picture.rotate(np.degrees(drawn.angle), turn))

        result = augment(example, specs, augmentation, (3, n))
        photograph = Image.fromarray(example["image"])
        filters = Image.Resampling.BILINEAR, Image.Resampling.BICUBIC
        np.testing.assert_array_equal(result["image"], steps(photograph, *filters))
        ids = Image.fromarray(example["semseg"] - 255)  # so that what is outside becomes 255
        expected = steps(ids, *[Image.Resampling.NEAREST] * 2) + 255
        np.testing.assert_array_equal(result["semseg"], expected)


def test_a_window_beside_the_array_is_all_fill():
    value = np.ones((4, 5, 2), np.float32)
    for offset in ((-9, 0), (0, -9), (4, 0), (0, 9)):
        found = transforms.window(value, offset, (3, 6), 7)
        np.testing.assert_array_equal(found, np.full((3, 6, 2), 7))


@pytest.mark.parametrize("mode", MODES)
def test_floats_are_filled_with_what_their_spec_says(mode):
    spec = labels.LabelSpec("depth", "float32", fill=-1, invalid=-1.0)
    example = {
        "image": np.full((20, 20, 3), 9, np.uint8),
        "depth": np.full((20, 20), 5, np.float32),
    }
    augmentation = Augmentation(crop=(40, 40), scale=(1.1, 1.1), mode=mode)
    result = augment(example, {"image": labels.image(), "depth": spec}, augmentation)
    inside = result["image"][..., 0] == 9
    assert 0.2 < inside.mean() < 0.4
    np.testing.assert_array_equal(result["depth"], np.where(inside, 5, -1))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
def test_normals_turn_with_the_scene(mode, interpolation):
    # Normals that point away from the image centre still do so after any flip and rotation.
    size = 65
    y, x = np.mgrid[:size, :size] + 0.5 - size / 2
    radial = np.stack([x, y, np.full_like(x, 20)], axis=-1)
    radial /= np.linalg.norm(radial, axis=-1, keepdims=True)
    radial[(x**2 + y**2) > 30**2] = 0
    example = {"image": np.zeros((size, size, 3), np.uint8), "normals": radial.astype(np.float32)}
    specs = SPECS | {"normals": dataclasses.replace(labels.normals(), interpolation=interpolation)}
    for n in range(4):
        augmentation = Augmentation(flip=0.5, rotate=45, mode=mode)
        result = augment(example, specs, augmentation, (6, n))["normals"]
        length = np.linalg.norm(result, axis=-1)
        inside = (x**2 + y**2) < 28**2
        np.testing.assert_allclose(length[inside], 1, atol=1e-5)
        np.testing.assert_array_equal(length[(x**2 + y**2) > 32**2], 0)
        tolerance = 0.045 if interpolation == "nearest" else 0.01
        assert np.abs(result - radial)[inside].max() < tolerance


@pytest.mark.parametrize("mode", MODES)
def test_bilinear_values_never_mix_with_unknown_ones(mode):
    depth = np.full((40, 40), 10.0, np.float32)
    depth[10:20] = 0
    spec = dataclasses.replace(labels.depth((1, 80), zoom=False), interpolation="bilinear")
    example = {"image": np.zeros((40, 40, 3), np.uint8), "depth": depth}
    augmentation = Augmentation(scale=(0.7, 1.6), rotate=20, crop=(40, 40), mode=mode)
    for n in range(5):
        result = augment(example, SPECS | {"depth": spec}, augmentation, (8, n))["depth"]
        valid = result != 0
        np.testing.assert_allclose(result[valid], 10, rtol=1e-5)
        assert 0.1 < valid.mean() < 0.99


def test_outside_the_frame_is_fill_and_the_frame_has_no_dark_rim():
    example = {
        "image": np.full((30, 40, 3), 200, np.uint8),
        "semseg": np.ones((30, 40), np.int32),
        "depth": np.full((30, 40), 9, np.float32),
    }
    augmentation = Augmentation(crop=(60, 60), scale=(0.6, 1.5), rotate=10)
    for n in range(5):
        result = augment(example, SPECS, augmentation, (1, n))
        outside = result["semseg"] == 255
        assert 0.2 < outside.mean() < 0.95
        np.testing.assert_array_equal(result["image"][~outside], 200)
        np.testing.assert_array_equal(result["image"][outside], 0)
        np.testing.assert_array_equal(result["depth"] == 0, outside)


def test_interpolated_grey_levels_are_rounded_not_truncated():
    image = np.zeros((8, 8, 3), np.uint8)
    image[:, 4:] = 255
    example = {"image": image}
    result = augment(example, SPECS, Augmentation(scale=(2, 2), crop=(16, 16)))["image"]
    # Half-pixel centres: ¼ and ¾ of the way from one pixel to the next.
    assert set(np.unique(result)) == {0, 64, 191, 255}


def test_the_draws_are_fixed_for_all_time():
    # Philox is specified, and its raw output is all that is used of NumPy's random numbers.
    drawn = geometry(Augmentation(**REPORT_D), (7, 11), 100, 200)
    assert drawn[:-1] == ((100, 200), (162, 324), (50, 66), (96, 96), False)
    assert drawn.angle == pytest.approx(0.09856236782732822, rel=1e-14)


def test_the_seed_decides_everything():
    example = toy_dataset.example("train", 3)
    augmentation = Augmentation(**REPORT_D, brightness=0.3, contrast=0.3, saturation=0.3, hue=0.1)
    first, again, other = (
        augment(example, SPECS, augmentation, seed) for seed in ((1, 2), (1, 2), (1, 3))
    )
    for key in example:
        np.testing.assert_array_equal(first[key], again[key])
    assert not np.array_equal(first["image"], other["image"])


@pytest.mark.parametrize(
    "field",
    [
        {"crop": (0, 8)},
        {"crop": (8,)},
        {"scale": (2, 1)},
        {"scale": (0, 1)},
        {"flip": 1.5},
        {"rotate": -1},
        {"hue": 0.6},
        {"contrast": 2},
        {"mode": "fast"},
    ],
)
def test_impossible_ranges_are_refused(field):
    with pytest.raises(ValueError, match=rf"Augmentation\.{next(iter(field))}=.*expected"):
        Augmentation(**field)
