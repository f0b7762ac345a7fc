"""A program ends that has not read its streams to their end."""

import subprocess
import sys
from pathlib import Path

import pytest

_PROGRAM = """
import time

import numpy as np

from input_pipeline import {module}, labels
from input_pipeline.quiet_tensorflow import tf


class Records:
    specs = {{"image": labels.image()}}

    def read(self, indices):
        return [b""] * len(indices)

    def decode(self, record):
        return {{"image": tf.zeros((4, 4, 3), tf.uint8)}}

    def example(self, index):
        return {{"image": np.zeros((4, 4, 3), np.uint8)}}


def choose(step):
    return np.arange(2), np.zeros((2, 1), np.int64)


def change(example, numbers):
    time.sleep(0.3)  # so that the program ends while an example is being changed
    return {{**example, "valid": np.bool_(True)}}


streams = [
    {module}.batches(Records(), range(10**9), choose, change, 2, (4, 4), str) for _ in range(3)
]
print(*(next(stream)["image"].shape for stream in streams))
"""


@pytest.mark.parametrize("module", ["_tf_batches", "_thread_batches"])
def test_a_program_ends_that_leaves_its_batches_open(module):
    """Its threads must not call a Python that is gone: they, and the program, would never end."""
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM.format(module=module)],
        cwd=root,
        timeout=60,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "(2, 4, 4, 3) (2, 4, 4, 3) (2, 4, 4, 3)\n"
    assert "Traceback" not in done.stderr
