"""FCN-32s on three backbones, from scratch and pre-trained (report D, table 1.1).

--sweep=configs/sweeps/fcn.py         small networks on Streets; pre-trained on two other labels
--sweep=configs/sweeps/fcn.py:pascal  as reported: half of D1, ImageNet weights
"""

from mtl_jax.configs.sweeps import _studies

from mtl_jax.configs import fcn
from mtl_jax.studies.sweeps import Row

PROTOCOLS = ("streets", "pascal")
REPORTED = "pascal"
BACKBONES = {"resnet": "", "vgg": "_vgg", "alexnet": "_alexnet"}


def get_rows(protocol: str) -> list[Row]:
    """Each backbone twice."""
    rows = []
    for name, suffix in BACKBONES.items():
        scratch = fcn.get_config(protocol + suffix)
        if protocol == "streets":
            scratch = _studies.only(_studies.small(scratch), ["semseg"])
            rows += [
                _studies.pretext(f"{name}_pretext", scratch),
                Row(f"{name}_scratch", scratch),
                Row(f"{name}_pretrained", scratch, starts_from=f"{name}_pretext"),
            ]
            continue
        pretrained = fcn.get_config(f"{protocol}{suffix}_pretrained")
        pretrained = _studies.variant(pretrained, _studies.BIASES)
        rows += [
            Row(
                f"{name}_scratch",
                scratch,
                published=(f"D-T1.1-{name}-scratch", "D-series1-scratch", "D-preprocessing"),
            ),
            Row(
                f"{name}_imagenet",
                pretrained,
                published=(f"D-T1.1-{name}-imagenet", "D-series1-imagenet"),
            ),
        ]
    return rows
