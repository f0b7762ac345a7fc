"""The errors that are the user's to mend."""

import difflib
from collections.abc import Iterable


class UsageError(ValueError):
    """What was asked for cannot be done; the message says why and what to do.

    The commands show the message alone, without where in the code it comes from.
    """


class ConfigError(UsageError):
    """A config, or an override of one, is impossible; the message names the key and what is right.

    Raised where the mistake is found. Other `ValueError`s are defects, and keep their traceback.
    """


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
