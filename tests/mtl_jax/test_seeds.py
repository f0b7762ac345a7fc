"""Several seeds as one result, and Δm against stored runs, on work directories made by hand."""

import json

import numpy as np
import pytest
from ml_collections import ConfigDict

from mtl_jax.runs import baselines, files, rules, seeds
from mtl_jax.runs.files import WorkdirError
from mtl_jax.runs.workdir import Workdir


def _results(step, miou, last_miou, mean, finished=True):
    return {
        "name": "it",
        "finished": finished,
        "selection": "semseg/miou",
        "split": "validation",
        "best": {"step": step, "metrics": {"semseg/miou": miou, "semseg/iou/sky": None}},
        "last": {"step": 9, "metrics": {"semseg/miou": last_miou, "semseg/iou/sky": 0.5}},
        "mean_of_last_10": {"semseg/miou": mean},
        "evaluations": 12,
        "train_seconds": 10.0 * step,
        "steps": 9,
        "images_per_second": step,
    }


RUNS = {
    0: _results(3, 0.50, 0.48, 0.47),
    1: _results(6, 0.54, 0.50, 0.49),
    7: _results(9, 0.52, 0.52, 0.51),
}


def test_seeds_are_parsed():
    assert seeds.parse(["0", " 1", "12"]) == (0, 1, 12)
    for wrong, message in ((["0", "x"], "whole numbers"), (["-1"], "whole"), (["1", "01"], "once")):
        with pytest.raises(ValueError, match=message):
            seeds.parse(wrong)


def test_aggregate_is_mean_and_sample_standard_deviation():
    summary = seeds.aggregate(RUNS)
    assert summary["seeds"] == [0, 1, 7]
    assert summary["finished"]
    assert summary["best"]["step"] == [3, 6, 9]
    assert summary["best"]["metrics"]["semseg/miou"] == pytest.approx(0.52)
    # √((0.02² + 0.02² + 0) / 2), where the population's would divide by 3.
    assert summary["best"]["std"]["semseg/miou"] == pytest.approx(0.02)
    assert summary["last"]["metrics"]["semseg/miou"] == pytest.approx(0.50)
    assert summary["mean_of_last_10"]["semseg/miou"] == pytest.approx(0.49)
    assert summary["mean_of_last_10_std"]["semseg/miou"] == pytest.approx(0.02)
    assert np.isnan(summary["best"]["metrics"]["semseg/iou/sky"])
    assert summary["train_seconds"] == [30.0, 60.0, 90.0]
    assert summary["steps"] == 9
    assert "images_per_second" not in summary  # they do not agree


def test_one_unfinished_run_leaves_all_unfinished():
    assert not seeds.aggregate(RUNS | {8: _results(1, 0.1, 0.1, 0.1, finished=False)})["finished"]


def test_a_metric_that_one_run_lacks_is_no_number():
    mean, deviation = seeds.spread([{"a": 1.0, "b": 2.0}, {"a": 3.0, "c": 4.0}])
    assert mean["a"] == 2.0
    assert deviation["a"] == pytest.approx(np.sqrt(2))
    assert all(np.isnan(values[name]) for values in (mean, deviation) for name in "bc")


def test_a_single_seed_has_no_deviation():
    assert np.isnan(seeds.spread([{"a": 1.0}])[1]["a"])


def test_table_says_what_it_shows():
    text = seeds.table(seeds.aggregate(RUNS))
    assert "validation, n = 3 (seeds 0, 1, 7), mean ± sample standard deviation" in text
    row = next(line for line in text.splitlines() if line.startswith("semseg/miou"))
    assert row.split("  ")[-1].strip() == "0.4900 ± 0.0200"
    assert "0.5200 ± 0.0200" in row
    assert "iou/sky" not in text


def test_a_single_run_and_several_seeds_are_not_mixed_up(tmp_path):
    directory = Workdir(tmp_path)
    seeds.check_parent(directory)
    seeds.check_single(directory)
    directory.label_specs.write_text("{}")
    seeds.check_parent(directory)  # nothing has been trained
    directory.training.touch()
    with pytest.raises(WorkdirError, match="holds a single run"):
        seeds.check_parent(directory)
    directory.seed(3).create()
    with pytest.raises(WorkdirError, match=r"several seeds \(seed_3\)"):
        seeds.check_single(directory)


# Δm against stored runs.


class _Task:
    def __init__(self, metric, direction, **tabled):
        self.headline, self.tabled = (metric, direction), tabled


