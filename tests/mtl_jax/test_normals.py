"""Surface normals: losses and metrics against float64 NumPy, masks, encodings."""

import io

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest
from conftest import BATCH_SIZES
from PIL import Image

from input_pipeline import labels
from mtl_jax import metrics, tasks
from mtl_jax.metrics.normals import angles

RNG = np.random.default_rng(0)
IMAGE = np.zeros((8, 6, 5, 3), np.uint8)
VALID = np.array([True] * 7 + [False])


def _task(**options):
    config = ml_collections.ConfigDict({"normals": {"type": "normals"} | options})
    return tasks.build(config, {"normals": labels.normals().as_dict()})["normals"]


def _unit(vectors):
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.where(length == 0, 1, length)


def _batch():
    """Some unknown pixels, an unlabelled image, and one that is padding."""
    normals = _unit(RNG.normal(size=(8, 6, 5, 3)))
    normals[RNG.random(normals.shape[:3]) < 0.3] = 0
    normals[1] = 0
    return {"image": IMAGE, "normals": normals.astype(np.float32)}


def _exact_angles(target, prediction):
    """Degrees, in float64, by the half-angle form that the code does not use."""
    a, b = _unit(np.float64(target)), _unit(np.float64(prediction))
    return np.degrees(
        2 * np.arctan2(np.linalg.norm(a - b, axis=-1), np.linalg.norm(a + b, axis=-1))
    )


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("loss", ["cosine", "l1", "l1_pixel"])
def test_loss_equals_float64(loss, dtype):
    task, batch = _task(loss=loss), _batch()
    prediction = jnp.asarray(3 * RNG.normal(size=(8, 6, 5, 3)), dtype)
    found = jax.jit(lambda p, b, v: task.loss(p, task.targets(b), v))(prediction, batch, VALID)
    direction = _unit(np.asarray(prediction, np.float64))
    target = np.float64(batch["normals"])
    mask = target.any(-1) & VALID[:, None, None]
    absolute = np.abs(direction - target)
    expected = {
        "cosine": 1 - (direction * target).sum(-1)[mask].mean(),
        "l1": absolute[mask].mean(),
        "l1_pixel": 3 * absolute[mask].mean(),
    }[loss]
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("loss", ["cosine", "l1", "l1_pixel"])
def test_zero_prediction_has_a_finite_gradient_that_points_right(loss):
    task, batch = _task(loss=loss), _batch()
    targets = task.targets(batch)
    gradient = jax.jit(jax.grad(task.loss))(jnp.zeros(targets.shape), targets, VALID)
    mask = np.any(targets != 0, -1) & VALID[:, None, None]
    assert np.all(np.isfinite(gradient))
    assert np.all(np.sum(gradient * targets, -1)[mask] < 0)
    np.testing.assert_array_equal(np.asarray(gradient)[~mask], 0.0)


def test_length_of_prediction_does_not_matter():
    task, batch = _task(), _batch()
    targets, prediction = task.targets(batch), RNG.normal(size=(8, 6, 5, 3)).astype(np.float32)
    short, long = (task.loss(prediction * scale, targets, VALID) for scale in (0.1, 1000.0))
    np.testing.assert_allclose(short, long, rtol=1e-5)
    huge = task.postprocess(jnp.float32([[[[3e30, 4e30, 0.0], [0.0, -1e-30, 0.0], [0, 0, 0]]]]))
    np.testing.assert_allclose(huge["normals"][0, 0], [[0.6, 0.8, 0], [0, -1, 0], [0, 0, 0]])


def test_predictions_shorter_than_a_thousandth_are_divided_by_it():
    task, target = _task(), np.float32([[[[0, 0, 1]]]])
    for length, expected in ((2.0, 0.0), (0.002, 0.0), (0.0005, 0.5), (0.0, 1.0)):
        loss = task.loss(target * np.float32(length), target, VALID[:1])
        np.testing.assert_allclose(loss, expected, atol=1e-5)


def test_targets_are_brought_to_unit_length():
    half = _batch()["normals"].astype(np.float16) * np.float16(0.97)
    targets = np.asarray(_task().targets({"image": IMAGE, "normals": half}))
    known = half.any(-1)
    np.testing.assert_allclose(np.linalg.norm(targets, axis=-1)[known], 1, rtol=1e-6)
    np.testing.assert_array_equal(targets[~known], 0)


def test_small_angles_are_exact():
    for degrees in (1e-4, 0.02, 45.0, 179.99):
        direction = np.float32([np.sin(np.radians(degrees)), 0, np.cos(np.radians(degrees))])
        np.testing.assert_allclose(angles(np.float32([0, 0, 1]), direction), degrees, rtol=1e-4)
    assert angles(np.float32([0, 0, 1]), np.zeros(3, np.float32)) == 90.0


