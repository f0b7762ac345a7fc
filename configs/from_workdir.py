"""The config that a run was started with: --config=configs/from_workdir.py:runs/branched.

`main.py` uses it by itself where --workdir is given and --config is not.
"""

from pathlib import Path

from ml_collections import ConfigDict

from configs import common
from mtl_jax import workdir


def get_config(path: str) -> ConfigDict:
    """Reads <path>/config.json."""
    config = workdir.from_json(workdir.Workdir(path).read_config())
    # The run may be older than some of these, of which no number of its training depends.
    config["predict"] = common.base().predict.to_dict() | config.get("predict", {})
    return ConfigDict(config)


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
