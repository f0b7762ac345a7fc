"""What every task type promises, for each module of `mtl_jax.tasks` that is found.

A task type is tried with every kind of label; it refuses those it cannot use with a ValueError,
and keeps the contract with the others.
"""

import dataclasses

import jax
import jax.numpy as jnp
import label_examples
import numpy as np
import pytest

from mtl_jax import _discovery, parallel, tasks, weightings
from mtl_jax.pictures import maps as visualization

B, H, W = 3, 8, 12
RNG = np.random.default_rng(0)
SPECS = label_examples.specs()
BATCH = {"image": RNG.integers(0, 256, (B, H, W, 3)).astype(np.uint8)}
BATCH |= {key: label_examples.array(spec, (B, H, W)) for key, spec in SPECS.items()}
ALL_VALID = np.ones(B, bool)
SPEC_DICTS = {key: spec.as_dict() for key, spec in SPECS.items()}


def _accepted(type_name):
    """The tasks of that type over the kinds of label that it accepts."""
    built = []
    for key in SPECS:
        try:
            built += tasks.build({"it": {"type": type_name, "key": key}}, SPEC_DICTS).values()
        except ValueError:
            continue
    return built


TASKS = [
    pytest.param(task, id=f"{type_name}-{task.key}")
    for type_name in _discovery.names(tasks)
    for task in _accepted(type_name)
]


def _prediction(task, dtype=jnp.float32):
    return jnp.asarray(RNG.standard_normal((B, H, W, task.channels), np.float32), dtype)


def _split(tree, index):
    return jax.tree.map(lambda x: x[index], tree)


@pytest.mark.parametrize("type_name", _discovery.names(tasks))
def test_some_kind_of_label_suits(type_name):
    assert _accepted(type_name)


@pytest.mark.parametrize("task", TASKS)
def test_is_frozen_and_says_what_it_is(task):
    assert task.name == "it"
    assert task.channels >= 1
    assert task.headline[1] in ("max", "min")
    assert isinstance(task, tasks.Task)
    assert isinstance(task.classification, bool)
    with pytest.raises(dataclasses.FrozenInstanceError):
        task.name = "other"


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("task", TASKS)
def test_loss_is_a_finite_float32_scalar_with_a_gradient(task, dtype):
    def loss(prediction):
        return task.loss(prediction, task.targets(BATCH), ALL_VALID)

    value, gradient = jax.jit(jax.value_and_grad(loss))(_prediction(task, dtype))
    assert value.shape == ()
    assert value.dtype == jnp.float32
    assert np.isfinite(value)
    assert value > 0
    assert np.all(np.isfinite(np.asarray(gradient, np.float32)))
    assert np.any(np.asarray(gradient, np.float32) != 0)


@pytest.mark.parametrize("how", ["key absent", "batch all padding"])
@pytest.mark.parametrize("task", TASKS)
def test_unlabelled_gives_no_loss_no_gradient_and_no_metric(task, how):
    batch, valid = ({"image": BATCH["image"]}, ALL_VALID)
    if how == "batch all padding":
        batch, valid = BATCH, ~ALL_VALID

    @jax.jit
    def everything(prediction, batch, valid):
        targets = task.targets(batch)
        found = jax.value_and_grad(task.loss)(prediction, targets, valid)
        usual = task.labelled(task.targets(BATCH), ALL_VALID)
        sums = task.metric_sums(prediction, targets, valid)
        return found, (task.labelled(targets, valid), usual), sums

    (loss, gradient), labelled, sums = everything(_prediction(task), batch, valid)
    assert loss == 0
    np.testing.assert_array_equal(gradient, 0.0)
    np.testing.assert_array_equal(labelled, [False, True])
    metrics = task.metrics(jax.tree.map(np.asarray, sums))
    assert np.isnan(metrics[task.headline[0]])


@pytest.mark.parametrize("task", TASKS)
def test_unlabelled_examples_change_neither_loss_nor_gradient(task):
    """As in a batch from two data sets of which one lacks the key."""
    spec = SPECS[task.key]
    unknown = next(value for value in (spec.invalid, spec.ignore, 0) if value is not None)
    labels_of_batch = np.array(BATCH[task.key])
    labels_of_batch[1:] = unknown
    batch, prediction = BATCH | {task.key: labels_of_batch}, _prediction(task)

    @jax.jit
    def loss_and_gradient(prediction, batch, valid):
        return jax.value_and_grad(task.loss)(prediction, task.targets(batch), valid)

    loss, gradient = loss_and_gradient(prediction, batch, ALL_VALID)
    alone = loss_and_gradient(prediction[:1], _split(batch, slice(0, 1)), ALL_VALID[:1])
    np.testing.assert_allclose(loss, alone[0], rtol=1e-6)
    np.testing.assert_allclose(gradient[:1], alone[1], rtol=1e-5)
    np.testing.assert_array_equal(gradient[1:], 0.0)


