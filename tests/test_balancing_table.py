"""The table of the balancing methods: ranks as papers compute them, Δm, and tiny finished rows."""

import csv
import json

import numpy as np
import pytest

from mtl_jax.studies import balancing, benchmarks
from mtl_jax.studies.sweeps import SweepError

NASH, FAMO = 11, 12  # rows of the two papers' tables, the latter's with FAMO


def nyuv2() -> tuple[dict, dict]:
    """The published rows that the mean ranks of Nash-MTL's and FAMO's tables are over."""
    left_out = {"single task", "MoCo", "FairGrad"}
    with balancing.PUBLISHED_RESULTS.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["benchmark"] == "nyuv2_13_3"]
    lower = {"abs", "rel", "normals_mean", "normals_median"}
    higher = {"miou", "pixel_accuracy", "within_11.25", "within_22.5", "within_30"}
    directions = dict.fromkeys(lower, "min") | dict.fromkeys(higher, "max")
    found = {
        row["system"]: {name: float(row[name]) for name in directions}
        for row in rows
        if row["system"] not in left_out
    }
    return found, directions


def test_mean_ranks_are_those_that_famo_and_nash_mtl_print():
    found, directions = nyuv2()
    assert len(found) == FAMO
    ranks = list(balancing.mean_ranks(found, directions).values())
    printed = [8.89, 7.89, 11.22, 7.67, 7.44, 6.00, 8.00, 7.00, 4.56, 3.78, 2.11, 3.44]
    np.testing.assert_allclose(ranks, printed, atol=0.005)
    del found["FAMO"]
    ranks = list(balancing.mean_ranks(found, directions).values())
    np.testing.assert_allclose((ranks[0], ranks[-1]), (8.11, 1.56), atol=0.005)


def test_published_rows_say_where_they_are_from():
    text = balancing.published("nyuv2_13_3")
    (single,) = [line for line in text.splitlines() if "single task" in line]
    assert "| read | constants in nash-mtl" in single
    assert all("| recalled | recalled: " in line for line in text.splitlines()[3:])


def test_what_is_not_a_number_is_the_worst_and_has_no_delta():
    rows = {"a": {"miou": np.nan}, "b": {"miou": 0.1}, "c": {"miou": np.nan}}
    assert balancing.mean_ranks(rows, {"miou": "max"}) == {"a": 2.5, "b": 1.0, "c": 2.5}
    for found in ({"depth/rel": np.nan}, {}):
        changed = balancing.deltas({"depth/abs": 9.0} | found, METRICS, {"depth": "depth"})
        assert np.all(np.isnan(list(changed.values()))), found


TYPES = {"semseg": "segmentation", "depth": "depth"}
METRICS = {
    "semseg/miou": 0.5,
    "semseg/pixel_accuracy": 0.8,
    "depth/abs": 2.0,
    "depth/rel": 0.2,
    "semseg/loss": 1.0,
}


BETTER = ("semseg/miou", "semseg/pixel_accuracy")  # the more of it


