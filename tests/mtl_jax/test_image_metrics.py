"""Metrics of single images: against NumPy, whatever the batches, and what is drawn."""

import types

import jax
import numpy as np
import pytest

from mtl_jax import evaluation, metrics, parallel, tasks
from mtl_jax.runs import image_metrics

N, H, W = 7, 6, 8
CLASSES = 3
SPECS = {
    "semseg": {
        "kind": "classes",
        "class_names": ("a", "b", "c"),
        "palette": ((0, 0, 0), (1, 1, 1), (2, 2, 2)),
    },
    "depth": {
        "kind": "depth",
        "unit": "m",
        "valid_range": (1.0, 80.0),
        "mean": 0.0,
        "stddev": 1.0,
        "invalid": 0.0,
    },
}
TASKS = tasks.build(
    {"semseg": {"type": "segmentation"}, "depth": {"type": "depth", "normalization": "none"}}, SPECS
)


def _predict(variables, image):
    """The first channel decides the class, the second is the depth."""
    logits = jax.nn.one_hot(image[..., 0] % CLASSES, CLASSES)
    return {"semseg": logits + variables["nothing"], "depth": image[..., 1:2].astype(np.float32)}


SYSTEM = types.SimpleNamespace(
    tasks=TASKS,
    plain_and_merged=lambda variables, image, views: (_predict(variables, image),) * 2,
)


@pytest.fixture(scope="module")
def split():
    rng = np.random.default_rng(3)
    data = {
        "image": rng.integers(1, 80, (N, H, W, 3), dtype=np.uint8),
        "semseg": rng.choice([0, 1, 255], (N, H, W)).astype(np.int32),
        "depth": rng.choice([0.0, 5.0, 30.0], (N, H, W)).astype(np.float32),
    }
    data["semseg"][2] = 255  # unlabelled
    right = data["semseg"][4] != 255
    data["image"][4, ..., 0] = np.where(right, 3 + data["semseg"][4], 4)
    return data


def _batches(split, size):
    for start in range(0, N, size):
        index = np.arange(start, start + size)
        batch = {key: value[np.minimum(index, N - 1)] for key, value in split.items()}
        yield batch | {"valid": index < N}


def _draw(batch, outputs, *, ids):
    """A picture that tells which image it is of, and of which maps."""
    _draw.ids += ids
    assert len(batch["valid"]) == len(outputs["semseg"]["semseg"]) == 1
    return {"x": np.concatenate([batch["image"][0], outputs["semseg"]["semseg"][0][..., None]], -1)}


_draw.ids = []


def _collect(split, size, *, keep=2, devices=1):
    found = image_metrics.ImageMetrics(TASKS, _draw, keep=keep)
    mesh = parallel.make_mesh(jax.devices()[:devices])
    evaluate = evaluation.Evaluator(SYSTEM, mesh)
    variables = {"nothing": np.float32(0)}
    whole = evaluate(variables, _batches(split, size), found.on_batch, found.on_images)

    def ids(step):
        return [f"id{step * size + i}" for i in range(size)]

    return found, whole, found.summary(ids)


def _expected(split):
    miou, si_log = [], []
    for i in range(N):
        truth, guess = split["semseg"][i], split["image"][i, ..., 0] % CLASSES
        known = truth != 255
        both = [np.sum(known & (truth == c) & (guess == c)) for c in range(CLASSES)]
        either = [np.sum(known & ((truth == c) | (guess == c))) for c in range(CLASSES)]
        iou = [x / y for x, y in zip(both, either, strict=True) if y]
        miou.append(np.mean(iou) if iou else None)
        known = split["depth"][i] > 0
        error = np.log(split["depth"][i][known]) - np.log(split["image"][i, ..., 1][known] * 1.0)
        si_log.append(100 * np.std(error))
    return miou, si_log


@pytest.mark.parametrize(("size", "devices"), [(3, 1), (4, 4), (7, 1)])
def test_metrics_of_every_image(split, size, devices):
    _, whole, summary = _collect(split, size, devices=devices)
    images = summary["images"]
    miou, si_log = _expected(split)
    assert images["id"] == [f"id{i}" for i in range(N)]
    assert np.isnan(images["semseg/miou"][2])
    del miou[2], images["semseg/miou"][2]
    np.testing.assert_allclose(images["semseg/miou"], miou, rtol=1e-12)
    np.testing.assert_allclose(images["depth/si_log_rmse"], si_log, rtol=1e-4)
    assert summary["directions"] == {"semseg/miou": "max", "depth/si_log_rmse": "min"}
    assert whole["depth/si_log_rmse"] == pytest.approx(np.mean(si_log), rel=1e-5)


def test_confusion_is_that_of_the_split(split):
    _, whole, summary = _collect(split, 3)
    assert list(summary["confusion"]) == ["semseg"]
    known = split["semseg"] != 255
    expected = np.zeros((CLASSES, CLASSES), np.int64)
    np.add.at(expected, (split["semseg"][known], (split["image"][..., 0] % CLASSES)[known]), 1)
    np.testing.assert_array_equal(summary["confusion"]["semseg"], expected)
    iou = metrics.iou_from_confusion(expected)
    assert whole["semseg/iou/b"] == pytest.approx(iou[1])


