"""The two ways of averaging a loss over a batch of which some images lack labels."""

import dataclasses
import functools

import jax
import numpy as np
import pytest

from mtl_jax import system, tasks

SPEC = {"semseg": {"kind": "classes", "class_names": ("a", "b"), "palette": (), "ignore": 255}}
LOGITS = np.random.default_rng(0).normal(size=(3, 2, 3, 2)).astype(np.float32)
LABELS = np.array(
    [[[0, 1, 0], [1, 0, 1]], [[255, 255, 255], [255, 255, 255]], [[255, 1, 255], [255, 255, 0]]]
)


def system_of(how):
    task = tasks.build({"semseg": {"type": "segmentation"}}, SPEC)
    return system.System(
        model=None,
        tasks=task,
        weighting=None,
        image_mean=(),
        image_std=(),
        deep_supervision=False,
        loss_average=how,
    )


def loss(how, valid=(True, True, True)):
    parts = system_of(how)
    of_batch = jax.jit(functools.partial(parts.loss, "semseg"))
    return float(of_batch(LOGITS, LABELS, np.array(valid)))


def cross_entropies():
    """Of the labelled pixels of each image, in float64."""
    logs = LOGITS.astype(np.float64)
    logs = logs - np.log(np.exp(logs).sum(-1, keepdims=True))
    return [
        np.array(
            [-pixel[label] for pixel, label in zip(log.reshape(-1, 2), ids.ravel()) if label < 2]
        )
        for log, ids in zip(logs, LABELS)
    ]


def test_pixels_of_the_batch_or_images():
    first, none, last = cross_entropies()
    assert (len(first), len(none), len(last)) == (6, 0, 2)
    assert loss("pixels") == pytest.approx(np.concatenate([first, last]).mean(), rel=1e-6)
    assert loss("images") == pytest.approx((first.mean() + last.mean()) / 3, rel=1e-6)


@pytest.mark.parametrize("how", ["pixels", "images"])
def test_the_loss_of_a_batch_is_the_mean_of_its_parts_by_their_denominators(how):
    parts, found = system_of(how), []

    @jax.jit
    def of_one(logits, labels, valid):
        one = labels, valid
        return parts.loss("semseg", logits, *one), parts.denominator("semseg", *one)

    for i in range(3):
        value, denominator = of_one(LOGITS[i : i + 1], LABELS[i : i + 1], np.array([True]))
        found.append((float(value), float(denominator)))
    values, denominators = zip(*found)
    assert np.average(values, weights=denominators) == pytest.approx(loss(how), rel=1e-6)


def test_padding_is_no_image():
    first, *_ = cross_entropies()
    assert loss("images", (True, True, False)) == pytest.approx(first.mean() / 2, rel=1e-6)


def test_images_with_fewer_labels_count_for_more_by_labels():
    specs = SPEC | {"parts": SPEC["semseg"]}
    types = {name: {"type": "segmentation"} for name in specs}
    parts = dataclasses.replace(system_of("labels"), tasks=tasks.build(types, specs))
    batch = {
        "image": np.zeros((4, 2, 3, 3), np.uint8),
        "semseg": np.concatenate([LABELS, LABELS[:1]]),  # the last image is padding
        "parts": np.stack([LABELS[0], LABELS[1], LABELS[1], LABELS[0]]),
        "valid": np.array([True, True, True, False]),
    }
    factors = parts.image_factors(batch)
    assert factors[:3].tolist() == [1.0, 2.0, 2.0]  # of two tasks: both, none, one
    first, _, last = cross_entropies()
    logits = np.concatenate([LOGITS, LOGITS[:1]])
    found = parts.loss("semseg", logits, batch["semseg"], batch["valid"], factors)
    assert float(found) == pytest.approx((first.mean() + 2 * last.mean()) / 3, rel=1e-6)
    assert float(parts.denominator("semseg", batch["semseg"], batch["valid"])) == 3
    assert system_of("images").image_factors(batch) is None
