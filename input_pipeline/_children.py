"""What a child process is started with that runs a module of ours, or unpickles what is of one."""

import os
import sys
from pathlib import Path


def environment(**more: str) -> dict[str, str]:
    """This process's environment and `more`; modules are found where it finds them, ours first."""
    root = os.fspath(Path(__file__).resolve().parents[1])
    paths = dict.fromkeys([root, *(path or os.getcwd() for path in sys.path)])
    return {**os.environ, **more, "PYTHONPATH": os.pathsep.join(paths)}
