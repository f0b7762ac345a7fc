"""The joint network's last stage strided or dilated (report A, table 3; report B).

--sweep=configs/sweeps/dilation.py             small network on Streets, from ImageNet weights
--sweep=configs/sweeps/dilation.py:miniscapes  as reported, from ImageNet weights

The flags say of stages 2, 3 and 4 whether they are dilated.
"""

from mtl_jax.configs.sweeps import _studies

from mtl_jax.studies.sweeps import Row

PROTOCOLS = ("streets", "miniscapes")
REPORTED = "miniscapes"
FLAGS = ("FFF", "FFT")


def get_rows(protocol: str) -> list[Row]:
    """Not dilated and dilated; as reports A and B trained."""
    if protocol == "streets":
        return [Row(f, _studies.from_imagenet(_studies.streets_joint(f))) for f in FLAGS]
    base = _studies.joint_baseline(protocol)
    key = "model.encoder.replace_stride_with_dilation"
    base.model.pretrained = "resnet34"
    return [
        Row(f"{report}_{flags}", _studies.variant(config, {key: flags}), published=(ids + flags,))
        for report, ids, config in (
            ("a", "A-T3-", _studies.report_a(base)),
            ("b", "B-dilation-", base),
        )
        for flags in FLAGS
    ]
