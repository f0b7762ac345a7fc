"""Fixed weights of the two losses; joint network from scratch (report B).

--sweep=configs/sweeps/task_weights.py             small network on Streets
--sweep=configs/sweeps/task_weights.py:miniscapes  as reported: Adam 1e-4, batch 4, 16 epochs
"""

from mtl_jax.configs.sweeps import _studies

from mtl_jax.studies.sweeps import Row

PROTOCOLS = ("streets", "miniscapes")
REPORTED = "miniscapes"
WEIGHTS = ((0.2, 0.8), (0.4, 0.6), (0.5, 0.5), (0.6, 0.4), (0.8, 0.2))  # semantics, depth


def get_rows(protocol: str) -> list[Row]:
    """One row for each pair of weights."""
    base = _studies.joint_baseline(protocol)
    return [
        Row(
            name=f"semseg_{semseg}_depth_{depth}",
            config=_studies.variant(base, _studies.weights(semseg, depth)),
            published=(f"B-weights-{semseg}-{depth}",),
        )
        for semseg, depth in WEIGHTS
    ]
