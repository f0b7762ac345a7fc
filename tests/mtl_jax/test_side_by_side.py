"""Networks side by side: what they exchange by, and that they start from runs of single tasks."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import traced
from flax import linen as nn

from mtl_jax import architectures, checkpoints
from mtl_jax.architectures import cross_stitch, nddr
from mtl_jax.encoders import resnet
from mtl_jax.errors import ConfigError
from mtl_jax.train_state import TrainState
from mtl_jax.weights import single_task
from mtl_jax.weights.published import PretrainedError

CHANNELS = {"semseg": 3, "depth": 1}
OPTIONS = {
    "encoder": {
        "name": "resnet",
        "width": 8,
        "replace_stride_with_dilation": "FTT",
        "dilation_rule": "survey",
    },
    "aspp": {"rates": (3, 6, 9), "channels": 8},
    "decoder": {"name": "deeplabv3", "dropout": 0.0},
}


def test_a_stitch_by_hand():
    """0.9·1 + 0.1·3 and 0.1·1 + 0.9·3."""
    stitch = cross_stitch.Stitch(0.9, 0.1)
    maps = [jnp.full((1, 1, 1, 2), value) for value in (1.0, 3.0)]
    variables = stitch.init(jax.random.key(0), maps)
    for found, expected in zip(stitch.apply(variables, maps), (1.2, 2.8), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-6)
    alpha = np.zeros((2, 2, 2), np.float32)
    alpha[0, 1, 1] = 5.0  # the first task's second channel sees the second task's alone
    found = stitch.apply({"params": {"alpha": alpha}}, maps)
    np.testing.assert_allclose(np.ravel(found), [0.0, 15.0, 0.0, 0.0])


def test_a_reduction_by_hand():
    """It starts as 0.9 of the own features and 0.1 of the others', over √(1 + ε)."""
    reduction = nddr.Reduction(0.9, 0.1)
    maps = {"a": jnp.float32([[[[1.0, 2.0]]]]), "b": jnp.float32([[[[3.0, -20.0]]]])}
    variables = reduction.init(jax.random.key(0), maps, train=False)
    found = reduction.apply(variables, maps, train=False)
    np.testing.assert_allclose(np.ravel(found["a"]), [1.2, 0.0], atol=1e-4)  # 1.8 − 2 is negative
    np.testing.assert_allclose(np.ravel(found["b"]), [2.8, 0.0], atol=1e-4)


@pytest.mark.parametrize(("module", "count"), [(cross_stitch.Stitch, 4), (nddr.Reduction, 5)])
def test_where_they_exchange(module, count):
    """Cross-stitch networks after the four stages, NDDR-CNN after the stem's max-pool as well."""
    name = "cross_stitch" if module is cross_stitch.Stitch else "nddr"
    seen = []

    def note(call, args, kwargs, context):
        if isinstance(context.module, module):
            seen.append(jax.tree.leaves(args)[0].shape)
        return call(*args, **kwargs)

    init = functools.partial(architectures.make(name, CHANNELS, **OPTIONS).init, train=False)
    with nn.intercept_methods(note):
        jax.eval_shape(init, jax.random.key(0), jnp.zeros((1, 64, 96, 3)))
    stages = [(1, 16, 24, 8), (1, 8, 12, 16), (1, 8, 12, 32), (1, 8, 12, 64)]
    assert seen == [stages[0]] * (count - 4) + stages


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("survey", [(1, 2), (2, 2), (2, 4), (4, 4)]),
        ("torchvision", [(1, 1), (1, 2), (1, 2), (1, 4)]),
    ],
)
def test_dilations_of_both_convolutions_of_basic_blocks(rule, expected):
    model = resnet.ResNet(18, 8, (False, True, True), rule, False, jnp.float32)
    names = [f"layer{stage}_{index}" for stage in (3, 4) for index in (0, 1)]
    blocks = [getattr(model.bind({}), name) for name in names]
    assert [(b.first_dilation, b.dilation) for b in blocks] == expected


def state_of(name: str, channels, fill: float, **more) -> TrainState:
    """Everything `fill`, but no network at all is computed."""
    model = architectures.make(name, channels, **OPTIONS, **more)
    init = functools.partial(model.init, train=False)
    shapes = traced.shapes(init, jax.random.key(0), jnp.zeros((1, 64, 64, 3)))
    filled = jax.tree.map(lambda leaf: np.full(leaf.shape, fill, leaf.dtype), shapes)
    variables = jax.device_put(filled)
    return TrainState(
        step=jnp.ones((), jnp.int32),
        params={"model": variables["params"], "weighting": {}},
        batch_stats=variables["batch_stats"],
        opt_state=(),
        weighting=(),
        epoch_losses={},
    )


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> dict[str, str]:
    """A run of each task alone, whose best checkpoint is 1 or 2 everywhere."""
    found = {}
    for value, (task, outputs) in enumerate(CHANNELS.items(), start=1):
        directory = tmp_path_factory.mktemp(task)
        with checkpoints.Checkpoints(directory / "checkpoints") as store:
            store.save_best(state_of("branched", {task: outputs}, value), {})
        found[task] = str(directory)
    return found


@pytest.mark.parametrize("name", ["cross_stitch", pytest.param("nddr", marks=pytest.mark.slow)])
def test_each_network_starts_from_its_own_run(name, runs):
    said = []
    state = single_task.load(state_of(name, CHANNELS, 0.5), runs, report=said.append)
    expected = {"semseg": 1.0, "depth": 2.0}
    for collection in (state.params["model"], state.batch_stats):
        for module, tree in collection.items():
            kind, _, task = module.partition("_")
            value = expected[task] if kind in ("encoder", "decoder") else 0.5
            assert all((leaf == value).all() for leaf in jax.tree.leaves(tree)), module
    assert "of semseg from step 1 of" in said[0]
    assert re.search(r"keeps its initial value: (reduction0, .*reduction4|stitch1, .*)", said[-1])


def test_runs_of_another_network_or_none_are_refused(runs, tmp_path):
    state = state_of("cross_stitch", CHANNELS, 0.5)
    load = functools.partial(single_task.load, state, report=print)
    with pytest.raises(PretrainedError, match=r"single_task\.depth='.*nowhere': there is no such"):
        load({"semseg": runs["semseg"], "depth": str(tmp_path / "nowhere")})
    swapped = {"semseg": runs["depth"], "depth": runs["semseg"]}
    with pytest.raises(PretrainedError, match=r"decoder_semseg.*expected .*, found nothing"):
        load(swapped)
    given = {"single_task": {"semseg": runs["semseg"]}}
    with pytest.raises(ConfigError, match="single_task has semseg, and the tasks are semseg, dept"):
        architectures.make("cross_stitch", CHANNELS, **OPTIONS, **given)