# What is added up over pixels, over images, and over instances; all else is of one of these kinds.
OF_EACH_SUM = ("segmentation-classes", "depth-depth", "instances-instances")


@pytest.mark.parametrize(
    "task",
    [
        pytest.param(
            *task.values, id=task.id, marks=() if task.id in OF_EACH_SUM else pytest.mark.slow
        )
        for task in TASKS
    ],
)
def test_devices_give_the_same_as_one(task):
    def everything(batch):
        prediction, targets, valid = batch["prediction"], task.targets(batch), batch["valid"]
        loss, gradient = jax.value_and_grad(task.loss)(prediction, targets, valid)
        sums = task.metric_sums(prediction, targets, valid)
        return loss, gradient, sums, task.postprocess(prediction)

    batch = BATCH | {"valid": ALL_VALID, "prediction": np.asarray(_prediction(task))}
    mesh = parallel.make_mesh(jax.devices()[:B])
    one, many = (jax.jit(everything)(b) for b in (batch, parallel.put_batch(mesh, batch)))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-7), many, one)


def test_the_losses_of_all_tasks_are_one_total():
    """With one kind of labels absent, whose tasks then have no say."""
    every = {f"task_{i}": task.values[0] for i, task in enumerate(TASKS)}
    weighting = weightings.make("fixed", tuple(every))
    params, state = weighting.init(jax.random.key(0))

    def total(predictions, batch):
        targets = {name: task.targets(batch) for name, task in every.items()}
        losses = [t.loss(predictions[n], targets[n], ALL_VALID) for n, t in every.items()]
        labelled = [t.labelled(targets[n], ALL_VALID) for n, t in every.items()]
        return weighting.total(params, state, jnp.stack(losses), jnp.stack(labelled), None)[0]

    predictions = {n: _prediction(t) for n, t in every.items()}
    batch = {key: value for key, value in BATCH.items() if key != "normals"}
    value, gradient = jax.jit(jax.value_and_grad(total))(predictions, batch)
    assert np.isfinite(value)
    for task_name, task in every.items():
        assert np.any(np.asarray(gradient[task_name]) != 0) == (task.key != "normals")


@pytest.mark.parametrize("task", TASKS)
def test_metric_sums_add_up_over_batches(task):

    @jax.jit
    def metric_sums(prediction, batch, valid):
        return task.metric_sums(prediction, task.targets(batch), valid)

    given = _prediction(task), BATCH, ALL_VALID
    whole = metric_sums(*given)
    parts = [metric_sums(*_split(given, slice(i, i + 1))) for i in range(B)]
    added = jax.tree.map(lambda *sums: sum(map(np.float64, sums)), *parts)
    result = task.metrics(added)
    expected = task.metrics(jax.tree.map(np.float64, whole))
    assert result.keys() == expected.keys()
    assert task.headline[0] in result
    assert all(isinstance(value, float) for value in result.values())
    for name, value in expected.items():
        np.testing.assert_allclose(result[name], value, rtol=1e-5, err_msg=name)


@pytest.mark.parametrize("task", TASKS)
def test_maps_have_pictures_panels_and_files(task):
    maps = jax.jit(task.postprocess)(_prediction(task))
    assert all(value.shape[:3] == (B, H, W) for value in maps.values())
    image = BATCH["image"][0]
    value = np.asarray(maps[task.name][0])
    for picture in (task.visualize(value), task.visualize(_split(task.targets(BATCH), 0))):
        assert picture.dtype == np.uint8
        assert picture.shape == (H, W, 3)
    panel = task.panel(image, value)
    assert isinstance(panel, visualization.Panel)
    assert panel.picture.shape == (H, W, 3)
    contents, suffix, remark = task.encode(value)
    assert isinstance(contents, bytes)
    assert suffix.startswith(".")
    assert isinstance(remark, str)
