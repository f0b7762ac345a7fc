"""Saliency: sums over batches against a loop over images and thresholds, and public values."""

import functools

import benchmark_values as values
import jax
import numpy as np
import pytest

from mtl_jax import losses
from mtl_jax.metrics import saliency


def measure(probability, truth, *, batches=1):
    """The metrics of images [N, H, W]; truth 255 counts nowhere."""
    sums = [
        jax.device_get(jax.jit(saliency.saliency_sums)(t == 1, p, t != 255))
        for p, t in zip(np.array_split(probability, batches), np.array_split(truth, batches))
    ]
    return saliency.saliency_metrics(jax.tree.map(lambda *each: np.sum(each, axis=0), *sums))


def images(count=4, seed=0):
    rng = np.random.default_rng(seed)
    truth = rng.choice([0, 1, 255], p=[0.6, 0.3, 0.1], size=(count, 9, 11))
    probability = np.clip(0.3 + 0.25 * (truth == 1) + rng.normal(0, 0.2, truth.shape), 0, 1)
    return probability.astype(np.float32), truth


def plain(probability, truth):
    """What the docstring says, image by image, in float64."""

    def f(precision, recall, beta):
        total = beta * precision + recall
        return (1 + beta) * precision * recall / total if total else 0.0

    def counts(said, true):
        return np.sum(said & true), np.sum(said), np.sum(true)

    found = {}
    for name, score in (("maxF", probability), ("maxF_invpt", 1 / (1 + np.exp(-probability)))):
        each = []
        for t in np.float32(saliency.THRESHOLDS):
            hits, said, true = counts((score >= t) & (truth != 255), truth == 1)
            each.append(f(hits / said if said else 0, hits / true if true else 0, 0.3))
        found[name] = max(each)
    families = {
        "mtdp": (saliency.THRESHOLDS, np.greater_equal),
        "survey": (saliency.SURVEY_THRESHOLDS, np.greater),
    }
    for name, (thresholds, reaches) in families.items():
        iou = []
        for t in np.float32(thresholds):
            of_images = []
            for p, y in zip(probability, truth):
                hits, said, true = counts(reaches(p, t) & (y != 255), y == 1)
                union = said + true - hits
                of_images.append(hits / union if union else 1.0)
            iou.append(np.mean(of_images))
        found[f"miou_per_image_{name}"] = max(iou)
    return found


@pytest.mark.parametrize("batches", [1, 3])
def test_against_a_plain_loop(batches):
    probability, truth = images()
    found = measure(probability, truth, batches=batches)
    for name, expected in plain(probability, truth).items():
        assert found[name] == pytest.approx(expected, abs=1e-6), name


def test_an_image_without_anything_salient_or_said_is_right():
    truth = np.zeros((1, 4, 4), int)
    found = measure(np.zeros((1, 4, 4), np.float32), truth)
    assert found["miou_per_image_mtdp"] == found["miou_per_image_survey"] == 1
    assert found["maxF"] == 0


def test_what_is_just_a_threshold():
    """It is said to be salient in the families that read p ≥ t, and not where p > t is read."""
    truth = np.array([[[1, 0]]])
    found = measure(np.float32([[[saliency.SURVEY_THRESHOLDS[0], 0]]]), truth)
    assert found["miou_per_image_survey"] == found["maxF_survey"] == 0
    found = measure(np.float32([[[saliency.THRESHOLDS[0], 0]]]), truth)
    assert found["miou_per_image_mtdp"] == found["maxF"] == 1


def test_the_last_threshold_of_the_survey_is_lower():
    probability, truth = np.float32([[[0.97, 0.93]]]), np.array([[[1, 0]]])
    found = measure(probability, truth)
    assert found["miou_per_image_mtdp"] == 1  # at 0.95
    assert found["miou_per_image_survey"] == 0.5  # at 0.9
    found = measure(np.float32([[[0.97, 0.88]]]), truth)
    assert found["miou_per_image_survey"] == 1


def test_without_a_pixel_there_is_no_iou():
    found = measure(np.zeros((1, 4, 4), np.float32), np.full((1, 4, 4), 255))
    assert np.isnan(found["miou_per_image_mtdp"])


def test_public_values():
    for case in values.cases("saliency"):
        found = measure(values.array(case, "probability"), values.array(case, "truth", int))
        for name, expected in case["expected"].items():
            assert found[name] == pytest.approx(expected, abs=1e-6), name


class TestBalancedLoss:
    def test_is_its_formula(self):
        rng = np.random.default_rng(1)
        z = rng.normal(size=(2, 3, 4))
        y = rng.choice([0.0, 0.25, 1.0], size=z.shape)
        mask = rng.random(z.shape) < 0.8
        for given in (0.95, None):
            w = np.mean(1 - y[mask]) if given is None else given
            value = w * y * np.log1p(np.exp(-z)) + (1 - w) * (1 - y) * np.log1p(np.exp(z))
            found = losses.balanced_binary_cross_entropy(z, y, mask, positive_weight=given)
            assert float(found) == pytest.approx(value[mask].mean(), rel=1e-6)

    def test_is_nothing_where_nothing_counts(self):
        z, none = np.ones((1, 2, 2), np.float32), np.zeros((1, 2, 2), bool)
        value, gradient = jax.value_and_grad(
            lambda z: losses.balanced_binary_cross_entropy(z, np.full((1, 2, 2), 255.0), none)
        )(z)
        assert value == 0
        assert not gradient.any()

    @pytest.mark.parametrize("label", [-0.1, 1.1, 255.0, np.nan])
    @pytest.mark.parametrize("weight", [0.95, None])
    def test_never_hides_a_label_outside_0_to_1(self, label, weight):
        z, y, mask = np.zeros((1, 1, 3)), np.array([[[0.0, 1.0, label]]]), np.ones((1, 1, 3), bool)
        balanced = functools.partial(
            losses.balanced_binary_cross_entropy, z, y, positive_weight=weight
        )
        assert np.isnan(balanced(mask))
        mask[..., 2] = False
        assert np.isfinite(balanced(mask))

    def test_public_values(self):
        (case,) = values.cases("losses")
        z, y = (np.array(case["edge"][key], np.float32)[:, 0] for key in ("logits", "truth"))
        for weight, key in ((0.95, "balanced_pos_weight_095"), (0.8, "balanced_pos_weight_080")):
            found = losses.balanced_binary_cross_entropy(z, y, y != 255, positive_weight=weight)
            assert float(found) == pytest.approx(case["edge"][key], abs=2e-6)
        z, y = np.array(case["saliency"]["logits"]), np.array(case["saliency"]["truth"])[:, 0]
        found = losses.balanced_binary_cross_entropy(z[:, 1] - z[:, 0], y, y != 255)
        assert float(found) == pytest.approx(case["saliency"]["balanced"], abs=2e-6)
