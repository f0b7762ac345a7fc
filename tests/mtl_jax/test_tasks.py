"""Tasks as training and evaluation use them: specs, masks, normalisations, errors."""

import io

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest
from PIL import Image

from mtl_jax import tasks
from mtl_jax.pictures import palettes

RNG = np.random.default_rng(0)
CLASSES = {
    "kind": "classes",
    "class_names": ["road", "sky", "car"],
    "palette": [[128, 64, 128], [70, 130, 180], [0, 0, 142]],
    "ignore": 255,
}
DEPTH = {
    "kind": "depth",
    "unit": "m",
    "invalid": 0.0,
    "valid_range": [4.0, 300.0],
    "mean": 27.0727,
    "stddev": 29.1264,
}
IMAGE = np.zeros((4, 5, 6, 3), np.uint8)
VALID = np.array([True, True, True, False])


def _build(name, spec, **options):
    config = ml_collections.ConfigDict({name: options})
    return tasks.build(config, {} if spec is None else {options.get("key", name): spec})[name]


def _semseg(spec=CLASSES, **options):
    return _build("semseg", spec, type="segmentation", **options)


def _depth(spec=DEPTH, **options):
    return _build("depth", spec, type="depth", **options)


def _depth_batch():
    depth = RNG.uniform(4, 300, IMAGE.shape[:3]).astype(np.float32)
    depth[RNG.random(depth.shape) < 0.3] = 0
    depth[1] = 0  # an image without valid depth
    return {"image": IMAGE, "depth": depth}


# What a task knows.


def test_build_keeps_every_task_and_its_facts():
    config = ml_collections.ConfigDict(
        {
            "semseg": {"type": "segmentation"},
            "body": {"type": "segmentation", "key": "parts"},
            "depth": {"type": "depth"},
        }
    )
    parts = CLASSES | {"class_names": ["none", "head"], "palette": []}
    built = tasks.build(config, {"semseg": CLASSES, "parts": parts, "depth": DEPTH})
    assert {name: task.channels for name, task in built.items()} == {
        "semseg": 3,
        "body": 2,
        "depth": 1,
    }
    assert built["body"].key == "parts"
    assert built["body"].palette == palettes.distinct(2)
    assert built["semseg"].headline == ("miou", "max")
    assert built["depth"].headline == ("si_log_rmse", "min")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: tasks.build(ml_collections.ConfigDict(), {}), "config.tasks is empty"),
        (lambda: _build("semseg", CLASSES, type=""), "config.tasks.semseg.type is not set"),
        (lambda: tasks.build({"a.b": {"type": "depth"}}, {}), "'a.b' cannot be the name of a task"),
        (lambda: tasks.build({"a/b": {"type": "depth"}}, {}), "'a/b' cannot be the name of a task"),
        (lambda: tasks.build({"x" * 65: {"type": "depth"}}, {}), "up to 64 letters, digits"),
        (lambda: _build("semseg", CLASSES, type="segmentatoin"), "Did you mean 'segmentation'"),
        (lambda: _semseg(los="x"), r"config.tasks.semseg.los is unknown. Did you mean 'loss'"),
        (lambda: _semseg(loss="focal"), "loss='focal'; expected one of cross_entropy"),
        (lambda: _semseg(DEPTH), "needs labels of kind classes, but .* is of kind 'depth'"),
        (lambda: _semseg(None), "Set config.tasks.semseg.num_classes"),
        (lambda: _semseg(num_classes=4), "'semseg', 3, found num_classes=4"),
        (lambda: _semseg(ignore=0), "ignore=0, but the data set's 'semseg' uses 255"),
        (lambda: _semseg(None, num_classes=3, ignore=2), "ignored id 2 is one of the 3 classes"),
        (lambda: _depth(CLASSES), "needs labels of kind depth or disparity or inverse_depth"),
        (lambda: _depth(loss="l3"), "expected one of l1, l2, berhu"),
        (lambda: _depth(averaging="pixel"), "expected one of image, batch"),
        (lambda: _depth(normalization="z"), "expected one of standard, minmax, log, none"),
        (lambda: _depth(None), "Set config.tasks.depth.range"),
        (lambda: _depth(range=(3.0, 2.0)), r"expected \(least, greatest\) depth, found \(3.0, 2"),
        (lambda: _depth(DEPTH | {"mean": None}), "Set config.tasks.depth.mean and .stddev"),
        (lambda: _depth(stddev=0.0), "stddev=0.0"),
    ],
)
def test_impossible_config_says_what_to_do(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_wrong_shapes_say_what_was_expected():
    task = _semseg()
    with pytest.raises(ValueError, match=r"'semseg': expected batch\['semseg'\] .*\(4, 5, 6, 1\)"):
        task.targets({"image": IMAGE, "semseg": np.zeros((4, 5, 6, 1), np.int32)})
    targets = task.targets({"image": IMAGE})
    with pytest.raises(ValueError, match=r"expected prediction of shape \(4, 5, 6, 3\), found"):
        task.loss(jnp.zeros((4, 5, 6, 4)), targets, VALID)


# Normalisations (report B 4.2).


@pytest.mark.parametrize(
    ("method", "values"),
    [
        ("standard", (-0.79216, 0.0, 9.37044)),
        ("minmax", (0.0, 0.07795, 1.0)),
        ("log", (0.0, 0.55870, 1.0)),
        ("none", (4.0, 27.0727, 300.0)),
    ],
)
def test_normalization_published_values_and_inverse(method, values):
    depth = np.float32([4.0, 27.0727, 300.0])
    normalization = _depth(normalization=method).normalization
    np.testing.assert_allclose(normalization.normalize(depth), values, atol=6e-6)
    np.testing.assert_allclose(normalization.invert(np.float32(values)), depth, rtol=3e-5)


@pytest.mark.parametrize("method", ["standard", "minmax", "log", "none"])
def test_metres_are_clamped_to_the_range(method):
    task = _depth(normalization=method)
    extreme = np.float32([-1e30, 1e30]).reshape(1, 1, 2, 1)
    np.testing.assert_allclose(task.postprocess(extreme)["depth"], [[[4.0, 300.0]]])


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("depth", {"range"}),
        ("edges", {"max_distance", "truth", "truth_key"}),
        ("instances", set()),
        ("normals", set()),
        ("saliency", set()),
        ("segmentation", {"ignore"}),
    ],
)
def test_options_that_change_what_is_measured(kind, expected):
    found = tasks.measured_with("x", {"type": kind})
    assert found.keys() == {f"tasks.x.{name}" for name in {"type", "key", *expected}}
    assert found["tasks.x.key"] == "x"


