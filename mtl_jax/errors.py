"""The errors that are the user's to mend."""

import contextlib
import difflib
import traceback
from collections.abc import Iterable, Iterator
from pathlib import Path


class UsageError(ValueError):
    """What was asked for cannot be done; the message says why and what to do.

    The commands show the message alone, without where in the code it comes from.
    """


class ConfigError(UsageError):
    """A config, or an override of one, is impossible; the message names the key and what is right.

    Raised where the mistake is found. Other `ValueError`s are defects, and keep their traceback.
    """


@contextlib.contextmanager
def own_code(given: str, path: Path) -> Iterator[None]:
    """Within it runs a Python file of the user's, whose mistakes become one line.

    Args:
      given: what named the file, such as '--config=rooms.py'.
      path: of the file, as it is compiled.

    Raises:
      ConfigError: the file is no Python, or raises something; the message says at which line. What
        is raised without the file's doing is left alone.
    """
    try:
        yield
    except UsageError:
        raise
    except SyntaxError as error:
        where = "" if error.filename == str(path) else f"{error.filename}, "
        line = f" {where}line {error.lineno}:" if error.lineno else ""
        text = f": {error.text.strip()}" if error.text else ""
        raise ConfigError(f"{given}:{line} {error.msg}{text}") from error
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        own = [frame for frame in frames if frame.filename == str(path)]
        if not own:
            raise
        last = frames[-1]
        deeper = "" if last is own[-1] else f" (raised at {last.filename}, line {last.lineno})"
        raise ConfigError(
            f"{given}: line {own[-1].lineno}, in {own[-1].name}: {own[-1].line}: "
            f"{type(error).__name__}: {error}{deeper}"
        ) from error


class InEveryProcess(Exception):
    """What all processes of a run raise after the same step, so that they can still save together.

    After any other error of one process, waiting for the others may never end.
    """


def nearest(word: str, known: Iterable[str], *, cutoff: float = 0.6) -> str:
    """The known word that is nearest; '' if none is near.

    Args:
      word: as it was given.
      known: all that there are.
      cutoff: how near it has to be, from 0, anything, to 1, the same.
    """
    return next(iter(difflib.get_close_matches(word, list(known), n=1, cutoff=cutoff)), "")


def did_you_mean(
    word: str, known: Iterable[str], *, form: str = "{!r}", cutoff: float = 0.6
) -> str:
    """' Did you mean 'x'?' of the nearest known word; '' if none is near. `form` shows the word."""
    near = nearest(word, known, cutoff=cutoff)
    return f" Did you mean {form.format(near)}?" if near else ""
