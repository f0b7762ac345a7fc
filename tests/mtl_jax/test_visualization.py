"""Pictures and files, against pixel values known beforehand."""

import io

import numpy as np
import pytest
from PIL import Image

from mtl_jax.pictures import maps as visualization

RNG = np.random.default_rng(0)


def _decode(contents):
    with Image.open(io.BytesIO(contents)) as picture:
        return picture.mode, np.asarray(picture)


def test_voc_palette_published_colours():
    palette = visualization.voc_palette(256)
    known = {0: (0, 0, 0), 1: (128, 0, 0), 7: (128, 128, 128), 8: (64, 0, 0), 15: (192, 128, 128)}
    for class_id, colour in known.items():
        assert tuple(palette[class_id]) == colour
    assert tuple(palette[255]) == (224, 224, 192)
    assert len(np.unique(palette, axis=0)) == 256


def test_label_picture_colours_and_black_for_what_has_none():
    picture = visualization.label_picture(
        np.int32([[0, 1, 2, 255, -1]]), np.uint8([[9, 8, 7], [1, 2, 3]])
    )
    np.testing.assert_array_equal(picture, [[[9, 8, 7], [1, 2, 3], [0] * 3, [0] * 3, [0] * 3]])


@pytest.mark.parametrize("logarithmic", [False, True])
def test_depth_picture_ends_and_invalid(logarithmic):
    scale = visualization.DepthScale(1.0, 100.0, logarithmic=logarithmic)
    depth = np.float32([[1.0, 0.5, 100.0, 1e4, 0.0, np.nan, 10.0]])
    picture = visualization.depth_picture(depth, scale)
    near, below, far, beyond, unknown, nan, ten = picture[0]
    np.testing.assert_array_equal(near, below)
    np.testing.assert_array_equal(far, beyond)
    np.testing.assert_array_equal([unknown, nan], 0)
    assert near.sum() > far.sum() > 0
    # 10 of 1 ... 100 lies in the middle of a logarithmic scale and near the end of a linear one.
    middle = visualization.depth_picture(np.float32([[50.5]]), visualization.DepthScale(1.0, 100.0))
    assert np.array_equal(ten, middle[0, 0]) == logarithmic


def test_blend_weighs():
    image, picture = np.full((1, 1, 3), 100, np.uint8), np.full((1, 1, 3), 200, np.uint8)
    assert np.all(visualization.blend(image, picture, 0.25) == 125)


def test_panel_puts_pictures_side_by_side():
    images = RNG.integers(0, 256, (3, 20, 30, 3)).astype(np.uint8)
    plain = visualization.panel(images)
    assert plain.shape == (20, 3 * 30 + 2 * 4, 3)
    titled = visualization.panel(images, ["input", "a title far too long for thirty pixels", ""])
    for i, image in enumerate(images):
        left = i * 34
        np.testing.assert_array_equal(plain[:, left : left + 30], image)
        np.testing.assert_array_equal(titled[-20:, left : left + 30], image)
    assert titled[:-20, :30].min() == 0  # black letters
    assert titled[:-20, 30:34].min() == 255  # not beyond their own picture


@pytest.mark.parametrize(
    ("shapes", "titles", "message"),
    [
        ([], None, "expected pictures of one shape"),
        ([(2, 3, 3), (2, 4, 3)], None, "expected pictures of one shape"),
        ([(2, 3)], None, "expected pictures of one shape"),
        ([(2, 3, 3)], ["a", "b"], "1 pictures, but 2 titles"),
    ],
)
def test_panel_refuses(shapes, titles, message):
    with pytest.raises(ValueError, match=message):
        visualization.panel([np.zeros(shape, np.uint8) for shape in shapes], titles)


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
    mode, decoded = _decode(visualization.encode_label_png(labels, visualization.voc_palette(7)))
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
