"""A JSON file of a work directory that is damaged, in whichever way, is one message naming it."""

import errno
import json
import os
import types

import finished_runs
import pytest

from mtl_jax import _files, checkpoints
from mtl_jax.commands import config as configuration
from mtl_jax.configs import branched
from mtl_jax.reporting import runs as reported
from mtl_jax.runs import baselines, files
from mtl_jax.runs.files import WorkdirError, to_json
from mtl_jax.runs.workdir import Workdir

BYTES = {
    "empty": b"",
    "blank": b" \n",
    "cut": b'{"data": {"dataset": "str',
    "array": b"[]",
    "null": b"null",
    "text": b'"config"',
    "number": b"3",
    "true": b"true",
    "no UTF-8": b'{"a": "\xff"}',
    "UTF-16": '{"a": 1}'.encode("utf-16"),
    "binary": bytes(range(256)),
    "zeros": b"\0" * 4096,
    "two": b"{} {}",
    "comma": b'{"a": 1,}',
    "quotes": b"{'a': 1}",
    "nesting": b'{"a": ' * 200_000,
    "arrays": b"[" * 200_000,
    "digits": b'{"a": ' + b"9" * 10_000 + b"}",
    "html": b"<html></html>",
    "lfs": b"version https://git-lfs.github.com/spec/v1\n",
}
READERS = {
    "config": Workdir.read_config,
    "label_specs": Workdir.read_label_specs,
    "results": Workdir.read_results,
    "best_evaluation": Workdir.read_best_evaluation,
}


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("damage", BYTES)
def test_any_bytes(tmp_path, name, damage):
    directory = Workdir(tmp_path)
    path = getattr(directory, name)
    path.write_bytes(BYTES[damage])
    with pytest.raises(WorkdirError, match=f"{path} cannot be read: .*Restore it from a copy"):
        READERS[name](directory)


def test_a_folder_in_the_place_of_a_file(tmp_path):
    directory = Workdir(tmp_path)
    directory.config.mkdir()
    with pytest.raises(WorkdirError, match=r"config\.json cannot be read: Is a directory"):
        directory.read_config()


def test_a_fifo_is_not_waited_for(tmp_path):
    directory = Workdir(tmp_path)
    for path, read in (
        (directory.config, directory.read_config),
        (directory.evaluations, directory.read_evaluations),
    ):
        os.mkfifo(path)
        with pytest.raises(WorkdirError, match=f"{path} cannot be read: It is a FIFO"):
            read()


@pytest.mark.parametrize(
    "damage",
    [
        {"worst": {}},
        {"worst": {"depth": ["id_9"]}},
        {"worst": {"depth": [[]]}},
        {"images": {"id": ["id_1"]}},
        {"images": {"depth/si_log_rmse": [1.0]}},
        {"images": {"id": ["id_1"], "depth/si_log_rmse": ["x"]}},
    ],
)
def test_best_images_that_are_none(tmp_path, damage):
    found = {
        "images": {"id": ["id_1"], "depth/si_log_rmse": [None]},
        "directions": {"depth/si_log_rmse": "min"},
        "worst": {"depth": ["id_1"]},
        "confusion": {},
    }
    directory = Workdir(tmp_path)
    directory.best_evaluation.write_text(json.dumps(found))
    assert directory.read_best_evaluation() == found
    directory.best_evaluation.write_text(json.dumps(found | damage))
    with pytest.raises(WorkdirError, match=r"cannot be read: 'depth/si_log_rmse' has no"):
        directory.read_best_evaluation()


def without(key):
    return lambda found: found.pop(key)


def having(key, value):
    return lambda found: found.update({key: value})


CONFIG = {
    "without data": (without("data"), "no section 'data'"),
    "model is a list": (having("model", []), "no section 'model'"),
    "tasks is null": (having("tasks", None), "no section 'tasks'"),
    "a task is text": (having("tasks", {"depth": "x"}), "'tasks.depth' has no 'type'"),
    "a type is a number": (having("tasks", {"depth": {"type": 1}}), "'tasks.depth' has no 'type'"),
    "no schedule's name": (having("schedule", {}), "'schedule' has no 'name'"),
}


