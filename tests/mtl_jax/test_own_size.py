"""Predictions at the images' own size: against OpenCV, and what an evaluation makes of them."""

import types

import cv2
import jax
import numpy as np
import pytest

from input_pipeline import labels
from mtl_jax import evaluation, own_size, parallel, tasks
from mtl_jax.errors import ConfigError

RNG = np.random.default_rng(0)
SEEN, FRAME, SIZES = (12, 10), (16, 18), [(7, 18), (16, 5)]
SPECS = {
    "semseg": labels.classes(("a", "b", "c"), ()).as_dict(),
    "sal": labels.saliency().as_dict(),
    "normals": labels.normals().as_dict(),
    "depth": labels.depth((1.0, 9.0)).as_dict(),
}
TASKS = tasks.build(
    {
        "semseg": {"type": "segmentation"},
        "sal": {"type": "saliency", "channels": 2},
        "normals": {"type": "normals"},
        "depth": {"type": "depth", "normalization": "none"},
    },
    SPECS,
)


def predictions(count):
    draw = {name: RNG.normal(size=(count, *SEEN, t.channels)) for name, t in TASKS.items()}
    draw["depth"] = 5 + 4 * draw["depth"]  # some of it beyond the range
    return {name: value.astype(np.float32) for name, value in draw.items()}


def by_opencv(name, prediction, size):
    """What a file of the map would hold, resized by OpenCV."""

    def resized(value, kind):
        return cv2.resize(value.astype(np.float32), size[::-1], interpolation=kind)

    if name == "semseg":
        return resized(prediction.argmax(-1), cv2.INTER_NEAREST)
    if name == "sal":
        share = 1 / (1 + np.exp(prediction[..., 0] - prediction[..., 1]))
        return resized(share, cv2.INTER_LINEAR)
    if name == "depth":
        return resized(prediction[..., 0], cv2.INTER_LINEAR)
    unit = prediction / np.linalg.norm(prediction, axis=-1, keepdims=True)
    mean = resized(unit, cv2.INTER_LINEAR)
    return mean / np.linalg.norm(mean, axis=-1, keepdims=True)


@pytest.mark.parametrize("size", SIZES)
def test_maps_are_those_of_files_that_are_resized(size):
    given = predictions(1)
    found = jax.jit(lambda p, s: own_size.resized(TASKS, p, s, FRAME))(given, np.array(size))
    for name, task in TASKS.items():
        assert found[name].shape == (1, *FRAME, task.channels)
        value = found[name][0, : size[0], : size[1], 0]  # depth: not clamped
        if name != "depth":
            value = task.postprocess(found[name])[name][0, : size[0], : size[1]]
        np.testing.assert_allclose(value, by_opencv(name, given[name][0], size), atol=2e-5)


def test_an_evaluation_compares_them_with_the_labels_as_they_are():
    given, size = predictions(2), np.array(SIZES, np.int32)
    inside = np.zeros((2, *FRAME), bool)
    for i, (height, width) in enumerate(SIZES):
        inside[i, :height, :width] = True
    truth = np.where(inside, RNG.integers(0, 3, inside.shape), 255).astype(np.int32)
    metres = np.where(inside, RNG.uniform(1, 9, inside.shape), 0).astype(np.float32)
    chosen = {name: TASKS[name] for name in ("semseg", "depth")}
    system = types.SimpleNamespace(
        tasks=chosen,
        plain_and_merged=lambda variables, image, views: (
            ({name: value + image[..., :1] for name, value in variables.items()},) * 2
        ),
    )
    batch = {
        "image": np.full((2, *FRAME, 3), 99, np.uint8),
        own_size.STRETCHED: np.zeros((2, *SEEN, 3), np.uint8),
        own_size.SIZE: size,
        "semseg": truth,
        "depth": metres,
        "valid": np.ones(2, bool),
    }
    seen = {}
    variables = {name: given[name] for name in chosen}
    evaluate = evaluation.Evaluator(system, parallel.make_mesh(jax.devices()[:1]))
    found = evaluate(variables, [batch], lambda batch, outputs: seen.update(outputs))
    right, squares = [], []
    for i, own in enumerate(SIZES):
        ids = by_opencv("semseg", given["semseg"][i], own)
        assert (seen["semseg"]["semseg"][i, : own[0], : own[1]] == ids).all()
        right.append(ids == truth[i, : own[0], : own[1]])
        depth = np.maximum(by_opencv("depth", given["depth"][i], own), 1e-9)
        squares.append((depth - metres[i, : own[0], : own[1]]) ** 2)
    flat = [np.concatenate([np.ravel(one) for one in each]) for each in (right, squares)]
    assert found["semseg/pixel_accuracy"] == pytest.approx(flat[0].mean(), rel=1e-6)
    assert found["depth/rmse_unclamped"] == pytest.approx(np.sqrt(flat[1].mean()), rel=1e-5)


def test_offsets_are_refused():
    built = tasks.build({"it": {"type": "instances"}}, {"it": labels.instances().as_dict()})
    with pytest.raises(ConfigError, match=r"resize_back=True: .* found it: offsets"):
        own_size.check(built)