def test_config_goes_before_the_spec():
    task = _depth(range=(1.0, 10.0), mean=2.0, stddev=0.5)
    assert task.valid_range == (1.0, 10.0)
    assert task.normalization.normalize(3.0) == 2.0


# Losses.


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("averaging", ["image", "batch"])
@pytest.mark.parametrize("loss", ["l1", "l2", "berhu"])
def test_depth_loss_equals_float64(loss, averaging, dtype):
    task, batch = _depth(loss=loss, averaging=averaging), _depth_batch()
    prediction = jnp.asarray(RNG.normal(size=(4, 5, 6, 1)), dtype)
    found = jax.jit(lambda p, b, v: task.loss(p, task.targets(b), v))(prediction, batch, VALID)

    mask = (batch["depth"] != 0) & VALID[:, None, None]
    goal = (batch["depth"].astype(np.float64) - 27.0727) / 29.1264
    x = np.where(mask, np.abs(np.asarray(prediction, np.float64)[..., 0] - goal), 0)
    c = x.max() / 5
    berhu = np.where(x <= c, x, (x**2 + c**2) / (2 * c))
    values = {"l1": x, "l2": x**2, "berhu": berhu}[loss]
    if averaging == "image":
        expected = np.mean([values[i][mask[i]].mean() for i in (0, 2)])
    else:
        expected = values[mask].mean()
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, expected, rtol=2e-6)


def test_sigloss_is_of_depths_in_range_and_leaves_the_variance_out_at_first():
    task = _depth(loss="sigloss", normalization="none", range=(0.5, 10.0))
    target = np.array([[[2.0, 4.0, 0.0], [10.0, 11.0, 5.0]]], np.float32)
    prediction = target[..., None] * np.float32(1.25) + np.arange(6, dtype=np.float32).reshape(
        1, 2, 3, 1
    )
    counts = np.array([[[1, 1, 0], [1, 0, 1]]], bool)
    g = (np.log(prediction[..., 0] + 1e-3) - np.log(target + 1e-3))[counts].astype(np.float64)
    valid = np.ones(1, bool)
    for step, variance in ((99, 0.0), (100, g.var(ddof=1))):
        found = task.at(jnp.int32(step)).loss(prediction, jnp.asarray(target), valid)
        assert found == pytest.approx(np.sqrt(variance + 0.15 * g.mean() ** 2), rel=1e-5)


def test_what_sigloss_leaves_out_counts_in_metrics_alone():
    task = _depth(loss="sigloss", normalization="none", range=(0.5, 10.0))
    target = np.array([[[2.0, 4.0]], [[11.0, 12.0]], [[0.0, 3.0]]], np.float32)
    prediction, valid = np.full((3, 1, 2, 1), 3.0, np.float32), np.ones(3, bool)

    def of(*rows):
        given = target[list(rows)], valid[list(rows)]
        found = task.labelled(*given), task.denominator(*given)
        return task.loss(prediction[list(rows)], *given), *map(float, found)

    assert of(0)[1:] == (True, 2)
    assert of(1) == (0, False, 0)
    assert of(0, 1) == of(0)  # and so do two micro-batches of one image each
    assert of(0, 1, 2)[1:] == (True, 3)  # pixels: it is over the whole batch
    assert task.metric_sums(prediction, target, valid)["pixels"] == 5


def test_sigloss_never_hides_a_nan():
    task = _depth(loss="sigloss", normalization="none", range=(0.5, 10.0))
    target = np.array([[[2.0, np.nan]]], np.float32)
    assert np.isnan(task.loss(np.full((1, 1, 2, 1), 3.0), target, np.ones(1, bool)))


