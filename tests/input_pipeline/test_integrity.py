import errno
import os
import re
import shutil
import subprocess
import sys
import tempfile
from unittest import mock

import folder_files
import numpy as np
import pytest
import toy_release
import toy_release_builder

from input_pipeline import datasets, integrity, provenance, release, summary
from input_pipeline.datasets import DatasetError


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A prepared folder, and its YAML."""
    yaml = folder_files.write(tmp_path_factory.mktemp("made") / "data", ids=("t0", "t1", "v0"))
    return folder_files.prepare(yaml), yaml


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        (integrity.INFO, None, "is missing"),
        (integrity.INFO, lambda text: text[:300], "cannot be read"),
        (integrity.INFO, lambda text: b"\xff", "cannot be read"),
        (integrity.INFO, lambda text: b"null", "holds NoneType"),
        (integrity.INFO, lambda text: b"[" * 100_000, "cannot be read"),
        (integrity.INFO, lambda text: b"{}", "does not list splits"),
        (integrity.INFO, lambda text: text.replace(b'"2"', b'"1"'), "has 2 records, .* says 1"),
        (integrity.INFO, lambda text: text.replace(b'"2"', b"[2]"), "does not list splits"),
        (integrity.INFO, lambda text: text.replace(b'"2"', b'"1", "1"'), "00002 is missing"),
        (integrity.INFO, lambda text: text.replace(b"1.0.0", b"7.0.0"), "cannot be understood"),
        (summary.FILE, lambda text: text[:30], "summary.json cannot be read"),
        (summary.FILE, lambda text: b'{"train": []}', "no counts of the split 'train'"),
        (summary.FILE, lambda text: text.replace(b'"examples"', b'"x"'), "no counts of the split"),
        (summary.FILE, lambda text: text.replace(b'"ignored"', b'"x"'), "no counts of the split"),
        (
            summary.FILE,
            lambda text: re.sub(rb'"ignored": [\d.]+', b'"ignored": NaN', text),
            "no counts of the split",
        ),
        (provenance.FILE, lambda text: b'{"splits": [1]}', "does not list the examples"),
    ],
)
def test_damaged_records_are_refused_in_one_message(tmp_path, prepared, name, damage, message):
    builder, yaml = prepared
    root = builder.data_path.parents[2]
    records = tmp_path / "records"
    shutil.copytree(root, records)
    file = next(records.rglob(name))
    if damage is None:
        file.unlink()
    else:
        file.write_bytes(damage(file.read_bytes()))

    def use():
        builder = folder_files.prepare(yaml, records=records)
        return datasets.fingerprint(builder), builder.label_specs

    with pytest.raises(DatasetError, match=f"are damaged: .*{message}.*Remove that folder"):
        use()


def test_what_a_killed_preparation_left_is_removed(tmp_path, monkeypatch):
    """And nothing is left in $TMPDIR."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    yaml = folder_files.write(tmp_path / "data")
    config = folder_files.prepare(yaml).data_path.parent
    shutil.rmtree(config / "1.0.0")
    (config / "incomplete.7XQ2_1.0.0").mkdir()
    (config / "incomplete.7XQ2_1.0.0" / "half").write_bytes(b"")
    folder_files.prepare(yaml)
    assert [path.name for path in config.iterdir()] == ["1.0.0"]
    assert not list((tmp_path / "tmp").iterdir())


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("write() failed: No space left on device; writing x.array_record"),
        OSError(errno.EDQUOT, os.strerror(errno.EDQUOT), "x.array_record"),
    ],
)
def test_a_full_disk_is_said_to_be_full(tmp_path, monkeypatch, error):
    yaml = folder_files.write(tmp_path / "data")
    shutil.rmtree(folder_files.prepare(yaml).data_path)
    full = mock.Mock(side_effect=error)
    monkeypatch.setattr(release.ReleaseBuilder, "download_and_prepare", full)
    with pytest.raises(DatasetError, match=r"The disk is full.* --data_dir; .* is kept"):
        folder_files.prepare(yaml)


@pytest.mark.slow
def test_what_is_said_is_what_is_done(tmp_path):
    yaml = folder_files.write(tmp_path / "data", ids=("t0", "t1", "v0"))
    command = [sys.executable, "-m", "input_pipeline.prepare", f"--dataset=folder/{yaml}"]
    done = subprocess.run(
        [*command, f"--data_dir={tmp_path}/records"], capture_output=True, text=True, check=True
    )
    told = [line for line in done.stderr.splitlines() if line and "converting" not in line]
    (records,) = (tmp_path / "records").rglob(integrity.INFO)
    assert told[0].startswith("Preparing folder/data-")
    assert told[0].endswith(f"from {yaml.parent} (2 train, 1 validation).")
    assert told[1:] == [f"Records are in {records.parent}."]
    assert "Downloading" not in done.stdout


def test_a_release_that_changed_is_refused_and_one_that_moved_is_not(tmp_path, monkeypatch, capsys):
    names = datasets.names()
    monkeypatch.setattr(datasets, "names", lambda: [*names, "toy_release"])
    monkeypatch.setitem(sys.modules, "input_pipeline.datasets.toy_release", toy_release_builder)
    root = tmp_path / "release"
    root.mkdir()
    toy_release.write(root, 9)

    def load(folder):
        where = {"data_dir": str(tmp_path), "manual_dir": str(folder)}
        return datasets.load("toy_release", **where)

    first = load(root)
    moved = root.rename(tmp_path / "moved")
    assert load(moved).data_dir == first.data_dir
    assert load(root).data_dir == first.data_dir
    assert f"manual_dir={root} is not there: records made from {root}" in capsys.readouterr().err
    np.save(moved / "008_semseg.npy", np.ones(toy_release.SIZE, np.uint8))
    with pytest.raises(DatasetError, match=r"(?s)other files.*'validation': 1 with .*: 008"):
        load(moved)
    assert datasets.load("toy_release", data_dir=str(tmp_path)).is_prepared()
    os.utime(moved / "008_semseg.npy")  # the same contents, but nobody can tell
    with pytest.raises(DatasetError, match="leave manual_dir out"):
        load(moved)
