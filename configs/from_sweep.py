"""One row of a sweep: --config=configs/from_sweep.py:configs/sweeps/<name>.py:<protocol>:<row>.

`--sweep` runs all of them so; see docs/reproducing.md.
"""

from ml_collections import ConfigDict

from mtl_jax.studies import sweeps


def get_config(which: str) -> ConfigDict:
    """The config of the row."""
    path, protocol, row = which.rsplit(":", 2)
    return sweeps.load(path, protocol).row(row).config