@pytest.mark.parametrize("damage", CONFIG)
def test_a_config_that_is_none(tmp_path, damage):
    change, message = CONFIG[damage]
    found = to_json(branched.get_config())
    change(found)
    path = Workdir(tmp_path).config
    path.write_text(json.dumps(found))
    with pytest.raises(WorkdirError, match=f"{path} cannot be read: .*{message}"):
        configuration.of_run(tmp_path)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("seed", "x"),
        ("name", 3),
        ("train.batch_size", None),
        ("train.batch_size", 2.5),
        ("eval.split", ["a"]),
        ("eval.tta", 3),
        ("data.augment", "none"),
        ("train.freeze", "encoder"),
        ("model.image_mean", 0.5),
    ],
)
def test_a_value_of_another_type(tmp_path, key, value):
    found = to_json(branched.get_config())
    *sections, last = key.split(".")
    owner = found
    for section in sections:
        owner = owner[section]
    owner[last] = value
    path = Workdir(tmp_path).config
    path.write_text(json.dumps(found))
    with pytest.raises(WorkdirError, match=f"{path} cannot be read: {key!r} is"):
        configuration.of_run(tmp_path)


SPEC = {"kind": "classes", "class_names": ["a", "b"], "palette": [[0, 0, 0], [1, 1, 1]]}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("kind", None),
        ("class_names", "ab"),
        ("class_names", [1, 2]),
        ("palette", [[0, 0], [1, 1]]),
        ("palette", 3),
        ("valid_range", [1.0]),
        ("valid_range", "wide"),
        ("mean", "x"),
        ("ignore", []),
        ("flip_swap", [[1]]),
    ],
)
def test_label_specs_that_are_none(tmp_path, field, value):
    path = Workdir(tmp_path).label_specs
    path.write_text(json.dumps({"semseg": SPEC | {field: value}}))
    with pytest.raises(WorkdirError, match=f"{path} cannot be read: 'semseg.*{field}'"):
        Workdir(tmp_path).read_label_specs()


@pytest.mark.parametrize(
    "change",
    [
        without("finished"),
        having("finished", "yes"),
        having("best", {"metrics": {}}),
        having("best", {"step": 1, "metrics": {"semseg/miou": "0.3"}}),
        having("last", [1]),
        having("mean_of_last_10", {"semseg/miou": True}),
    ],
)
def test_results_that_are_none(tmp_path, change):
    finished_runs.run(tmp_path / "a")
    path = Workdir(tmp_path / "a").results
    found = json.loads(path.read_text())
    change(found)
    path.write_text(json.dumps(found))
    message = f"{path} cannot be read: "
    like = Workdir(tmp_path / "a").read_config()
    with pytest.raises(WorkdirError, match=message):
        baselines.read([Workdir(tmp_path / "a")], like, "best")
    finished_runs.run(tmp_path / "b")
    studies, remarks = reported.collect([tmp_path / "a", tmp_path / "b"])
    assert [run.name for run in studies[0].runs] == ["b"]
    assert len(remarks) == 1
    assert message in remarks[0]


def test_a_file_is_whole_or_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    files.write_json(path, {"a": 1})

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        files.write_json(path, {"a": 2})
    assert files.read_json(path) == {"a": 1}
    _files.write(path, b"{}", durable=False)  # waits for no disk
    assert files.read_json(path) == {}
    assert [file.name for file in tmp_path.iterdir()] == ["a.json"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_no_room_for_a_checkpoint_is_said_so(number):
    manager = types.SimpleNamespace(directory="checkpoints/latest")
    full = pytest.raises(checkpoints.DiskFullError, match="saved in checkpoints/latest")
    with full, checkpoints._writing(manager):
        raise ValueError(f"RESOURCE_EXHAUSTED: {os.strerror(number)}")  # as the storage says it


def test_files_with_the_longest_names_are_written_at_once(tmp_path):
    paths = [tmp_path / (letter * 251 + ".png") for letter in "ab"]
    with _files.replacing(paths[0]) as first, _files.replacing(paths[1]) as second:
        first.write_bytes(b"1")
        second.write_bytes(b"2")
    assert [path.read_bytes() for path in paths] == [b"1", b"2"]
