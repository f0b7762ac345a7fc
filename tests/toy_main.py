"""main.py with the toy network instead of any other, for tests that need a process of its own."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import toy_network

from mtl_jax import architectures
from mtl_jax.commands import cli

if __name__ == "__main__":
    architectures.build = toy_network.build
    program = [sys.executable, str(Path(__file__).absolute())]
    cli.leave(cli.main(prog="python main.py", command=program))
