"""Labels, instances and depth alone, in pairs, all three; learned and fixed weights (report E).

--sweep=configs/sweeps/uncertainty.py             small network on Streets
--sweep=configs/sweeps/uncertainty.py:cityscapes  as reported; batch, rate and epochs, which were
                                                  never published, are ours
"""

import itertools

from ml_collections import ConfigDict
from mtl_jax.configs.sweeps import _studies

from mtl_jax.configs import uncertainty
from mtl_jax.studies.sweeps import Row

PROTOCOLS = ("streets", "cityscapes")
REPORTED = "cityscapes"
TASKS = {"label": "semseg", "instance": "instance", "depth": "depth"}
FIXED = {"equal": (0.333, 0.333, 0.333), "tuned": (0.8, 0.05, 0.15)}  # of Kendall et al. 2018


def get_rows(protocol: str) -> list[Row]:
    """Three single tasks, two sets of fixed weights, learned weights of pairs and of all."""
    base = uncertainty.get_config(protocol)
    if protocol == "streets":
        _studies.small(base)
        base.tasks.instance = ConfigDict({"type": "instances", "semantics": "semseg"})
    rows = []
    for name in TASKS:
        alone = _studies.equally_weighted(_with_tasks(base, [name]))
        rows.append(Row(name, alone, published=(f"E-{name}",)))
    for name, values in FIXED.items():
        config = _studies.equally_weighted(_with_tasks(base, list(TASKS)))
        config.weighting.weights = ConfigDict(dict(zip(TASKS.values(), values, strict=True)))
        rows.append(Row(f"fixed_{name}", config, published=(f"E-fixed-{name}",)))
    for count in (2, 3):
        for names in itertools.combinations(TASKS, count):
            ids = (f"E-{'-'.join(names)}", *(["E-architecture"] if count == 3 else []))
            rows.append(
                Row(f"learned_{'_'.join(names)}", _with_tasks(base, list(names)), published=ids)
            )
    return rows


def _with_tasks(base: ConfigDict, names: list[str]) -> ConfigDict:
    config = _studies.only(base, [TASKS[name] for name in names])
    if "instance" in names and "label" not in names:  # alone, instances stay offsets
        for option in ("semantics", "classes"):
            if option in config.tasks.instance:
                del config.tasks.instance[option]
    return config
