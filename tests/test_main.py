"""The commands as a user types them."""

import errno
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny
import toy_network as toy
from PIL import Image
from run_main import MAIN, ROOT, call, fails, start

import mtl_jax
from mtl_jax import architectures
from mtl_jax.commands import config as configuration
from mtl_jax.commands import train
from mtl_jax.errors import ConfigError
from mtl_jax.runs import files, workdir

real_network = architectures.build
toy_network = toy.in_every_run()


@pytest.fixture(scope="module")
def trained(streets_dir, tmp_path_factory):
    directory = tmp_path_factory.mktemp("runs") / "tiny"
    output = call(f"--workdir={directory}", *tiny.arguments(streets_dir))
    return directory, output


def test_train_shows_progress_and_leaves_everything(trained):
    directory, output = trained
    assert "step 6/6 (100%" in output
    for line in (
        "device   1 × cpu",
        "data     streets/64x128_tiny, train: 24 examples, validation: 8",
        "tasks    semseg, depth",
        "steps    6 of 8 images, 2 epochs; evaluated every 3",
        "best by  headline_mean (max)",
        f"workdir  {directory}",
        "unused   instance, normals, parts: in the data, but no task of this config",
    ):
        assert line in output.splitlines()
    assert "images/s" in output
    assert "left" in output
    assert "Best headline_mean" in output
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


@pytest.mark.slow
def test_starting_from_a_trained_run(trained, streets_dir, tmp_path):
    directory, _ = trained
    output = call(
        f"--workdir={tmp_path / 'next'}",
        *tiny.arguments(streets_dir),
        f"--config.model.pretrained={directory}",
        "--config.model.pretrained_scope=all",
        "--config.train.max_steps=1",
        *tiny.NO_PICTURES,
    )
    assert str(directory) in output
    assert "oaded" in output


def test_a_different_config_is_refused_with_the_keys(trained, streets_dir):
    directory, _ = trained
    output = fails(f"--workdir={directory}", *tiny.arguments(streets_dir), "--config.seed=5")
    assert "seed: 0 in the directory, 5 asked for" in output


def test_what_jax_warns_of_is_shown_and_what_orbax_traces_is_not():
    code = """
import logging
from absl import logging as absl_logging
from mtl_jax.commands import setup
setup.libraries(cache="")
logging.getLogger("jax._src.xla_bridge").warning("Falling back to cpu.")
absl_logging.info("a step that TFDS takes")
log = absl_logging.get_absl_logger()
record = log.makeRecord("absl", logging.ERROR, "/x/orbax/checkpoint/future.py", 1, "no", (), None)
log.handle(record)
record = log.makeRecord("absl", logging.ERROR, "/x/tfds/y.py", 1, "an error", (), None)
log.handle(record)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Falling back to cpu." in done.stderr
    assert "an error" in done.stderr
    assert len(done.stderr.splitlines()) == 2


@pytest.mark.parametrize("closed", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_output_that_nobody_reads_or_that_is_full(closed, trained):
    """| head, and > /dev/full: one line or none, and no traceback."""
    directory, _ = trained
    arguments = [*MAIN, f"--workdir={directory}"]
    if closed:
        read, write = os.pipe()
        os.close(read)
    else:
        write = os.open("/dev/full", os.O_WRONLY)
    done = subprocess.run(arguments, cwd=ROOT, stdout=write, stderr=subprocess.PIPE, text=True)
    os.close(write)
    expected = "" if closed else "Standard output cannot be written (No space left on device)."
    assert done.stderr.strip() == expected
    assert done.returncode == (141 if closed else 1)


@pytest.mark.parametrize(
    ("error", "what"),
    [
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "results.json"), "results.json"),
        (OSError(errno.EDQUOT, os.strerror(errno.EDQUOT), "results.json"), "results.json"),
        (RuntimeError("a.pb; No space left on device"), "a.pb; No space left on device"),
    ],
)
def test_a_full_disk_is_said_to_be_full(monkeypatch, tmp_path, error, what):
    def fill(*_):
        raise error

    monkeypatch.setattr(files, "write_text", fill)
    output = fails("--config=branched", f"--workdir={tmp_path}")
    assert output.strip().startswith(f"The disk is full ({what}).")


def test_a_finished_run_says_so_before_anything_is_loaded(trained):
    directory, _ = trained
    code = f"""
