"""Starting from another run: its encoder, or all of it, by what its outputs mean."""

from pathlib import Path

import jax
import jax.numpy as jnp
import ml_collections
import pytest
from test_pretrained import fresh, joint_config, load

from mtl_jax import checkpoints, tasks
from mtl_jax.configs import common
from mtl_jax.train_state import TrainState
from mtl_jax.weights import load as pretrained
from mtl_jax.weights.load import PretrainedError


@pytest.fixture
def workdir(tmp_path) -> Path:
    """A run whose best checkpoint is 0.5 everywhere, with the tasks semseg (3) and depth (1)."""
    state = jax.tree.map(lambda leaf: leaf + 0.25, fresh(joint_config(), depth=1))
    with checkpoints.Checkpoints(tmp_path / "run" / "checkpoints") as store:
        store.save_best(state.replace(step=jnp.ones((), jnp.int32)), {})
    return tmp_path / "run"


def test_takes_the_encoder_of_a_run(workdir):
    found, said = load(joint_config(), workdir)
    for name, value in found.items():
        assert (value == (0.5 if "/encoder/" in name else 0.25)).all(), name
    assert "keep their initial value, being outside the encoder" in said


def test_takes_all_of_a_run_but_what_has_other_outputs(workdir):
    found, said = load(joint_config(), workdir, "all")
    kept = [name for name, value in found.items() if (value == 0.25).all()]
    assert kept == [name for name, value in found.items() if value.shape[-1] == 3]
    assert len(kept) == 2
    assert f"Loaded {len(found) - 2} of {len(found)} arrays" in said
    assert "2 keep their initial value, because the number of outputs differs" in said


def test_refuses_a_run_of_another_encoder(workdir):
    with pytest.raises(PretrainedError, match=r"of another model: .* arrays have no counterpart"):
        load(joint_config(width=4), workdir)


# What another run's outputs mean.

CLASSES = {"kind": "classes", "palette": (), "ignore": 255, "flip_swap": ()}


def made(**kinds: tuple[str, ...]):
    """Tasks by name: those with class names, and metric depth where there are none."""
    specs = {
        name: CLASSES | {"class_names": names}
        if names
        else {"kind": "depth", "unit": "m", "valid_range": (1, 80), "mean": 9.0, "stddev": 3.0}
        for name, names in kinds.items()
    }
    types = {name: {"type": "segmentation" if names else "depth"} for name, names in kinds.items()}
    return tasks.build(types, specs)


def loaded(ours, theirs, source_state, tmp_path, config):
    """({name: array}, what was said) of a run with tasks `ours` that starts from `theirs`."""
    with checkpoints.Checkpoints(tmp_path / "run" / "checkpoints") as store:
        store.save_best(source_state.replace(step=jnp.ones((), jnp.int32)), {})
    config.pretrained, config.pretrained_scope = str(tmp_path / "run"), "all"
    said = []
    state = pretrained.load(
        of_tasks(config, ours),
        config,
        report=said.append,
        tasks=ours,
        source_tasks=lambda path: theirs,
    )
    leaves = jax.tree_util.tree_leaves_with_path(state.variables)
    found = {jax.tree_util.keystr(path, simple=True, separator="/"): v for path, v in leaves}
    return found, "\n".join(said)


def of_tasks(config, chosen) -> TrainState:
    """`fresh` of these tasks."""
    return fresh(config, **{name: task.channels for name, task in chosen.items()})


def test_channels_that_several_tasks_share_are_found_by_their_tasks(tmp_path):
    """Another order, and a task of a new name in the place of an old one of the same size."""
    names = ("road", "sky")
    theirs = made(depth=(), semseg=names, parts=("head", "leg"))
    ours = made(semseg=names, people=("head", "leg"), depth=())
    state = of_tasks(joint_config(), theirs)
    bias = state.params["model"]["decoder"]["predict"]["bias"]
    state.params["model"]["decoder"]["predict"]["bias"] = jnp.arange(1.0, 1 + bias.size)
    found, _ = loaded(ours, theirs, state, tmp_path, joint_config())
    assert found["params/decoder/predict/bias"].tolist() == [2, 3, 0.25, 0.25, 1]


def test_outputs_of_other_classes_are_not_taken_for_ours(tmp_path):
    config = common.base().model
    config.update(architecture="stacked_unet", encoder=common.resnet(18, "FFF", width=8))
    config.head = ml_collections.ConfigDict({"channels": 8})
    theirs = made(semseg=("road", "sky"), depth=())
    ours = made(semseg=("sky", "road"), depth=())
    state = jax.tree.map(lambda leaf: leaf + 0.25, of_tasks(config, theirs))
    found, said = loaded(ours, theirs, state, tmp_path, config)
    kept = {name for name, value in found.items() if (value == 0.25).all()}
    assert kept == {f"params/head_semseg/predict/{leaf}" for leaf in ("kernel", "bias")}
    assert "2 keep their initial value, because the other run's task of that name has other" in said
