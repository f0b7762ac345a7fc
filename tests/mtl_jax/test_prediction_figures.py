"""Figures show the pictures, the titles, the legends and the colour bars."""

import sys

import numpy as np
import pytest
from toy_predictions import TASKS, maps_of, photograph

from mtl_jax.pictures import figures
from mtl_jax.pictures import maps as visualization
from mtl_jax.pictures.maps import DepthScale, Panel

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)
WIDTH = 200
SCALE = DepthScale(2.0, 80.0, "m", True)


def _plain(colour, height=100, width=WIDTH):
    return np.full((height, width, 3), colour, np.uint8)


def _share(figure, colour, column, columns):
    """How much of one of the columns is about of that colour."""
    width = figure.shape[1] // columns
    part = figure[:, column * width : (column + 1) * width].astype(int)
    return np.mean(np.abs(part - colour).sum(-1) < 30)


def test_panels_with_legend_and_colour_bar():
    # '$' would be mathematics, and an error, if names were parsed.
    panels = [
        Panel("photo $_{$", _plain(RED)),
        Panel("semseg", _plain(BLUE), legend=(("grass", GREEN),)),
        Panel("depth", _plain(RED), depth_scale=SCALE),
    ]
    figure = figures.compose(panels, width=WIDTH)
    assert figure.dtype == np.uint8
    assert figure.shape[1] == 3 * WIDTH + 2 * 10
    assert _share(figure, RED, 0, 3) > 0.4
    assert _share(figure, BLUE, 1, 3) > 0.4
    assert 0.0005 < _share(figure, GREEN, 1, 3) < 0.05  # the legend's patch
    near, far = (visualization.depth_picture(np.float32([[d]]), SCALE) for d in (2, 80))
    for colour in (near[0, 0], far[0, 0]):  # both ends of the colour bar
        assert _share(figure, colour.astype(int), 2, 3) > 0.0005
    for column in range(3):
        title = figure[:30, column * (WIDTH + 10) :][:, :WIDTH]
        assert title.min() < 60  # letters
        assert title[:, :2].min() == title[:, -2:].min() == 255


def test_narrow_pictures_are_centred():
    figure = figures.compose([Panel("", _plain(BLUE, 100, 40))], width=WIDTH)
    np.testing.assert_array_equal((figure[60] == BLUE).all(-1).nonzero()[0], np.arange(80, 120))


@pytest.mark.parametrize("kind", ["overlay", "side_by_side"])
@pytest.mark.parametrize("size", [(30, 60), (300, 600), (3, 1), (1, 9)])
def test_pictures_of_any_size_are_drawn_at_the_figures_width(kind, size):
    image = photograph(*size)
    figure = figures.draw(kind, image, maps_of(image), TASKS, width=WIDTH)
    assert figure.shape[1] == 3 * WIDTH + 2 * 10
    assert figure.shape[0] < 2 * WIDTH + 150


def test_side_by_side_shows_image_and_maps_as_they_are():
    image = np.zeros((50, WIDTH, 3), np.uint8)
    image[:, :120], image[:, 120:] = (200, 100, 100), (100, 100, 200)
    figure = figures.draw("side_by_side", image, maps_of(image), TASKS, width=WIDTH)
    row = figure[30 + 25]
    np.testing.assert_array_equal(row[:WIDTH], image[25])
    np.testing.assert_array_equal(row[WIDTH + 10 :][:120], np.broadcast_to(RED, (120, 3)))
    np.testing.assert_array_equal(row[WIDTH + 10 :][120:WIDTH], np.broadcast_to(BLUE, (80, 3)))
    depth = TASKS["depth"].visualize(np.float32([[50.0, 25.0]]))[0]
    np.testing.assert_array_equal(row[-WIDTH], depth[0])
    np.testing.assert_array_equal(row[-1], depth[1])


def test_overlay_lays_each_prediction_over_the_photograph():
    image = np.zeros((50, WIDTH, 3), np.uint8)
    image[:, :120], image[:, 120:] = (200, 100, 100), (100, 100, 200)
    figure = figures.draw("overlay", image, maps_of(image), TASKS, width=WIDTH)
    row = figure[30 + 25].astype(float)
    np.testing.assert_array_equal(row[:WIDTH], image[25])
    row = row[WIDTH + 10 :]
    left, right = 0.299 * 200 + 0.701 * 100, 0.886 * 100 + 0.114 * 200  # brightness
    np.testing.assert_allclose(row[0], 0.4 * (left + 128) / 2 + 0.6 * np.array(RED), atol=1)
    expected = 0.4 * (right + 128) / 2 + 0.6 * np.array(BLUE)
    np.testing.assert_allclose(row[WIDTH - 1], expected, atol=1)
    assert np.all(row[119] < row[118] / 2)  # where classes touch
    near = TASKS["depth"].visualize(np.float32([[25.0]]))[0, 0]
    np.testing.assert_allclose(row[-1], 0.4 * (right + 128) / 2 + 0.6 * near, atol=1)


