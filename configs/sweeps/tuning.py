"""Optimiser, rate, batch and task weight of the joint network from scratch (report A, table 1).

--sweep=configs/sweeps/tuning.py             small network on Streets
--sweep=configs/sweeps/tuning.py:miniscapes  as reported; epochs are four times the batch
"""

from mtl_jax.configs.sweeps import _studies

from mtl_jax.studies.sweeps import Row

PROTOCOLS = ("streets", "miniscapes")
REPORTED = "miniscapes"
# (optimiser, rate, batch, weight of semantics), in the table's order
ROWS = (
    ("adam", "2e-4", 16, 0.5),
    ("sgd", "1e-1", 16, 0.5),
    ("sgd", "1e-1", 8, 0.5),
    ("sgd", "3e-2", 16, 0.5),
    ("adam", "2e-4", 8, 0.7),
    ("adam", "2e-4", 8, 0.5),
)


def get_rows(protocol: str) -> list[Row]:
    """One row for each of the table's."""
    base = _studies.joint_baseline(protocol)
    rows = []
    for name, rate, batch, semseg in ROWS:
        changes = {"optimizer.name": name, "schedule.learning_rate": float(rate)}
        changes |= _studies.weights(semseg, round(1 - semseg, 6))
        config = _studies.variant(_studies.with_batch(base, batch), changes)
        ids = (f"A-T1-{name}-{rate}-b{batch}-w{semseg}", "A-tuned")
        rows.append(Row(f"{name}_{rate}_b{batch}_w{semseg}", config, published=ids))
    return rows
