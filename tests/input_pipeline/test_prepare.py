import json
import os
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from input_pipeline import prepare

REPOSITORY = pathlib.Path(__file__).parents[2]


def run(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "input_pipeline.prepare", *arguments],
        cwd=REPOSITORY,
        env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_command_converts_and_tells_what_is_there(tmp_path):
    for folder in ("train", "val", "test"):
        for suffix, array in (("", np.zeros((4, 6, 3), np.uint8)), ("annot", np.eye(4, 6))):
            target = tmp_path / "CamVid" / f"{folder}{suffix}"
            target.mkdir(parents=True)
            Image.fromarray(array.astype(np.uint8)).save(target / "0.png")
    flags = ("--dataset=camvid", f"--manual_dir={tmp_path}/CamVid", f"--data_dir={tmp_path}/out")
    refused = run(*flags)
    assert refused.returncode == 1
    assert "error: " in refused.stderr
    assert "--partial" in refused.stderr
    assert "Traceback" not in refused.stderr
    done = run(*flags, "--partial", f"--preview={tmp_path}/sheet.png")
    assert done.returncode == 0, done.stderr
    assert "validation: 1 examples" in done.stdout
    width, height = Image.open(tmp_path / "sheet.png").size
    assert (width, height > 4 + 16 + 4) == (320, True)  # the legend needs room
    (stored,) = tmp_path.rglob("summary.json")
    assert json.loads(stored.read_text())["test"]["semseg"]["frequency"]["sky"] == 20 / 24
    assert re.search(r"building +16\.667%", done.stdout)  # 4 of 24 pixels


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
