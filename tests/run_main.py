"""Runs main.py as a user does, in a process of its own."""

import subprocess
import sys
from pathlib import Path

import tiny

ROOT = Path(__file__).resolve().parents[1]


def call(*arguments, code: int = 0, program=("main.py",)) -> str:
    """Returns what the program prints; its exit status has to be `code`."""
    done = subprocess.run(
        [sys.executable, *program, *map(str, arguments)],
        cwd=ROOT,
        env=tiny.environment(1),
        capture_output=True,
        text=True,
        timeout=900,
    )
    output = done.stdout + done.stderr
    assert done.returncode == code, output
    return output


def fails(*arguments, **options) -> str:
    """Returns what the program prints when it refuses, without a traceback."""
    output = call(*arguments, code=1, **options)
    assert "Traceback" not in output
    return output
