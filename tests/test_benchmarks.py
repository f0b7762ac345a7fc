"""The speed table measures the step that a config trains with."""

import subprocess
import sys
from pathlib import Path

import pytest
import test_configs
import tiny

from benchmarks import train_step, weightings_cost
from benchmarks.beside_pytorch import convolutions
from mtl_jax import system, weightings

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize(("name", "protocol"), test_configs.NAMES)
def test_any_config_can_be_measured(name, protocol):
    """Its tasks accept the made-up labels, whatever classes they ask for."""
    config = test_configs.load(name, protocol)
    specs = train_step.label_specs(config.tasks)
    parts = system.build(config, specs)
    batch = train_step.made_up_batch(specs, 1, (4, 8))
    assert {task.key for task in parts.tasks.values()} <= batch.keys()


@pytest.mark.weekly
def test_the_step_has_the_configs_optimizer():
    """Asynchronous updates are measured as such, and checked: 32 images are more than 16 a time."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "benchmarks.train_step"),
            "--config=configs/stacked_unet.py:streets_mixed",
            "--config.model.encoder.width=8",
            "--config.model.head.channels=8",
            "--config.model.encoder.blocks=(1, 1, 1, 1)",
            *("--size=32x32", "--batch_sizes=2,32", "--steps=1"),
        ],
        cwd=ROOT,
        env=tiny.environment(1),
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert "asynchronous adam" in done.stdout
    row = [cell.strip() for cell in done.stdout.splitlines()[-1].strip("|").split("|")]
    assert row[0] == "stacked_unet_streets_mixed"
    assert row[2] == "2"
    assert float(row[4].replace(",", "")) > 0
    assert done.returncode == 1
    assert "fewer than config.train.batch_size=32" in done.stderr


def test_every_weighting_has_a_row_or_is_of_the_kind_of_one():
    """With --quick one of each kind that a step treats alike."""
    every = weightings_cost.methods([], quick=False)
    assert {*weightings.names()} - {"fixed"} == {name for name in every if "+" not in name}
    assert {"nash_mtl+representation", "graddrop+representation"} < set(every)
    quick = weightings_cost.methods([], quick=True)
    kinds = {weightings_cost.kind(name) for name in weightings.names()}
    assert len([name for name in quick if "+" not in name]) == len(kinds)
    for name in ("famo", "auto_lambda", "moco", "graddrop"):
        assert name in quick


def test_options_of_a_weighting_follow_its_name():
    found = weightings_cost.section("mgda+gradient_chunks=4+representation")
    assert found == {"name": "mgda", "gradient_chunks": 4, "representation": True}
    config = weightings_cost.variant("default", "mgda+gradient_chunks=4", 5)
    assert list(config.task_order) == ["semseg", "depth", "normals", "parts", "instance"]
    assert config.weighting.gradient_chunks == 4


def test_a_row_is_measured_once_for_each_machine(tmp_path):
    asked = []
    for device in ("this", "this", "other"):
        rows = weightings_cost.Rows(tmp_path / "rows.jsonl", {"device": device})
        rows.add({"tasks": 2}, lambda: asked.append(1) or {"step ms": 1.5, "peak GiB": None})
    assert len(asked) == 2
    assert rows.table().splitlines() == [
        "| tasks | step ms | peak GiB |",
        "|---|---|---|",
        "| 2 | 1.5 | – |",
    ]


def test_every_method_has_the_step_of_its_kind_and_its_own_solution():
    measured = [
        {"network": "default", "tasks": 2, "weighting": name, "step ms": 200.0, "× fixed": 1.6}
        | {"GiB × fixed": 1.1}
        for name in weightings_cost.methods([], quick=True)
    ]
    solved = [{"tasks": 2, "weighting": n, "solver µs": 10.0} for n in weightings.names()]
    (nash,) = [row for row in solved if row["weighting"] == "nash_mtl"]
    nash["solver µs"] = 20_010.0
    every = weightings_cost.of_every_method(measured, solved)
    names = [row["weighting"] for row in every]
    assert sorted(names) == sorted(weightings_cost.methods([], quick=False))
    of = dict(zip(names, every, strict=True))
    assert of["nash_mtl"]["step ms"] == 220.0
    assert of["nash_mtl+representation"]["× fixed"] == pytest.approx(1.76)
    assert of["moco"]["as"] == "moco"
    assert of["cagrad"]["as"] == of["nash_mtl"]["as"] != "moco"


@pytest.mark.parametrize("name", ["geometric", "mgda", "moco"])
def test_solutions_alone_are_measured(name):
    assert weightings_cost.solver_microseconds(name, 2) > 0


def test_each_part_of_a_convolution_is_measured():
    case = convolutions.Case(3, 4, 6, 10, stride=2, batch=2)
    assert str(case) == "3×3, 3 to 4, 6×10, stride 2"
    assert case.operations == 2 * (2 * 3 * 5) * 9 * 3 * 4
    ours = convolutions.Ours(case)
    for part in convolutions.PARTS:
        assert ours.ask(part).keys() == {"wall", "processor"}
