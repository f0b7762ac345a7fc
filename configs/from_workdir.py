"""The config that a run was started with: --config=from_workdir:runs/branched_streets.

The commands use it by themselves where --workdir is given and --config is not.
"""

from ml_collections import ConfigDict

from mtl_jax.runs import workdir


def get_config(path: str) -> ConfigDict:
    """Reads <path>/config.json; keys that the run is older than have their defaults."""
    saved = workdir.from_json(workdir.Workdir(path).read_config())
    from mtl_jax import options  # only here: the parts that it asks for options import JAX

    return options.of_saved(saved)
