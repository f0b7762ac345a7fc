"""main.py as a user types it: the three modes, and one clear message for each mistake."""

import json
import re

import numpy as np
import pytest
import tiny
from PIL import Image
from run_main import call, fails

# As `python main.py`, but without root's rights, which would let it write anywhere. What the user
# that it becomes might not be allowed to read is imported before.
AS_NOBODY = """
import os
import tensorflow
from absl import app
from clu import metric_writers
from input_pipeline import from_config
import main

def without_rights(argv):
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
    main.main(argv)

app.run(without_rights)
"""


@pytest.fixture(scope="module")
def trained(streets_dir, tmp_path_factory):
    directory = tmp_path_factory.mktemp("runs") / "tiny"
    output = call(f"--workdir={directory}", *tiny.arguments(streets_dir))
    return directory, output


def test_train_shows_progress_and_leaves_everything(trained):
    directory, output = trained
    assert "step 6/6 (100%" in output
    assert "images/s" in output
    assert "left" in output
    assert "Best multitask_score" in output
    (events,) = directory.glob("events.out.tfevents.*")
    for name in (b"data.augment.crop", b"[32, 64]", b"train/gradient_norm", b"example_0"):
        assert name in events.read_bytes()
    assert json.loads((directory / "results.json").read_text())["finished"]


def test_evaluate_needs_only_the_work_directory(trained):
    directory, _ = trained
    output = call(
        "--mode=evaluate",
        f"--workdir={directory}",
        "--config.eval.split=test",
        "--config.eval.batch_size=3",
        "--config.eval.save_predictions=True",
    )
    assert re.search(r"^  semseg +loss .* miou ", output, re.MULTILINE)
    saved = sorted((directory / "predictions" / "test_best").glob("*.npz"))
    assert len(saved) == 8
    with np.load(saved[0]) as arrays:
        assert arrays["semseg/prediction"].shape == arrays["semseg/target"].shape == (64, 128)
        assert arrays["semseg/prediction"].max() < 19
        assert arrays["depth/prediction"].min() > 0
    metrics = json.loads((directory / "evaluation_test_best.json").read_text())["metrics"]
    confusion = np.zeros((20, 19))
    for path in saved:
        with np.load(path) as arrays:
            target = np.minimum(arrays["semseg/target"], 19).ravel()
            np.add.at(confusion, (target, arrays["semseg/prediction"].ravel()), 1)
    right, rows, columns = np.diag(confusion[:19]), confusion[:19].sum(1), confusion[:19].sum(0)
    occurring = rows + columns > 0
    iou = (right / np.maximum(rows + columns - right, 1))[occurring]
    np.testing.assert_allclose(metrics["semseg/miou"], iou.mean(), rtol=1e-6)


def test_predict_photographs_of_any_size(trained, tmp_path):
    directory, _ = trained
    photos = tmp_path / "photos"
    photos.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (70, 101, 3), np.uint8)
    Image.fromarray(pixels).save(photos / "a.png")
    Image.fromarray(pixels[:33, :50]).save(photos / "b.jpg")
    (photos / "broken.jpg").write_bytes(b"no photograph")
    output = fails(
        "--mode=predict",
        f"--workdir={directory}",
        f"--input={photos}/*.png,{photos}/*.jpg",
        f"--output={tmp_path / 'out'}",
        "--config.predict.batch_size=2",
        "--config.predict.tile=64",
        "--config.predict.tile_overlap=16",
        "--config.predict.figure=both",
        "--config.predict.save_npz=True",
    )
    assert "broken.jpg" in output
    labels = Image.open(tmp_path / "out" / "a_semseg.png")
    assert labels.mode == "P"
    assert labels.size == (101, 70)
    depth = Image.open(tmp_path / "out" / "b_depth.png")
    assert depth.mode == "I;16"
    assert depth.size == (50, 33)
    assert (tmp_path / "out" / "a_overlay.png").exists()
    assert (tmp_path / "out" / "b_side_by_side.png").exists()
    with np.load(tmp_path / "out" / "a.npz") as arrays:
        np.testing.assert_array_equal(arrays["semseg/prediction"], labels)
        assert arrays["depth/prediction"].shape == (70, 101)


