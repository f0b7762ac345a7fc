"""The loop: what it writes, that it resumes bit for bit, and what it does when things go wrong."""

import dataclasses
import json
import types

import jax
import numpy as np
import pytest
import tiny
import toy_network as toy

from mtl_jax import checkpoints
from mtl_jax.runs import feeds, files, loop, results, step_log, workdir

toy_network = toy.in_every_run()


@pytest.fixture(scope="module")
def finished(streets_dir, tmp_path_factory):
    """A run of 2 epochs × 3 steps, its directory, state and losses."""
    directory = tmp_path_factory.mktemp("finished")
    config = tiny.config(streets_dir, train__log_every=1, data__augment__flip=0.5)
    run = tiny.run(config, directory)
    run.workdir.claim(config)
    return run, run.train()


def assert_same_bits(a, b):
    for (path, x), (_, y) in zip(
        jax.tree_util.tree_leaves_with_path(a), jax.tree_util.tree_leaves_with_path(b), strict=True
    ):
        np.testing.assert_array_equal(x, y, err_msg=jax.tree_util.keystr(path))


def test_a_run_leaves_all_its_files(finished):
    run, found = finished
    names = {path.name for path in run.workdir.path.iterdir()}
    expected = {"config.json", "evaluation.jsonl", "results.json", "predictions", "parameters.txt"}
    assert expected <= names
    evaluations = run.workdir.read_evaluations()
    assert [e["step"] for e in evaluations] == [3, 6]
    on_disk = json.loads(run.workdir.results.read_text())
    assert on_disk["last"] == evaluations[-1]
    assert on_disk["best"] in evaluations
    assert on_disk["finished"]
    assert on_disk["steps"] == 6
    assert on_disk["wall_seconds"] > on_disk["train_seconds"] > 0  # it evaluated and saved too
    assert {"jax", "numpy", "pillow", "tensorflow-datasets"} <= on_disk["versions"].keys()
    assert "semseg/iou/road" in on_disk["last"]["metrics"]
    assert found["mean_of_last_10"]["depth/rel"] == pytest.approx(
        np.mean([e["metrics"]["depth/rel"] for e in evaluations])
    )
    assert list(run.workdir.predictions.glob("*.png"))
    assert "encoder" in (run.workdir.path / "parameters.txt").read_text()


def test_a_batch_is_what_the_step_was_compiled_for(finished):
    run, _ = finished
    batch = next(run.stream.batches())
    assert run.stream.layout == {key: (x.shape[1:], x.dtype) for key, x in batch.items()}


def test_what_reports_are_made_of_is_kept(finished):
    run, found = finished
    logged = run.workdir.read_training()
    assert [entry["step"] for entry in logged] == [1, 2, 3, 4, 5, 6]
    for entry in logged:
        scalars = run.writer.scalars[entry["step"]]
        assert entry["loss/depth"] == scalars["train/loss/depth"]
        assert entry["weight/semseg"] == scalars["train/weight/semseg"]
        assert entry["epoch"] == entry["step"] / 3
    best = run.workdir.read_best_evaluation()
    assert best["step"] == found["best"]["step"]
    assert len(set(best["images"]["id"])) == 8
    # What is averaged over images is the mean of what is known of each.
    si_log_rmse = np.mean(best["images"]["depth/si_log_rmse"])
    metrics = found["best"]["metrics"]
    assert metrics["depth/si_log_rmse"] == pytest.approx(si_log_rmse, rel=1e-5)
    n = np.array(best["confusion"]["semseg"])
    road = n[0, 0] / (n[0].sum() + n[:, 0].sum() - n[0, 0])
    assert metrics["semseg/iou/road"] == pytest.approx(road)
    pictures = {path.stem for path in run.workdir.predictions.glob("worst_*.png")}
    assert pictures == {f"worst_{task}_{k}" for task in ("semseg", "depth") for k in range(3)}
    parameters = sum(x.size for x in jax.tree.leaves(tiny.latest_state(run).variables["params"]))
    assert found["parameters"] == parameters
    assert found["peak_memory"]["host"] > 2**27  # Python with JAX takes more than 128 MiB
    assert found["peak_memory"]["device"] is None


def test_scalars_and_images_reach_the_writer(finished):
    run, _ = finished
    assert sorted(run.writer.scalars) == [1, 2, 3, 4, 5, 6]
    expected = {
        "train/loss/semseg",
        "train/loss/depth",
        "train/loss",
        "train/weight/depth",
        "train/learning_rate",
        "train/gradient_norm",
        "train/images_per_second",
    }
    assert expected <= set(run.writer.scalars[1])
    scalars = run.writer.scalars[2]
    np.testing.assert_allclose(
        scalars["train/loss"],
        scalars["train/loss/semseg"] + scalars["train/loss/depth"],
        rtol=1e-6,
    )
    assert "eval/semseg/miou" in run.writer.scalars[3]
    assert "eval_by_class/semseg/iou/road" in run.writer.scalars[3]
    first = {name for name in run.writer.scalars[3] if name.startswith("eval/")}
    sums = {"eval/loss", "eval/headline_mean", "eval/multitask_score"}
    assert first == {"eval/semseg/miou", "eval/depth/si_log_rmse"} | sums
    assert "eval_more/depth/rel" in run.writer.scalars[3]
    (picture,) = (images for step, images in run.writer.images.items() if step == 3)
    assert all(p.dtype == np.uint8 and p.ndim == 4 for p in picture.values())


