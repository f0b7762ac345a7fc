"""Instances: targets, loss and offsets against float64 NumPy, tasks that need others, files."""

import io

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest
from conftest import BATCH_SIZES
from PIL import Image

from input_pipeline import labels
from mtl_jax import parallel, prediction, tasks
from mtl_jax.pictures import maps as visualization
from mtl_jax.tasks.instances import Instances, Offsets, centroid_offsets

RNG = np.random.default_rng(0)
B, H, W = 8, 12, 16
VALID = np.array([True] * 7 + [False])
SPECS = {
    "semseg": labels.classes(("road", "person", "car"), ((1, 2, 3), (4, 5, 6), (7, 8, 9))),
    "instance": labels.instances(("person", "car")),
    "depth": labels.depth((1.0, 80.0), mean=20.0, stddev=15.0),
}
SPEC_DICTS = {key: spec.as_dict() for key, spec in SPECS.items()}


def _build(**configs):
    return tasks.build(ml_collections.ConfigDict(configs), SPEC_DICTS)


def _offsets_task():
    return _build(instance={"type": "instances"})["instance"]


def _both(**options):
    """Instances listed before the semantics that they need."""
    instance = {"type": "instances", "semantics": "semseg"} | options
    return _build(instance=instance, semseg={"type": "segmentation"})


def _batch():
    ids = RNG.integers(0, 4, (B, H, W)).astype(np.int32) * 1001
    ids[1] = 0  # an image without an instance
    return {"image": np.zeros((B, H, W, 3), np.uint8), "instance": ids}


def _exact_offsets(ids):
    """[B, H, W, 2] float64."""
    result = np.zeros((*ids.shape, 2))
    for image, offsets in zip(ids, result):
        for i in np.unique(image[image != 0]):
            at = np.argwhere(image == i)
            offsets[image == i] = at - at.mean(0)
    return result


# Targets.


def test_targets_equal_float64_for_any_ids():
    ids = RNG.choice([0, 1, 255, 256, 65536, 2**31 - 1], (3, 20, 30)).astype(np.int32)
    ids[2] = np.arange(600, dtype=np.int32).reshape(20, 30) // 2 * 77777  # 299 instances
    found = jax.jit(centroid_offsets)(ids)
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, _exact_offsets(ids), atol=1e-5)


@pytest.mark.slow
def test_targets_of_large_images_do_not_lose_digits():
    # Columns counted from 0 would add up to more than 32 bits.
    ids = np.ones((1, 1200, 2048), np.int32)
    ids[0, :, :3] = 2
    found = np.asarray(jax.jit(centroid_offsets)(ids))
    np.testing.assert_allclose(found[0, 0, 0], [-599.5, -1.0], atol=1e-4)
    np.testing.assert_allclose(found[0, 1199, 2047], [599.5, 2047 - 1025], atol=1e-3)


def test_image_too_large_for_its_sums_is_refused():
    with pytest.raises(ValueError, match="4096×4096 may add up to more than 32 bits"):
        jax.eval_shape(centroid_offsets, jax.ShapeDtypeStruct((1, 4096, 4096), jnp.int32))


def test_targets_follow_the_image_shown():
    """After a crop the centroid is that of what is left."""
    ids = np.zeros((1, 10, 10), np.int32)
    ids[0, 2:6, 0:8] = 5
    cropped = centroid_offsets(ids[:, :, 4:])
    np.testing.assert_allclose(cropped[0, 2, 0], [-1.5, -1.5])


# Loss.


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_loss_equals_float64(dtype):
    task, batch = _offsets_task(), _batch()
    predicted = jnp.asarray(5 * RNG.normal(size=(B, H, W, 2)), dtype)
    found = jax.jit(lambda p, b, v: task.loss(p, task.targets(b), v))(predicted, batch, VALID)
    mask = (batch["instance"] != 0) & VALID[:, None, None]
    error = np.asarray(predicted, np.float64) - _exact_offsets(batch["instance"])
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, np.abs(error)[mask].sum() / (mask.sum() + 1e-4), rtol=1e-5)


def test_loss_of_a_single_pixel_shows_the_constant():
    ids = np.zeros((1, 2, 2), np.int32)
    ids[0, 1, 1] = 4  # its offset is 0
    targets = _offsets_task().targets({"image": np.zeros((1, 2, 2, 3), np.uint8), "instance": ids})
    loss = jax.jit(_offsets_task().loss)(jnp.full((1, 2, 2, 2), 3.0), targets, VALID[:1])
    np.testing.assert_allclose(loss, 6 / 1.0001, rtol=1e-6)


