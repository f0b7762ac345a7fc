"""One network for all tasks, or one for each, from ImageNet weights and from random ones.

--sweep=configs/sweeps/single_task.py           Streets, its six tasks
--sweep=configs/sweeps/single_task.py:tabletop  photographs of objects on tables, five tasks

Both are of the default's network, EfficientNet-Lite0 with a top-down decoder for each task.
"""

from mtl_jax.configs.sweeps import _studies

from mtl_jax.configs import branched
from mtl_jax.studies.sweeps import Row

PROTOCOLS = ("streets", "tabletop")
REPORTED = "tabletop"  # nothing is published of either


def get_rows(protocol: str) -> list[Row]:
    """All tasks, and each alone; twice."""
    if protocol == "streets":
        imagenet = _studies.small(branched.get_config("streets_six"))
    else:
        imagenet = branched.get_config(protocol)
    starts = {"imagenet": imagenet, "scratch": _studies.variant(imagenet, _studies.SCRATCH)}
    rows = []
    for start, base in starts.items():
        rows += _studies.against_single_tasks(base, f"multi_{start}", ending=f"_{start}")
    return rows
