"""Panoptic quality and average precision of instances against a greedy matching in float64."""

import jax
import numpy as np
import pytest
from conftest import BATCH_SIZES

from mtl_jax import metrics

RNG = np.random.default_rng(0)
B = 8
VALID = np.array([True] * 7 + [False])

_instance_sums = jax.jit(metrics.instance_sums)


def _segments(ids):
    return [ids == i for i in np.unique(ids[ids != 0])]


def _quality(truth, found):
    """PQ, SQ, RQ, AP50 and AP by greedy matching of one instance after the other, in float64."""
    pairs = [(_segments(t), _segments(f)) for t, f in zip(truth, found)]
    detections, true = [], sum(len(t) for t, _ in pairs)
    for image, (real, predicted) in enumerate(pairs):
        for mask in predicted:
            ious = [(mask & r).sum() / (mask | r).sum() for r in real]
            best = int(np.argmax(ious)) if ious else -1
            detections.append((mask.sum(), image, best, ious[best] if ious else 0.0))
    # The larger first; those in one eighth of an octave at once.
    rank = np.array([np.floor(8 * np.log2(area)) for area, *_ in detections])

    def precision(threshold):
        curve = []
        for level in sorted(set(rank), reverse=True):
            chosen = [d for d, r in zip(detections, rank) if r >= level]
            hits = {(image, best) for _, image, best, iou in chosen if iou > threshold}
            curve.append((len(hits) / true, len(hits) / len(chosen)))
        area, before = 0.0, 0.0
        for k, (recall, _) in enumerate(curve):
            area += (recall - before) * max(p for _, p in curve[k:])
            before = recall
        return area

    matched = [iou for *_, iou in detections if iou > 0.5]
    f1 = len(matched) / ((true + len(detections)) / 2)
    averages = [precision(k / 20) for k in range(10, 20)]
    return {
        "pq": f1 * np.mean(matched),
        "sq": np.mean(matched),
        "rq": f1,
        "ap50": averages[0],
        "ap": np.mean(averages),
    }


def _damaged(ids):
    """Instances cut, merged, shifted, invented, with other numbers."""
    found = np.roll(ids, 1, axis=2) * 3
    found[:, :, 12:] += (found[:, :, 12:] > 0) * 50
    found[:, :3, :3] = 9
    return found.astype(np.int32)


def _blocks():
    """Images of rectangles of all sizes, one of them without any."""
    ids = np.zeros((B, 24, 40), np.int32)
    for image in ids[1:]:
        for i in range(12):
            top, left = RNG.integers(0, 22), RNG.integers(0, 36)
            height, width = RNG.integers(2, 12, 2)
            image[top : top + height, left : left + width] = RNG.integers(1, 2**28) if i else 7
    return ids


@pytest.mark.parametrize("batch_size", BATCH_SIZES)
def test_instance_metrics_equal_a_greedy_matching(batch_size):
    truth = _blocks()
    found = _damaged(truth)
    sums = [
        jax.tree.map(np.float64, _instance_sums(truth[s], found[s], VALID[s]))
        for s in (slice(i, i + batch_size) for i in range(0, B, batch_size))
    ]
    result = metrics.instance_metrics(jax.tree.map(lambda *x: sum(x), *sums))
    expected = _quality(truth[:7], found[:7])
    assert 0.1 < expected["pq"] < 0.9
    assert 0.02 < expected["ap"] < expected["ap50"] < 0.95
    for name, value in expected.items():
        np.testing.assert_allclose(result[name], value, rtol=1e-6, err_msg=name)


def test_perfect_instances_and_none():
    truth = _blocks()
    sums = jax.device_get(_instance_sums(truth, truth * 2 + (truth > 0), VALID))
    assert metrics.instance_metrics(sums) == dict.fromkeys(("pq", "sq", "rq", "ap50", "ap"), 1.0)
    nothing = np.zeros_like(truth)
    result = metrics.instance_metrics(jax.device_get(_instance_sums(truth, nothing, VALID)))
    assert (result["pq"], result["ap"]) == (0.0, 0.0)
    result = metrics.instance_metrics(jax.device_get(_instance_sums(nothing, truth, VALID)))
    assert all(np.isnan(value) for value in result.values())


def test_iou_of_exactly_a_half_is_no_match():
    truth, found = np.zeros((2, 1, 3, 4), np.int32)
    truth[0, 0, :2], found[0, 0, :1] = 1, 1
    sums = jax.device_get(_instance_sums(truth, found, np.array([True])))
    assert metrics.instance_metrics(sums)["pq"] == 0.0


def test_negative_ids_are_instances_like_others():
    truth = np.zeros((1, 4, 8), np.int32)
    truth[0, :2, :3], truth[0, 2:, 5:] = -7, 3
    found = jax.device_get(_instance_sums(truth, -truth, np.ones(1, bool)))
    assert metrics.instance_metrics(found)["pq"] == 1.0