def test_stills_explain_what_occurs_and_frames_everything():
    image = np.full((50, WIDTH, 3), (9, 5, 5), np.uint8)  # class red

    def feet(**options):
        figure = figures.draw("overlay", image, maps_of(image), TASKS, width=WIDTH, **options)
        legend = figure[30 + 50 :, WIDTH + 10 : 2 * WIDTH + 10].astype(int)
        shown = [0.4 * 128 + 0.6 * np.array(colour) for colour in (RED, GREEN, BLUE)]
        return [bool((np.abs(legend - colour).sum(-1) < 30).sum() > 20) for colour in shown]

    assert feet() == [True, False, False]
    assert feet(whole_legends=True) == [True, True, True]


def test_frames_are_of_one_size_whatever_they_show():
    shapes = set()
    for classes in ((9, 5, 5), (5, 9, 5)):
        image = np.full((50, 60, 3), classes, np.uint8)
        image[:20] = (5, 5, 9)
        options = {"width": WIDTH, "whole_legends": True}
        shapes.add(figures.draw("overlay", image, maps_of(image), TASKS, **options).shape)
    assert len(shapes) == 1


def test_a_colour_bar_shows_the_colours_of_its_picture():
    for opacity in (1.0, 0.6):
        panel = Panel("depth", _plain(RED), depth_scale=SCALE, opacity=opacity)
        figure = figures.compose([panel], width=WIDTH)
        for metres in (2, 80):
            colour = visualization.depth_picture(np.float32([[metres]]), SCALE)[0, 0]
            assert _share(figure, (1 - opacity) * 128 + opacity * colour, 0, 1) > 0.0005


def test_no_label_has_stripes_in_legends():
    labels = np.full((50, WIDTH), 255)
    labels[:, :100] = 0
    panel = TASKS["semseg"].panel(np.zeros((50, WIDTH, 3), np.uint8), labels)
    assert panel.legend[-1] == ("no label", None)
    legend = figures.compose([figures.shortened(panel)], width=WIDTH)[30 + 50 :]
    assert 30 < np.sum(np.abs(legend.astype(int) - 110).sum(-1) < 20) < 2000
    panel = TASKS["semseg"].panel(np.zeros((50, 100, 3), np.uint8), labels[:, :100])
    assert [name for name, _ in panel.legend] == ["red", "green", "blue"]


# Maps at the size of a figure.


def test_enlarged_labels_have_smooth_borders_and_no_new_value():
    """A disc of 12 pixels across, 8 times as large, is a disc and not a stair."""
    rows, columns = np.indices((16, 16)) - 7.5
    disc = np.where(np.hypot(rows, columns) < 6, 9, 3)
    found = figures.enlarge(disc, (128, 128))
    assert set(np.unique(found)) == {3, 9}
    rows, columns = (np.indices((128, 128)) - 63.5) / 8
    exact = np.where(np.hypot(rows, columns) < 6, 9, 3)
    nearest = disc.repeat(8, 0).repeat(8, 1)
    assert np.mean(found != exact) < 0.75 * np.mean(nearest != exact)
    np.testing.assert_array_equal(figures.enlarge(disc, (16, 16)), disc)


def test_shrunk_labels_are_those_of_most_pixels():
    labels = np.full((40, 40), 2)
    labels[:, :12], labels[5, 5] = 1, 7
    np.testing.assert_array_equal(figures.enlarge(labels, (4, 4)), [[1, 2, 2, 2]] * 4)


def test_unknown_values_are_mixed_into_nothing():
    depth = np.float32([[10, 20, 0, 40], [10, 20, np.nan, 40]])
    found = figures.enlarge(depth, (8, 16))
    assert np.all((found[:4] == 0) == (np.arange(16) // 4 == 2))
    assert np.all(np.isnan(found[4:]) == (np.arange(16) // 4 == 2))
    known = found[~np.isnan(found) & (found != 0)]
    assert known.min() == 10
    assert known.max() == 40
    assert 10 < found[0, 4] < 20  # between two known ones
    np.testing.assert_array_equal(figures.enlarge(0 * depth[:1], (2, 8)), 0)
    assert figures.enlarge(np.ones((2, 3, 3), np.float32), (4, 6)).shape == (4, 6, 3)


def test_rows_are_stacked():
    one, two = [Panel("a", _plain(RED))], [Panel("b", _plain(BLUE)), Panel("c", _plain(GREEN))]
    figure = figures.stack([one, two], width=WIDTH)
    assert figure.shape[1] == 2 * WIDTH + 10
    half = figure.shape[0] // 2
    assert _share(figure[:half], RED, 0, 2) > 0.5
    assert np.all(figure[:half, WIDTH:] == 255)
    assert _share(figure[half:], BLUE, 0, 2) > 0.5
    assert _share(figure[half:], GREEN, 1, 2) > 0.5


def test_no_global_figure_is_left():
    figures.compose([Panel("", _plain(RED), depth_scale=SCALE)], width=WIDTH)
    pyplot = sys.modules.get("matplotlib.pyplot")
    assert pyplot is None or not pyplot.get_fignums()


def test_ticks_are_round():
    assert figures.ticks(DepthScale(4, 300, logarithmic=True)) == [5, 10, 20, 50, 100, 200]
    assert figures.ticks(DepthScale(0, 0.6))[:3] == pytest.approx([0, 0.1, 0.2])
