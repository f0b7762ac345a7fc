"""Every balancing method on one network: who is better, by how much, and at which cost.

--sweep=configs/sweeps/balancing.py             small branched network on Streets, 250 steps of 4
--sweep=configs/sweeps/balancing.py:nyuv2       SegNet-MTAN at 288×384, 13 classes, depth, normals
--sweep=configs/sweeps/balancing.py:cityscapes  SegNet-MTAN at 128×256, 7 classes, inverse depth

with --seeds=0,1,2; then `python -m mtl_jax.studies.balancing <directory>` prints the table. What is
the same for all rows: network, data, augmentation, optimizer (Adam, which forgives the scale of a
gradient but not that of one task's), clipping of the whole gradient to length 1, selection by
held-out data and the learning rate, which is *not* tuned for each. The rows `only_<task>` are the
single-task baselines of Δm; the rows `fixed_...` are ten points of the simplex, of which the table
takes the best one for "fixed, tuned": more trials than any method gets. Methods are found, not
listed; one that needs scores of held-out training images during training is left out.
"""

from mtl_jax.configs.sweeps import _studies

from mtl_jax import weightings
from mtl_jax.configs import branched, mtan
from mtl_jax.studies.sweeps import Row

PROTOCOLS = ("streets", "nyuv2", "cityscapes")
REPORTED = "nyuv2"


def get_rows(protocol: str) -> list[Row]:
    """Baselines, the grid of fixed weights, and every method with its defaults."""
    base = _base(protocol)
    tasks = list(base.tasks)
    rows = [
        Row(f"only_{task}", _studies.equally_weighted(_studies.only(base, [task])))
        for task in tasks
    ]
    for shares in _simplex(len(tasks)):
        weights = {t: len(tasks) * share for t, share in zip(tasks, shares, strict=True)}
        name = "fixed_" + "_".join(f"{share:.2f}" for share in shares)
        rows.append(Row(name, _weighted(base, {"name": "fixed", "weights": weights})))
    for name in weightings.names():
        if not weightings.kind(name).needs_scores:
            rows.append(Row(name, _weighted(base, {"name": name})))
    return rows


def _base(protocol: str):
    if protocol == "streets":
        config = _studies.small(branched.get_config())
    else:
        config = mtan.get_config(protocol)
        config.optimizer.weight_decay = 0.0
    config.optimizer.name = "adam"
    config.optimizer.clip_norm = 1.0
    config.schedule.learning_rate = 1e-3 if protocol == "streets" else 1e-4
    return config


def _weighted(base, weighting: dict):
    return _studies.variant(base, {"weighting": weighting})


def _simplex(count: int) -> list[tuple[float, ...]]:
    """Ten points within the simplex of 2 or 3 weights that sum to 1."""
    if count == 2:
        return [(i / 11, 1 - i / 11) for i in range(1, 11)]
    return [(i / 6, j / 6, (6 - i - j) / 6) for i in range(1, 5) for j in range(1, 6 - i)]
