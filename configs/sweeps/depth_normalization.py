"""In what unit depth is predicted: standardised, min-max, logarithmic (report B 4.2).

--sweep=configs/sweeps/depth_normalization.py             small network on Streets, ImageNet weights
--sweep=configs/sweeps/depth_normalization.py:miniscapes  as reported: ResNet-50, ImageNet weights
"""

from mtl_jax.configs.sweeps import _studies

from mtl_jax.studies.sweeps import Row

PROTOCOLS = ("streets", "miniscapes")
REPORTED = "miniscapes"


def get_rows(protocol: str) -> list[Row]:
    """One row for each normalisation, trained with L2."""
    base = _studies.tuned(protocol)
    return [
        Row(
            name=name,
            config=_studies.variant(base, {"tasks.depth.normalization": name}),
            published=(f"B-normalization-{name}",),
        )
        for name in ("standard", "minmax", "log")
    ]