@pytest.mark.parametrize("size", [1, 3, 7])
def test_the_worst_are_drawn(split, size):
    found, _, summary = _collect(split, size)
    miou, si_log = _expected(split)
    order = {
        "semseg": sorted((i for i in range(N) if miou[i] is not None), key=lambda i: miou[i]),
        "depth": sorted(range(N), key=lambda i: -si_log[i]),
    }
    _draw.ids.clear()
    pictures = found.pictures(summary["worst"])
    assert len(pictures) == 4
    assert _draw.ids == [*summary["worst"]["semseg"], *summary["worst"]["depth"]]
    for task, indices in order.items():
        assert summary["worst"][task] == [f"id{i}" for i in indices[:2]]
        for rank, i in enumerate(indices[:2]):
            picture = pictures[f"worst_{task}_{rank}"]
            np.testing.assert_array_equal(picture[..., :3], split["image"][i])
            np.testing.assert_array_equal(picture[..., 3], split["image"][i, ..., 0] % CLASSES)


def test_of_equals_the_first_is_the_worst(split):
    same = {key: np.repeat(value[:1], N, axis=0) for key, value in split.items()}
    _, _, summary = _collect(same, 3)
    assert summary["worst"] == {"semseg": ["id0", "id1"], "depth": ["id0", "id1"]}


def test_none_may_be_kept(split):
    found, _, summary = _collect(split, 3, keep=0)
    assert found.pictures(summary["worst"]) == {}
    assert summary["worst"] == {"semseg": [], "depth": []}
    assert len(summary["images"]["id"]) == N


def test_what_is_not_finite_has_no_metric(split):
    """The class of a pixel whose logits are NaN would be class 0, beside a loss of NaN."""
    mesh = parallel.make_mesh(jax.devices()[:1])

    def predict(variables, image):
        found = _predict(variables, image)
        first = (jax.numpy.arange(image.shape[0]) == 0)[:, None, None, None]
        broken = first & (image[..., :1] == image[:1, :1, :1, :1])
        return found | {"semseg": jax.numpy.where(broken, jax.numpy.nan, found["semseg"])}

    system = types.SimpleNamespace(
        tasks=TASKS,
        plain_and_merged=lambda variables, image, views: (predict(variables, image),) * 2,
    )
    images = image_metrics.ImageMetrics(TASKS, draw=None, keep=0)
    found = evaluation.Evaluator(system, mesh)(
        {"nothing": np.zeros(())}, _batches(split, N), None, images.on_images
    )
    semseg = {name: value for name, value in found.items() if name.startswith("semseg/")}
    assert len(semseg) > 5
    assert all(np.isnan(value) for value in semseg.values())
    assert np.isfinite(found["depth/rmse"])
    assert np.isnan(found["headline_mean"])
    values = images.summary(lambda step: [str(i) for i in range(N)])["images"]
    broken = np.isnan(values["semseg/miou"])
    assert broken[0]
    assert not broken.all()
    assert np.isfinite(values["depth/si_log_rmse"]).all()


def test_sums_over_many_batches_lose_nothing():
    """2,000 images one by one: added up in float32 alone, 10⁻⁵ and more of a metric is lost."""
    count, error = 2000, np.float32(0.1)
    image = np.full((1, 2, 2, 3), 10, np.uint8)
    batch = {"image": image, "depth": image[..., 0] + error, "valid": np.ones(1, bool)}
    batch["semseg"] = np.zeros((1, 2, 2), np.int32)
    found = evaluation.Evaluator(SYSTEM, parallel.make_mesh(jax.devices()[:1]))(
        {"nothing": np.zeros(())}, [batch] * count
    )
    exact = float(batch["depth"][0, 0, 0] - np.float32(10))
    assert found["depth/abs"] == pytest.approx(exact, rel=1e-6)
    assert found["depth/rmse"] == pytest.approx(exact, rel=1e-6)


def test_every_example_has_a_file_of_its_own(split, tmp_path):
    names = ["a/b_c", "a_b/c", "../out", ".."]
    stream = types.SimpleNamespace(
        example_ids=lambda step: [*names, *"efg"][:N], local_slice=slice(None)
    )
    saver = evaluation.PredictionSaver(tmp_path / "saved", stream, TASKS)
    batch = next(_batches(split, N))
    outputs = {name: {name: np.arange(float(N))} for name in TASKS}
    saver(batch, outputs)
    found = {str(path.relative_to(tmp_path)): path for path in tmp_path.rglob("*.npz")}
    first = ["saved/a/b_c.npz", "saved/a_b/c.npz", "saved/out.npz", "saved/_.npz"]
    assert set(first) < set(found)
    assert len(found) == N
    for row, name in enumerate(first):
        with np.load(found[name]) as arrays:
            assert arrays["semseg/prediction"] == row


def test_the_names_of_all_metrics_are_known_beforehand(split):
    found = evaluation.Evaluator(SYSTEM, parallel.make_mesh(jax.devices()[:1]))(
        {"nothing": np.zeros(())}, _batches(split, N)
    )
    assert sorted(evaluation.metric_names(TASKS, TASKS)) == sorted(found)
    only_depth = evaluation.metric_names(TASKS, ["depth"])
    assert "depth/rmse" in only_depth
    assert {"loss", "headline_mean"} <= set(only_depth)
    assert not any(name.startswith("semseg/") for name in only_depth)
    assert evaluation.metric_names(TASKS, []) == []


def test_a_split_without_labels_has_no_metrics(split):
    unlabelled = split | {"semseg": np.full_like(split["semseg"], 255)}
    unlabelled |= {"depth": np.zeros_like(split["depth"])}
    found = evaluation.Evaluator(SYSTEM, parallel.make_mesh(jax.devices()[:1]))(
        {"nothing": np.zeros(())}, _batches(unlabelled, N)
    )
    assert found == {}