def test_examples_are_called_by_their_ids(finished, monkeypatch):
    """Of the second of two processes, whose half of the second batch comes first there."""
    run, _ = finished
    batches = [["a", "b", "c", "d"], ["e", "f", "g", "h"]]
    of_run = dataclasses.replace(
        run._evaluations(types.SimpleNamespace(wait=None), None), ids=batches.__getitem__
    )
    monkeypatch.setattr(jax, "process_index", lambda: 1)
    assert of_run._own_ids(1, 2) == ["g", "h"]


@pytest.mark.slow
@pytest.mark.parametrize("count", [0, 5])
def test_as_many_examples_are_drawn_as_asked_for(finished, streets_dir, tmp_path, count):
    import shutil

    shutil.copytree(finished[0].workdir.path, tmp_path / "copy")
    config = tiny.config(streets_dir, eval__images=count, eval__batch_size=2)
    run = tiny.run(config, tmp_path / "copy")
    for file in (run.workdir.evaluations, *run.workdir.predictions.iterdir()):
        file.unlink()  # so that the last evaluation is made up for
    shutil.rmtree(run.workdir.checkpoints / "best")
    titles, draw = [], run.draw
    run.draw = lambda *given, ids, **more: titles.extend(ids) or draw(*given, ids=ids, **more)
    run.train()
    images = run.workdir.read_best_evaluation()["images"]["id"]
    assert titles[:count] == images[:count]
    drawn = {f"example_{i}" for i in range(count)}
    assert {path.stem for path in run.workdir.predictions.glob("example_*.png")} == drawn
    assert set(run.writer.images.get(6, {})) == drawn
    assert len(list(run.workdir.predictions.glob("worst_*.png"))) == 6


def test_a_finished_run_says_so_and_does_nothing(finished, capsys):
    run, found = finished
    again = tiny.run(run.config, run.workdir.path).train()
    assert "finished (6 steps)" in capsys.readouterr().out
    assert again["last"]["step"] == found["last"]["step"] == 6


def test_a_finished_run_that_is_not_as_it_was(finished, tmp_path):
    import shutil

    whole, _ = finished
    shutil.copytree(whole.workdir.path, tmp_path / "copy")
    shorter = whole.config.copy_and_resolve_references()
    shorter.train.max_steps = 3
    with pytest.raises(files.WorkdirError, match="a run of 6 steps, and 3 are asked for"):
        tiny.run(shorter, tmp_path / "copy").train()
    shutil.rmtree(tmp_path / "copy" / "checkpoints" / "best")
    with pytest.raises(checkpoints.CheckpointError, match="but its best model is no longer"):
        tiny.run(whole.config, tmp_path / "copy").train()


@pytest.mark.parametrize("stop_at", [1, pytest.param(3, marks=pytest.mark.weekly)])
def test_stop_and_resume_is_bit_for_bit(finished, tmp_path, stop_at, monkeypatch):
    whole, found = finished
    monkeypatch.setattr(loop.StopSignal, "requested", lambda self, step, every: step == stop_at)
    monkeypatch.setattr(loop.StopSignal, "signum", 15, raising=False)
    with pytest.raises(loop.Stopped, match=f"step {stop_at}"):
        tiny.run(whole.config, tmp_path).train()
    monkeypatch.undo()
    resumed = tiny.run(whole.config, tmp_path)
    again = resumed.train()
    assert_same_bits(tiny.latest_state(whole), tiny.latest_state(resumed))
    np.testing.assert_equal(again["last"]["metrics"], found["last"]["metrics"])  # NaN equals NaN
    assert [e["step"] for e in resumed.workdir.read_evaluations()] == [3, 6]
    assert [e["step"] for e in resumed.workdir.read_training()] == [1, 2, 3, 4, 5, 6]
    for step, scalars in resumed.writer.scalars.items():
        # Stopped at an evaluation, that is made up for before the next step.
        for key in scalars.keys() & {
            "train/loss/semseg",
            "train/loss/depth",
            "train/gradient_norm",
        }:
            assert scalars[key] == whole.writer.scalars[step][key]


