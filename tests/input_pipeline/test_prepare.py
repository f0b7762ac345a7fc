import json
import re
import types

import numpy as np
import pytest
from absl import logging
from PIL import Image

from input_pipeline import prepare, preview
from input_pipeline.errors import DatasetError


@pytest.fixture
def run(capsys):
    """Runs the command with these arguments: (exit status, output, errors).

    As a program it is run in test_integrity.
    """
    verbosity = logging.get_verbosity()
    yield lambda *arguments: (prepare.main(arguments), *capsys.readouterr())
    logging.set_verbosity(verbosity)


def test_the_command_converts_and_tells_what_is_there(run, tmp_path):
    for folder in ("train", "val", "test"):
        for suffix, array in (("", np.zeros((4, 6, 3), np.uint8)), ("annot", np.eye(4, 6))):
            target = tmp_path / "CamVid" / f"{folder}{suffix}"
            target.mkdir(parents=True)
            Image.fromarray(array.astype(np.uint8)).save(target / "0.png")
    flags = ("--dataset=camvid", f"--manual_dir={tmp_path}/CamVid", f"--data_dir={tmp_path}/out")
    status, _, errors = run(*flags)
    assert status == 1
    assert "error: " in errors
    assert "--partial" in errors
    assert "Traceback" not in errors
    status, output, errors = run(*flags, "--partial", f"--preview={tmp_path}/sheet.png")
    assert status == 0, errors
    assert "validation: 1 examples" in output
    with Image.open(tmp_path / "sheet.png") as sheet:
        width, height = sheet.size
    assert (width, height > 4 + 16 + 4) == (320, True)  # the legend needs room
    (stored,) = tmp_path.rglob("summary.json")
    assert json.loads(stored.read_text())["test"]["semseg"]["frequency"]["sky"] == 20 / 24
    assert re.search(r"building +16\.667%", output)  # 4 of 24 pixels


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("sheet", "needs a name that ends in one of .png, .jpg, .jpeg, .webp; found no ending."),
        ("sheet.txt", "found .txt."),
        ("/proc/sheet.png", "The sheet /proc/sheet.png cannot be written (No such file"),
    ],
)
def test_a_sheet_that_cannot_be_drawn_is_said_before_anything_is_converted(run, file, message):
    status, output, errors = run("--dataset=camvid", "--manual_dir=nowhere", f"--preview={file}")
    assert (status, output) == (1, "")
    (line,) = errors.strip().splitlines()
    assert message in line


def test_the_folder_of_a_sheet_is_made_and_a_file_that_cannot_be_is_said(tmp_path, monkeypatch):
    file = tmp_path / "not" / "there" / "sheet.png"
    preview.check(file)
    monkeypatch.setattr(preview, "sheet", lambda builder, split: np.zeros((2, 2, 3), np.uint8))
    builder = types.SimpleNamespace(info=types.SimpleNamespace(splits={"train": None}))
    preview.write(builder, file)
    with Image.open(file) as sheet:
        assert sheet.size == (2, 2)
    file.unlink()
    file.mkdir()
    with pytest.raises(DatasetError, match=r"sheet.png cannot be written \(Is a directory\)"):
        preview.write(builder, file)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--dataset=camvid", "--arays=x"], "--arays=x. Did you mean '--arrays'?"),
        (["--manual_dir=x"], "the following arguments are required: --dataset."),
    ],
)
def test_a_wrong_flag_is_one_line(arguments, message, capsys):
    assert prepare.main(arguments) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert message in line
