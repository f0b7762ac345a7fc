"""Train, evaluate, predict, export: the command `mtl`, from a clone. `--help` lists the flags.

python main.py --config=configs/branched.py
python main.py --mode=evaluate --workdir=runs/branched_streets --config.eval.split=test
python main.py --config=configs/branched.py --seeds=0,1,2
python main.py --mode=predict --workdir=runs/branched_streets --input='photos/*.jpg' --output=out/
python main.py --mode=export --workdir=runs/branched_streets --size=256x512 --output=exported/
python main.py --sweep=configs/sweeps/depth_loss.py
"""

import sys
from pathlib import Path

from mtl_jax.commands import cli

if __name__ == "__main__":
    cli.use_huge_pages()
    program = [sys.executable, str(Path(__file__).absolute())]
    cli.leave(cli.main(prog="python main.py", command=program))