@pytest.mark.slow
def test_gradient_comes_from_instances_alone():
    task, batch = _offsets_task(), _batch()
    targets = task.targets(batch)
    predicted = jnp.asarray(RNG.normal(size=(B, H, W, 2)), jnp.float32)
    gradient = np.asarray(jax.jit(jax.grad(task.loss))(predicted, targets, VALID))
    mask = (batch["instance"] != 0) & VALID[:, None, None]
    np.testing.assert_array_equal(gradient[~mask], 0.0)
    np.testing.assert_allclose(np.abs(gradient[mask]), 1 / (mask.sum() + 1e-4), rtol=1e-5)


# Metrics of offsets.


@pytest.mark.parametrize("batch_size", BATCH_SIZES)
def test_rms_is_of_the_whole_split(batch_size):
    task, batch = _offsets_task(), _batch()
    predicted = (4 * RNG.normal(size=(B, H, W, 2))).astype(np.float32)
    found = task.metrics(_summed(task, predicted, task.targets(batch), batch_size))
    squared = ((predicted - _exact_offsets(batch["instance"])) ** 2).sum(-1)
    masks = batch["instance"][:7] != 0
    by_image = [np.sqrt(e[m].mean()) if m.any() else 0.0 for e, m in zip(squared, masks)]
    expected = {
        "rms": np.mean(by_image),
        "rms_of_labelled": np.sum(by_image) / 6,
        "rms_global": np.sqrt(squared[:7][masks].mean()),
    }
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-5, err_msg=name)


def _summed(task, predicted, targets, batch_size, *more):
    step = jax.jit(task.metric_sums)
    sums = []
    for i in range(0, B, batch_size):
        arguments = (predicted, targets, VALID, *more)
        part = jax.tree.map(lambda x, i=i: x[i : i + batch_size], arguments)
        sums.append(jax.tree.map(np.float64, step(*part)))
    return jax.tree.map(lambda *x: sum(x), *sums)


# A task that needs another one.


def _predictions(batch):
    """Exact offsets, and semantics that know the instances with odd numbers to be cars."""
    car = (batch["instance"] % 2)[..., None] == [2, 2, 1]
    return {
        "instance": np.asarray(jax.jit(centroid_offsets)(batch["instance"])),
        "semseg": car.astype(np.float32) + [0.5, 0, 0],
    }


def _scenes():
    ids = np.zeros((B, 24, 40), np.int32)
    ids[:, 2:10, 3:15], ids[:, 12:20, 20:36], ids[:, 3:9, 25:33] = 1, 3, 2
    ids[1] = 0
    return {"image": np.zeros((*ids.shape, 3), np.uint8), "instance": ids}


@pytest.mark.slow
def test_decoding_takes_the_pixels_that_the_semantics_allow():
    built, batch = _both(), _scenes()
    assert list(built) == ["instance", "semseg"]
    assert built["instance"].class_ids == (1, 2)
    maps = jax.jit(lambda p: tasks.postprocess_all(built, p))(_predictions(batch))
    assert list(maps) == ["instance", "semseg"]
    found, truth = np.asarray(maps["instance"]["instance"]), batch["instance"]
    np.testing.assert_array_equal(found > 0, truth % 2 == 1)
    for image, real in zip(found, truth):
        assert len(np.unique(image[real == 1])) == len(np.unique(image[real == 3])) <= 1
    sums = jax.jit(built["instance"].metric_sums)(
        _predictions(batch)["instance"],
        built["instance"].targets(batch),
        VALID,
        *tasks.needed_maps(built["instance"], maps),
    )
    result = built["instance"].metrics(jax.tree.map(np.float64, sums))
    np.testing.assert_allclose(result["rms"], 0, atol=1e-5)
    np.testing.assert_allclose(result["rq"], 2 * 2 / (3 + 2))  # two of three found


def test_classes_by_name_or_id():
    assert _both(classes=("car",))["instance"].class_ids == (2,)
    assert _both(classes=(1, "car"))["instance"].class_ids == (1, 2)


