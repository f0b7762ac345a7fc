"""What was published of a network's cost stands beside ours, in one unit."""

import finished_runs
import pytest

from mtl_jax.reporting import costs, runs
from mtl_jax.studies import sweeps


@pytest.mark.parametrize(
    ("text", "seconds"), [("3h31m5s", 12665), ("14h2m1s", 50521), ("7h14m", 26040), ("45s", 45)]
)
def test_durations(text, seconds):
    assert costs.parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "3:31", "1.5h", "h"])
def test_no_durations(text):
    with pytest.raises(ValueError, match="is no duration"):
        costs.parse_duration(text)


def test_counts():
    assert costs.parse_count("26.73M") == pytest.approx(26_730_000)
    assert costs.parse_count("112") == 112
    with pytest.raises(ValueError):
        costs.parse_count("many")


def test_every_published_cost_is_understood():
    lines = [line for found in sweeps.read_published().values() for line in found]
    of_costs = [line for line in lines if line["kind"] == "cost"]
    assert {line["metric"] for line in of_costs} == {
        "training_time",
        "max_gpu_memory",
        "parameters",
        "layers",
    }
    for line in of_costs:
        if line["metric"] == "training_time":
            assert 3 * 3600 < costs.parse_duration(line["value"]) < 15 * 3600
        elif line["metric"] == "parameters":
            assert 6e6 < costs.parse_count(line["value"]) < 4e7


def test_costs_of_a_row():
    found = sweeps.published_costs(("B-joint", "D-T4.1"))
    assert [(line["source"], line["metric"], line["value"]) for line in found] == [
        ("B", "training_time", "7h14m"),
        ("B", "max_gpu_memory", "31.63%"),
        ("B", "parameters", "26.73M"),
        ("D", "layers", "112"),
        ("D", "parameters", "6.8M"),
    ]
    assert found[0]["label"].startswith("joint, ASPP, skip: opt=adam")
    assert not sweeps.published_costs(())
    results = sweeps.published_results(("B-joint",))
    assert "training_time" not in {line["metric"] for line in results}


def test_the_table(tmp_path):
    folder = tmp_path / "study"
    finished_runs.run(folder / "joint")
    rows = [
        {"name": "joint", "published_costs": sweeps.published_costs(("B-joint", "D-T4.1"))},
        {
            "name": "later",
            "state": "pending",
            "published_costs": sweeps.published_costs(("B-batch-2",)),
        },
    ]
    finished_runs.sweep(folder, rows)
    (study,), _ = runs.collect([folder])
    (table,) = costs.published(study)
    assert table.rows == [
        ["joint", "training time, h:mm:ss", "7:14:00", "1:02:03", "0.14", "B"],
        ["joint", "peak memory of a device", "31.63 % of one GPU", "–", "–", "B"],
        ["joint", "parameters, millions", "26.73", "1.23", "0.05", "B"],
        ["joint", "layers", "112", "not measured", "–", "D"],
        ["joint", "parameters, millions", "6.80", "1.23", "0.18", "D"],
        ["later", "training time, h:mm:ss", "3:31:05", "–", "–", "B"],
    ]
    (nothing,), _ = runs.collect([folder / "joint"])
    assert costs.published(nothing) == []
