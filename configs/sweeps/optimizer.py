"""Optimiser and learning rate, joint network from scratch (report B; the course's template).

--sweep=configs/sweeps/optimizer.py             small network on Streets
--sweep=configs/sweeps/optimizer.py:miniscapes  as reported: batch 4, 16 epochs
"""

from mtl_jax.configs.sweeps import _studies

from mtl_jax.studies.sweeps import Row

PROTOCOLS = ("streets", "miniscapes")
REPORTED = "miniscapes"
RATES = {
    "sgd": ("1e-1", "1e-2", "1e-3", "1e-4", "1e-5"),
    "adam": ("1", "1e-1", "1e-2", "1e-3", "1e-4", "1e-5"),
}


def get_rows(protocol: str) -> list[Row]:
    """One row for each pair."""
    base = _studies.joint_baseline(protocol)
    base.optimizer.clip_norm = 0.0  # the highest rates are to show what they do
    also = {"sgd_1e-2": ("handout-template", "A-default"), "adam_1e-4": ("B-tuned",)}
    return [
        Row(
            name=f"{name}_{rate}",
            config=_studies.variant(
                base, {"optimizer.name": name, "schedule.learning_rate": float(rate)}
            ),
            published=(f"B-optimizer-{name}-{rate}", *also.get(f"{name}_{rate}", ())),
        )
        for name, rates in RATES.items()
        for rate in rates
    ]
