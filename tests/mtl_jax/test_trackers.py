"""Runs in Weights & Biases and MLflow: what they are told, and that a run that goes on is one."""

import importlib.util
import json
import math
import sys
import types

import numpy as np
import pytest

from mtl_jax import trackers
from mtl_jax.commands import train
from mtl_jax.configs import branched
from mtl_jax.errors import ConfigError
from mtl_jax.runs import files, rules, workdir

PICTURE = np.arange(24, dtype=np.uint8).reshape(1, 2, 4, 3)


class Wandb:
    """In place of the package."""

    def __init__(self):
        self.logged, self.calls, self.finished = [], [], 0
        self.next_id = "made"
        self.Image = lambda array: ("image", array.shape)

    def init(self, **options):
        self.calls.append(options)
        return types.SimpleNamespace(
            id=options["id"] or self.next_id,
            define_metric=lambda *a, **k: self.calls.append((a, k)),
            log=self.logged.append,
            finish=lambda: setattr(self, "finished", self.finished + 1),
        )


@pytest.fixture
def wandb(monkeypatch):
    found = Wandb()
    monkeypatch.setitem(sys.modules, "wandb", found)
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: found if name == "wandb" else find(name)
    )
    return found


def write(config, where):
    """What a run writes."""
    writer = train._writer(config, where)
    writer.write_scalars(3, {"eval/loss": np.float32(0.5), "eval/nan": math.nan})
    writer.write_images(3, {"example_0": PICTURE})
    writer.flush()
    if config.train.trackers:
        writer.close()


def a_run(folder, *names):
    config = branched.get_config("streets_scratch")
    config.train.trackers = names
    where = workdir.Workdir(folder)
    where.create()
    return config, where


def test_weights_and_biases(wandb, tmp_path):
    config, where = a_run(tmp_path, "wandb")
    write(config, where)
    opened = wandb.calls[0]
    assert (opened["name"], opened["id"], opened["resume"]) == (
        f"{config.name}, seed 0",
        None,
        "allow",
    )
    assert opened["config"]["data.augment.flip"] == config.data.augment.flip
    assert isinstance(opened["config"]["data.augment.crop"], str)
    assert (("*",), {"step_metric": "step"}) in wandb.calls
    scalars, pictures = wandb.logged
    assert scalars["step"] == 3
    assert scalars["eval/loss"] == 0.5
    assert math.isnan(scalars["eval/nan"])
    assert pictures == {"step": 3, "example_0": ("image", (2, 4, 3))}
    assert wandb.finished == 1
    assert json.loads(where.trackers.read_text()) == {"wandb": "made"}
    wandb.next_id = "another"
    write(config, where)
    assert [call["id"] for call in wandb.calls if "id" in call] == [None, "made"]


def test_no_tracker_is_asked_for(tmp_path):
    config, where = a_run(tmp_path)
    write(config, where)
    assert not where.trackers.exists()
    assert [path.name[:6] for path in tmp_path.iterdir()] == ["events"]


def test_what_is_absent_is_said_before_anything_is_trained(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    config, where = a_run(tmp_path, "mlflow")
    with pytest.raises(ConfigError, match=r"trackers=mlflow needs .* pip install 'mtl-jax\[mlflow"):
        train.run(config, where.path)
    with pytest.raises(ConfigError, match=r"trackers='wandbe': .* Did you mean 'wandb'"):
        trackers.check(["wandbe"])


def test_a_tracker_that_fails_is_one_message(wandb, tmp_path, monkeypatch):
    def fail(**options):
        raise RuntimeError("nobody is\nlogged in")

    monkeypatch.setattr(wandb, "init", fail)
    config, where = a_run(tmp_path, "wandb")
    with pytest.raises(ConfigError, match=r"trackers=wandb: .* \(RuntimeError: nobody is logged"):
        write(config, where)
    files.write_json(where.trackers, {"wandb": "gone"})
    with pytest.raises(ConfigError, match=r"as 'gone', by which it was known .* Leave it out"):
        write(config, where)


def test_trackers_may_differ_when_a_run_goes_on():
    lines = rules.differences(
        {"train": {"trackers": []}}, {"train": {"trackers": ["wandb"]}}, may_differ=rules.RESUME
    )
    assert not lines


def test_mlflows_own_store(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow", reason="MLflow, the extra 'mlflow', is not installed")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"file:{tmp_path / 'store'}")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # asked for by version 3.13
    mlflow.set_tracking_uri(f"file:{tmp_path / 'store'}")
    config, where = a_run(tmp_path / "run", "mlflow")
    write(config, where)
    write(config, where)
    client = mlflow.MlflowClient()
    (experiment,) = [e for e in client.search_experiments() if e.name == "mtl_jax"]
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.run_name == f"{config.name}, seed 0"
    assert run.info.status == "FINISHED"
    assert run.data.params["data.augment.flip"] == str(config.data.augment.flip)
    history = client.get_metric_history(run.info.run_id, "eval/loss")
    assert [(metric.step, metric.value) for metric in history] == [(3, 0.5), (3, 0.5)]
    (picture,) = client.list_artifacts(run.info.run_id, "example_0")
    assert picture.path == "example_0/step_000003.png"


def test_weights_and_biases_offline(tmp_path, monkeypatch):
    wandb = pytest.importorskip(
        "wandb", reason="Weights & Biases, the extra 'wandb', is not installed"
    )
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    config, where = a_run(tmp_path, "wandb")
    write(config, where)
    wandb.teardown()  # waits for its service, which writes after the run's end
    (folder,) = tmp_path.glob("wandb/offline-run-*")
    (file,) = folder.glob("run-*.wandb")
    content = file.read_bytes()
    assert b"eval/loss" in content
    assert where.read_trackers()["wandb"].encode() in content
