"""Cross-stitch networks and NDDR-CNN: single-task networks that exchange features.

--config=configs/cross_stitch.py                cross-stitch on the embedded data set, for a CPU
--config=configs/cross_stitch.py:streets_nddr   NDDR-CNN, likewise

Both are meant to start from runs of their tasks alone, e.g.

python main.py --config=configs/single_task.py:streets_deeplabv3_semseg
python main.py --config=configs/single_task.py:streets_deeplabv3_depth
python main.py --config=configs/cross_stitch.py \\
    --config.model.single_task.semseg=runs/single_task_streets_deeplabv3_semseg \\
    --config.model.single_task.depth=runs/single_task_streets_deeplabv3_depth
"""

from ml_collections import ConfigDict

from mtl_jax.configs import branched, common


def single(config: ConfigDict) -> None:
    """The network of one task; `configs/single_task.py` trains it alone."""
    branched.streets_scratch(config)
    branched.deeplabv3(config, common.resnet(18, "FTT", width=16), channels=32)
    config.model.aspp.rates = (3, 6, 9)  # as far as features of 12×24 reach
    config.model.decoder.dropout = 0.0


def streets(config: ConfigDict) -> None:
    """Cross-stitch."""
    single(config)
    config.model.architecture = "cross_stitch"


def streets_nddr(config: ConfigDict) -> None:
    """NDDR-CNN."""
    single(config)
    config.model.architecture = "nddr"


PROTOCOLS = {f.__name__: f for f in (streets, streets_nddr)}


def get_config(protocol: str = "streets") -> ConfigDict:
    """The config of one protocol."""
    return common.of_protocol(protocol, PROTOCOLS, name="cross_stitch")