@pytest.mark.parametrize("degrees", [[10.0], [10, 40], [10, 10, 50, 70], [10, 20, 30], []])
def test_median_of_an_even_number_is_the_mean_of_the_two_in_the_middle(degrees):
    turned = np.radians(np.float64(degrees) + 0.005)  # in the middle of a bin
    target = np.zeros((1, 1, 4, 3), np.float32)
    target[0, 0, : len(degrees), 2] = 1
    prediction = np.zeros_like(target)
    prediction[0, 0, : len(degrees)] = np.stack([np.sin(turned), 0 * turned, np.cos(turned)], -1)
    task = _task()
    sums = jax.tree.map(np.asarray, task.metric_sums(prediction, target, np.array([True])))
    expected = np.median(degrees) if degrees else np.nan
    assert task.metrics(sums)["median"] == pytest.approx(expected, abs=0.0101, nan_ok=True)


@pytest.mark.parametrize("batch_size", BATCH_SIZES)
def test_metrics_are_of_the_whole_split(batch_size):
    task, batch = _task(), _batch()
    # Angles of a few degrees to a half turn, unevenly over the images.
    noise = RNG.normal(size=(8, 6, 5, 3)) * np.linspace(0.05, 3, 8)[:, None, None, None]
    prediction = (batch["normals"] + noise).astype(np.float32)
    targets = task.targets(batch)
    sums = []
    for i in range(0, 8, batch_size):
        part = slice(i, i + batch_size)
        found = jax.jit(task.metric_sums)(prediction[part], targets[part], VALID[part])
        sums.append(jax.tree.map(lambda x: np.asarray(x, np.float64), found))
    found = task.metrics(jax.tree.map(lambda *x: sum(x), *sums))
    mask = batch["normals"].any(-1) & VALID[:, None, None]
    angle = _exact_angles(batch["normals"], prediction)[mask]
    np.testing.assert_allclose(found["mean"], angle.mean(), rtol=1e-5)
    np.testing.assert_allclose(found["rmse"], np.sqrt((angle**2).mean()), rtol=1e-5)
    assert found["median"] == pytest.approx(np.median(angle), abs=0.01)
    for threshold in (11.25, 22.5, 30):
        assert found[f"within_{threshold:g}"] == (angle < threshold).mean()
    assert task.headline == ("mean", "min")


@pytest.mark.parametrize("angle", [0.0, 0.004, 37.0, 180.0])
def test_median_of_one_angle_is_that_angle(angle):
    direction = np.float32([[[[np.sin(np.radians(angle)), 0, np.cos(np.radians(angle))]]]])
    target = np.float32([[[[0, 0, 1]]]])
    sums = metrics.normals_sums(target, direction, np.ones((1, 1, 1), bool))
    found = metrics.normals_metrics(jax.tree.map(np.asarray, sums))
    np.testing.assert_allclose(found["median"], angle, atol=0.01)


def test_nan_reaches_loss_and_metrics():
    task, batch = _task(), _batch()
    batch["normals"][0, 0, 0] = np.nan
    prediction, targets = jnp.ones((8, 6, 5, 3)), task.targets(batch)
    assert np.isnan(task.loss(prediction, targets, VALID))
    sums = jax.tree.map(np.asarray, task.metric_sums(prediction, targets, VALID))
    found = task.metrics(sums)
    assert np.isnan(found["mean"])
    assert np.isnan(found["median"])


def test_mirrored_view_averages_to_the_same_normals():
    task = _task()
    seen = np.float32([[[[0.6, 0.0, -0.8]]]])
    mirrored = seen * np.float32([-1, 1, 1])
    views = [
        task.to_average(seen, mirrored=False, zoom=1.0),
        task.to_average(mirrored, mirrored=True, zoom=2.0),
    ]
    average = task.postprocess(task.from_average(sum(views) / 2))["normals"]
    np.testing.assert_allclose(average, seen, atol=1e-6)


def test_file_holds_the_vectors_to_8_bits():
    normals = _batch()["normals"][0]
    contents, suffix, remark = _task().encode(normals)
    assert (suffix, remark) == (".png", "")
    with Image.open(io.BytesIO(contents)) as picture:
        rgb = np.asarray(picture, np.float64)
    known = normals.any(-1)
    read = (rgb * 2 / 255 - 1) * [1, -1, -1]
    np.testing.assert_allclose(read[known], normals[known], atol=1 / 255 + 1e-6)
    np.testing.assert_array_equal(rgb[~known], 0)


def test_panel_explains_the_colours():
    panel = _task().panel(np.zeros((6, 5, 3), np.uint8), _batch()["normals"][0])
    assert dict(panel.legend)["up"] == (128, 255, 128)
    assert panel.picture.shape == (6, 5, 3)


@pytest.mark.parametrize(
    ("options", "spec", "message"),
    [
        ({"loss": "l2"}, labels.normals(), "expected one of cosine, l1, l1_pixel"),
        ({}, labels.depth((1, 2)), "needs labels of kind normals"),
        ({"range": 1}, labels.normals(), "config.tasks.normals.range is an option of depth"),
    ],
)
def test_impossible_config_says_what_to_do(options, spec, message):
    config = ml_collections.ConfigDict({"normals": {"type": "normals"} | options})
    with pytest.raises(ValueError, match=message):
        tasks.build(config, {"normals": spec.as_dict()})