def finished(directory, row: str, factor: float, seed: int, *, unconverged=None) -> None:
    """A row's directory, with metrics that are better than those above by that factor."""
    home = directory / row / f"seed_{seed}"
    home.mkdir(parents=True)
    tasks = [row.removeprefix("only_")] if row.startswith("only_") else ["semseg", "depth"]
    found = {
        name: value * factor if name in BETTER else value / factor
        for name, value in METRICS.items()
        if name.partition("/")[0] in tasks
    }
    results = {"finished": True, "steps": 50, "train_seconds": 99.0, "mean_of_last_10": found}
    results["mean_of_last_10"] = found | {"loss": None}  # not finite
    results["peak_memory"] = {"host": (2 + seed) * 2**30, "device": None}
    (home / "results.json").write_text(json.dumps(results))
    held_out = home.parent.parent / f"held_out_{row.removeprefix('only_')}" / home.name
    if row.startswith(("only_", "fixed_")):  # of the grid, what is better there is worse here
        there = {k: v / factor**2 if k in BETTER else v * factor**2 for k, v in found.items()}
        held_out.mkdir(parents=True)
        evaluation = {"split": "held_out", "checkpoint": "latest", "step": 50, "metrics": there}
        (held_out / "evaluation_held_out_latest.json").write_text(json.dumps(evaluation))
    config: dict = {section: {} for section in ("data", "model", "eval")} | {
        "train": {"batch_size": 4}
    }
    config |= {section: {"name": "x"} for section in ("weighting", "optimizer", "schedule")}
    config |= {"tasks": {name: {"type": TYPES[name]} for name in tasks}}
    (home / "config.json").write_text(json.dumps(config))
    rates = [0.1, 20.0, 20.0, 10.0]  # images per second; the first steps were compiled
    logged = [{"step": 10 * k, "images_per_second": rate} for k, rate in enumerate(rates)]
    if unconverged is not None:
        logged[-1] |= {"weighting/unconverged": unconverged, "weighting/ascents": 0.0}
    (home / "training.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in logged))


@pytest.fixture
def directory(tmp_path):
    names = ("only_semseg", "only_depth", "fixed_0.50_0.50", "fixed_0.09_0.91", "mgda")
    rows = [{"name": name, "evaluates": None} for name in names]
    rows += [{"name": f"held_out_{n}", "evaluates": n} for n in names if n.startswith("fixed_")]
    (tmp_path / "sweep.json").write_text(json.dumps({"rows": rows}))
    for seed in (0, 1):
        for name in ("only_semseg", "only_depth"):
            finished(tmp_path, name, 1.0 + seed, seed)
        finished(tmp_path, "fixed_0.50_0.50", 1.1 + seed, seed)
        finished(tmp_path, "fixed_0.09_0.91", 0.9 + seed, seed)
        finished(tmp_path, "mgda", 1.0 + seed, seed, unconverged=5.0)
    return tmp_path


def test_table_of_finished_rows(directory):
    lines = balancing.table(balancing.compare(directory, [0, 1])).splitlines()
    rows = {line.split("|")[1].strip(): line for line in lines[2:] if line.startswith("|")}
    # Of the two the better one on held-out images, which the table must not show by its own Δm.
    assert list(rows) == ["mgda", "fixed, tuned: 0.09_0.91"]  # the best one first
    cells = [cell.strip() for cell in rows["mgda"].strip("|").split("|")]
    assert cells[1:6] == ["+0.00 ± 0.00"] * 3 + ["–", "1.00"]  # no row has equal weights
    assert cells[6:] == ["0.200", "3.00", "10.00", "0.00"]
    first = (100 * 0.1 + 100 * (1 / 0.9 - 1)) / 2  # seed 0; seed 1 has 1.9 for 2
    second = (100 * 0.05 + 100 * (2 / 1.9 - 1)) / 2
    mean, error = (first + second) / 2, abs(first - second) / 2
    assert f"+{mean:.2f} ± {error:.2f}" in rows["fixed, tuned: 0.09_0.91"]
    assert "Rows: 2" in lines[-1]
    assert "the process, compiler included" in lines[-1]


def test_differences_from_equal_weights_are_paired_by_seed(directory):
    """Errors of differences: what both rows of a seed have in common cancels."""
    listing = json.loads((directory / "sweep.json").read_text())
    listing["rows"].append({"name": "fixed", "evaluates": None})
    (directory / "sweep.json").write_text(json.dumps(listing))
    for seed in (0, 1):
        finished(directory, "fixed", 1.1 + 1.1 * seed, seed)  # 10 % better than mgda
    found = balancing.compare(directory, [0, 1])
    lines = [line for line in balancing.table(found).splitlines() if line.startswith("|")]
    rows = {line.split("|")[1].strip(): line for line in lines}
    cell = rows["mgda"].strip("|").split("|")[4].strip()
    assert cell == f"+{(10 + 100 * (1 - 1 / 1.1)) / 2:.2f} ± 0.00"
    assert rows["fixed"].strip("|").split("|")[4].strip() == "+0.00 ± 0.00"


def test_published_rows_are_those_of_the_data_set(directory, capsys):
    """Whatever the directory is called."""
    path = directory / "only_depth" / "seed_0" / "config.json"
    for dataset, printed in (("streets/64x128", False), ("nyuv2/mtan_288x384", True)):
        config = json.loads(path.read_text()) | {"data": {"dataset": dataset}}
        path.write_text(json.dumps(config))
        assert balancing.main([str(directory), "--seeds=0,1"]) == 0
        assert ("FairGrad" in capsys.readouterr().out) == printed


def test_table_of_metrics(directory):
    found = balancing.compare(directory, [0, 1])
    lines = balancing.metrics_table(found).splitlines()
    titles = [cell.strip() for cell in lines[0].strip("|").split("|")]
    assert titles[0] == "weighting"
    assert "semseg/miou ↑" in titles
    rows = {line.split("|")[1].strip(): line.strip("|").split("|") for line in lines[2:]}
    assert list(rows) == ["single tasks", "mgda", "fixed, tuned: 0.09_0.91"]
    for name, factors in {"mgda": (1.0, 2.0), "fixed, tuned: 0.09_0.91": (0.9, 1.9)}.items():
        values = [METRICS["semseg/miou"] * factor for factor in factors]
        error = abs(values[1] - values[0]) / 2
        cell = rows[name][titles.index("semseg/miou ↑")].strip()
        assert cell == f"{sum(values) / 2:.4f} ± {error:.4f}"


def test_delta_of_all_protocols():
    base = dict(METRICS)
    found = {name: 1.1 * value for name, value in METRICS.items()}
    # +10 % of two metrics where more is better, and of two where less is.
    assert balancing.deltas(found, base, TYPES) == pytest.approx(
        {"one_metric_per_task": 0.0, "mean_within_tasks": 0.0, "mean_over_metrics": 0.0}
    )
    found |= {"semseg/pixel_accuracy": 0.4, "depth/abs": 9.0}  # not the first of either task
    changed = balancing.deltas(found, base, TYPES)
    assert changed["one_metric_per_task"] == pytest.approx(0.0)
    assert changed["mean_within_tasks"] < -50


def test_an_unfinished_row_is_named(directory):
    (directory / "mgda" / "seed_1" / "results.json").unlink()
    with pytest.raises(SweepError, match=r"mgda/seed_1 is not finished"):
        balancing.compare(directory, [0, 1])
    (directory / "held_out_depth" / "seed_0" / "evaluation_held_out_latest.json").unlink()
    with pytest.raises(SweepError, match=r"held_out_depth/seed_0 has not been evaluated"):
        balancing.compare(directory, [0, 1])


@pytest.mark.parametrize(
    "rows",
    [
        None,
        {},
        [3],
        [{}],
        [{"name": "../other"}],
        [{"name": "/etc"}],
        [{"name": "x", "overrides": []}],
        [{"name": "x", "published": [{"label": "y"}]}],
        [{"name": "x", "published_costs": 3}],
    ],
)
def test_a_damaged_list_of_rows_is_one_message(tmp_path, rows, capsys):
    (tmp_path / "sweep.json").write_text(json.dumps({"rows": rows}))
    for table in (balancing, benchmarks):
        assert table.main([str(tmp_path)]) == 1
        assert "sweep.json cannot be read:" in capsys.readouterr().err
    (tmp_path / "sweep.json").write_bytes(b"[" * 100_000)
    assert balancing.main([str(tmp_path)]) == 1
    assert "sweep.json cannot be read:" in capsys.readouterr().err


def test_damaged_results_of_a_row_are_one_message(directory, capsys):
    (directory / "only_depth" / "seed_0" / "results.json").write_text("{")
    assert balancing.main([str(directory), "--seeds=0,1"]) == 1
    assert "results.json cannot be read:" in capsys.readouterr().err


def test_a_wrong_word_is_answered_in_one_line(tmp_path, capsys):
    assert balancing.main([str(tmp_path)]) == 1
    assert "sweep.json is missing; run the sweep first." in capsys.readouterr().err
    for flag, message in (
        ("--seeds=0;1", "--seeds=0;1: expected numbers with commas"),
        ("--seed=0", "Unknown flag --seed. Did you mean --seeds?"),
    ):
        assert balancing.main([str(tmp_path), flag]) == 1
        assert message in capsys.readouterr().err
