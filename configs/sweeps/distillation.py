"""Decoders that exchange features; first predictions supervised or not (report A, table 6; B).

--sweep=configs/sweeps/distillation.py             small networks on Streets, from ImageNet weights
--sweep=configs/sweeps/distillation.py:miniscapes  as reported, from ImageNet weights
"""

from mtl_jax.configs.sweeps import _studies

from mtl_jax.configs import branched, distillation
from mtl_jax.studies.sweeps import Row

PROTOCOLS = ("streets", "miniscapes")
REPORTED = "miniscapes"


def get_rows(protocol: str) -> list[Row]:
    """Branched, and distillation without and with supervised first predictions."""
    if protocol == "streets":
        supervised = _studies.from_imagenet(_studies.small(distillation.get_config()))
        branches = _studies.small(branched.get_config("streets_scratch"))
        branches = _studies.from_imagenet(branches)
        final = _studies.variant(supervised, {"train.deep_supervision": False})
        return [
            Row("branched", branches),
            Row("final_supervised", final),
            Row("all_supervised", supervised),
        ]
    final = distillation.get_config("miniscapes_a")
    supervised = distillation.get_config("miniscapes_a_supervised")
    return [
        Row(
            "a_branched",
            _studies.report_a(branched.get_config("miniscapes")),
            published=("A-T5-branched",),
        ),
        Row("a_final_supervised", final, published=("A-T6-final", "A-expected-distillation")),
        Row("a_all_supervised", supervised, published=("A-T6-supervised",)),
        Row("b_branched", branched.get_config("miniscapes"), published=("B-branched",)),
        Row(
            "b_all_supervised",
            distillation.get_config("miniscapes"),
            published=("B-distillation", "handout-distillation"),
        ),
    ]
