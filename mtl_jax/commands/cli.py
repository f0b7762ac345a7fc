"""The command line of `main.py` and `mtl`: flags, which command they start, the exit status."""

import argparse
import errno
import importlib
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import mtl_jax
from mtl_jax import overrides
from mtl_jax.errors import UsageError, did_you_mean

COMMANDS = {
    "train": "train, or go on with, the run in --workdir; what is done without a command",
    "evaluate": "all metrics of a trained run on config.eval.split",
    "predict": "label maps, depth and figures of photographs and videos",
    "export": "a trained network for JAX and for TensorFlow",
    "sweep": "the rows of a study, each in a process of its own",
    "config": "print the config that is asked for, with all overrides",
    "report": "tables and figures of runs: report runs/* --output=<folder>",
    "prepare": "convert a data set: prepare --dataset=camvid --manual_dir=<folder>",
}
_USE_JAX = ("train", "evaluate", "predict", "export")
# The commands that a flag is for, where it is not for all.
_FOR = {
    "seeds": ("train", "evaluate", "sweep"),
    "baselines": ("evaluate",),
    "input": ("predict",),
    "output": ("predict", "export"),
    "size": ("export",),
    "sweep_list": ("sweep",),
    "shard": ("sweep",),
    "images_per_second": ("sweep",),
    "compilation_cache": (*_USE_JAX, "sweep"),
    "coordinator": _USE_JAX,
    "processes": _USE_JAX,
    "process": _USE_JAX,
}
_CACHE = "~/.cache/mtl_jax"


class _Parser(argparse.ArgumentParser):
    """Its mistakes are `UsageError`s."""

    def error(self, message: str) -> NoReturn:
        """See `ArgumentParser`."""
        raise UsageError(
            f"{message[0].upper()}{message[1:]}. `{self.prog} --help` lists the flags."
        )


