"""The config that is asked for: the one of --config, or that of the run in --workdir."""

import sys
from pathlib import Path

from absl import app, flags

from configs import from_workdir
from mtl_jax import workdir
from mtl_jax.errors import UsageError


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
    """As absl does, but of a config that cannot be had it gives one message."""
    try:
        others = flags.FLAGS(arguments)
        getattr(flags.FLAGS.config, "name", "")  # a file that is not there is reported on first use
        return others
    except OSError as unread:
        error: BaseException = UsageError(
            f"--config cannot be read: {str(unread).splitlines()[-1].strip()}. The current folder "
            f"is {Path.cwd()}; the configs of this project are in "
            f"{Path(__file__).absolute().parent}."
        )
    except flags.Error as wrapped:
        error = wrapped
        while error.__context__ is not None:
            error = error.__context__
        if not isinstance(error, UsageError):
            return app.parse_flags_with_usage(arguments)
    print(f"\n{type(error).__name__}: {error}", file=sys.stderr, flush=True)
    sys.exit(1)
