"""A deeper encoder and squeeze-and-excitation in the branched network (report B).

--sweep=configs/sweeps/squeeze_excitation.py             small networks on Streets
--sweep=configs/sweeps/squeeze_excitation.py:miniscapes  as reported, from ImageNet weights

B's text has squeeze-and-excitation in every bottleneck, its code in the heads alone: both are rows.
"""

from mtl_jax.configs.sweeps import _studies

from mtl_jax.configs import branched, common
from mtl_jax.studies.sweeps import Row

PROTOCOLS = ("streets", "miniscapes")
REPORTED = "miniscapes"


def get_rows(protocol: str) -> list[Row]:
    """Without, with the deeper encoder, with squeeze-and-excitation in heads, and everywhere."""
    everywhere = _studies.squeeze_excitation(protocol)
    heads = _studies.variant(everywhere, {"model.encoder.se": False})
    plain = _studies.variant(heads, {"model.se": False})
    if protocol == "streets":
        return [Row("plain", plain), Row("se_heads", heads), Row("se_everywhere", everywhere)]
    resnet34 = branched.get_config("miniscapes")
    resnet34.model.encoder = common.resnet(34, "FFT")
    return [
        Row("resnet34", resnet34, published=("B-branched",)),
        Row("resnet50", plain),
        Row("resnet50_se_heads", heads, published=("B-se",)),
        Row("resnet50_se_everywhere", everywhere, published=("B-se",)),
    ]