TASKS = {
    "semseg": _Task("miou", "max", miou="max", pixel_accuracy="max"),
    "depth": _Task("rmse", "min", rel="min", abs="min"),
    "parts": _Task("x", "max"),
}
# 'parts' has no labels here, and therefore no metrics.
FOUND = {
    "semseg/loss": 1.0,
    "semseg/miou": 0.6,
    "semseg/pixel_accuracy": 0.9,
    "depth/loss": 1.0,
    "depth/abs": 1.0,
    "depth/rel": 0.2,
    "depth/rmse": 3.0,
    "loss": 2.0,
}
SINGLE = {
    "semseg": {"semseg/miou": 0.5, "semseg/pixel_accuracy": 0.8, "loss": 1.0},
    "depth": {"depth/abs": 2.0, "depth/rel": 0.25, "depth/rmse": 4.0, "loss": 3.0},
}


def _config(**changes):
    config = ConfigDict(
        {
            "data": {"dataset": "streets", "mixture": ()},
            "eval": {
                "split": "validation",
                "image_size": (0, 0),
                "crop_multiple": 1,
                "batch_size": 8,
                "tta": {"scales": (), "flip": False},
            },
        }
        | {key: {"name": ""} for key in ("model", "weighting", "optimizer", "schedule", "train")}
        | {"tasks": {}}
    )
    config.update_from_flattened_dict({k.replace("__", "."): v for k, v in changes.items()})
    return files.to_json(config)


def _run(path, metrics, config=None, **changes):
    """A finished run with these metrics as its best."""
    directory = Workdir(path)
    directory.create()
    files.write_json(directory.config, config or _config())
    results = {
        "finished": True,
        "split": "validation",
        "best": {"step": 1, "metrics": metrics},
        "last": {"step": 2, "metrics": {k: v * 2 for k, v in metrics.items()}},
        "mean_of_last_10": {k: v * 3 for k, v in metrics.items()},
    }
    files.write_json(directory.results, results | changes)
    return directory


@pytest.fixture
def single(tmp_path):
    return [_run(tmp_path / task, metrics) for task, metrics in SINGLE.items()]


def test_delta_m_by_every_protocol(single):
    against = baselines.read(single, _config(eval__batch_size=3), "best")
    assert "loss" not in against  # it is of no task
    # miou +20, pixel accuracy +12.5; abs +50, rel +20; rmse +25.
    found = baselines.delta_m(FOUND, against, TASKS)
    assert found == pytest.approx(
        {
            "one_metric_per_task": (20 + 25) / 2,
            "mean_within_tasks": (16.25 + 35) / 2,
            "mean_over_metrics": -(20 + 12.5 + 50 + 20) / 4,
        }
    )
    line = baselines.describe(found, "best")
    assert "one_metric_per_task +22.50 % (positive is good)" in line
    assert "mean_over_metrics -25.62 % (negative is good)" in line


def test_metrics_of_one_metric_per_task_can_be_chosen(single):
    against = baselines.read(single, _config(), "best")
    chosen = ("semseg/pixel_accuracy:max", "depth/abs:min")
    found = baselines.delta_m(FOUND, against, TASKS, chosen)
    assert found["one_metric_per_task"] == pytest.approx((12.5 + 50) / 2)
    with pytest.raises(baselines.BaselineError, match="expected '<task>/<metric>:max'"):
        baselines.delta_m(FOUND, against, TASKS, ("depth/abs",))


@pytest.mark.parametrize(("report", "factor"), [("best", 1), ("latest", 2), ("mean_of_last_10", 3)])
def test_stored_results_by_report(single, report, factor):
    assert baselines.read(single, _config(), report)["depth/abs"] == 2.0 * factor


def test_a_later_evaluation_goes_before_training_s(single):
    config = _config(eval__split="test", eval__tta__flip=True)
    evaluated = {"step": 1, "metrics": {"depth/abs": 9.0}}
    evaluated["evaluated_with"] = rules.evaluated_with(config)
    file = single[1].path / "evaluation_test_best.json"
    files.write_json(file, evaluated)
    assert baselines.stored(single[1], config, "best") == {"depth/abs": 9.0}
    with pytest.raises(baselines.BaselineError, match=r"split: validation there, test here"):
        baselines.stored(single[1], _config(eval__split="test"), "best")


