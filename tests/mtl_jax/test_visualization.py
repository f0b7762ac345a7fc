"""Pictures and files, against pixel values known beforehand."""

import io

import matplotlib
import numpy as np
import pytest
from PIL import Image

from mtl_jax import tasks
from mtl_jax.pictures import maps as visualization
from mtl_jax.pictures import palettes

RNG = np.random.default_rng(0)


def _decode(contents):
    with Image.open(io.BytesIO(contents)) as picture:
        return picture.mode, np.asarray(picture)


STRIPES = [160, 160, 110, 110, 110, 110, 110, 110, 160]


def test_label_picture_colours_and_stripes_for_what_has_none():
    ids = np.int32([[0, 1, 2, 255, -1]])
    picture = visualization.label_picture(ids, np.uint8([[9, 8, 7], [1, 2, 3]]))
    stripes = [[grey] * 3 for grey in STRIPES[2:5]]
    np.testing.assert_array_equal(picture[0], [[9, 8, 7], [1, 2, 3], *stripes])


def test_a_label_picture_of_any_number_of_classes_has_their_colours():
    for count, dtype in ((2, np.uint8), (256, np.uint8), (300, np.int32)):
        palette = np.uint8(np.random.default_rng(0).integers(0, 256, (count, 3)))
        ids = np.arange(count)[:, None].astype(dtype)
        np.testing.assert_array_equal(visualization.label_picture(ids, palette)[:, 0], palette)


