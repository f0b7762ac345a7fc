"""The speed table measures the step that a config trains with."""

import subprocess
import sys
from pathlib import Path

import pytest
import test_configs
import tiny

from benchmarks import train_step
from mtl_jax import system

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize(("name", "protocol"), test_configs.NAMES)
def test_any_config_can_be_measured(name, protocol):
    """Its tasks accept the made-up labels, whatever classes they ask for."""
    config = test_configs.load(name, protocol)
    specs = train_step.label_specs(config.tasks)
    parts = system.build(config, specs)
    batch = train_step.made_up_batch(specs, 1, (4, 8))
    assert {task.key for task in parts.tasks.values()} <= batch.keys()


@pytest.mark.slow
def test_the_step_has_the_configs_optimizer():
    """Asynchronous updates are measured as such, and checked: 32 images are more than 16 a time."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "benchmarks.train_step"),
            "--config=configs/stacked_unet.py:streets_mixed",
            "--config.model.encoder.width=8",
            "--config.model.head.channels=8",
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
