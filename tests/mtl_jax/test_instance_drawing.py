"""Instances are coloured, outlined and numbered."""

import numpy as np

from mtl_jax.pictures import instances as instance_drawing

GREY = np.full((60, 80, 3), 100, np.uint8)


def _two_and_a_small_one():
    ids = np.zeros((60, 80), np.int32)
    ids[10:50, 5:35], ids[10:50, 35:75] = 7, 12
    ids[55:59, 60:64] = 3
    return ids


def test_neighbours_in_number_differ_and_none_is_black():
    picture = instance_drawing.coloured(np.int32([[0, 1, 2, 3, 3]]))[0].astype(int)
    np.testing.assert_array_equal(picture[0], 0)
    np.testing.assert_array_equal(picture[3], picture[4])
    assert all(np.abs(picture[i] - picture[i + 1]).sum() > 100 for i in range(3))


def test_outlines_are_the_pixels_that_touch_another_id():
    ids = np.zeros((6, 8), np.int32)
    ids[1:5, 1:5], ids[1:5, 5:7] = 1, 2
    expected = ids > 0
    expected[2:4, 2:4] = False
    np.testing.assert_array_equal(instance_drawing.outlines(ids), expected)
    assert not instance_drawing.outlines(np.ones((3, 3), np.int32)).any()


def test_numbers_stand_in_the_middle_of_what_is_large_enough():
    places = instance_drawing.number_places(_two_and_a_small_one())
    assert sorted(places) == [7, 12]
    for instance, middle in ((7, (29.5, 19.5)), (12, (29.5, 54.5))):
        np.testing.assert_allclose(places[instance], middle, atol=1)
    assert instance_drawing.number_places(np.zeros((9, 9), np.int32)) == {}


def test_numbers_keep_off_the_pictures_border():
    place = instance_drawing.number_places(np.full((40, 60), 4))[4]
    np.testing.assert_allclose(place, (19.5, 29.5), atol=1)


def test_numbers_stand_within_the_instance_whatever_its_shape():
    ids = np.zeros((80, 80), np.int32)
    ids[5:75, 5:25] = ids[55:75, 5:75] = 2  # an L, whose centre of mass lies outside
    row, column = instance_drawing.number_places(ids)[2]
    assert ids[row - 5 : row + 6, column - 5 : column + 6].all()


def test_overlay_shows_photograph_instances_outlines_and_numbers():
    ids = _two_and_a_small_one()
    overlay = instance_drawing.draw_over(GREY, ids)
    np.testing.assert_array_equal(overlay[ids == 0], 100)
    outline, colours = instance_drawing.outlines(ids), instance_drawing.coloured(ids).astype(int)
    np.testing.assert_allclose(overlay[outline], (255 + colours[outline]) / 2, atol=1)
    # Between the outline and the number, the photograph shines through.
    np.testing.assert_allclose(overlay[12, 8], 0.4 * 100 + 0.6 * colours[12, 8], atol=1)
    for box in (np.s_[22:38, 12:28], np.s_[22:38, 40:70]):
        assert (overlay[box] == 0).all(-1).any()  # the stroke around the digits
        assert (overlay[box].min(-1) > 200).any()
    np.testing.assert_array_equal(GREY, 100)  # was not drawn into


def test_picture_is_black_without_instances():
    ids = _two_and_a_small_one()
    picture = instance_drawing.draw(ids)
    np.testing.assert_array_equal(picture[ids == 0], 0)
    outline, colours = instance_drawing.outlines(ids), instance_drawing.coloured(ids).astype(int)
    np.testing.assert_allclose(picture[outline], (255 + colours[outline]) / 2, atol=1)
    np.testing.assert_array_equal(picture[12, 8], colours[12, 8])
    np.testing.assert_array_equal(instance_drawing.draw(np.zeros((4, 5), int)), 0)