import sys
from mtl_jax.commands import cli
assert cli.main(["--workdir={directory}"]) == 0
assert cli.main(["--workdir={directory}", "--config.seed=5"]) == 1
assert not {{"tensorflow", "orbax"}} & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "This run is finished (6 steps)" in done.stdout
    assert "Best headline_mean" in done.stdout
    assert "seed: 0 in the directory, 5 asked for" in done.stderr


def test_a_finished_run_without_its_best_model_is_looked_at(trained, tmp_path):
    directory, _ = trained
    copy = tmp_path / "copy"
    shutil.copytree(directory, copy)
    where, config = workdir.Workdir(copy), configuration.of_run(copy)
    assert train._finished(config, where)["steps"] == 6
    longer = config.copy_and_resolve_references()
    longer.train.epochs = 3.0
    assert not train._finished(longer, where)
    shutil.rmtree(copy / "checkpoints" / "best")
    assert not train._finished(config, where)


def test_the_library_trains_what_the_command_does(trained):
    directory, _ = trained
    found = mtl_jax.train(configuration.of_run(directory), directory)
    assert found["steps"] == 6
    assert set(mtl_jax.load(directory).tasks) == {"semseg", "depth"}
    with pytest.raises(ConfigError, match="Did you mean --config=branched"):
        mtl_jax.train("brunched")


@pytest.mark.slow
def test_the_program_itself(trained):
    """In a process of its own, nothing is printed but what is meant to be.

    The same of a run that is finished already: test_output_that_nobody_reads_or_that_is_full.
    """
    directory, _ = trained
    done = start("--mode=evaluate", f"--workdir={directory}")
    assert "All metrics: " in done.stdout
    assert done.stderr == ""


def test_a_misspelt_work_directory_names_those_that_there_are(trained):
    directory, _ = trained
    output = fails(f"--workdir={directory.parent / 'tini'}", "--config.eval.split=test")
    assert f"holds no run. Did you mean 'tiny'? {directory.parent} has tiny." in output


def test_work_directory_that_cannot_be_written(tmp_path, monkeypatch):
    def mkdir(path, **options):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "mkdir", mkdir)
    output = fails("--config=configs/branched.py", f"--workdir={tmp_path / 'x'}")
    assert "cannot be written (Permission denied)" in output


def test_work_directory_that_is_a_file(tmp_path):
    (tmp_path / "x").write_text("")
    output = fails("--config=configs/branched.py", f"--workdir={tmp_path / 'x'}")
    assert "cannot be written" in output


@pytest.mark.slow
def test_arrays_are_trained_on_without_tensorflow(tmp_path):
    """Nor what came with it: a program that imported one of them would end."""
    prepare = ["--dataset=streets/64x128_tiny", f"--arrays={tmp_path / 'data'}"]
    given = [a for a in tiny.arguments("") if not a.startswith("--config.data.data")]
    given += [f"--config.data.dataset=arrays:{tmp_path / 'data'}", "--config.data.resident"]
    given += ["--config.train.steps_per_call=3", f"--workdir={tmp_path / 'run'}"]
    code = f"""
import sys
sys.modules.update(dict.fromkeys(("tensorflow", "tensorflow_datasets", "array_record")))
sys.path.insert(0, "tests")
import toy_network
from input_pipeline import prepare
from mtl_jax import architectures
from mtl_jax.commands import cli
assert not prepare.main({prepare})
architectures.build = toy_network.build
assert not cli.main({given})
"""
    options = {"cwd": ROOT, "env": tiny.environment(1), "check": True, "timeout": 900}
    subprocess.run([sys.executable, "-c", code], **options)
    assert json.loads((tmp_path / "run" / "results.json").read_text())["finished"]
    (events,) = (tmp_path / "run").glob("events.out.tfevents.*")
    for name in (b"data.augment.crop", b"[32, 64]", b"train/gradient_norm", b"example_0"):
        assert name in events.read_bytes()
