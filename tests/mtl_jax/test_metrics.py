"""Whole-split metrics against float64 NumPy that sees all pixels at once."""

import jax
import numpy as np
import pytest
from conftest import BATCH_SIZES

from mtl_jax import metrics

RNG = np.random.default_rng(0)
NAMES = ("road", "sky", "car", "train")


def _add_up(sums_of_batches):
    """What the evaluation loop does: float64 on the host."""
    as_float64 = [jax.tree.map(lambda x: np.asarray(x, np.float64), s) for s in sums_of_batches]
    return jax.tree.map(lambda *values: sum(values), *as_float64)


_counted = jax.jit(metrics.confusion_matrix, static_argnums=3)


def _confusion(labels, predictions, mask, num_classes=len(NAMES)):
    counted = _counted(np.int32(labels), np.int32(predictions), mask, num_classes)
    return np.asarray(counted)


@pytest.mark.parametrize("batch_size", BATCH_SIZES)
def test_confusion_matrix_counts_every_pixel_once(batch_size):
    labels, predictions = RNG.integers(0, 4, (2, 8, 6, 5))
    mask = RNG.random((8, 6, 5)) < 0.7
    labels[~mask] = 255
    expected = np.zeros((5, 4), np.int64)
    for t, p in zip(labels[mask], predictions[mask]):
        expected[t, p] += 1
    parts = [slice(i, i + batch_size) for i in range(0, 8, batch_size)]
    counted = [_confusion(labels[s], predictions[s], mask[s]) for s in parts]
    assert counted[0].dtype == np.int32
    np.testing.assert_array_equal(sum(counted), expected)


def test_confusion_matrix_is_exact_beyond_float32():
    # 2²⁴ + 1 is the first integer that float32 lacks.
    side = 4097
    zeros = np.zeros((1, side, side), np.int32)
    counted = _counted(zeros, zeros, np.ones(zeros.shape, bool), 1)
    assert counted[0, 0] == side * side > 2**24


def test_label_outside_the_class_table_is_refused():
    confusion = _confusion([[[0, 7, -2]]], [[[0, 0, 0]]], np.ones((1, 1, 3), bool))
    with pytest.raises(ValueError, match="semseg: 2 pixels carry a label"):
        metrics.segmentation_metrics(confusion, NAMES, where="semseg")


def test_confusion_of_another_number_of_classes_is_refused():
    with pytest.raises(ValueError, match=r"expected .* \(5, 4\)"):
        metrics.segmentation_metrics(np.zeros((4, 3)), NAMES)


def test_segmentation_metrics_closed_form():
    # 'car' is predicted but never true, 'train' is neither.
    labels = [[[0, 0, 0, 0, 1, 1, 255]]]
    predictions = [[[0, 0, 0, 2, 1, 0, 3]]]
    mask = np.array(labels) != 255
    result = metrics.segmentation_metrics(_confusion(labels, predictions, mask), NAMES)
    assert result["iou/road"] == 3 / 5
    assert result["iou/sky"] == 1 / 2
    assert result["iou/car"] == 0.0
    assert np.isnan(result["iou/train"])
    assert result["classes_averaged"] == 3
    np.testing.assert_allclose(result["miou"], (3 / 5 + 1 / 2 + 0) / 3)
    np.testing.assert_allclose(result["miou_all"], (3 / 5 + 1 / 2 + 0 + 0) / 4)
    np.testing.assert_allclose(result["pixel_accuracy"], 4 / 6)
    np.testing.assert_allclose(result["mean_accuracy"], (3 / 4 + 1 / 2) / 2)


def test_split_without_a_valid_pixel_is_nan_everywhere():
    result = metrics.segmentation_metrics(np.zeros((5, 4)), NAMES)
    assert result.pop("classes_averaged") == 0
    assert all(np.isnan(value) for value in result.values())
    nothing = np.zeros((2, 3, 3), np.float32)
    sums = metrics.depth_sums(nothing, nothing, nothing > 0)
    assert all(np.isnan(value) for value in metrics.depth_metrics(_add_up([sums])).values())


def _depth_metrics_float64(target, prediction, mask):
    """All at once, in float64, by the definitions."""
    target, prediction = target.astype(np.float64), prediction.astype(np.float64)
    si_log, images = [], []
    for y, p, m in zip(target, prediction, mask):
        if m.any():
            e = np.log(np.maximum(y[m], 0.01)) - np.log(np.maximum(p[m], 0.01))
            si_log.append(100 * np.std(e))
            error = np.abs(y[m] - p[m])
            images.append([error.mean(), (error / y[m]).mean(), np.sqrt((error**2).mean())])
    y, p = target[mask], prediction[mask]
    ratio = np.maximum(y / p, p / y)
    return {
        "si_log_rmse": np.mean(si_log),
        "abs": np.mean(np.abs(y - p)),
        "rel": np.mean(np.abs(y - p) / y),
        "sq_rel": np.mean((y - p) ** 2 / y),
        "rmse": np.sqrt(np.mean((y - p) ** 2)),
        "rmse_unclamped": np.sqrt(np.mean((y - p) ** 2)),
        "log_rmse": np.sqrt(np.mean((np.log(y) - np.log(p)) ** 2)),
        "delta1": np.mean(ratio < 1.25),
        "delta2": np.mean(ratio < 1.25**2),
        "delta3": np.mean(ratio < 1.25**3),
        **dict(zip(("abs_per_image", "rel_per_image", "rmse_per_image"), np.mean(images, axis=0))),
    }


