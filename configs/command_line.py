"""The config that is asked for: the one of --config, or that of the run in --workdir."""

import sys
from collections.abc import Iterator
from pathlib import Path

from absl import flags

from configs import from_workdir
from mtl_jax.errors import UsageError
from mtl_jax.runs import workdir


def with_saved_config(argv: list[str]) -> list[str]:
    """Adds the config that --workdir was trained with, unless --config is given.

    For --sweep, moves what is for each row's config out of sight of the flags.
    """
    given = _given(argv[1:])
    if "sweep" in given:
        overrides = [argument for argument in argv if argument.startswith("--config.")]
        return [*(argument for argument in argv if argument not in overrides), "--", *overrides]
    if "config" in given or "workdir" not in given:
        return argv
    directory = workdir.Workdir(given["workdir"])
    if not directory.config.exists():
        return argv
    return [argv[0], f"--config={from_workdir.__file__}:{directory.path}", *argv[1:]]


def _given(arguments: list[str]) -> dict[str, str]:
    """{flag: value} of `--flag=value` and of `--flag value`, before absl knows the flags."""
    given = {}
    for argument, after in zip(arguments, [*arguments[1:], ""]):
        if argument.startswith("-"):
            name, sign, value = argument.lstrip("-").partition("=")
            given[name] = value if sign else after
    return given


def parse_flags(arguments: list[str]) -> list[str]:
    """As absl does, but what cannot be had, or is misspelt, is one message and no traceback."""
    try:
        others = flags.FLAGS(arguments)
        getattr(flags.FLAGS.config, "name", "")  # a file that is not there is reported on first use
        return others
    except (OSError, AttributeError, flags.Error) as error:
        problem = _problem(error)
    print(f"\n{type(problem).__name__}: {problem}", file=sys.stderr, flush=True)
    sys.exit(1)


def _problem(error: Exception) -> UsageError:
    """What the user can mend. Raises `error` if that is a defect of a config file."""
    if isinstance(error, OSError):
        return UsageError(
            f"--config cannot be read: {str(error).splitlines()[-1].strip()}. The current folder "
            f"is {Path.cwd()}; the configs of this project are in "
            f"{Path(__file__).absolute().parent}."
        )
    ours = [cause for cause in _causes(error) if isinstance(cause, UsageError)]
    if ours:
        return ours[-1]  # ml_collections wraps it in one of its type that quotes a traceback
    if isinstance(error, flags.Error):
        what = str(error).rstrip(".")
        return UsageError(f"{what}. `python main.py --helpshort` lists the flags.")
    key = error.args[0] if error.args else None
    if not isinstance(key, KeyError):  # which is what a locked config raises for a key it lacks
        raise error
    missing, _, nearest = str(key.args[0]).partition("\n")
    return UsageError(
        f"The config has no key {missing}. {nearest or 'configs/common.py has all of them.'}"
    )


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An error and, after one another, those that it was raised upon."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__context__
