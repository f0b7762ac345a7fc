"""The config that a run was started with: --config=configs/from_workdir.py:runs/branched.

`main.py` uses it by itself where --workdir is given and --config is not.
"""

from ml_collections import ConfigDict

from configs import common
from mtl_jax import workdir


def get_config(path: str) -> ConfigDict:
    """Reads <path>/config.json."""
    config = workdir.from_json(workdir.Workdir(path).read_config())
    # The run may be older than some of these, of which no number of its training depends.
    config["predict"] = common.base().predict.to_dict() | config["predict"]
    return ConfigDict(config)
