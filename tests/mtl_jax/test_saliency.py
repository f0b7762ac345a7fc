"""The task `saliency`, of one and of two channels."""

import benchmark_values as values
import jax
import numpy as np
import pytest

from input_pipeline import labels
from mtl_jax import tasks
from mtl_jax.errors import ConfigError

SPEC = {"saliency": labels.saliency().as_dict()}
VALID = np.array([True, True])


def build(**options):
    return tasks.build({"saliency": {"type": "saliency", **options}}, SPEC)["saliency"]


def arrays():
    rng = np.random.default_rng(0)
    batch = {
        "image": np.zeros((2, 5, 6, 3), np.uint8),
        "saliency": rng.choice([0, 1, 255], (2, 5, 6)).astype(np.int32),
    }
    return batch, rng.normal(size=(2, 5, 6, 2)).astype(np.float32)


def test_two_channels_are_one_logit():
    batch, two = arrays()
    one = two[..., 1:] - two[..., :1]
    found = {}
    for channels, prediction in ((1, one), (2, two)):
        task = build(channels=channels)
        assert task.channels == channels
        targets = task.targets(batch)
        found[channels] = (
            float(jax.jit(task.loss)(prediction, targets, VALID)),
            task.metrics(jax.jit(task.metric_sums)(prediction, targets, VALID))["maxF"],
            np.asarray(jax.jit(task.postprocess)(prediction)["saliency"]).tolist(),
        )
    assert found[1] == found[2]


@pytest.mark.parametrize("channels", [1, 2])
def test_views_are_averaged_as_probabilities(channels):
    prediction = arrays()[1][..., :channels]
    task = build(channels=channels)
    average = task.to_average(prediction, mirrored=True, zoom=0.5)
    assert average.shape[-1] == 2  # votes are among both
    np.testing.assert_allclose(average.sum(-1), 1, rtol=1e-6)
    again = task.from_average(average)
    assert again.shape == prediction.shape
    np.testing.assert_allclose(
        task.postprocess(again)["saliency"], task.postprocess(prediction)["saliency"], rtol=1e-5
    )


def test_unknown_pixels_count_in_neither_loss_nor_metric():
    batch, prediction = arrays()
    task = build(channels=2)
    changed = np.where(batch["saliency"][..., None] == 255, 100 * prediction, prediction)

    def measured(prediction):
        targets = task.targets(batch)
        sums = task.metric_sums(prediction, targets, VALID)
        return float(task.loss(prediction, targets, VALID)), task.metrics(sums)

    assert measured(prediction) == measured(changed)


def test_a_map_of_more_classes_is_refused():
    spec = labels.classes(("a", "b", "c"), ()).as_dict()
    with pytest.raises(ConfigError, match=r"has 3\. Set config\.tasks\.it\.key"):
        tasks.build({"it": {"type": "saliency"}}, {"it": spec})


def test_public_loss():
    (case,) = values.cases("losses")
    logits = np.moveaxis(np.array(case["saliency"]["logits"], np.float32), 1, -1)
    truth = np.array(case["saliency"]["truth"], np.int32)[:, 0]
    batch = {"image": np.zeros((*truth.shape, 3), np.uint8), "saliency": truth}
    task = build(channels=2)
    found = task.loss(logits, task.targets(batch), np.ones(len(truth), bool))
    assert float(found) == pytest.approx(case["saliency"]["balanced"], abs=2e-6)


def test_ignored_pixels_may_be_negatives_which_the_weights_know():
    batch, prediction = arrays()
    task = build(channels=1, ignored="negatives")
    z, yes = prediction[..., 0].astype(np.float64), batch["saliency"] == 1
    weight = 1 - yes.mean()
    each = np.where(yes, weight * np.log1p(np.exp(-z)), (1 - weight) * np.log1p(np.exp(z)))
    found = jax.jit(task.loss)(prediction[..., :1], task.targets(batch), VALID)
    assert float(found) == pytest.approx(each.mean(), rel=1e-5)