def test_padding_changes_neither_loss_nor_metrics():
    for task, labels, channels in (
        (_semseg(), RNG.integers(0, 3, (4, 5, 6)).astype(np.int32), 3),
        (_depth(loss="berhu"), _depth_batch()["depth"], 1),
    ):
        prediction = RNG.normal(size=(4, 5, 6, channels)).astype(np.float32)
        prediction[3] *= 1000
        batch = {"image": IMAGE, task.key: labels}
        whole = (prediction, task.targets(batch), VALID)
        part = tuple(x[:3] for x in whole)
        both = jax.jit(lambda *given, task=task: (task.loss(*given), task.metric_sums(*given)))
        losses, sums = zip(*(both(*given) for given in (whole, part)))
        np.testing.assert_allclose(*losses, rtol=1e-6)
        np.testing.assert_equal(*(task.metrics(jax.tree.map(np.asarray, x)) for x in sums))


@pytest.mark.parametrize("normalization", ["standard", "log"])
@pytest.mark.parametrize("invalid", [0.0, -1.0, float("nan")])
def test_invalid_depth_is_masked_whatever_marks_it(normalization, invalid):
    task = _depth(DEPTH | {"invalid": invalid}, loss="l1", normalization=normalization)
    depth = np.full((4, 5, 6), 30, np.float32)
    depth[:, :2] = invalid
    prediction = jnp.full((4, 5, 6, 1), 0.5)
    targets = task.targets({"image": IMAGE, "depth": depth})
    loss, gradient = jax.jit(jax.value_and_grad(task.loss))(prediction, targets, VALID)
    np.testing.assert_allclose(loss, abs(0.5 - task.normalization.normalize(30.0)), rtol=1e-5)
    np.testing.assert_array_equal(gradient[:, :2], 0.0)
    assert np.all(np.isfinite(gradient))
    assert task.metric_sums(prediction, targets, VALID)["pixels"] == 3 * 3 * 6


def test_nan_label_reaches_loss_and_metrics():
    task, batch = _depth(), _depth_batch()
    batch["depth"][0, 0, 0] = np.nan
    prediction, targets = jnp.zeros((4, 5, 6, 1)), task.targets(batch)
    assert np.isnan(task.loss(prediction, targets, VALID))
    sums = jax.tree.map(np.asarray, task.metric_sums(prediction, targets, VALID))
    assert np.isnan(task.metrics(sums)["rmse"])


def test_pixels_of_ignored_truth_count_nowhere():
    task = _semseg()
    labels = np.full((4, 5, 6), 255, np.int32)
    labels[0, 0, :2] = [0, 1]
    logits = jax.nn.one_hot(np.full((4, 5, 6), 2), 3).at[0, 0, :2].set(jnp.eye(3)[:2])
    targets = task.targets({"image": IMAGE, "semseg": labels})
    metrics = task.metrics(jax.tree.map(np.asarray, task.metric_sums(logits, targets, VALID)))
    assert metrics["miou"] == 1.0  # the wrong class 2 is only predicted where nothing is known
    assert metrics["classes_averaged"] == 2


# Pictures and files.


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64])
def test_label_panel_tells_the_classes_present_from_the_absent(dtype):
    labels = np.array([[0, 0, 2], [2, 255, 0]], dtype)
    panel = _semseg().panel(np.zeros((2, 3, 3), np.uint8), labels)
    classes = (("road", (128, 64, 128)), ("sky", (70, 130, 180)), ("car", (0, 0, 142)))
    assert panel.legend == (*classes, ("no label", None))
    assert panel.absent == {"sky"}
    assert panel.picture.shape == (2, 3, 3)


def test_label_file_holds_the_ids():
    labels = RNG.integers(0, 3, (5, 7)).astype(np.int32)
    contents, suffix, remark = _semseg().encode(labels)
    assert (suffix, remark) == (".png", "")
    with Image.open(io.BytesIO(contents)) as picture:
        assert picture.mode == "P"
        np.testing.assert_array_equal(picture, labels)
        assert picture.getpalette()[:9] == [128, 64, 128, 70, 130, 180, 0, 0, 142]


def test_depth_file_holds_millimetres_and_says_what_it_cannot():
    contents, suffix, remark = _depth().encode(np.float32([[0.0, 4.0014, 65.535, 300.0]]))
    assert suffix == ".png"
    assert remark.startswith("1 of 4 pixels are farther than 65.535 m")
    with Image.open(io.BytesIO(contents)) as picture:
        np.testing.assert_array_equal(picture, [[0, 4001, 65535, 65535]])
    assert _depth().encode(np.float32([[65.535]]))[2] == ""


def test_disparity_file_is_exact():
    disparity = RNG.uniform(0, 100, (3, 4)).astype(np.float32)
    contents, suffix, _ = _depth(DEPTH | {"kind": "disparity", "unit": "px"}).encode(disparity)
    assert suffix == ".npy"
    np.testing.assert_array_equal(np.load(io.BytesIO(contents)), disparity)
