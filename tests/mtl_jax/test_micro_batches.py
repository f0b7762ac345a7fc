"""The loss of a batch from those of its parts: every task type, with each of its losses."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from input_pipeline import labels
from mtl_jax import tasks

B, H, W = 6, 4, 8
SPECS = {
    "semseg": labels.classes(("road", "sky", "car"), ((1, 2, 3), (4, 5, 6), (7, 8, 9))),
    "depth": labels.depth((1.0, 80.0), mean=20.0, stddev=15.0),
    "normals": labels.normals(),
    "instance": labels.instances(("road", "sky", "car")),
}
CASES = {
    "classes": ("semseg", {"type": "segmentation"}),
    "depth_image": ("depth", {"type": "depth", "loss": "l1", "averaging": "image"}),
    "depth_batch": ("depth", {"type": "depth", "loss": "l2", "averaging": "batch"}),
    "normals": ("normals", {"type": "normals"}),
    "instances": ("instance", {"type": "instances"}),
}


def batch() -> dict[str, np.ndarray]:
    """Labels of which images, and parts of the batch, have very different numbers."""
    random = np.random.default_rng(0)
    density = np.array([0.9, 0.1, 0.0, 0.5, 0.02, 0.3])[:, None, None]
    known = random.random((B, H, W)) < density
    known[2] = False
    normals = random.normal(size=(B, H, W, 3)).astype(np.float32)
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    return {
        "image": np.zeros((B, H, W, 3), np.uint8),
        "semseg": np.where(known, random.integers(0, 3, (B, H, W)), 255).astype(np.int32),
        "depth": np.where(known, random.uniform(2, 70, (B, H, W)), 0.0).astype(np.float32),
        "normals": np.where(known[..., None], normals, 0.0).astype(np.float32),
        "instance": np.where(known, random.integers(1, 4, (B, H, W)), 0).astype(np.int32),
        "valid": np.array([True] * 5 + [False]),
    }


@functools.cache
def loss_and_denominator(case):
    """The task's key and channels; (predictions, batch) ─► (loss, denominator), one program."""
    key, options = CASES[case]
    task = tasks.build({key: options}, {k: spec.as_dict() for k, spec in SPECS.items()})[key]

    @jax.jit
    def of(prediction, part):
        targets = task.targets(part)
        denominator = task.denominator(targets, part["valid"])
        return task.loss(prediction, targets, part["valid"]), denominator

    return key, task.channels, of


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("parts", [2, 3, 6])
def test_the_loss_is_the_mean_of_the_parts_by_their_denominators(case, parts):
    key, channels, compute = loss_and_denominator(case)
    data = {k: v for k, v in batch().items() if k in ("image", key, "valid")}
    prediction = np.random.default_rng(1).standard_normal((B, H, W, channels), np.float32)

    def of(rows):
        loss, denominator = compute(prediction[rows], {k: v[rows] for k, v in data.items()})
        assert denominator.dtype == jnp.float32
        return np.float64(loss), np.float64(denominator)

    whole, total = of(np.arange(B))
    found = sum(
        loss * share / total for loss, share in (of(np.arange(k, B, parts)) for k in range(parts))
    )
    np.testing.assert_allclose(found, whole, rtol=1e-5)
    assert whole > 0
