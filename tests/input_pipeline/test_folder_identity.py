"""Records are never taken for those of other files; what is said when they would be."""

import os
import shutil

import folder_files
import numpy as np
import pytest
from folder_files import SIZE, prepare, put, read

from input_pipeline import datasets
from input_pipeline.datasets import DatasetError, _folder_values


def full(value):
    return np.full(SIZE, value, np.uint8)


def test_two_folders_with_one_yaml_have_records_of_their_own(tmp_path):
    for value, site in enumerate(("north", "south")):
        folder_files.write(tmp_path / site, value=full(value), ending=".npy")
        for file in (tmp_path / site).rglob("*.*"):  # of one size, and unpacked with one time
            os.utime(file, ns=(0, 0))
    yamls = [tmp_path / site / "data.yaml" for site in ("north", "south")]
    assert [read(prepare(yaml))["t0"]["lab"].max() for yaml in yamls] == [0, 1]
    # The folder that is named counts, whatever there are records of.
    south = prepare(yamls[0], manual_dir=str(tmp_path / "south"))
    assert read(south)["t0"]["lab"].max() == 1
    with pytest.raises(DatasetError, match="'/nowhere' is not a folder"):
        prepare(yamls[0], manual_dir="/nowhere")


def test_corrected_labels_and_new_examples_are_noticed(tmp_path, capsys):
    yaml = folder_files.write(tmp_path / "data")
    before = prepare(yaml)
    assert prepare(yaml).data_dir == before.data_dir
    put(tmp_path / "data/lab/t0.png", full(2))
    after = prepare(yaml)
    assert read(after)["t0"]["lab"].max() == 2
    # Whoever trains on the earlier state is not disturbed, and one is told what to remove.
    assert read(before)["t0"]["lab"].max() == 0
    assert f"{before.data_path.parent} has records of an earlier state" in capsys.readouterr().err
    assert datasets.fingerprint(before) != datasets.fingerprint(after)
    put(tmp_path / "data/rgb/t1.png", folder_files.photograph())
    put(tmp_path / "data/lab/t1.png", full(1))
    assert list(read(prepare(yaml))) == ["t0", "t1"]


def test_an_edited_list_is_noticed(tmp_path):
    data = tmp_path / "data"
    put(data / "train.txt", "a\nb\n")
    put(data / "val.txt", "c\n")
    splits = "{train: train.txt, validation: val.txt}"
    yaml = folder_files.write(data, ids="abc", splits=splits)
    assert list(read(prepare(yaml), "validation")) == ["c"]
    put(data / "train.txt", "a\n")
    put(data / "val.txt", "b\nc\n")
    assert list(read(prepare(yaml), "validation")) == ["b", "c"]


def test_records_whose_files_are_gone_are_used_if_it_is_clear_which(tmp_path, capsys):
    yaml = folder_files.write(tmp_path / "data")
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(tmp_path / "data", elsewhere)
    first = prepare(yaml)
    shutil.rmtree(tmp_path / "data/rgb")
    assert prepare(yaml).data_dir == first.data_dir
    assert "are not there: records made from" in capsys.readouterr().err
    prepare(yaml, manual_dir=str(elsewhere))  # a second one that could be meant
    with pytest.raises(DatasetError, match=r"no files for.*'image'"):
        prepare(yaml)
    shutil.rmtree(elsewhere / "rgb")
    found = prepare(yaml, manual_dir=str(elsewhere))
    assert found.data_dir != first.data_dir


def test_files_that_change_while_they_are_read_leave_no_records(tmp_path, monkeypatch):
    yaml = folder_files.write(tmp_path / "data")
    read_ids = _folder_values.read

    def meddling(file, spec):
        value = read_ids(file, spec)
        os.utime(file.path, ns=(0, 0))
        return value

    monkeypatch.setattr(_folder_values, "read", meddling)
    with pytest.raises(DatasetError, match=r"changed while they were read(.|\n)*'train': 1 with"):
        prepare(yaml)
    assert not list((tmp_path / "records").rglob("*.array_record*"))


