"""The loss of a batch from those of its parts: every task type, with each of its losses."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from input_pipeline import labels
from mtl_jax import tasks
from mtl_jax.tasks import depth, edges, normals, segmentation

B, H, W = 6, 4, 8
SPECS = {
    "segmentation": labels.classes(("road", "sky", "car"), ((1, 2, 3), (4, 5, 6), (7, 8, 9))),
    "depth": labels.depth((1.0, 80.0), mean=20.0, stddev=15.0),
    "normals": labels.normals(),
    "instances": labels.instances(("road", "sky", "car")),
    "edges": labels.edges(),
    "saliency": labels.saliency(),
}
# What the loss of a type depends on; the labels' key is the type's name.
CHOICES = {
    "segmentation": {"loss": segmentation.LOSSES},
    "depth": {"loss": (*depth.LOSSES, depth.SIGLOSS), "averaging": depth.AVERAGING},
    "normals": {"loss": normals.LOSSES},
    "instances": {},
    "edges": {"positive_weight": (0.95, edges.BY_SHARE), "ignored": ("nowhere", "negatives")},
    "saliency": {"ignored": ("nowhere", "negatives")},
}
CASES = [
    (name, *chosen) for name, of in CHOICES.items() for chosen in itertools.product(*of.values())
]
# Their losses of a whole batch are not made of those of its parts.
NOT_ADDITIVE = {
    depth.SIGLOSS: "a root of a variance and a squared mean over all pixels",
    "berhu": "its threshold is a share of the batch's largest error",
    edges.BY_SHARE: "the weights are the batch's shares of the two kinds of pixels",
    "saliency": "as of 'share'",
}


def batch() -> dict[str, np.ndarray]:
    """Labels of which images, and parts of the batch, have very different numbers."""
    random = np.random.default_rng(0)
    density = np.array([0.9, 0.1, 0.0, 0.5, 0.02, 0.3])[:, None, None]
    known = random.random((B, H, W)) < density
    known[2] = False
    vectors = random.normal(size=(B, H, W, 3)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=-1, keepdims=True)
    return {
        "image": np.zeros((B, H, W, 3), np.uint8),
        "segmentation": np.where(known, random.integers(0, 3, (B, H, W)), 255).astype(np.int32),
        "depth": np.where(known, random.uniform(2, 70, (B, H, W)), 0.0).astype(np.float32),
        "normals": np.where(known[..., None], vectors, 0.0).astype(np.float32),
        "instances": np.where(known, random.integers(1, 4, (B, H, W)), 0).astype(np.int32),
        "edges": np.where(known, random.random((B, H, W)), -1.0).astype(np.float32),
        "saliency": np.where(known, random.integers(0, 2, (B, H, W)), 255).astype(np.int32),
        "valid": np.array([True] * 5 + [False]),
    }


@functools.cache
def loss_and_denominator(case):
    """The task's channels; (predictions, batch) ─► (loss, denominator), one program."""
    name, *chosen = case
    options = {"type": name, **dict(zip(CHOICES[name], chosen, strict=True))}
    task = tasks.build({name: options}, {k: spec.as_dict() for k, spec in SPECS.items()})[name]

    @jax.jit
    def of(prediction, part):
        targets = task.targets(part)
        denominator = task.denominator(targets, part["valid"])
        return task.loss(prediction, targets, part["valid"]), denominator

    return task.channels, of


def whole_and_parts(case, parts):
    """The loss of the batch, and the mean of its parts' by their denominators."""
    channels, compute = loss_and_denominator(case)
    data = {k: v for k, v in batch().items() if k in ("image", case[0], "valid")}
    prediction = np.random.default_rng(1).standard_normal((B, H, W, channels), np.float32)

    def of(rows):
        loss, denominator = compute(prediction[rows], {k: v[rows] for k, v in data.items()})
        assert denominator.dtype == jnp.float32
        return np.float64(loss), np.float64(denominator)

    whole, total = of(np.arange(B))
    found = sum(
        loss * share / total for loss, share in (of(np.arange(k, B, parts)) for k in range(parts))
    )
    assert whole > 0
    return whole, found


def is_additive(case):
    return not any(word in NOT_ADDITIVE for word in case)


def name_of(case):
    return "-".join(map(str, case))


def test_every_task_type_is_here():
    assert set(CHOICES) == set(tasks.PART.names())


@pytest.mark.parametrize("case", [c for c in CASES if is_additive(c)], ids=name_of)
@pytest.mark.parametrize("parts", [2, 3, 6])
def test_the_loss_is_the_mean_of_the_parts_by_their_denominators(case, parts):
    whole, found = whole_and_parts(case, parts)
    np.testing.assert_allclose(found, whole, rtol=1e-5)


@pytest.mark.parametrize("case", [c for c in CASES if not is_additive(c)], ids=name_of)
def test_the_losses_that_are_said_to_be_each_parts_own_are(case):
    whole, found = whole_and_parts(case, 2)
    assert abs(found - whole) > 1e-4 * whole
