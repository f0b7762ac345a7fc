"""`python -m mtl_jax`: what `mtl` is where no console command is installed."""

import sys

from mtl_jax.commands import cli

if __name__ == "__main__":
    sys.exit(cli.main(prog="python -m mtl_jax"))