@pytest.mark.parametrize("batch_size", [1, 3, 4])
def test_depth_metrics_equal_float64_whatever_the_batch_size(batch_size):
    target = RNG.uniform(1, 80, (10, 6, 7)).astype(np.float32)
    prediction = (target * np.exp(RNG.normal(0, 0.3, target.shape))).astype(np.float32)
    mask = RNG.random(target.shape) < np.linspace(0.05, 1, 10)[:, None, None]
    mask[4] = False
    # What does not count must not be looked at.
    target[~mask], prediction[~mask] = np.nan, 0
    sums = []
    for start in range(0, 10, batch_size):
        padding = [(0, max(0, start + batch_size - 10)), (0, 0), (0, 0)]
        batch = [np.pad(x[start : start + batch_size], padding) for x in (target, prediction, mask)]
        sums.append(jax.jit(metrics.depth_sums)(*batch))
    result = metrics.depth_metrics(_add_up(sums))
    expected = _depth_metrics_float64(target, prediction, mask)
    assert result.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(result[name], value, rtol=2e-6, err_msg=name)


def _depth_metrics(target, prediction):
    target, prediction = (np.float32(x)[None, None] for x in (target, prediction))
    sums = metrics.depth_sums(target, prediction, np.ones(target.shape, bool))
    return metrics.depth_metrics(_add_up([sums]))


def test_si_log_rmse_worked_example():
    result = _depth_metrics([4, 12, 20, 50], [5, 10, 20, 40])
    np.testing.assert_allclose(result["si_log_rmse"], 17.6435, atol=5e-5)


def test_si_log_rmse_does_not_see_scale():
    target, prediction = RNG.uniform(1, 50, (2, 64))
    plain, scaled = (_depth_metrics(target, prediction * s)["si_log_rmse"] for s in (1.0, 40.0))
    np.testing.assert_allclose(plain, scaled, rtol=1e-5)


def test_si_log_rmse_does_not_cancel():
    # A log error of 7 ± 1e-4: mean(e²) − mean(e)² in float32 has no correct digit of it left.
    noise = np.tile([1e-4, -1e-4], 32)
    target = 20 * np.exp(noise)
    result = _depth_metrics(target, np.full(64, 20 * np.exp(-7.0)))
    np.testing.assert_allclose(result["si_log_rmse"], 1e-2, rtol=5e-2)


def test_depth_below_the_floor_enters_logarithms_as_the_floor():
    assert _depth_metrics([0.001], [0.01])["log_rmse"] == 0.0
    np.testing.assert_allclose(_depth_metrics([1.0], [0.0])["log_rmse"], np.log(100), rtol=1e-6)


def test_a_ratio_of_exactly_the_threshold_is_not_below_it():
    pair = [5, 25, 125], [4, 16, 64]  # 1.25, 1.25², 1.25³
    for result in (_depth_metrics(*pair), _depth_metrics(*reversed(pair))):
        found = [result[name] for name in ("delta1", "delta2", "delta3")]
        np.testing.assert_allclose(found, [0, 1 / 3, 2 / 3], rtol=1e-12)


def test_ratios_of_inverse_depths_are_not_those_of_the_floor():
    result = _depth_metrics([0.002, 0.002, 0.004], [0.009, 0.0, 0.004])
    assert [result[name] for name in ("delta1", "delta3")] == pytest.approx([1 / 3, 1 / 3])


def test_nan_prediction_is_not_hidden():
    assert np.isnan(_depth_metrics([1.0, 2.0], [1.0, np.nan])["abs"])


@pytest.mark.parametrize(
    ("miou_percent", "si_log_rmse", "score"),
    [(69.776, 26.829, 42.947), (67.232, 26.938, 40.294), (25.631, 40.513, 9.487), (60.0, 51.0, 10)],
)
def test_multitask_score_of_published_rows(miou_percent, si_log_rmse, score):
    found = metrics.multitask_score(miou_percent / 100, si_log_rmse)
    np.testing.assert_allclose(found, score, atol=1e-9)


def test_composite_adds_the_score_where_it_is_defined():
    both = {"semseg/miou_all": 0.7, "d/si_log_rmse": 20.0}
    assert metrics.composite(both) == {**both, "multitask_score": pytest.approx(50.0)}
    for other in ({"semseg/miou_all": 0.7}, both | {"parts/miou_all": 0.5}, {}):
        assert metrics.composite(other) == other
    unlabelled = metrics.composite({"semseg/miou_all": 0.7, "depth/si_log_rmse": float("nan")})
    assert np.isnan(unlabelled["multitask_score"])
