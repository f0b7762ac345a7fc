"""Weight decay of FCN-32s on ResNet-18, scratch and pre-trained (report D, table 1.2, fig. 6.1b).

--sweep=configs/sweeps/weight_decay.py         small network on Streets; pre-trained on two others
                                               of its labels
--sweep=configs/sweeps/weight_decay.py:pascal  as reported: half of D1, ImageNet weights
"""

from mtl_jax.configs.sweeps import _studies

from mtl_jax.configs import fcn
from mtl_jax.studies.sweeps import Row

PROTOCOLS = ("streets", "pascal")
REPORTED = "pascal"
DECAYS = ("0", "1e-4", "5e-4", "1e-3")


def get_rows(protocol: str) -> list[Row]:
    """Each weight decay twice."""
    scratch = fcn.get_config(protocol)
    if protocol == "streets":
        scratch = _studies.only(_studies.small(scratch), ["semseg"])
        rows = [_studies.pretext("pretext", scratch)]
        starts = {"scratch": (scratch, ""), "pretrained": (scratch, "pretext")}
    else:
        rows = []
        imagenet = fcn.get_config(f"{protocol}_pretrained")
        imagenet = _studies.variant(imagenet, _studies.BIASES)
        starts = {"scratch": (scratch, ""), "imagenet": (imagenet, "")}
    for decay in DECAYS:
        for start, (config, starts_from) in starts.items():
            ids = (f"D-T1.2-{decay}-{start}", f"D-F6.1b-{decay}-{start}", f"D-series1-{start}")
            config = _studies.variant(config, {"optimizer.weight_decay": float(decay)})
            rows.append(Row(f"{decay}_{start}", config, published=ids, starts_from=starts_from))
    return rows
