"""Every depth loss × normalisation × averaging × deep supervision: finite, and equal to NumPy."""

import dataclasses
import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from input_pipeline import labels
from mtl_jax import architectures, parallel, system, tasks
from mtl_jax.errors import ConfigError
from mtl_jax.sharing import task_losses
from mtl_jax.tasks import depth as depth_task

B, H, W, C = 8, 8, 8, 3
LOW, HIGH, MEAN, STDDEV = 4.0, 300.0, 27.0727, 29.1264
SPECS = {
    "semseg": labels.classes(("road", "sky", "car"), ((0, 0, 0),) * C).as_dict(),
    "depth": labels.depth((LOW, HIGH), mean=MEAN, stddev=STDDEV).as_dict(),
}
LOSSES = ("l1", "l2", "berhu")
NORMALIZATIONS = ("standard", "minmax", "log", "none")
AVERAGING = ("image", "batch")
COMBINATIONS = list(itertools.product(LOSSES, NORMALIZATIONS, AVERAGING, (False, True)))


class Network(nn.Module):
    """Predicts what its two parameters say, the first of them as an auxiliary output."""

    dtype: jnp.dtype

    @nn.compact
    def __call__(self, image, *, train):
        outputs = [
            {
                name: self.param(f"{name}_{k}", nn.initializers.zeros, (B, H, W, c), jnp.float32)
                for name, c in (("semseg", C), ("depth", 1))
            }
            for k in range(2)
        ]
        auxiliary, final = jax.tree.map(lambda x: x.astype(self.dtype), outputs)
        return architectures.Predictions(final=final, auxiliary=(auxiliary,))


def test_the_lists_are_complete():
    assert set(LOSSES) == set(depth_task.LOSSES)
    assert set(AVERAGING) == set(depth_task.AVERAGING)


def _system(combination, dtype):
    loss, normalization, averaging, deep = combination
    config = {"type": "depth", "loss": loss, "normalization": normalization}
    config |= {"averaging": averaging}
    return system.System(
        model=Network(dtype),
        tasks=tasks.build({"semseg": {"type": "segmentation"}, "depth": config}, SPECS),
        weighting=None,
        image_mean=(0.0,) * 3,
        image_std=(1.0,) * 3,
        deep_supervision=deep,
    )


def _params():
    rng = np.random.default_rng(0)
    shapes = {"semseg": (B, H, W, C), "depth": (B, H, W, 1)}
    return {
        f"{name}_{k}": rng.normal(size=shape).astype(np.float32)
        for name, shape in shapes.items()
        for k in range(2)
    }


def _batch(labelled):
    """Partly labelled: holes everywhere, one image without depth, one without either."""
    rng = np.random.default_rng(1)
    batch = {"image": np.zeros((B, H, W, 3), np.uint8), "valid": np.arange(B) != 6}
    semseg = rng.choice([0, 1, 2, 255], (B, H, W)).astype(np.int32)
    depth = rng.uniform(LOW, HIGH, (B, H, W)).astype(np.float32)
    depth[rng.random(depth.shape) < 0.3] = 0.0
    semseg[2], depth[2], depth[5] = 255, 0.0, 0.0
    if not labelled:
        semseg[:], depth[:] = 255, 0.0
    return batch | {"semseg": semseg, "depth": depth}


@functools.cache
def _program(dtype, combinations):
    """(params, batch) ─► [(losses, gradient of their sum)], one for each combination."""

    def one(combination, params, batch):
        def total(params):
            losses, _, _ = task_losses(
                _system(combination, dtype), params, {}, batch, jax.random.key(0)
            )
            return sum(losses.values()), losses

        gradient, losses = jax.grad(total, has_aux=True)(params)
        return losses, gradient

    return jax.jit(lambda params, batch: [one(c, params, batch) for c in combinations])


def _all(dtype, batch, mesh=None, combinations=tuple(COMBINATIONS)):
    """{combination: (losses, gradient of their sum)}."""
    params = _params()
    if mesh is not None:
        batch = parallel.put_batch(mesh, batch)
        params = jax.device_put(params, parallel.replicated(mesh))
    found = _program(jnp.dtype(dtype), combinations)(params, batch)
    return dict(zip(combinations, jax.device_get(found), strict=True))


# The same in float64, image by image.


def _normalized(normalization, metres):
    return {
        "standard": (metres - MEAN) / STDDEV,
        "minmax": (metres - LOW) / (HIGH - LOW),
        "log": np.log(np.maximum(metres - LOW + 1, 1e-9)) / np.log(HIGH - LOW + 1),
        "none": metres,
    }[normalization]


