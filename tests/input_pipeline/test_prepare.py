import json
import re

import numpy as np
import pytest
from absl import logging
from PIL import Image

from input_pipeline import prepare


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
    width, height = Image.open(tmp_path / "sheet.png").size
    assert (width, height > 4 + 16 + 4) == (320, True)  # the legend needs room
    (stored,) = tmp_path.rglob("summary.json")
    assert json.loads(stored.read_text())["test"]["semseg"]["frequency"]["sky"] == 20 / 24
    assert re.search(r"building +16\.667%", output)  # 4 of 24 pixels


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
