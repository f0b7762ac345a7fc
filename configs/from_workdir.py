"""The config that a run was started with: --config=from_workdir:runs/branched_streets.

The commands use it by themselves where --workdir is given and --config is not.
"""

from typing import Any

from ml_collections import ConfigDict

from mtl_jax.configs import common
from mtl_jax.runs import workdir

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
