"""The loss of standardised depth: L2, L1, berHu (report B 4.3).

--sweep=configs/sweeps/depth_loss.py             small network on Streets, from ImageNet weights
--sweep=configs/sweeps/depth_loss.py:miniscapes  as reported: ResNet-50, ImageNet weights
"""

from mtl_jax.configs.sweeps import _studies

from mtl_jax.studies.sweeps import Row

PROTOCOLS = ("streets", "miniscapes")
REPORTED = "miniscapes"


def get_rows(protocol: str) -> list[Row]:
    """One row for each loss."""
    base = _studies.tuned(protocol)
    return [
        Row(
            name=loss,
            config=_studies.variant(base, {"tasks.depth.loss": loss}),
            published=(f"B-loss-{loss}", "B-tuned"),
        )
        for loss in ("l2", "l1", "berhu")
    ]
