"""How a program ends that is asked to while its step is being compiled."""

import subprocess
import sys
from pathlib import Path

import pytest

_PROGRAM = """
import sys
import time
import types

from mtl_jax.commands import cli
from mtl_jax.runs import feeds

lowered = types.SimpleNamespace(compile=lambda: time.sleep({seconds}))
ahead = feeds.Ahead(types.SimpleNamespace(lower=lambda *_: lowered), None, {{}}, 1)
print("said")
if {waits}:
    ahead._compiled.result()
cli.leave(3)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("seconds", "waits"), [(600, False), (0, True)])
def test_nobody_waits_for_a_step_that_will_not_be_made(seconds, waits):
    program = _PROGRAM.format(seconds=seconds, waits=waits)
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=Path(__file__).parents[2],
        timeout=120,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (3, "said\n", "")
