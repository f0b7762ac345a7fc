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


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """' Did you mean 'x'?' of the nearest known word; '' if none is near."""
    near = difflib.get_close_matches(word, list(known), n=1)
    return f" Did you mean {near[0]!r}?" if near else ""
