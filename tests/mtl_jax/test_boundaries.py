"""Edges: every step of the protocol against a plain form of it, and against public values."""

import benchmark_values as values
import numpy as np
import pytest
from scipy import optimize

from mtl_jax.metrics import boundaries
from mtl_jax.metrics.thinning import thin

INVPT, SURVEY, MTDP = (boundaries.PROTOCOLS[name] for name in ("invpt", "survey", "mtdp"))


def plain_thin(mask):
    """Guo and Hall's rules, pixel by pixel, as the paper prints them."""
    mask = np.pad(mask.astype(int), 1)
    changed = True
    while changed:
        changed = False
        for first in (True, False):
            goes = []
            for y, x in np.argwhere(mask):
                around = [(0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1), (1, 0), (1, 1)]
                p = [None, *(mask[y + dy, x + dx] for dy, dx in around)]
                p.append(p[1])
                c = sum(not p[i] and (p[i + 1] or p[i + 2]) for i in (1, 3, 5, 7))
                n = min(
                    sum(bool(p[i] or p[i + 1]) for i in (1, 3, 5, 7)),
                    sum(bool(p[i + 1] or p[i + 2]) for i in (1, 3, 5, 7)),
                )
                if first:
                    m = (p[2] or p[3] or not p[8]) and p[1]
                else:
                    m = (p[6] or p[7] or not p[4]) and p[5]
                if c == 1 and 2 <= n <= 3 and not m:
                    goes.append((y, x))
            for y, x in goes:
                mask[y, x] = 0
                changed = True
    return mask[1:-1, 1:-1] > 0


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9, 1.0])
def test_thinning_is_guo_and_halls(share):
    mask = np.random.default_rng(int(10 * share)).random((17, 23)) < share
    np.testing.assert_array_equal(thin(mask), plain_thin(mask))


def test_thinning_of_a_bar_is_its_middle_line():
    mask = np.zeros((9, 20), bool)
    mask[3:6, 2:18] = True
    thinned = thin(mask)
    assert thinned[4, 4:16].all()
    assert thinned.sum() == thinned[4].sum()


def test_boundary_looks_right_down_and_across():
    labels = np.array([[1, 1, 2], [1, 1, 1], [1, 1, 1]])
    expected = np.array([[0, 1, 1], [0, 0, 0], [0, 0, 0]], bool)
    np.testing.assert_array_equal(boundaries.boundary(labels), expected)
    corner = np.array([[1, 1], [1, 2]])
    np.testing.assert_array_equal(boundaries.boundary(corner), [[True, True], [True, False]])


def test_suppression_keeps_the_ridge():
    x = np.arange(40)
    ridge = np.exp(-np.square((x[None] - 20) / 3.0)) * np.ones((30, 1))
    kept = boundaries.suppress(ridge, boundaries.orientation(ridge))
    assert (kept[8:-8, 20] == ridge[8:-8, 20]).all()
    assert not kept[8:-8, 15:19].any()


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (5, 1)])
@pytest.mark.parametrize("protocol", boundaries.PROTOCOLS)
def test_a_frame_of_a_single_row_or_column(protocol, shape):
    counts = boundaries.image_counts(
        np.full(shape, 255, np.uint8), np.ones(shape, bool), 0.0075, boundaries.PROTOCOLS[protocol]
    )
    assert (counts[:, 2] == np.prod(shape)).all()
    assert (counts[:, 0] == counts[:, 1]).all()


def test_a_pixel_gives_way_to_one_that_is_more_than_a_hundredth_stronger():
    edges = np.zeros((20, 20))
    edges[:, 8:10], edges[:, 14:16] = (100, 100.9), (100, 101.1)
    kept = boundaries.suppress(edges, np.zeros_like(edges))  # the neighbours are in the same row
    assert np.flatnonzero(kept[10]).tolist() == [8, 9, 15]


def test_orientation_is_of_a_map_that_a_triangle_of_nine_has_smoothed():
    edges = np.random.default_rng(3).random((12, 15))
    triangle = np.convolve(np.ones(5), np.ones(5)) / 25
    smooth = np.pad(edges, 4, mode="symmetric")
    for axis in (0, 1):
        smooth = np.apply_along_axis(np.convolve, axis, smooth, triangle, mode="valid")
    (yy, yx), (_, xx) = (np.gradient(slope) for slope in np.gradient(smooth))
    expected = np.arctan(yy * np.sign(-yx) / (xx + 1e-5)) % np.pi
    np.testing.assert_allclose(boundaries.orientation(edges), expected, atol=1e-9)


