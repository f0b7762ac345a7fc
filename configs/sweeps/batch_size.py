"""Batch size, with epochs in proportion; joint network from scratch (report B).

--sweep=configs/sweeps/batch_size.py             small network on Streets, 250 steps
--sweep=configs/sweeps/batch_size.py:miniscapes  as reported: Adam 1e-4, 80,000 steps
"""

from mtl_jax.configs.sweeps import _studies

from mtl_jax.studies.sweeps import Row

PROTOCOLS = ("streets", "miniscapes")
REPORTED = "miniscapes"


def get_rows(protocol: str) -> list[Row]:
    """One row for each batch size."""
    base = _studies.joint_baseline(protocol)
    return [
        Row(f"batch_{size}", _studies.with_batch(base, size), published=(f"B-batch-{size}",))
        for size in (2, 4, 8, 16)
    ]
