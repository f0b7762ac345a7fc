"""The config that a run was started with: --config=configs/from_workdir.py:runs/branched.

`main.py` uses it by itself where --workdir is given and --config is not.
"""

from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from configs import common
from mtl_jax import workdir

# Where keys are added from time to time, and no config takes any away.
_GROWN = ("optimizer", "train", "eval", "predict")


def get_config(path: str) -> ConfigDict:
    """Reads <path>/config.json; keys that the run is older than have their defaults."""
    config = workdir.from_json(workdir.Workdir(path).read_config())
    defaults = common.base().to_dict()
    return ConfigDict(config | {key: _filled(defaults[key], config.get(key, {})) for key in _GROWN})


def _filled(defaults: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    """`values`, and what only `defaults` have."""
    merged = defaults | values
    for key, default in defaults.items():
        if isinstance(default, dict) and isinstance(merged[key], dict):
            merged[key] = _filled(default, merged[key])
    return merged


def with_saved_config(argv: list[str]) -> list[str]:
    """Adds the config that --workdir was trained with, unless --config is given.

    For --sweep, moves what is for each row's config out of sight of the flags.
    """
    given = dict(argument.lstrip("-").partition("=")[::2] for argument in argv[1:])
    if "sweep" in given:
        overrides = [argument for argument in argv if argument.startswith("--config.")]
        return [*(argument for argument in argv if argument not in overrides), "--", *overrides]
    if "config" in given or "workdir" not in given:
        return argv
    directory = workdir.Workdir(given["workdir"])
    if not directory.config.exists():
        return argv
    return [argv[0], f"--config={Path(__file__)}:{directory.path}", *argv[1:]]