def test_starting_from_a_trained_run(trained, streets_dir, tmp_path):
    directory, _ = trained
    output = call(
        f"--workdir={tmp_path / 'next'}",
        *tiny.arguments(streets_dir),
        f"--config.model.pretrained={directory}",
        "--config.model.pretrained_scope=all",
        "--config.train.max_steps=1",
    )
    assert str(directory) in output
    assert "oaded" in output


def test_a_different_config_is_refused_with_the_keys(trained, streets_dir):
    directory, _ = trained
    output = fails(f"--workdir={directory}", *tiny.arguments(streets_dir), "--config.seed=5")
    assert "seed: 0 in the directory, 5 asked for" in output


MISTAKES = {
    "no config": ([], "--config=configs/<name>.py is missing"),
    "a config that is not there": (
        ["--config=configs/brunched.py"],
        "--config cannot be read: [Errno 2] No such file or directory: 'configs/brunched.py'",
    ),
    "a protocol that is not there": (
        ["--config=configs/branched.py:citiscapes"],
        "UsageError: There is no protocol 'citiscapes'; expected one of streets",
    ),
    "key": (
        ["--config=configs/branched.py", "--config.train.batchsize=3"],
        "The config has no key 'batchsize'. Did you mean \"batch_size\"",
    ),
    "type": (
        ["--config=configs/branched.py", "--config.train.batch_size=many"],
        "--config.train.batch_size=many: invalid literal for int()",
    ),
    "data set": (["--config=configs/branched.py:miniscapes"], "miniscapes"),
    "misspelt data set": (
        ["--config=configs/branched.py", "--config.data.dataset=street"],
        "Did you mean 'streets'",
    ),
    "architecture": (
        ["--config=configs/branched.py", "--config.model.architecture=brunched"],
        "Did you mean 'branched'",
    ),
    "encoder": (
        ["--config=configs/branched.py", "--config.model.encoder.name=resnot"],
        "Did you mean 'resnet'",
    ),
    "predict without input": (
        ["--config=configs/branched.py", "--mode=predict"],
        "needs --input=",
    ),
    "a part without layers": (
        ["--config=configs/joint.py", "--config.train.freeze=('depth',)"],
        "what can be frozen is common, encoder.",
    ),
    "a flag of sweeps": (["--config=configs/joint.py", "--shard=0/2"], "--shard is of no use with"),
    "a rate without a sweep": (
        ["--config=configs/joint.py", "--images_per_second=9"],
        "--images_per_second is of no use without --sweep.",
    ),
    "evaluate an empty directory": (
        ["--config=configs/branched.py", "--mode=evaluate"],
        "holds no run",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_get_one_clear_message(mistake, streets_dir, tmp_path):
    arguments, expected = MISTAKES[mistake]
    if arguments:
        arguments = [*arguments, f"--workdir={tmp_path}"]
        if not any("dataset" in a or "miniscapes" in a for a in arguments):
            arguments.append(f"--config.data.dataset={tiny.TINY}")
        arguments.append(f"--config.data.data_dir={streets_dir}")
    assert expected in fails(*arguments)


def test_unknown_mode():
    output = fails("--config=configs/branched.py", "--mode=trian")
    assert "train|evaluate|predict" in output.replace("<", "").replace(">", "")


def test_work_directory_that_cannot_be_written(tmp_path):
    tmp_path.chmod(0o500)
    output = fails(
        "--config=configs/branched.py",
        f"--workdir={tmp_path / 'x'}",
        "--compilation_cache=",
        program=("-c", AS_NOBODY),
    )
    assert "cannot be written (Permission denied)" in output


def test_work_directory_that_is_a_file(tmp_path):
    (tmp_path / "x").write_text("")
    output = fails("--config=configs/branched.py", f"--workdir={tmp_path / 'x'}")
    assert "cannot be written" in output
