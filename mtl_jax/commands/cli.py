"""The command line of `main.py` and `mtl`: flags, which command they start, the exit status."""

import argparse
import errno
import importlib
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from mtl_jax import _arguments, _files
from mtl_jax.commands import flags, processes, setup
from mtl_jax.errors import UsageError


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
    setup.collect_rarely()
    setup.compiler()
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed, as by `>&-`: nobody wants to read it
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 (as long as this process)
    return reported(lambda: _start(argv, prog, command))


def console() -> NoReturn:
    """The console command `mtl`."""
    use_huge_pages()
    leave(main())


def leave(status: int) -> NoReturn:
    """Ends the program. After an error a step that is still being compiled is not waited for."""
    feeds = sys.modules.get("mtl_jax.runs.feeds")
    if status and feeds and feeds.is_compiling():
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(status)
    sys.exit(status)


def use_huge_pages() -> None:
    """Starts this program anew with huge pages on Linux: a step on a CPU takes an eighth less time.

    glibc reads the setting when a process starts. Call it first, where the program is started.
    """
    if sys.platform == "linux" and "GLIBC_TUNABLES" not in os.environ:
        os.environ["GLIBC_TUNABLES"] = "glibc.malloc.hugetlb=1"
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def _start(argv: list[str], prog: str, command: Sequence[str]) -> int:
    if argv and argv[0] in flags.APART:
        return importlib.import_module(flags.APART[argv[0]]).main(argv[1:])
    arguments, changes = flags.split(argv)
    given = _arguments.parse(flags.parser(prog), arguments)
    name = flags.command(given)
    flags.check(given, name)
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
            only_rows=given.rows or (),
            shard=given.shard or "0/1",
            only_list=bool(given.sweep_list),
            images_per_second=given.images_per_second or 0.0,
            engine_name=given.engine or "",
            jobs=given.jobs or 0,
            engine_options=given.engine_options or "",
        )
    config = _config(given, changes, prog)
    if given.help_options or name == "config":
        from mtl_jax import options as declared
        from mtl_jax.commands import config as configuration

        print(declared.describe(config) if given.help_options else configuration.show(config))
        if name == "config":
            configuration.check(config)
        return 0
    options = {
        "train": {"chosen_seeds": seeds},
        "evaluate": {"chosen_seeds": seeds, "compared_with": given.baselines or ()},
        "predict": {"inputs": given.input or (), "output": given.output},
        "export": {"output": given.output, "size": given.size or ""},
        "release": {
            "output": given.output,
            "licence": given.licence or "",
            "name": given.name or "",
        },
    }
    _set_up(given)
    run = importlib.import_module(f"mtl_jax.commands.{name}").run
    run(config, given.workdir, **options[name])
    return 0


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
    setup.libraries(given.verbosity, given.compilation_cache)
    processes.connect(given)


def _handed_on(given: argparse.Namespace) -> list[str]:
    """What the processes of a sweep's rows are told besides their config."""
    cache = setup.CACHE if given.compilation_cache is None else given.compilation_cache
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
        if not _files.is_full(error):
            raise
        return _full(f" ({error.filename})" if error.filename else "")
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
            if _files.is_full(error):
                processes.leave(_full(f" ({' '.join(str(error).split())[:200]})"))
                return 1
            if message := processes.lost(error):
                status = _say(message)
                processes.leave(status)
            processes.leave(1, error)
            raise
        status = _say(f"{type(error).__name__}: {error}")
        if isinstance(error, _loaded("mtl_jax.checkpoints", "DiskFullError")):
            os._exit(status)  # an orderly exit would wait for threads that still try to write
        processes.leave(status)
        return status


def _full(where: str) -> int:
    return _say(f"The disk is full{where}. Free some space and start the same command again.")


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