def test_what_cannot_be_compared_is_refused(single, tmp_path):
    like = _config()
    other = _run(tmp_path / "other", {"parts/x": 1.0}, _config(data__dataset="camvid"))
    with pytest.raises(baselines.BaselineError, match=r"data.dataset: camvid there, streets here"):
        baselines.read([other], like, "best")
    flipped = _run(tmp_path / "flipped", {"parts/x": 1.0}, _config(eval__tta__flip=True))
    with pytest.raises(baselines.BaselineError, match=r"eval.tta.flip: True there, False here"):
        baselines.read([flipped], like, "best")
    running = _run(tmp_path / "running", {"parts/x": 1.0}, finished=False)
    with pytest.raises(baselines.BaselineError, match="is not finished"):
        baselines.read([running], like, "best")
    running.results.unlink()
    with pytest.raises(baselines.BaselineError, match="has no results yet"):
        baselines.read([running], like, "best")
    with pytest.raises(WorkdirError, match="holds no run"):
        baselines.read([Workdir(tmp_path / "nowhere")], like, "best")
    again = _run(tmp_path / "again", SINGLE["depth"])
    with pytest.raises(baselines.BaselineError, match="'depth' is a task of two baselines"):
        baselines.read([*single, again], like, "best")
    only_depth = baselines.read([again], like, "best")
    with pytest.raises(baselines.BaselineError, match="'semseg/miou', but the baseline has None"):
        baselines.delta_m(FOUND, only_depth, TASKS)


def test_what_only_the_baseline_has_changed_is_refused_too(tmp_path):
    like = _config()
    config = like | {"eval": like["eval"] | {"resize": [96, 96]}}
    with pytest.raises(
        baselines.BaselineError, match=r"eval.resize: \[96, 96\] there, \[0, 0\] here"
    ):
        baselines.read([_run(tmp_path, SINGLE["depth"], config)], like, "best")


EDGE = {"type": "edges", "max_distance": 0.011, "truth": "lines", "key": None, "truth_key": None}


@pytest.mark.parametrize(
    ("option", "there", "here"),
    [
        ("max_distance", 0.0075, 0.011),
        ("truth", "sides", "lines"),
        ("truth_key", "edge_truth", None),
        ("key", "edge_truth", "edge"),
        ("type", "saliency", "edges"),
    ],
)
def test_a_task_that_measures_something_else_is_refused(tmp_path, option, there, here):
    like = _config() | {"tasks": {"edge": EDGE, "depth": {"type": "depth"}}}
    same = _run(tmp_path / "same", {"edge/f_near": 0.5}, _config() | {"tasks": {"edge": EDGE}})
    assert baselines.stored(same, like, "best") == {"edge/f_near": 0.5}
    config = _config() | {"tasks": {"edge": EDGE | {option: there}}}
    other = _run(tmp_path / "other", {"edge/f_near": 0.5}, config)
    message = rf"tasks\.edge\.{option}: {there} there, {here} here"
    with pytest.raises(baselines.BaselineError, match=message):
        baselines.stored(other, like, "best")


def test_how_a_task_is_learned_and_what_older_versions_did_not_say_may_differ(tmp_path):
    like = _config() | {"tasks": {"edge": EDGE | {"positive_weight": 0.8, "key": "edge"}}}
    older = {"type": "edges", "max_distance": 0.011, "positive_weight": "share"}
    directory = _run(tmp_path, {"edge/f_near": 0.5}, _config() | {"tasks": {"edge": older}})
    assert baselines.stored(directory, like, "best") == {"edge/f_near": 0.5}


def test_scores_of_other_images_are_not_compared():
    tasks = {"edge": _Task("f_near", "max", odsF="max")}
    found = {"edge/loss": 1.0, "edge/f_near": 0.5, "edge/odsF": 0.7, "edge/scored_images": 616.0}
    whole = found | {"edge/scored_images": 5105.0}
    with pytest.raises(baselines.BaselineError, match="odsF of the baseline is of 5105 images"):
        baselines.delta_m(found, whole, tasks)
    assert baselines.delta_m(found, found, tasks)["mean_within_tasks"] == 0.0
    # A headline is of all images, and a figure of others than the published ones has another name.
    del found["edge/odsF"]
    assert baselines.delta_m(found, whole, tasks)["mean_within_tasks"] == 0.0


def test_several_seeds_serve_as_a_baseline(tmp_path):
    parent = Workdir(tmp_path)
    files.write_json(parent.config, _config())
    files.write_json(parent.results, seeds.aggregate(RUNS))
    assert baselines.stored(parent, _config(), "best")["semseg/miou"] == pytest.approx(0.52)
    assert json.loads(parent.results.read_text())["best"]["metrics"]["semseg/iou/sky"] is None
