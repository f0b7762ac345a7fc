"""The flags of the command line: which there are, which command they start, what goes together."""

import argparse
import re
from collections.abc import Sequence

import mtl_jax
from mtl_jax import _arguments, overrides
from mtl_jax.commands import processes, setup
from mtl_jax.errors import UsageError, did_you_mean

COMMANDS = {
    "train": "train, or go on with, the run in --workdir; what is done without a command",
    "evaluate": "all metrics of a trained run on config.eval.split",
    "predict": "label maps, depth and figures of photographs and videos",
    "export": "a trained network for JAX and for TensorFlow",
    "release": "a trained network as a folder of plain files, to pass on or for the hub",
    "sweep": "the rows of a study, each in a process of its own",
    "config": "print the config that is asked for, with all overrides",
    "report": "tables and figures of runs: report runs/* --output=<folder>",
    "prepare": "convert a data set: prepare --dataset=camvid --manual_dir=<folder>",
    "demo": "a page on this machine: drop a photograph, see what the networks make of it",
    "doctor": "what is installed, found and missing on this machine, and the command that gets it",
}
# Those with flags of their own: the module that has their `main(arguments)`.
APART = {
    "report": "mtl_jax.reporting.__main__",
    "prepare": "input_pipeline.prepare",
    "doctor": "mtl_jax.commands.doctor",
    "demo": "mtl_jax.commands.demo",
}
_USE_JAX = ("train", "evaluate", "predict", "export", "release")
# The commands that a flag is for, where it is not for all.
_FOR = {
    "seeds": ("train", "evaluate", "sweep"),
    "baselines": ("evaluate",),
    "input": ("predict",),
    "output": ("predict", "export", "release"),
    "size": ("export",),
    "licence": ("release",),
    "name": ("release",),
    "sweep_list": ("sweep",),
    "rows": ("sweep",),
    "shard": ("sweep",),
    "images_per_second": ("sweep",),
    "engine": ("sweep",),
    "jobs": ("sweep",),
    "engine_options": ("sweep",),
    "compilation_cache": (*_USE_JAX, "sweep"),
    "distributed": _USE_JAX,
    "coordinator": _USE_JAX,
    "processes": _USE_JAX,
    "process": _USE_JAX,
}


def parser(prog: str) -> argparse.ArgumentParser:
    """Reads everything but the overrides of the config; what is not given is None."""
    commands = "\n".join(f"  {name:9} {what}" for name, what in COMMANDS.items())
    flags = _arguments.Parser(
        prog=prog,
        usage=f"{prog} [command] --config=<config> [--workdir=<run>] [--config.<key>=<value> ...]",
        description=f"commands:\n{commands}",
        epilog=f"`{prog} config --config=<config>` prints every key that can be set, and with "
        "--help_options what each means and which other parts could be chosen.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = flags.add_argument
    add("command", nargs="?", help=argparse.SUPPRESS)
    add("--mode", help="another way to say the command")
    add("--config", help="<name>[:<protocol>], such as branched:kitti, or <file>.py[:<protocol>]")
    add("--workdir", help="where the run is kept; runs/<name> by default")
    add("--seeds", type=_list, help="train, evaluate, sweep: a run for each of them, as in 0,1,2")
    add("--baselines", type=_list, help="evaluate: runs of single tasks, to compute Δm")
    add("--input", help="predict: files, folders or globs, with commas between")
    add("--output", help="predict, export, release: the folder to write to")
    add("--size", help="export: <height>x<width> instead of config.eval.image_size")
    add("--licence", help="release: of the weights, for the model card, such as apache-2.0")
    add("--name", help="release: <owner>/<name> on the hub, for the model card")
    add("--sweep", help="sweep: <name>[:<protocol>] or <file>.py[:<protocol>]")
    add("--sweep_list", action="store_true", default=None, help="print the rows; run nothing")
    add("--rows", type=_list, help="sweep: these rows alone, and what they build on")
    add("--shard", help="sweep: i/n, the i-th of n parts, from 0; auto = as a SLURM array says")
    add("--engine", help="sweep: submitit = as jobs of SLURM, submitit:local = processes here")
    add("--jobs", type=int, help="sweep: how many jobs of --engine share the rows; one each")
    add("--engine_options", help="sweep: of submitit, as in slurm_partition=gpu,timeout_min=600")
    add("--images_per_second", type=_rate, help="for --sweep_list: a rate to estimate with")
    add(
        "--compilation_cache", help=f"compiled programs are kept here ({setup.CACHE}); '' = nowhere"
    )
    add(
        "--distributed", help="several processes: auto, as SLURM, MPI, Kubernetes or a TPU pod says"
    )
    add("--coordinator", help="several processes: host:port of the first")
    add("--processes", type=int, help="several processes: how many")
    add("--process", type=int, help="several processes: which one this is, from 0")
    add("--verbosity", type=int, help="1 = what the libraries tell as well, 2 = all of it")
    add("--help_options", action="store_true", help="print what each key of the config means")
    add("--version", action="version", version=f"mtl_jax {mtl_jax.__version__}")
    return flags


def split(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """(flags, overrides of the config), both as `--name=value` or as they are given.

    One dash is as good as two; `--config.<key>` without a value is `=True`.
    """
    flags, changes = [], []
    waiting = list(argv)
    while waiting:
        argument = waiting.pop(0)
        if re.match(r"-[a-z]\w", argument):
            argument = f"-{argument}"
        if not argument.startswith(overrides.PREFIX):
            flags.append(argument)
            continue
        if "=" not in argument:
            alone = not waiting or waiting[0].startswith("--")
            argument += "=True" if alone else f"={waiting.pop(0)}"
        changes.append(argument)
    return flags, changes


def command(given: argparse.Namespace) -> str:
    """The one command that is asked for."""
    said = [name for name in (given.command, given.mode, given.sweep and "sweep") if name]
    for name in said:
        if name not in COMMANDS:
            raise UsageError(
                f"There is no command {name!r}.{did_you_mean(name, COMMANDS)} Expected one of "
                f"{', '.join(COMMANDS)}."
            )
    if given.sweep and (given.config or set(said) != {"sweep"}):
        raise UsageError("--sweep takes neither --config nor --mode; its rows say both.")
    if len(set(said)) > 1:
        raise UsageError(f"Two commands, {' and '.join(said)}; expected one.")
    if said == ["sweep"] and not given.sweep:
        raise UsageError("sweep needs --sweep=<name>[:<protocol>], such as depth_loss:streets.")
    if said and said[0] in APART:
        raise UsageError(f"{said[0]} comes first, before its own flags.")
    return said[0] if said else "train"


def check(given: argparse.Namespace, command: str) -> None:
    """Raises UsageError for a flag that the command does not read, or that needs another."""
    for flag, commands in _FOR.items():
        if getattr(given, flag) is not None and command not in commands:
            raise UsageError(
                f"--{flag} is of no use in {command}; it is for {', '.join(commands)}."
            )
    processes.check(given)


def _list(text: str) -> list[str]:
    return [part for part in text.split(",") if part]


def _rate(text: str) -> float:
    rate = float(text)
    if not 0 < rate < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is no number of images per second")
    return rate
