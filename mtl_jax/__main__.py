"""`python -m mtl_jax`: what `mtl` is where no console command is installed."""

from mtl_jax.commands import cli

if __name__ == "__main__":
    cli.leave(cli.main(prog="python -m mtl_jax"))
