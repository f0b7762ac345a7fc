"""Runs that version 0.1.0 has left go on, are evaluated, predict and are exported."""

import json
import tarfile
from pathlib import Path

import jax
import numpy as np
import pytest
import tiny
from PIL import Image
from test_configs import zeros

from mtl_jax import checkpoints, system, training
from mtl_jax.commands import config as configuration
from mtl_jax.commands import evaluate, export, predict, train
from mtl_jax.runs.files import WorkdirError

RUNS = Path(__file__).parent / "data" / "runs_0.1.0"
NAMES = sorted(path.name.removesuffix(".tar.xz") for path in RUNS.iterdir())
FINISHED = ("joint_pcgrad",)  # of three steps; the others were stopped after four of six


def unpacked(name, where):
    with tarfile.open(RUNS / f"{name}.tar.xz") as file:
        file.extractall(where, filter="data")
    return where / name


def config_of(path, streets_dir, *changes):
    found = configuration.of_run(
        path, [f"--config.data.data_dir={streets_dir}", *(f"--config.{c}" for c in changes)]
    )
    return found


def test_there_are_some():
    assert NAMES == ["branched_uncertainty", "joint_pcgrad", "mtan_dwa"]


# The others' networks take long to compile.
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(n, marks=pytest.mark.slow if n in FINISHED else pytest.mark.weekly)
        for n in NAMES
    ],
)
def test_a_run_of_an_older_version_can_be_used(name, streets_dir, tmp_path):
    path = unpacked(name, tmp_path)
    before = json.loads((path / "evaluation.jsonl").read_text().splitlines()[-1])
    config = config_of(path, streets_dir)
    found = evaluate.run(config, path)
    assert found["step"] == 3
    for metric in ("semseg/miou", "depth/si_log_rmse", "semseg/loss", "depth/abs"):
        assert found["metrics"][metric] == pytest.approx(before["metrics"][metric], rel=1e-3)

    Image.fromarray(np.full((40, 70, 3), 99, np.uint8)).save(tmp_path / "photo.png")
    predict.run(config, path, inputs=[str(tmp_path / "photo.png")], output=tmp_path / "out")
    with Image.open(next((tmp_path / "out").glob("*depth*.png"))) as depth:
        assert depth.size == (70, 40)
    export.run(config, path, output=tmp_path / "exported", size="32x64")
    assert (tmp_path / "exported" / "metadata.json").exists()


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("branched_uncertainty", marks=pytest.mark.slow),
        pytest.param("mtan_dwa", marks=pytest.mark.weekly),
    ],
)
def test_a_run_of_an_older_version_goes_on(name, streets_dir, tmp_path):
    path = unpacked(name, tmp_path)
    before = (path / "evaluation.jsonl").read_text()
    found = train.run(config_of(path, streets_dir), path)
    assert found["finished"]
    assert found["steps"] == 6
    lines = (path / "evaluation.jsonl").read_text().splitlines()
    assert json.loads(before)["metrics"].items() <= json.loads(lines[0])["metrics"].items()
    assert [json.loads(line)["step"] for line in lines] == [3, 6]
    assert np.isfinite(found["last"]["metrics"]["loss"])
    assert found["best"]["step"] in (3, 6)


@pytest.mark.parametrize(
    "name", [n if n in FINISHED else pytest.param(n, marks=pytest.mark.slow) for n in NAMES]
)
def test_the_whole_state_of_an_older_version_is_read(name, streets_dir, tmp_path, monkeypatch):
    path = unpacked(name, tmp_path)
    run = tiny.run(config_of(path, streets_dir), path)
    monkeypatch.setattr(system.System, "init", zeros)
    size = tuple(run.config.data.augment.crop)
    like = training.create_state(run.system, run.optimizer, seed=0, image_shape=size, mesh=run.mesh)
    with checkpoints.Checkpoints(run.workdir.checkpoints) as store:
        found, _ = store.restore_latest(like, report=pytest.fail)
    assert found.step == (3 if name in FINISHED else 4)
    moved = [np.any(leaf) for leaf in jax.tree.leaves((found.params, found.opt_state))]
    assert np.mean(moved) > 0.9


def test_a_finished_run_of_an_older_version_is_finished(streets_dir, tmp_path, monkeypatch):
    monkeypatch.setattr(system.System, "init", zeros)
    path = unpacked("joint_pcgrad", tmp_path)
    assert train.run(config_of(path, streets_dir), path)["steps"] == 3


@pytest.mark.weekly  # that such a run goes on is seen above
def test_a_finished_run_of_an_older_version_can_be_made_longer(streets_dir, tmp_path):
    path = unpacked("joint_pcgrad", tmp_path)
    found = train.run(config_of(path, streets_dir, "train.epochs=2.0"), path)
    assert (found["steps"], found["evaluations"]) == (6, 2)


def test_a_run_whose_rates_depend_on_its_length_cannot(streets_dir, tmp_path):
    path = unpacked("branched_uncertainty", tmp_path)
    with pytest.raises(WorkdirError, match=r"schedule.name='cosine'.*--config.model.pretrained="):
        train.run(config_of(path, streets_dir, "train.epochs=3.0"), path)
    config = config_of(path, streets_dir, "train.epochs=3.0", "optimizer.clip_norm=1.0")
    with pytest.raises(WorkdirError, match=r"optimizer\.clip_norm: 5\.0 in the") as error:
        train.run(config, path)
    assert "pretrained" not in str(error.value)  # that is not all that is in the way
