"""A run that is killed, or asked to stop, at any moment goes on bit for bit."""

import random
import signal
import subprocess
import time

import numpy as np
import pytest
import tiny
from run_main import begin
from test_loop import assert_same_bits

from mtl_jax import checkpoints
from mtl_jax.runs.workdir import Workdir


def until_step(process: subprocess.Popen, step: int) -> str:
    """Reads the output until the progress line of `step`, or to the end."""
    output = ""
    for line in process.stdout:
        output += line
        if line.startswith(f"step {step}/"):
            break
    return output


STOP, KILL = (signal.SIGTERM, 1), (signal.SIGKILL, 4)  # and the step after which


@pytest.mark.parametrize(
    "moments",
    [
        # A process that is stopped, and stops as it should, is also in test_clusters.
        pytest.param((KILL,), id="kill", marks=pytest.mark.slow),
        pytest.param((STOP, KILL), id="stop_and_kill", marks=pytest.mark.weekly),
    ],
)
def test_kill_and_stop_at_random_moments(streets_dir, tmp_path, moments):
    arguments = [*tiny.arguments(streets_dir), *tiny.NO_PICTURES]
    arguments.append("--config.train.checkpoint_every_steps=1")
    whole = begin(f"--workdir={tmp_path / 'whole'}", *arguments)
    output, _ = whole.communicate(timeout=400)
    assert whole.returncode == 0, output

    chance = random.Random(7)
    for how, step in moments:
        process = begin(f"--workdir={tmp_path / 'killed'}", *arguments)
        output = until_step(process, step)
        time.sleep(chance.random() * 0.2)  # somewhere within a step, a save or an evaluation
        process.send_signal(how)
        output += process.communicate(timeout=200)[0]
        if how == signal.SIGTERM:
            assert process.returncode == 128 + signal.SIGTERM, output
            assert "run the same command again" in output
            assert "Traceback" not in output
    process = begin(f"--workdir={tmp_path / 'killed'}")  # the work directory is all that it needs
    output, _ = process.communicate(timeout=400)
    assert process.returncode == 0, output
    assert "Resuming at step" in output or "finished" in output

    states = [
        checkpoints.read_variables(tmp_path / name / "checkpoints", kind)
        for name in ("whole", "killed")
        for kind in ("latest", "best")
    ]
    assert_same_bits(states[0], states[2])
    assert_same_bits(states[1], states[3])
    evaluations = [
        [(e["step"], e["metrics"]) for e in Workdir(tmp_path / name).read_evaluations()]
        for name in ("whole", "killed")
    ]
    np.testing.assert_equal(*evaluations)