def test_border_fades_out():
    faded = boundaries.suppress(np.ones((20, 20)), np.zeros((20, 20)))
    np.testing.assert_allclose(faded[10, :6], [0, 0.2, 0.4, 0.6, 0.8, 1.0])
    np.testing.assert_allclose(faded[10, -6:], [1.0, 0.8, 0.6, 0.4, 0.2, 0])
    assert faded[1, 2] == pytest.approx(0.2 * 0.4)


@pytest.mark.parametrize("distance", [1.0, 2.3])
def test_matching_is_the_largest(distance):
    rng = np.random.default_rng(5)
    prediction, truth = rng.random((2, 14, 15)) < 0.15
    p, t = np.argwhere(prediction), np.argwhere(truth)
    apart = np.linalg.norm(p[:, None] - t[None], axis=-1)
    rows, columns = optimize.linear_sum_assignment((apart > distance).astype(float))
    assert boundaries.matches(prediction, truth, distance) == np.sum(
        apart[rows, columns] <= distance
    )


def test_one_pixel_is_not_matched_twice():
    prediction, truth = np.zeros((2, 5, 5), bool)
    prediction[2, 2] = truth[2, 1] = truth[2, 3] = True
    assert boundaries.matches(prediction, truth, 1.0) == 1
    assert boundaries.matches(np.zeros((5, 5), bool), truth, 1.0) == 0


def test_a_value_at_the_threshold_is_below_it():
    image = np.full((8, 8), 51, np.uint8)  # 0.2
    plain = boundaries.Protocol((0.19, 0.2), strict=True, suppression=0)
    assert [mask.any() for mask in boundaries.masks(image, plain)] == [True, False]
    survey = boundaries.Protocol((0.2, 0.21), strict=False, suppression=0)
    assert [mask.any() for mask in boundaries.masks(image, survey)] == [True, False]


def columns_of(masks, protocol):
    """{threshold in percent: columns of the middle row}"""
    found = zip(protocol.thresholds, masks, strict=True)
    return {round(100 * t, 1): np.flatnonzero(mask[len(mask) // 2]).tolist() for t, mask in found}


def test_mtdps_masks_by_hand():
    """Three vertical lines, so that what is across them lies in their row."""
    image = np.zeros((13, 28), np.uint8)
    # Smoothed: 0.25 51.25 101.75 50.75 | 30 60 30 | 25 50 25, of which 101.75 is stored as 102.
    image[:, 7:9], image[:, 12], image[:, 17] = (1, 203), 120, 100
    found = columns_of(boundaries.masks(image, MTDP), MTDP)
    assert found[40] == [8]  # 102 / 255 is 0.4, at which it is said
    assert found[41] == []
    assert found[19] == [8, 17]  # 50 / 255; column 12 has a stronger one four pixels beside it
    assert found[20] == [8]


def test_invpts_masks_by_hand():
    image = np.zeros((13, 28), np.uint8)
    image[:, [2, 8, 9, 10]] = 51, 200, 51, 51
    found = columns_of(boundaries.masks(image, INVPT), INVPT)
    # 51 / 255 is 0.2; column 2 has faded to two fifths of it, 9 has a stronger one beside it.
    assert (found[7], found[8], found[20]) == ([2, 8, 10], [8, 10], [8])
    assert (found[0.1], found[19]) == ([2, 8, 10], [8, 10])
    assert list(found) == [0.1, *range(1, 100), 99.9]


def test_surveys_masks_by_hand():
    image = np.zeros((13, 28), np.uint8)
    image[:, 2], image[:, 8] = 51, 200  # 0.2, not faded, and 0.784
    found = columns_of(boundaries.masks(image, SURVEY), SURVEY)
    assert (found[1], found[20], found[21]) == ([2, 8], [2, 8], [8])
    assert (found[78], found[79]) == ([8], [])
    assert list(found) == [*range(1, 100)]


def test_precision_one_at_all_recalls_is_more_than_one():
    counts = [np.array([[4, 4, 4], [0, 0, 4]])]
    protocol = boundaries.Protocol((0.1, 0.2), strict=False, suppression=0)
    assert boundaries.summary(counts, protocol)["AP"] == pytest.approx(1.01)


def test_summary_by_hand():
    protocol = boundaries.Protocol((0.25, 0.75), strict=True, suppression=0)
    counts = [
        np.array([[8, 16, 10], [4, 4, 10]]),  # F 8/13, 4/7
        np.array([[1, 8, 4], [2, 2, 4]]),  # F 1/6, 2/3
    ]
    found = boundaries.summary(counts, protocol)
    assert found["odsF"] == pytest.approx(2 * 6 / (6 + 14))  # at 0.75: precision 1, recall 6/14
    assert found["ods_threshold"] == 0.75
    assert found["oisF"] == pytest.approx(2 * 10 / (18 + 14))  # 8 + 2 pairs, 16 + 2 predicted
    low, high = (6 / 14, 1.0), (9 / 14, 9 / 24)
    at = np.arange(101) / 100
    line = low[1] + (at - low[0]) / (high[0] - low[0]) * (high[1] - low[1])
    inside = (at >= low[0]) & (at <= high[0])
    assert found["AP"] == pytest.approx(np.sum(line[inside]) / 100)


def test_nothing_to_find_and_nothing_found():
    nothing = boundaries.summary([np.array([[0, 5, 0]] * 2)], boundaries.Protocol((0.1, 0.2), 1, 0))
    assert (nothing["odsF"], nothing["AP"]) == (0.0, 0.0)


@pytest.mark.slow
def test_processes_give_what_one_gives():
    rng = np.random.default_rng(0)
    pairs = [
        (
            rng.integers(0, 256, (20, 24), np.uint8),
            boundaries.true_edges(rng.integers(0, 2, (20, 24))),
        )
        for _ in range(3)
    ]
    done = []
    one = boundaries.evaluate(pairs, max_distance=0.05, protocol="survey", progress=done.append)
    assert done == [1, 2, 3]
    assert one == boundaries.evaluate(pairs, max_distance=0.05, protocol="survey", workers=2)
    assert one != boundaries.evaluate(pairs, max_distance=0.05, protocol="mtdp")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"protocol": "bsds"}, "expected one of invpt, survey, mtdp"),
        ({"pairs": []}, "no image with edges"),
        ({"pairs": [(np.zeros((4, 5)), np.zeros((5, 4)))]}, r"\(4, 5\), its truth \(5, 4\)"),
    ],
)
def test_refused(arguments, message):
    pairs = [(np.zeros((4, 4), np.uint8), np.zeros((4, 4), bool))]
    with pytest.raises(ValueError, match=message):
        boundaries.evaluate(**({"pairs": pairs, "max_distance": 0.01} | arguments))