@pytest.mark.parametrize(
    ("configs", "message"),
    [
        ({"instance": {"semantics": "semseg"}}, "needs the task 'semseg'; expected one of"),
        ({"instance": {"semantics": "instance"}}, "needs the task 'instance'.*there is none"),
        ({"instance": {"classes": (1,)}}, "classes is set, but not .semantics"),
        (
            {"instance": {"semantics": "semseg", "classes": ("train", 3)}, "semseg": {}},
            r"expected classes of 'semseg' \(road, person, car\), found train, 3",
        ),
        (
            {"instance": {"semantics": "semseg", "key": "other"}, "semseg": {}},
            "found none, and the data set says none either",
        ),
        ({"instance": {"semantics": "depth"}, "depth": {}}, r"'depth' \(it has none\)"),
        (
            {"instance": {"semantics": "semseg", "min_votes": -1.0}, "semseg": {}},
            "min_votes=-1.0; expected a number above 0",
        ),
        ({"instance": {"key": "depth"}}, "needs labels of kind instances"),
    ],
)
def test_impossible_config_says_what_to_do(configs, message):
    types = {"instance": "instances", "semseg": "segmentation", "depth": "depth"}
    with pytest.raises(ValueError, match=message):
        _build(**{name: {"type": types[name]} | config for name, config in configs.items()})


def test_type_follows_the_semantics():
    assert type(_offsets_task()) is Offsets
    assert type(_both()["instance"]) is Instances
    assert _both()["instance"].needs == ("semseg",)
    assert _offsets_task().needs == ()


@pytest.mark.weekly  # test_conformance_tasks sees each task alone
def test_eight_devices_equal_one():
    built, batch = _both(), _scenes() | {"valid": VALID}
    task = built["instance"]
    predictions = _predictions(batch)
    noise = RNG.normal(size=predictions["instance"].shape).astype(np.float32)
    predictions["instance"] = predictions["instance"] + noise

    def everything(predictions, batch):
        targets = task.targets(batch)
        maps = tasks.postprocess_all(built, predictions)
        loss, gradient = jax.jit(jax.value_and_grad(task.loss))(
            predictions["instance"], targets, batch["valid"]
        )
        sums = task.metric_sums(
            predictions["instance"], targets, batch["valid"], *tasks.needed_maps(task, maps)
        )
        return loss, gradient, sums, maps

    mesh = parallel.make_mesh(jax.devices()[:8])
    many = jax.jit(everything)(
        parallel.put_batch(mesh, predictions), parallel.put_batch(mesh, batch)
    )
    one = jax.jit(everything)(predictions, batch)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-9), many, one)


def test_views_average_in_pixels_of_the_scene():
    task = _offsets_task()
    plain = np.float32([[[[2.0, -3.0]]]])
    mirrored_and_twice_as_large = np.float32([[[[4.0, 6.0]]]])
    np.testing.assert_array_equal(task.to_average(plain, mirrored=False, zoom=1.0), plain)
    average = task.to_average(mirrored_and_twice_as_large, mirrored=True, zoom=2.0)
    np.testing.assert_array_equal(task.from_average(average), plain)


# Pictures and files.


def test_files_hold_ids_or_offsets():
    ids = np.int32([[0, 1, 300], [65535, 2, 0]])
    contents, suffix, _ = _both()["instance"].encode(ids)
    assert suffix == ".png"
    with Image.open(io.BytesIO(contents)) as picture:
        np.testing.assert_array_equal(picture, ids)
    with pytest.raises(ValueError, match="0 to 65535; found 0 to 65536"):
        visualization.encode_id_png(ids + (ids == 65535))
    offsets = RNG.normal(size=(3, 4, 2)).astype(np.float32)
    contents, suffix, _ = _offsets_task().encode(offsets)
    assert suffix == ".npy"
    np.testing.assert_array_equal(np.load(io.BytesIO(contents)), offsets)


def test_instances_are_outlined():
    ids = np.zeros((8, 8), np.int32)
    ids[1:5, 1:5], ids[1:5, 5:7] = 1, 2
    task = _both()["instance"]
    expected = [False, True, False, False, True, True, True, False]
    for picture in (task.visualize(ids), task.panel(np.zeros((8, 8, 3), np.uint8), ids).picture):
        np.testing.assert_array_equal((picture > 127).all(-1)[2], expected)


def _padded(value):
    """[1, h, w, C] as large as predict pads an image."""
    return np.pad(value, [(0, 0), *((0, -side % 32) for side in value.shape[1:3]), (0, 0)])


def test_predict_writes_instances_with_the_help_of_semantics(tmp_path):
    built, batch = _both(), _scenes()
    predictions = {name: value[:1] for name, value in _predictions(batch).items()}
    image = tmp_path / "scene.png"
    Image.fromarray(batch["image"][0]).save(image)
    prediction.predict_files(
        lambda image: {name: _padded(value) for name, value in predictions.items()},
        built,
        [image],
        tmp_path / "out",
    )
    with Image.open(tmp_path / "out" / "scene_instance.png") as picture:
        np.testing.assert_array_equal(np.asarray(picture) > 0, batch["instance"][0] % 2 == 1)
    assert (tmp_path / "out" / "scene_overlay.png").exists()
