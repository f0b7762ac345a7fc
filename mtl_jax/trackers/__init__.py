"""Experiment trackers that a run also writes to: `--config.train.trackers=wandb,mlflow`.

A tracker is a module with `PACKAGE`, what is to be installed, and `open(name, hparams, directory,
known) -> Tracker`. `known` is what it remembered of this run when it was
opened before, so that a run that goes on is one run in the tracker, too.
"""

import importlib.util
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mtl_jax import _discovery
from mtl_jax.errors import ConfigError
from mtl_jax.trackers._tracker import Also as Also
from mtl_jax.trackers._tracker import Tracker as Tracker

_KEY = "config.train.trackers"


def check(names: Sequence[str]) -> None:
    """Raises ConfigError if one of `names` is no tracker, or its package is not installed."""
    for name in names:
        package = _discovery.load(sys.modules[__name__], name, key=_KEY).PACKAGE
        if importlib.util.find_spec(package) is None:
            raise ConfigError(
                f"{_KEY}={name} needs the package {package}, which is not installed: "
                f"pip install 'mtl-jax[{name}]'."
            )


def open_all(
    names: Sequence[str],
    *,
    run: str,
    hparams: Mapping[str, Any],
    directory: Path,
    known: Mapping[str, str],
) -> dict[str, Tracker]:
    """Opens the run in each tracker.

    Args:
      names: of trackers, see `check`.
      run: what it is to be called.
      hparams: {dotted key: value} of the config.
      directory: the work directory.
      known: {tracker: its id of the run}, of earlier starts.

    Raises:
      ConfigError: one of them does not let the run be opened.
    """
    found = {}
    for name in names:
        module = _discovery.load(sys.modules[__name__], name, key=_KEY)
        try:
            found[name] = module.open(run, hparams, directory, known.get(name, ""))
        except Exception as error:  # no network, nobody logged in, a deleted run: many types
            for opened in found.values():
                opened.close()
            told = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
            which = f" as {known[name]!r}, by which it was known" if name in known else ""
            raise ConfigError(
                f"{_KEY}={name}: the run cannot be opened there{which} ({told}). Leave it out, as "
                "trackers may differ when a run goes on, or mend that."
            ) from error
    return found
