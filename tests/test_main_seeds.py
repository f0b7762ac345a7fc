"""main.py with --seeds, --baselines, test-time augmentation and a size limit."""

import json

import numpy as np
import pytest
import tiny
import toy_network as toy
from PIL import Image
from run_main import call, fails

toy_network = toy.in_every_run()

STEPS = ("--config.train.max_steps=2", "--config.eval.selection=depth/rmse")
SMALLER = ("--config.eval.selection_mode=min", "--config.eval.batch_size=4")


@pytest.fixture(scope="module")
def trained(streets_dir, tmp_path_factory):
    """Runs of seeds 0 and 3, and what was printed."""
    directory = tmp_path_factory.mktemp("runs") / "both"
    arguments = [*tiny.arguments(streets_dir), *STEPS, *SMALLER, *tiny.NO_PICTURES]
    return directory, arguments, call(f"--workdir={directory}", "--seeds=0,3", *arguments)


def _read(path):
    return json.loads(path.read_text())


@pytest.mark.slow
def test_seeds_are_trained_in_turn_summed_up_and_not_trained_again(trained):
    directory, arguments, output = trained
    results = _read(directory / "results.json")
    runs = [_read(directory / f"seed_{seed}" / "results.json") for seed in (0, 3)]
    assert [_read(directory / f"seed_{s}" / "config.json")["seed"] for s in (0, 3)] == [0, 3]
    assert results["seeds"] == [0, 3]
    assert results["finished"]
    assert runs[0]["evaluations"] == 1
    for report in ("best", "last"):
        values = [run[report]["metrics"]["depth/rmse"] for run in runs]
        assert values[0] != values[1]
        found = results[report]
        assert found["metrics"]["depth/rmse"] == pytest.approx(np.mean(values))
        assert found["std"]["depth/rmse"] == pytest.approx(np.std(values, ddof=1))
    assert "n = 2 (seeds 0, 3), mean ± sample standard deviation" in output
    again = call(f"--workdir={directory}", "--seeds=0,3", *arguments)
    assert again.count("This run is finished") == 2
    assert _read(directory / "results.json")["best"] == results["best"]
    assert "holds runs of several seeds" in fails(f"--workdir={directory}", *arguments)


@pytest.mark.slow
def test_evaluation_over_seeds_against_a_baseline_with_views(trained):
    """Both ways of merging class maps, and Δm of runs against themselves, which is 0."""
    directory, _, _ = trained
    run = directory / "seed_0"
    views = ["--config.eval.tta.scales=(0.5,)", "--config.eval.tta.flip=True"]
    views.append("--config.eval.tta.semantics=vote")
    call("--mode=evaluate", f"--workdir={run}", *views)
    merged = _read(run / "evaluation_validation_best.json")
    assert merged["evaluated_with"]["eval.tta.scales"] == [0.5]
    plain = _read(run / "results.json")["best"]["metrics"]
    assert merged["metrics"]["depth/loss"] == pytest.approx(plain["depth/loss"], rel=1e-4)
    assert merged["metrics"]["depth/rmse"] != pytest.approx(plain["depth/rmse"], rel=1e-6)
    output = fails("--mode=evaluate", f"--workdir={run}", *views[:1], f"--baselines={directory}")
    assert "eval.tta.scales: [] there, [0.5] here" in output

    arguments = ("--mode=evaluate", f"--workdir={directory}", "--seeds=0,3")
    output = call(*arguments, f"--baselines={directory}")
    assert "Δm of best: one_metric_per_task" in output
    found = _read(directory / "evaluation_validation_best.json")
    assert found["seeds"] == [0, 3]
    stored = _read(directory / "results.json")["best"]
    assert found["std"]["depth/abs"] == pytest.approx(stored["std"]["depth/abs"], rel=1e-2)
    for report in ("best", "mean_of_last_10"):
        assert list(found["delta_m"][report].values()) == pytest.approx([0, 0, 0], abs=0.05)


@pytest.mark.slow
def test_predict_with_views_and_a_size_limit(trained, tmp_path):
    directory, _, _ = trained
    pixels = np.random.default_rng(0).integers(0, 256, (40, 100, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    arguments = ["--mode=predict", f"--workdir={directory / 'seed_0'}", f"--input={tmp_path}/a.png"]
    arguments.append("--config.predict.max_size=50")
    maps = {}
    for name, views in {"plain": [], "merged": ["--config.eval.tta.flip=True"]}.items():
        call(*arguments, f"--output={tmp_path / name}", *views)
        maps[name] = np.asarray(Image.open(tmp_path / name / "a_depth.png"))
        assert maps[name].shape == (40, 100)
        # Predicted on 20 × 50 pixels, each of which is four of the photograph.
        np.testing.assert_array_equal(maps[name][::2, ::2], maps[name][1::2, 1::2])
    assert (maps["plain"] != maps["merged"]).any()
