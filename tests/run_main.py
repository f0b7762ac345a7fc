"""Runs commands as a user does: in this process, or as a program in one of its own.

A process of its own trains the toy network, as only the way there is tested.
"""

import contextlib
import io
import socket
import subprocess
import sys
from pathlib import Path
from unittest import mock

import jax
import tiny
from absl import logging

from mtl_jax import parallel
from mtl_jax.commands import cli
from mtl_jax.runs import files, workdir

ROOT = Path(__file__).resolve().parents[1]
MAIN = [sys.executable, str(ROOT / "main.py")]
TOY = [sys.executable, str(ROOT / "tests" / "toy_main.py")]
_make_mesh = parallel.make_mesh


def _one_device(devices=None):
    return _make_mesh(devices or jax.devices()[:1])


def call(*arguments, code: int = 0) -> str:
    """Returns what a command prints; its exit status has to be `code`. On one device."""
    printed, verbosity = io.StringIO(), logging.get_verbosity()
    with (
        contextlib.redirect_stdout(printed),
        contextlib.redirect_stderr(printed),
        mock.patch.object(parallel, "make_mesh", _one_device),
    ):
        try:
            status = cli.main([str(a) for a in arguments], prog="python main.py", command=MAIN)
        finally:
            logging.set_verbosity(verbosity)
    assert status == code, printed.getvalue()
    return printed.getvalue()


def begin(*arguments, devices: int = 1) -> subprocess.Popen:
    """Starts the program with the toy network; its output and errors are one stream."""
    return subprocess.Popen(
        [TOY[0], "-u", *TOY[1:], *map(str, arguments)],
        cwd=ROOT,
        env=tiny.environment(devices),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def free_port() -> int:
    """A port of this machine that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def begin_two(*arguments) -> list[subprocess.Popen]:
    """Starts one run in two processes of two devices each."""
    common = [*arguments, f"--coordinator=127.0.0.1:{free_port()}", "--processes=2"]
    return [begin(*common, f"--process={process}", devices=2) for process in (0, 1)]


def wait_for(processes: list[subprocess.Popen]) -> None:
    """All of them have to succeed."""
    for process in processes:
        output, _ = process.communicate(timeout=400)
        assert process.returncode == 0, output


def start(*arguments, code: int = 0) -> subprocess.CompletedProcess:
    """Runs the program with the toy network; its exit status has to be `code`."""
    command = [*TOY, *map(str, arguments)]
    options = {"cwd": ROOT, "env": tiny.environment(1), "timeout": 900, "text": True}
    done = subprocess.run(command, capture_output=True, **options)
    assert done.returncode == code, done.stdout + done.stderr
    return done


def fails(*arguments) -> str:
    """Returns what a command prints when it refuses; a traceback would be raised here."""
    return call(*arguments, code=1)


def workdir_of(path: Path, config) -> None:
    """Makes a work directory that holds a config and nothing else."""
    files.write_json(workdir.Workdir(path).config, files.to_json(config))