def parser(prog: str) -> argparse.ArgumentParser:
    """Reads everything but the overrides of the config; what is not given is None."""
    commands = "\n".join(f"  {name:9} {what}" for name, what in COMMANDS.items())
    flags = _Parser(
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
    add("--output", help="predict, export: the folder to write to")
    add("--size", help="export: <height>x<width> instead of config.eval.image_size")
    add("--sweep", help="sweep: <name>[:<protocol>] or <file>.py[:<protocol>]")
    add("--sweep_list", action="store_true", default=None, help="print the rows; run nothing")
    add("--shard", help="sweep: i/n, the i-th of n parts, from 0")
    add("--images_per_second", type=_rate, help="for --sweep_list: a rate to estimate with")
    add("--compilation_cache", help=f"compiled programs are kept here ({_CACHE}); '' = nowhere")
    add("--coordinator", help="several processes: host:port of the first")
    add("--processes", type=int, help="several processes: how many")
    add("--process", type=int, help="several processes: which one this is, from 0")
    add("--verbosity", type=int, help="1 = what the libraries tell as well, 2 = all of it")
    add("--help_options", action="store_true", help="print what each key of the config means")
    add("--version", action="version", version=f"mtl_jax {mtl_jax.__version__}")
    return flags


def main(
    argv: Sequence[str] | None = None,
    *,
    prog: str = "mtl",
    command: Sequence[str] = (sys.executable, "-m", "mtl_jax"),
) -> int:
    """Runs one command; a mistake of the user's is one message and no traceback.

    Args:
      argv: the arguments, without the program's name.
      prog: that name.
      command: what starts this program in a process of its own.

    Returns:
      The exit status: 0, or 1 after a message, or 128 + the number of the signal that ended it.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed, as by `>&-`: nobody wants to read it
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 (as long as this process)
    return reported(lambda: _start(argv, prog, command))


def console() -> int:
    """The console command `mtl`."""
    use_huge_pages()
    return main()


def use_huge_pages() -> None:
    """Starts this program anew with huge pages on Linux: a step on a CPU takes an eighth less time.

    glibc reads the setting when a process starts. Call it first, where the program is started.
    """
    if sys.platform == "linux" and "GLIBC_TUNABLES" not in os.environ:
        os.environ["GLIBC_TUNABLES"] = "glibc.malloc.hugetlb=1"
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def _start(argv: list[str], prog: str, command: Sequence[str]) -> int:
    if argv[:1] == ["report"]:
        from mtl_jax.reporting.__main__ import main as report

        return report(argv[1:])
    if argv[:1] == ["prepare"]:
        from input_pipeline.prepare import main as prepare

        return prepare(argv[1:])
    arguments, changes = split(argv)
    given = _parse(parser(prog), arguments)
    name = _command(given)
    _check_flags(given, name)
    seeds = _seeds(given)
    if name == "sweep":
        from mtl_jax.commands import sweep

        return sweep.run(
            given.sweep,
            given.workdir,
            command=command,
            overrides=changes,
            arguments=_handed_on(given),
            chosen_seeds=seeds,
            shard=given.shard or "0/1",
            only_list=bool(given.sweep_list),
            images_per_second=given.images_per_second or 0.0,
        )
    config = _config(given, changes, prog)
    if given.help_options or name == "config":
        from mtl_jax import options as declared
        from mtl_jax.commands import config as configuration

        print(declared.describe(config) if given.help_options else configuration.show(config))
        return 0
    options = {
        "train": {"chosen_seeds": seeds},
        "evaluate": {"chosen_seeds": seeds, "compared_with": given.baselines or ()},
        "predict": {"inputs": given.input or (), "output": given.output},
        "export": {"output": given.output, "size": given.size or ""},
    }
    _set_up(given)
    run = importlib.import_module(f"mtl_jax.commands.{name}").run
    run(config, given.workdir, **options[name])
    return 0


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


def _parse(flags: argparse.ArgumentParser, arguments: Sequence[str]) -> argparse.Namespace:
    given, unknown = flags.parse_known_args(arguments)
    if not unknown:
        return given
    name = unknown[0].partition("=")[0]
    known = [option for action in flags._actions for option in action.option_strings]
    hint = did_you_mean(name, known, form="{}")
    if "." in name:
        hint = f" Did you mean --config.{name.lstrip('-')}?"
    what = "flag" if name.startswith("-") else "argument"
    raise UsageError(f"Unknown {what} {name}.{hint or f' `{flags.prog} --help` lists the flags.'}")


def _command(given: argparse.Namespace) -> str:
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
    if said and said[0] in ("report", "prepare"):
        raise UsageError(f"{said[0]} comes first, before its own flags.")
    return said[0] if said else "train"


def _check_flags(given: argparse.Namespace, command: str) -> None:
    """Raises UsageError for a flag that the command does not read, or that needs another."""
    for flag, commands in _FOR.items():
        if getattr(given, flag) is not None and command not in commands:
            raise UsageError(
                f"--{flag} is of no use in {command}; it is for {', '.join(commands)}."
            )
    several = [given.coordinator, given.processes, given.process]
    if None in several and several != [None] * 3:
        raise UsageError(
            "Several processes need all of --coordinator=<host>:<port> of the first, --processes="
            "<how many> and --process=<which one this is, from 0>."
        )
    if given.processes is not None and not 0 <= given.process < given.processes:
        raise UsageError(
            f"--process={given.process}: expected 0 to {given.processes - 1}, as --processes="
            f"{given.processes}."
        )


def _seeds(given: argparse.Namespace) -> tuple[int, ...]:
    if not given.seeds:
        return ()
    from mtl_jax.runs import seeds

    return seeds.parse(given.seeds)


def _config(given: argparse.Namespace, changes: Sequence[str], prog: str) -> Any:
    """The config of --config, or of the run in --workdir."""
    from mtl_jax.commands import config as configuration

    if given.config:
        return configuration.load(given.config, changes)
    if given.workdir:
        return configuration.of_run(given.workdir, changes)
    raise UsageError(
        f"--config is missing, or the --workdir of a run: {prog} --config=<config>, where <config> "
        f"is one of {', '.join(configuration.names())} or a file of your own."
    )


def _set_up(given: argparse.Namespace) -> None:
    """JAX's cache and processes, and what the libraries may print."""
    from absl import logging

    if given.verbosity is None:
        # Orbax and TFDS tell every step that they take. JAX has a log of its own, which is shown.
        logging.set_verbosity(logging.ERROR)
        logging.get_absl_logger().addFilter(_is_not_of_orbax)
    else:
        logging.set_verbosity(given.verbosity - 1)
    import jax

    cache = _CACHE if given.compilation_cache is None else given.compilation_cache
    if cache:
        jax.config.update("jax_compilation_cache_dir", str(Path(cache).expanduser()))
    if given.coordinator:
        jax.distributed.initialize(given.coordinator, given.processes, given.process)


def _is_not_of_orbax(record: Any) -> bool:
    """Its threads log each error with its traceback, and then it is raised where we say it."""
    return f"{os.sep}orbax{os.sep}" not in record.pathname


def _handed_on(given: argparse.Namespace) -> list[str]:
    """What the processes of a sweep's rows are told besides their config."""
    cache = _CACHE if given.compilation_cache is None else given.compilation_cache
    return [f"--compilation_cache={cache}"]


def reported(run: Callable[[], int]) -> int:
    """Runs a command. What the user can mend becomes a message on standard error and a status."""
    try:
        return run()
    except KeyboardInterrupt:
        return 130  # where nothing is trained, Ctrl-C has nothing to save
    except OSError as error:
        if _stdout_fails():
            _leave_stdout()
            if error.errno == errno.EPIPE:
                return 141  # as a program that the closed pipe kills: | head has what it wanted
            return _say(f"Standard output cannot be written ({error.strerror}).")
        if error.errno != errno.ENOSPC:
            raise
        where = f" ({error.filename})" if error.filename else ""
        return _say(f"The disk is full{where}. Free some space and start the same command again.")
    except Exception as error:
        stopped = _loaded("mtl_jax.runs.loop", "Stopped")
        if isinstance(error, stopped):
            from mtl_jax.runs import progress

            progress.say(str(error))
            return 128 + getattr(error, "signum")  # noqa: B009 (no type has it here)
        theirs: tuple[type[BaseException], ...] = (
            UsageError,
            *_loaded("input_pipeline.errors", "DatasetError"),
            *_loaded("input_pipeline.errors", "OptionError"),
            *_loaded("mtl_jax.runs.step_log", "NonFiniteLoss"),
        )
        if not isinstance(error, theirs):
            raise
        status = _say(f"{type(error).__name__}: {error}")
        if isinstance(error, _loaded("mtl_jax.checkpoints", "DiskFullError")):
            os._exit(status)  # an orderly exit would wait for threads that still try to write
        return status


def _say(message: str) -> int:
    print(f"\n{message}", file=sys.stderr, flush=True)
    return 1


def _loaded(module: str, name: str) -> tuple[type[BaseException], ...]:
    """The error of a module, if that has been imported: otherwise nothing can have raised it."""
    return (getattr(sys.modules[module], name),) if module in sys.modules else ()


def _stdout_fails() -> bool:
    """Whether it is standard output that cannot be written; an error does not say what was."""
    try:
        print(flush=True)
    except OSError:
        return True
    return False


def _leave_stdout() -> None:
    """Python's own exit is not to try, and fail, to write the rest."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, sys.stdout.fileno())
    os.close(nothing)


def _list(text: str) -> list[str]:
    return [part for part in text.split(",") if part]


def _rate(text: str) -> float:
    rate = float(text)
    if not 0 < rate < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is no number of images per second")
    return rate