def test_colours_and_outlines_are_those_of_plain_indexing():
    """At the size of a photograph, where OpenCV computes them."""
    rng = np.random.default_rng(0)
    palette = np.uint8(rng.integers(0, 256, (19, 3)))
    ids = np.kron(rng.integers(0, 19, (96, 128)), np.ones((5, 5), int))
    picture = visualization.label_picture(ids, palette)
    np.testing.assert_array_equal(picture, palette[ids])
    edge = np.zeros(ids.shape, bool)
    edge[:-1] |= ids[1:] != ids[:-1]
    edge[:, :-1] |= ids[:, 1:] != ids[:, :-1]
    darker = np.where(edge[..., None], picture // 3, picture)
    np.testing.assert_array_equal(visualization.outline(picture, ids), darker)
    depth = np.float32(rng.uniform(0.5, 150, (480, 640)))
    scale = visualization.DepthScale(1, 100, logarithmic=True)
    colours = visualization._colour_table(scale.colormap)[visualization._steps(depth, scale)]
    np.testing.assert_array_equal(visualization.depth_picture(depth, scale), colours)


def test_stripes_are_diagonal_and_only_where_nothing_is_known():
    picture = np.full((3, 9, 3), 7, np.uint8)
    unknown = np.ones((3, 9), bool)
    unknown[1, 4] = False
    found = visualization.hatched(picture, unknown)
    np.testing.assert_array_equal(found[0, :, 1], STRIPES)
    np.testing.assert_array_equal(found[1, :-1, 1], [*STRIPES[1:5], 7, *STRIPES[6:]])
    np.testing.assert_array_equal(picture, 7)


def test_normals_that_are_unknown_are_hatched_in_pictures_and_black_in_files():
    task = tasks.build({"normals": {"type": "normals"}}, {})["normals"]
    normals = np.float32([[[0, 0, 0], [1, 0, 0], [0, -1, 0], [0, 0, -1]]])
    colours = [[255, 128, 128], [128, 255, 128], [128, 128, 255]]  # right, up, to the camera
    np.testing.assert_array_equal(task.visualize(normals)[0], [[160] * 3, *colours])
    _, decoded = _decode(task.encode(normals)[0])
    np.testing.assert_array_equal(decoded[0], [[0] * 3, *colours])


def test_overlays_show_the_colours_of_legends():
    """Over any photograph the same, up to a quarter of its contrast."""
    picture = np.full((1, 3, 3), (250, 10, 40), np.uint8)
    image = np.uint8([[[0, 0, 0], [128, 128, 128], [255, 255, 255]]])
    found = visualization.lay_over(image, picture, 0.6)[0].astype(int)
    legend = np.rint(0.4 * 128 + 0.6 * picture[0, 0])
    np.testing.assert_allclose(found[1], legend, atol=1)
    np.testing.assert_allclose(found[[0, 2]] - legend, [[-25.6] * 3, [25.4] * 3], atol=1)


def test_outlines_are_where_labels_touch():
    labels = np.int32([[0, 0, 1], [0, 2, 1]])
    found = visualization.outline(np.full((2, 3, 3), 90, np.uint8), labels)
    np.testing.assert_array_equal(found[..., 0], [[90, 30, 90], [30, 30, 90]])


def test_colours_can_be_told_apart_by_all_eyes():
    colours = np.array(palettes.distinct(40))
    assert palettes.distinct(8) == palettes.distinct(40)[:8]
    assert len(set(palettes.distinct(256))) == 256
    assert palettes.distinct(300)[256:] == palettes.distinct(44)
    greys = np.uint8([[0] * 3, [64] * 3, [128] * 3, [192] * 3, [255] * 3])
    for see in (
        palettes.to_lab,
        lambda rgb: palettes.as_seen_without("protanopia", rgb),
        lambda rgb: palettes.as_seen_without("deuteranopia", rgb),
    ):
        for count, least in ((8, 30), (19, 17), (40, 11)):
            seen = see(colours[:count])
            distance = np.linalg.norm(seen[:, None] - seen, axis=-1)
            assert distance[~np.eye(count, dtype=bool)].min() > least
    to_grey = np.linalg.norm(palettes.to_lab(colours)[:, None] - palettes.to_lab(greys), axis=-1)
    assert to_grey.min() > 25


def test_cielab_is_that_of_the_standard():
    """Values of sRGB's primaries (D65), as in colour science's tables."""
    expected = {
        (255, 255, 255): (100, 0, 0),
        (255, 0, 0): (53.24, 80.09, 67.20),
        (0, 255, 0): (87.73, -86.18, 83.18),
        (0, 0, 255): (32.30, 79.19, -107.86),
        (5, 5, 5): (1.37, 0, 0),
    }
    for rgb, lab in expected.items():
        np.testing.assert_allclose(palettes.to_lab(np.array(rgb)), lab, atol=0.02)


@pytest.mark.parametrize("logarithmic", [False, True])
def test_depth_picture_ends_and_invalid(logarithmic):
    scale = visualization.DepthScale(1.0, 100.0, logarithmic=logarithmic)
    depth = np.float32([[1.0, 0.5, 100.0, 1e4, 0.0, np.nan, 10.0]])
    picture = visualization.depth_picture(depth, scale)
    near, below, far, beyond, unknown, nan, ten = picture[0]
    np.testing.assert_array_equal(near, below)
    np.testing.assert_array_equal(far, beyond)
    np.testing.assert_array_equal([unknown, nan], [[110] * 3, [110] * 3])
    assert near.sum() > far.sum() > 0
    # 10 of 1 ... 100 lies in the middle of a logarithmic scale and near the end of a linear one.
    middle = visualization.depth_picture(np.float32([[50.5]]), visualization.DepthScale(1.0, 100.0))
    assert np.array_equal(ten, middle[0, 0]) == logarithmic


@pytest.mark.parametrize("logarithmic", [False, True])
def test_depths_have_the_colours_of_matplotlibs_scale(logarithmic):
    """But for rounding: a neighbour of 256 colours, at a few pixels."""
    scale = visualization.DepthScale(0.5, 80.0, logarithmic=logarithmic)
    depth = np.geomspace(0.4, 90.0, 20_000, dtype=np.float32).reshape(100, 200)
    table = np.rint(matplotlib.colormaps[scale.colormap](np.arange(256))[:, :3] * 255)
    places = np.rint(np.asarray(scale.norm()(depth.astype(np.float64))) * 255).astype(int)
    found = visualization.depth_picture(depth, scale)
    other = np.any(found != table[places], axis=-1)
    assert other.mean() < 1e-3
    beside = [table[np.clip(places + step, 0, 255)] for step in (-1, 1)]
    assert np.all(np.any([np.all(found == b, axis=-1) for b in beside], axis=0)[other])


@pytest.mark.parametrize("opacity", [0.0, 0.25, 0.6, 1.0])
def test_blend_weighs(opacity):
    """All pairs of values; a half may be rounded to either side."""
    image = np.repeat(np.arange(256, dtype=np.uint8), 256).reshape(256, 256, 1).repeat(3, -1)
    picture = image.transpose(1, 0, 2).copy()
    mixed = (1 - opacity) * image.astype(np.float64) + opacity * picture
    found = visualization.blend(image, picture, opacity)
    assert found.dtype == np.uint8
    assert np.abs(found - mixed).max() <= 0.5 + 1e-4


def test_what_lies_below_has_half_of_its_contrast_and_no_colour():
    image = np.uint8([[[0, 0, 0], [255, 255, 255], [200, 0, 0], [128, 128, 128]]])
    shown = visualization.lay_over(image, np.zeros_like(image), 0.0)
    np.testing.assert_array_equal(shown[0], [[64] * 3, [192] * 3, [94] * 3, [128] * 3])


def test_grey_keeps_brightness_alone():
    picture = np.uint8([[[255, 0, 0], [0, 255, 0], [90, 90, 90]]])
    grey = visualization.grey(picture)
    assert grey.shape == picture.shape
    np.testing.assert_allclose(grey[0, :, 0], [0.299 * 255, 0.587 * 255, 90], atol=1)
    np.testing.assert_array_equal(grey, grey[..., :1].repeat(3, -1))


def test_png_files_round_trip():
    picture = RNG.integers(0, 256, (5, 6, 3)).astype(np.uint8)
    mode, decoded = _decode(visualization.encode_png(picture))
    assert mode == "RGB"
    np.testing.assert_array_equal(decoded, picture)
    labels = RNG.integers(0, 256, (5, 6))
    mode, decoded = _decode(visualization.encode_label_png(labels, palettes.distinct(7)))
    assert mode == "P"
    np.testing.assert_array_equal(decoded, labels)


def test_depth_png_is_16_bit_and_counts_what_it_clips():
    depth = np.float32([[0.0, 0.0004, 0.0006, 1.2346, 65.5354, 65.5356, np.inf]])
    contents, clipped = visualization.encode_depth_png(depth)
    mode, decoded = _decode(contents)
    assert mode.startswith("I;16")
    np.testing.assert_array_equal(decoded, [[0, 0, 1, 1235, 65535, 65535, 65535]])
    assert clipped == 2


@pytest.mark.parametrize(
    ("encode", "value", "message"),
    [
        (visualization.encode_depth_png, np.nan, "1 NaN and 0 negative"),
        (visualization.encode_depth_png, -1.0, "0 NaN and 1 negative"),
        (lambda x: visualization.encode_label_png(x, ()), 256, "found 256 to 256"),
        (lambda x: visualization.encode_label_png(x, ()), -1, "found -1 to -1"),
    ],
)
def test_values_that_a_file_cannot_hold_are_refused(encode, value, message):
    with pytest.raises(ValueError, match=message):
        encode(np.array([[value]]))
