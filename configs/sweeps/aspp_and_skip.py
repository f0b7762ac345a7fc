"""The dilated joint network without and with ASPP and skip (report A, table 4; report B).

--sweep=configs/sweeps/aspp_and_skip.py             small network on Streets, from ImageNet weights
--sweep=configs/sweeps/aspp_and_skip.py:miniscapes  as reported, from ImageNet weights
"""

from mtl_jax.configs.sweeps import _studies

from mtl_jax.configs import joint
from mtl_jax.studies.sweeps import Row

PROTOCOLS = ("streets", "miniscapes")
REPORTED = "miniscapes"


def get_rows(protocol: str) -> list[Row]:
    """Without and with; as reports A and B trained."""
    if protocol == "streets":
        return [
            Row("without", _studies.from_imagenet(_studies.streets_joint("FFT"))),
            Row("aspp_and_skip", _studies.from_imagenet(_studies.small(joint.get_config()))),
        ]
    without = joint.get_config("miniscapes_baseline")
    without.model.encoder.replace_stride_with_dilation = "FFT"
    without.model.pretrained = "resnet34"
    both = joint.get_config("miniscapes")
    return [
        Row("a_without", _studies.report_a(without), published=("A-T3-FFT",)),
        Row(
            "a_aspp_and_skip",
            _studies.report_a(both),
            published=("A-T4-aspp-skip", "A-tuned", "A-expected-joint"),
        ),
        Row("b_without", without, published=("B-dilation-FFT",)),
        Row("b_aspp_and_skip", both, published=("B-joint", "B-tuned", "handout-joint")),
    ]
