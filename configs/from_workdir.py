"""The config that a run was started with: --config=configs/from_workdir.py:runs/branched.

`main.py` uses it by itself where --workdir is given and --config is not.
"""

from ml_collections import ConfigDict

from mtl_jax import workdir


def get_config(path: str) -> ConfigDict:
    """Reads <path>/config.json."""
    return ConfigDict(workdir.from_json(workdir.Workdir(path).read_config()))
