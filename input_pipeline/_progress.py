"""A progress bar on a terminal; in a log, one update every ten seconds."""

import sys
from typing import Any

import tqdm

_SECONDS_IN_A_LOG = 10.0


def bar(*args: Any, **kwargs: Any) -> "tqdm.tqdm[Any]":
    """`tqdm.tqdm`, which by itself writes ten times a second into a log as well."""
    if not sys.stderr.isatty():
        kwargs = {"mininterval": _SECONDS_IN_A_LOG, "ascii": True, **kwargs}
    return tqdm.tqdm(*args, **kwargs)