@pytest.mark.parametrize("records", ["disk [2]", "a*b?", "{x}@3 é"])
def test_paths_may_have_any_characters(tmp_path, records):
    data = tmp_path / "set {1,2}"
    folder_files.write(data, ids=("t [0]", "v*"))
    (data / "data.yaml").rename(data / "road [v2] {é}.yaml")
    builder = prepare(data / "road [v2] {é}.yaml", records=tmp_path / records)
    assert list(read(builder)) == ["t [0]"]
    assert builder.builder_config.name.startswith("road_v2_é_-")


def test_nested_folders_are_ids_with_slashes(tmp_path):
    for sequence in ("q1", "q2"):
        for frame in ("t0", "v0"):
            put(tmp_path / f"data/rgb/{sequence}/{frame}.png", folder_files.photograph())
            put(tmp_path / f"data/lab/{sequence}/{frame}.png", full(1))
    yaml = folder_files.describe(
        tmp_path / "data",
        "{kind: classes, files: lab/*/*, names: [a, b]}",
        files="rgb/*/*",
        splits='{train: ["q1*"], validation: ["q2/*"]}',
    )
    assert list(read(prepare(yaml))) == ["q1/t0", "q1/v0"]


def test_home_in_manual_dir_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    folder_files.write(tmp_path / "photos")
    yaml = folder_files.describe(tmp_path / "here", more="manual_dir: ~/photos\n")
    assert prepare(yaml, records=tmp_path / "records").is_prepared()


@pytest.mark.parametrize(
    ("ids", "text"),
    [
        (["img 1", "img 2"], b"img 1\r\n  img 2 \n\n"),
        (["i1"], "\ufeffi1\n".encode()),
        (["i1"], "i1\n".encode("utf-16")),
    ],
)
def test_lists_of_ids(tmp_path, ids, text):
    put(tmp_path / "data/train.txt", text)
    splits = '{train: train.txt, validation: ["v*"]}'
    yaml = folder_files.write(tmp_path / "data", ids=(*ids, "v0"), splits=splits)
    builder = prepare(yaml)
    assert list(read(builder)) == ids


def test_a_list_that_is_not_utf8_is_refused_with_the_cure(tmp_path):
    put(tmp_path / "data/train.txt", "a\nstraße\n".encode("latin-1"))
    splits = '{train: train.txt, validation: ["v*"]}'
    yaml = folder_files.write(tmp_path / "data", ids=("straße", "v0"), splits=splits)
    with pytest.raises(DatasetError, match=r"train.txt: .*line 2 .*Latin-1. Save it as UTF-8"):
        prepare(yaml)


def test_a_missing_label_is_answered_with_the_split_and_the_cure(tmp_path):
    yaml = folder_files.write(tmp_path / "data", ids=("t0", "t1", "v0"))
    (tmp_path / "data/lab/t1.png").unlink()
    with pytest.raises(DatasetError, match=r"split 'train': without 'lab': t1\n.*optional: true"):
        prepare(yaml)
    splits = '{train: [t0], validation: ["v*"], unused: [t1]}'
    folder_files.describe(tmp_path / "data", splits=splits)
    assert list(read(prepare(yaml))) == ["t0"]  # what is left out needs no labels


def test_what_is_kept_of_an_earlier_try_is_used_by_the_next_state(tmp_path, monkeypatch):
    yaml = folder_files.write(tmp_path / "data", ids=("t0", "t1", "v0"))
    put(tmp_path / "data/lab/v0.png", b"no image")
    with pytest.raises(DatasetError, match=r"v0\.png"):
        prepare(yaml)
    (kept,) = (tmp_path / "records/folder").glob(".converting-*")
    assert len(list(kept.iterdir())) == 2
    put(tmp_path / "data/lab/v0.png", full(0))
    times = {file: file.stat().st_mtime_ns for file in kept.iterdir()}
    monkeypatch.setattr("shutil.rmtree", lambda *_, **__: None)
    prepare(yaml)
    assert {file: file.stat().st_mtime_ns for file in kept.iterdir()}.items() >= times.items()
