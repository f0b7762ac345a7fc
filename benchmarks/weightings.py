"""Every weighting on Streets, trained with the same budget.

    python -m benchmarks.weightings --steps=300
    python -m benchmarks.weightings --steps=300 --crop=64x128 --workdir=runs/weightings_small

trains configs/branched.py:streets_scratch once per row through main.py and prints one Markdown
table: the metrics of the last step on the validation split, and the weights of that step, of `rlw`
one draw. The training images are cut to as many as make `--epochs` epochs of the steps, because a
method that works by epochs does nothing before the third. Whatever else is given goes to main.py,
for example --config.optimizer.name=sgd.

Each row has a work directory of its own. Started again, the command leaves out what is finished and
goes on with what is not. Another budget needs another --workdir.
"""

import argparse
import json
import pathlib
import subprocess
import sys

from input_pipeline import datasets
from mtl_jax.configs import branched

ROOT = pathlib.Path(__file__).resolve().parents[1]
ROWS = {
    "fixed": {"name": "fixed"},
    "dwa": {"name": "dwa"},
    "uncertainty_repo": {"name": "uncertainty", "form": "repo"},
    "uncertainty_gaussian": {"name": "uncertainty", "form": "gaussian"},
    "uncertainty_kendall": {"name": "uncertainty", "form": "kendall"},
    "rlw": {"name": "rlw"},
    "geometric": {"name": "geometric"},
    "pcgrad": {"name": "pcgrad"},
}
COLUMNS = ("mIoU %", "− fixed", "depth rel", "weights", "log σ²", "images/s")


def overrides(args: argparse.Namespace, batch_size: int) -> list[str]:
    """The budget, as flags of main.py."""
    available = datasets.load("streets", data_dir=args.data_dir).info.splits["train"].num_examples
    wanted = max(1, args.steps // args.epochs) * batch_size
    height, width = (int(n) for n in args.crop.split("x"))
    return [
        "--config=configs/branched.py:streets_scratch",
        f"--config.seed={args.seed}",
        f"--config.data.data_dir={args.data_dir}",
        f"--config.data.train_split=train[:{min(wanted, available)}]",
        f"--config.data.augment.crop=({height}, {width})",
        f"--config.train.max_steps={args.steps}",
        "--config.train.eval_every_epochs=1000000",  # the last step only
    ]


def claim(workdir: pathlib.Path, flags: list[str]) -> None:
    """Makes sure that all rows below `workdir` have one budget."""
    file = workdir / "flags.json"
    if file.exists() and (found := json.loads(file.read_text())) != flags:
        raise SystemExit(
            f"{workdir} holds rows that were trained with\n  {' '.join(found)}\nand not with\n"
            f"  {' '.join(flags)}\nUse another --workdir."
        )
    workdir.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(flags))


def train(directory: pathlib.Path, weighting: dict[str, str], flags: list[str]) -> dict:
    """results.json of a row, which is trained first if it is not finished."""
    results = directory / "results.json"
    if not results.exists() or not json.loads(results.read_text())["finished"]:
        options = [f"--config.weighting.{key}={value}" for key, value in weighting.items()]
        command = [sys.executable, "main.py", f"--workdir={directory}", *flags, *options]
        print(f"\n{' '.join(command)}", flush=True)
        subprocess.run(command, cwd=ROOT, check=True)
    return json.loads(results.read_text())


def row(results: dict, fixed: dict) -> list[str]:
    """One row of the table, by `COLUMNS`."""
    metrics = results["last"]["metrics"]
    miou = 100 * metrics["semseg/miou"]

    def per_task(quantity: str) -> str:
        values = results["weighting"].get(quantity, {})
        return ", ".join(f"{task} {value:.3g}" for task, value in values.items()) or "–"

    return [
        f"{miou:.2f}",
        f"{miou - 100 * fixed['last']['metrics']['semseg/miou']:+.2f}",
        f"{metrics['depth/rel']:.4f}",
        per_task("weight"),
        per_task("log_variance"),
        f"{results['images_per_second']:.1f}",
    ]


def main() -> None:
    """Trains what is missing and prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--crop", default="96x192", help="height x width of the training crops")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rows", default=",".join(ROWS))
    parser.add_argument("--workdir", type=pathlib.Path, default=pathlib.Path("runs/weightings"))
    parser.add_argument("--data_dir", default="")
    args, rest = parser.parse_known_args()

    # The one that all are compared with comes first.
    chosen = list(dict.fromkeys(["fixed", *args.rows.split(",")]))
    if unknown := [name for name in chosen if name not in ROWS]:
        parser.error(
            f"--rows: there is no {', '.join(unknown)}; expected some of {', '.join(ROWS)}."
        )
    flags = [*overrides(args, branched.get_config().train.batch_size), *rest]
    workdir = args.workdir.absolute()
    claim(workdir, flags)
    found = {name: train(workdir / name, ROWS[name], flags) for name in chosen}
    print(
        f"\n{args.steps} steps of {branched.get_config().name}, crops of {args.crop}; "
        f"{found['fixed']['devices']}, {found['fixed']['machine']}\n"
    )
    print(f"| weighting | {' | '.join(COLUMNS)} |\n|{'---|' * (len(COLUMNS) + 1)}")
    for name in chosen:
        print(f"| {name} | {' | '.join(row(found[name], found['fixed']))} |")


if __name__ == "__main__":
    main()