def test_a_damaged_newest_checkpoint_is_named_and_passed_over(finished, tmp_path, capsys):
    import shutil

    whole, found = finished
    shutil.copytree(whole.workdir.path, tmp_path / "copy")
    run = tiny.run(whole.config, tmp_path / "copy")
    newest = run.workdir.checkpoints / "latest" / "6"
    largest = max((newest / "variables").rglob("*"), key=lambda p: p.stat().st_size)
    data = bytearray(largest.read_bytes())
    data[len(data) // 2] ^= 0xFF  # one byte
    largest.write_bytes(data)
    again = run.train()
    said = capsys.readouterr().out
    assert f"Checkpoint {newest} is damaged" in said
    assert "Resuming at step 3 of 6" in said
    np.testing.assert_equal(again["last"]["metrics"], found["last"]["metrics"])  # NaN equals NaN
    assert_same_bits(tiny.latest_state(whole), tiny.latest_state(run))


def test_all_checkpoints_damaged_is_an_error(finished, tmp_path):
    import shutil

    whole, _ = finished
    shutil.copytree(whole.workdir.path, tmp_path / "copy")
    run = tiny.run(whole.config, tmp_path / "copy")
    for step in (run.workdir.checkpoints / "latest").iterdir():
        (step / "meta" / "metadata").write_text("{")
    with pytest.raises(checkpoints.CheckpointError, match=r"None of the checkpoints \[6, 3\]"):
        run.train()


def test_checkpoint_of_another_model_names_what_differs(finished, streets_dir):
    run, _ = finished
    config = tiny.config(streets_dir, model__decoder__channels=12)
    with pytest.raises(checkpoints.CheckpointError, match=r"another model[\s\S]*head_depth"):
        tiny.run(config, run.workdir.path).train()


def test_work_directory_of_another_config_names_the_keys(finished):
    run, _ = finished
    config = run.config.copy_and_resolve_references()
    config.schedule.learning_rate = 7.0
    config.train.log_every = 99  # may differ
    with pytest.raises(files.WorkdirError) as error:
        run.workdir.claim(config)
    assert "schedule.learning_rate: 0.002 in the directory, 7.0 asked for" in str(error.value)
    assert "log_every" not in str(error.value)


def test_a_run_does_not_go_on_with_other_data(finished, tmp_path):
    import dataclasses
    import shutil

    whole, _ = finished
    shutil.copytree(whole.workdir.path, tmp_path / "copy")
    run = tiny.run(whole.config, tmp_path / "copy")
    run.stream.labelled_per_epoch = dict.fromkeys(run.stream.labelled_per_epoch, 25)
    with pytest.raises(files.WorkdirError, match=r"a run of 24 examples .* the data now have 25"):
        dataclasses.replace(run).train()


def test_a_tilde_is_the_home_directory(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert workdir.Workdir("~/runs/a").path == tmp_path / "runs" / "a"


def test_a_config_of_which_nothing_was_trained_gives_way(tmp_path):
    directory = workdir.Workdir(tmp_path)
    config = tiny.config(str(tmp_path))
    for seed in (0, 1):
        config.seed = seed
        directory.claim(config)
    assert directory.read_config()["seed"] == 1
    config.seed = 2
    (tmp_path / "seed_3").mkdir()
    directory.claim(config)
    (tmp_path / "seed_3" / "training.jsonl").touch()
    config.seed = 4
    with pytest.raises(files.WorkdirError, match="seed: 2 in the directory, 4 asked for"):
        directory.claim(config)


@pytest.mark.slow
def test_the_rate_is_without_compilation(streets_dir, tmp_path, monkeypatch):
    config = tiny.config(streets_dir, train__log_every=3, train__eval_every_epochs=2)
    now = 1000.0
    step = feeds.Ahead.__call__

    def takes_a_second(self, state, batch):
        nonlocal now
        now += 100.0 if state.step == 0 else 1.0
        return step(self, state, batch)

    monkeypatch.setattr(feeds.Ahead, "__call__", takes_a_second)
    monkeypatch.setattr(step_log.time, "monotonic", lambda: now)
    run = tiny.run(config, tmp_path)
    found = run.train()
    assert [run.writer.scalars[step]["train/images_per_second"] for step in (3, 6)] == [8.0, 8.0]
    assert found["train_seconds"] == found["wall_seconds"] == 105.0


def test_what_is_logged_does_not_go_on_in_a_torn_line(finished, tmp_path):
    import shutil

    whole, _ = finished
    shutil.copytree(whole.workdir.path, tmp_path / "copy")
    run = tiny.run(whole.config, tmp_path / "copy")
    with run.workdir.training.open("a") as file:
        file.write('{"step": 7, "train_sec')  # as a full disk leaves it
    info = {"step": 6, "train_seconds": 0.0, "images": 0, "weighting": {}}
    results.Results(run.workdir, whole.config, run.selection, info)
    run.workdir.append_training({"step": 7})
    assert [entry["step"] for entry in run.workdir.read_training()] == [1, 2, 3, 4, 5, 6, 7]