def _depth_loss(combination, prediction, batch):
    loss, normalization, averaging, _ = combination
    errors = []
    for i in np.flatnonzero(batch["valid"]):
        metres = batch["depth"][i].astype(np.float64)
        known = metres != 0
        if known.any():
            target = _normalized(normalization, metres)
            errors.append((prediction[i, ..., 0].astype(np.float64) - target)[known])
    c = 0.2 * max((np.abs(e).max() for e in errors), default=0.0)
    function = {
        "l1": np.abs,
        "l2": np.square,
        "berhu": lambda e: np.where(np.abs(e) <= c, np.abs(e), (e**2 + c**2) / (2 * c)),
    }[loss]
    values = [function(e) for e in errors]
    if not values:
        return 0.0
    if averaging == "image":
        return np.mean([v.mean() for v in values])
    return np.concatenate(values).mean()


def _semseg_loss(prediction, batch):
    known = (batch["semseg"] != 255) & batch["valid"][:, None, None]
    if not known.any():
        return 0.0
    logits = prediction.astype(np.float64)[known]
    chosen = np.take_along_axis(logits, batch["semseg"][known][:, None], axis=1)[:, 0]
    return np.mean(np.log(np.exp(logits).sum(axis=1)) - chosen)


def _expected(combination, batch, dtype):
    params = {k: np.asarray(jnp.asarray(v, dtype), np.float64) for k, v in _params().items()}
    supervised = (0, 1) if combination[-1] else (1,)
    return {
        "semseg": np.mean([_semseg_loss(params[f"semseg_{k}"], batch) for k in supervised]),
        "depth": np.mean(
            [_depth_loss(combination, params[f"depth_{k}"], batch) for k in supervised]
        ),
    }


@pytest.mark.parametrize("dtype", ["float32", pytest.param("bfloat16", marks=pytest.mark.slow)])
def test_every_combination_of_a_partly_labelled_batch_equals_float64(dtype):
    batch = _batch(labelled=True)
    for combination, (losses, gradient) in _all(dtype, batch).items():
        expected = _expected(combination, batch, dtype)
        for task, value in expected.items():
            assert losses[task].dtype == np.float32
            np.testing.assert_allclose(losses[task], value, rtol=2e-5, err_msg=str(combination))
        for name, value in gradient.items():
            assert np.isfinite(value).all(), combination
            # Without deep supervision the auxiliary output teaches nothing.
            assert np.any(value) == (combination[-1] or name.endswith("1")), (combination, name)


def test_no_combination_learns_from_an_unlabelled_batch():
    for combination, found in _all(jnp.float32, _batch(labelled=False)).items():
        assert not any(np.any(leaf) for leaf in jax.tree.leaves(found)), combination


def test_eight_devices_equal_one():
    """Over all that adds up over images; normalisations are of single pixels."""
    some = tuple(itertools.product(LOSSES, ("log",), AVERAGING, (True,)))
    batch = _batch(labelled=True)
    one = _all(jnp.float32, batch)
    eight = _all(jnp.float32, batch, parallel.make_mesh(), some)
    for combination in some:
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7),
            one[combination],
            eight[combination],
        )


class OnceDepth(Network):
    """Its auxiliary output has no depth."""

    def __call__(self, image, *, train):
        predictions = super().__call__(image, train=train)
        return predictions.replace(auxiliary=({"semseg": predictions.auxiliary[0]["semseg"]},))


def _losses(model, weights, *, deep_supervision=True):
    parts = _system(("l1", "log", "batch", deep_supervision), jnp.float32)
    parts = dataclasses.replace(parts, model=model, supervision_weights=weights)
    return task_losses(parts, _params(), {}, _batch(labelled=True), jax.random.key(0))[0]


def test_losses_of_several_predictions_are_averaged_or_summed_with_weights():
    first, final = (_losses(Network(jnp.float32), weights) for weights in ((1.0, 0.0), (0.0, 1.0)))
    for task in ("semseg", "depth"):
        assert first[task] != final[task]
        for weights, expected in (
            ((0.5, 2.0), 0.5 * first[task] + 2.0 * final[task]),
            ((), (first[task] + final[task]) / 2),
        ):
            found = _losses(Network(jnp.float32), weights)[task]
            np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_weights_of_earlier_predictions_do_nothing_where_those_are_not_supervised():
    final = _losses(Network(jnp.float32), (0.0, 1.0))
    for weights in ((), (0.2, 0.5)):
        found = _losses(Network(jnp.float32), weights, deep_supervision=False)
        assert (found["semseg"], found["depth"]) == (final["semseg"], final["depth"])


def test_a_task_that_is_predicted_once_has_the_loss_of_that():
    final = _losses(Network(jnp.float32), (0.0, 1.0))
    averaged, summed = (_losses(OnceDepth(jnp.float32), w) for w in ((), (1.0, 1.0)))
    assert averaged["depth"] == summed["depth"] == final["depth"]
    np.testing.assert_allclose(summed["semseg"], 2 * averaged["semseg"], rtol=1e-6)


def test_there_is_a_weight_for_every_prediction():
    with pytest.raises(ConfigError, match="expected 2 weights, as this network predicts 1 times"):
        _losses(Network(jnp.float32), (1.0, 1.0, 1.0))
