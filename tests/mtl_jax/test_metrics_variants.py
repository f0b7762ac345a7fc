"""The named variants of mIoU, and Δm: loops in NumPy, closed forms and published rows."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import BATCH_SIZES

from mtl_jax import metrics, parallel, tasks

C, VOID = 4, 255
NAMES = ("road", "sky", "car", "train")


def _split():
    """Labels with void, one image without any label and one of padding; predictions everywhere."""
    rng = np.random.default_rng(0)
    labels, anything = rng.integers(0, 3, (8, 6, 5)), rng.integers(0, C, (8, 6, 5))
    labels[rng.random(labels.shape) < 0.3] = VOID
    labels[2] = VOID
    predictions = np.where(rng.random(labels.shape) < 0.6, labels % C, anything)
    predictions[::2] = np.minimum(predictions[::2], 2)  # not every class occurs in every image
    valid = np.arange(8) != 7
    return labels.astype(np.int32), predictions.astype(np.int32), valid


def _sums(labels, predictions, valid, mesh=None):
    mask = (labels != VOID) & valid[:, None, None]
    arrays = (labels, predictions, mask)
    if mesh is not None:
        arrays = jax.device_put(arrays, parallel.batch_sharding(mesh))
    sums = jax.jit(metrics.segmentation_sums, static_argnums=3)(*arrays, C)
    return jax.tree.map(lambda x: np.asarray(x, np.float64), sums)


def _iou(label, prediction):
    """{class: IoU} of the classes that occur, counted pixel by pixel in sets."""
    found = {}
    for c in range(C):
        truth, guess = (set(np.flatnonzero(x.ravel() == c)) for x in (label, prediction))
        if truth | guess:
            found[c] = len(truth & guess) / len(truth | guess)
    return found


def _expected(labels, predictions, valid):
    counting = [i for i in range(len(labels)) if valid[i] and (labels[i] != VOID).any()]
    labels, predictions = labels[counting], predictions[counting]
    per_image = [
        np.mean(list(_iou(y[y != VOID], p[y != VOID]).values()))
        for y, p in zip(labels, predictions)
    ]
    # Void is a class of the truth that no prediction can hit: it lengthens unions only.
    thesis = np.mean(list(_iou(labels, predictions).values()))
    return {"miou_thesis": thesis, "miou_per_image": np.mean(per_image)}


@pytest.mark.parametrize("batch_size", BATCH_SIZES)
def test_variants_equal_numpy_whatever_the_batch_size(batch_size):
    labels, predictions, valid = _split()
    parts = [slice(i, i + batch_size) for i in range(0, 8, batch_size)]
    found = [_sums(labels[s], predictions[s], valid[s]) for s in parts]
    result = metrics.segmentation_variants(jax.tree.map(lambda *x: sum(x), *found))
    expected = _expected(labels, predictions, valid)
    assert result == pytest.approx(expected, rel=1e-6)
    standard = metrics.segmentation_metrics(sum(s["confusion"] for s in found), NAMES)["miou"]
    assert result["miou_thesis"] < standard  # wrong pixels more, right ones not


def test_variants_on_eight_devices_equal_one():
    one = _sums(*_split())
    eight = _sums(*_split(), mesh=parallel.make_mesh())
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), one, eight)


def test_without_any_label_the_variants_are_nan():
    labels, predictions, valid = _split()
    sums = _sums(np.full_like(labels, VOID), predictions, valid)
    assert all(np.isnan(v) for v in metrics.segmentation_variants(sums).values())
    assert np.isnan(metrics.miou_of_classes(sums["confusion"], [0]))


def test_evaluated_classes_are_averaged_and_the_others_still_confuse():
    labels = np.array([[[0, 0, 1, 2, 2, 2]]], np.int32)
    prediction = jax.nn.one_hot(np.array([[[0, 2, 1, 2, 1, 2]]]), C, dtype=jnp.bfloat16)
    spec = {"kind": "classes", "class_names": NAMES, "palette": (), "ignore": VOID}
    config = {"type": "segmentation", "evaluated_classes": ("road", "sky", "train")}
    task = tasks.build({"semseg": config}, {"semseg": spec})["semseg"]
    found = task.metrics(task.metric_sums(prediction, labels, np.array([True])))
    # road 1/2, sky 1/2, train absent: 0; car is left out.
    assert found["miou_evaluated"] == pytest.approx((1 / 2 + 1 / 2 + 0) / 3)
    with pytest.raises(ValueError, match=r"evaluated_classes: bus are not among .*road"):
        tasks.build({"semseg": config | {"evaluated_classes": ("bus",)}}, {"semseg": spec})


# NYUv2, split ResNet-50 from scratch: mIoU, absolute depth error × 100, mean normals angle, and the
# printed Δ (Liu et al.: Auto-Lambda, 2022).
AUTO_LAMBDA_SINGLE = (43.37, 52.24, 22.40)
AUTO_LAMBDA = {
    "equal": ((44.64, 43.32, 24.48), 3.57),
    "dwa": ((45.14, 43.06, 24.17), 4.58),
    "uncertainty": ((45.98, 41.26, 24.09), 6.50),
}
ONE_EACH = {"semseg/miou": "max", "depth/abs": "min", "normals/mean": "min"}


@pytest.mark.parametrize("method", AUTO_LAMBDA)
def test_one_metric_per_task_gives_the_printed_numbers(method):
    row, printed = AUTO_LAMBDA[method]
    found = metrics.delta_m(
        "one_metric_per_task",
        dict(zip(ONE_EACH, row)),
        dict(zip(ONE_EACH, AUTO_LAMBDA_SINGLE)),
        ONE_EACH,
    )
    # The rows are rounded to 0.01 of about 25, which is 0.02 of a percent each.
    assert found == pytest.approx(printed, abs=0.011)


# NYUv2, MTAN on SegNet: mIoU, pixel accuracy, absolute and relative depth error, mean and median
# normals angle, shares within 11.25°, 22.5° and 30°; and the printed Δm (Navon et al.: Nash-MTL,
# 2022, with the rows of Liu et al.: CAGrad, 2021).
NYUV2_SINGLE = (38.30, 63.76, 0.6754, 0.2780, 25.01, 19.21, 30.14, 57.20, 69.15)
NYUV2 = {
    "equal": ((39.29, 65.33, 0.5493, 0.2263, 28.15, 23.96, 22.09, 47.50, 61.08), 5.59),
    "dwa": ((39.11, 65.31, 0.5510, 0.2285, 27.61, 23.18, 24.17, 50.18, 62.39), 3.57),
    "uncertainty": ((36.87, 63.17, 0.5446, 0.2260, 27.04, 22.61, 23.54, 49.05, 63.65), 4.05),
}
NINE = {
    "semseg/miou": "max",
    "semseg/pixel_accuracy": "max",
    "depth/abs": "min",
    "depth/rel": "min",
    "normals/mean": "min",
    "normals/median": "min",
    "normals/within_11.25": "max",
    "normals/within_22.5": "max",
    "normals/within_30": "max",
}


@pytest.mark.parametrize("method", NYUV2)
def test_mean_over_metrics_gives_the_printed_numbers(method):
    row, printed = NYUV2[method]
    values, baselines = dict(zip(NINE, row)), dict(zip(NINE, NYUV2_SINGLE))
    found = metrics.delta_m("mean_over_metrics", values, baselines, NINE)
    assert found == pytest.approx(printed, abs=0.011)


def test_the_nine_metrics_are_those_that_are_tabled():
    types = {"semseg": "segmentation", "depth": "depth", "normals": "normals"}
    found = {f"{n}/{m}": way for n, t in types.items() for m, way in tasks.tabled(t).items()}
    assert found == NINE
    assert tasks.tabled("instances") == {"rms": "min"}  # nothing is tabled: its headline


def test_mean_within_tasks_weighs_tasks_alike():
    directions = {"semseg/miou": "max", "depth/abs": "min", "depth/rel": "min"}
    baselines = {"semseg/miou": 0.5, "depth/abs": 2.0, "depth/rel": 0.4}
    values = {"semseg/miou": 0.6, "depth/abs": 1.0, "depth/rel": 0.5, "depth/loss": 7.0}
    # +20; +50 and −25.
    found = {p: 0.0 for p in metrics.DELTA_PROTOCOLS if p != "one_metric_per_task"}
    found = {p: metrics.delta_m(p, values, baselines, directions) for p in found}
    expected = {"mean_within_tasks": (20 + 12.5) / 2, "mean_over_metrics": -(20 + 50 - 25) / 3}
    assert found == pytest.approx(expected)


def test_no_delta_from_what_is_missing_or_undefined():
    one, two = {"a/x": 1.0}, {"a/x": 2.0}
    mistakes = {
        "expected one of one_metric_per_task": ("flat", one, two, {"a/x": "max"}),
        "no metric to compare": ("mean_over_metrics", one, two, {}),
        "the baseline has None": ("mean_over_metrics", one, {}, {"a/x": "max"}),
        "the run has nan": ("mean_over_metrics", {"a/x": np.nan}, two, {"a/x": "max"}),
        "of the baseline, which is 0": ("mean_over_metrics", one, {"a/x": 0.0}, {"a/x": "max"}),
        "found several of a": (
            "one_metric_per_task",
            {"a/x": 1.0, "a/y": 1.0},
            {"a/x": 1.0, "a/y": 1.0},
            {"a/x": "max", "a/y": "max"},
        ),
    }
    for message, arguments in mistakes.items():
        with pytest.raises(ValueError, match=message):
            metrics.delta_m(*arguments)