class TestPublicValues:
    def test_thinning(self):
        for case in values.cases("edge_thin"):
            thinned = thin(values.array(case, "mask") > 0)
            np.testing.assert_array_equal(thinned, values.array(case, "thinned") > 0)

    def test_boundary(self):
        for case in values.cases("edge_boundary"):
            found = boundaries.boundary(values.array(case, "labels"))
            np.testing.assert_array_equal(found, values.array(case, "boundary") > 0)

    def test_suppression(self):
        (case,) = values.cases("edge_nms")
        edges = values.array(case, "image_8bit", np.float64) / 255
        angle, expected = boundaries.orientation(edges), values.array(case, "orientation", float)
        apart = np.abs(angle - expected) % np.pi
        assert np.mean(np.minimum(apart, np.pi - apart) < 1e-5) > 0.99
        kept = boundaries.suppress(edges, expected)
        np.testing.assert_allclose(kept, values.array(case, "suppressed", float), atol=1e-6)

    def test_threshold(self):
        (case,) = values.cases("edge_threshold")
        masks = boundaries.masks(values.array(case, "image_8bit", np.uint8), INVPT)
        pixels = dict(zip(INVPT.thresholds, (int(mask.sum()) for mask in masks)))
        assert pixels[case["below"]] == case["pixels_below"]
        assert pixels[case["at"]] == case["pixels_at"]

    def test_matching(self):
        for case in values.cases("edge_match"):
            masks = (values.array(case, key) > 0 for key in ("prediction", "truth"))
            assert boundaries.matches(*masks, case["pixels"]) == case["matches"]

    def test_summary(self):
        for case in values.cases("edge_summary"):
            assert case["columns"] == ["cntR", "sumR", "cntP", "sumP"]
            counts = values.array(case, "counts", np.int64)[:, :, [0, 3, 1]]
            found = boundaries.summary(list(counts), INVPT)
            for name, expected in case["expected"].items():
                assert found[name] == pytest.approx(expected, abs=1e-6), name

    def test_whole(self):
        for case in values.cases("edge_whole"):
            truth = [boundaries.true_edges(np.array(labels)) for labels in case["truth"]]
            images = values.array(case, "images_8bit", np.uint8)
            found = boundaries.evaluate(zip(images, truth), max_distance=case["max_dist"])
            for name in ("odsF", "oisF", "AP"):
                assert found[name] == pytest.approx(case["expected"][name], abs=case["tolerance"])
