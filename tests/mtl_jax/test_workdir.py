"""The work directory belongs to one process, and to one run."""

import errno
import fcntl
import re

import pytest

from mtl_jax.runs import _locks, files
from mtl_jax.runs.files import WorkdirError
from mtl_jax.runs.workdir import Workdir


def test_only_one_process_trains_in_a_directory(tmp_path):
    first, second = Workdir(tmp_path), Workdir(tmp_path)
    with first.only_process():
        theirs = second.only_process()
        with pytest.raises(WorkdirError, match=f"Another process is training in .*{tmp_path}"):
            theirs.__enter__()
    with second.only_process():
        pass


def test_two_that_look_at_once_do_not_take_each_other_for_one_that_runs(tmp_path):
    file = tmp_path / ".lock"
    file.touch()
    with file.open() as looking:
        fcntl.flock(looking, fcntl.LOCK_SH)
        assert not _locks.is_held(file)
    with _locks.held(file):
        assert _locks.is_held(file)


def test_a_file_system_without_locks_keeps_nobody_out(tmp_path, monkeypatch):
    def flock(file, kind):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(_locks.fcntl, "flock", flock)
    with Workdir(tmp_path).only_process(), Workdir(tmp_path).only_process():
        assert not _locks.is_held(tmp_path / ".lock")


def test_a_slice_of_a_split_has_a_name_that_no_shell_takes_for_a_pattern(tmp_path):
    where = Workdir(tmp_path)
    assert where.evaluation("validation", "best").name == "evaluation_validation_best.json"
    slices = ["train", "train[:50%]", "train[50%:]", "train[:50]", "train[-50%:]", "train[:-50%]"]
    names = {where.evaluation(split, "best").name for split in slices}
    assert len(names) == len(slices)
    for name in names | {where.saved_predictions(split, "best").name for split in slices}:
        assert re.fullmatch(r"[\w.-]+", name)


def test_evaluations_of_slices_are_found_by_their_older_names(tmp_path):
    where = Workdir(tmp_path)
    older, newer = ({"step": step, "metrics": {}} for step in (1, 2))
    files.write_json(tmp_path / "evaluation_train[:50%]_best.json", older)
    assert where.read_evaluation("train[:50%]", "best") == older
    assert where.read_evaluation("train[50%:]", "best") == {}
    assert where.read_stored_evaluations() == {"train_-50p_best": older}
    files.write_json(where.evaluation("train[:50%]", "best"), newer)
    assert where.read_evaluation("train[:50%]", "best") == newer
    assert where.read_stored_evaluations() == {"train_-50p_best": newer}


def test_colours_mean_nothing_to_a_run(tmp_path):
    where = Workdir(tmp_path)
    labels = {"kind": "classes", "class_names": ["a"], "palette": []}
    where.claim_labels({"semseg": labels})
    where.training.touch()
    where.claim_labels({"semseg": labels | {"palette": [[1, 2, 3]]}})
    with pytest.raises(WorkdirError, match=r"class_names: .* in the directory, \['b'\]"):
        where.claim_labels({"semseg": labels | {"class_names": ["b"]}})
