"""Cross-stitch networks and NDDR-CNN: single-task networks that exchange features.

--config=configs/cross_stitch.py                cross-stitch on the embedded data set, for a CPU
--config=configs/cross_stitch.py:streets_nddr   NDDR-CNN, likewise
--config=configs/cross_stitch.py:pascal_context, :pascal_context_nddr   the survey's, ResNet-18
--config=configs/cross_stitch.py:nyud, :nyud_nddr                       the survey's, ResNet-50

Both are meant to start from runs of their tasks alone, e.g.

python main.py --config=configs/single_task.py:streets_deeplabv3_semseg
python main.py --config=configs/single_task.py:streets_deeplabv3_depth
python main.py --config=configs/cross_stitch.py \\
    --config.model.single_task.semseg=runs/single_task_streets_deeplabv3_semseg \\
    --config.model.single_task.depth=runs/single_task_streets_deeplabv3_depth

and on the benchmarks from those of `single_task.py:pascal_context_deeplabv3_<task>` and
`:nyud_deeplabv3_<task>`.
"""

from ml_collections import ConfigDict

from mtl_jax.configs import benchmarks, branched, common


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


def pascal_context_single(config: ConfigDict) -> None:
    """The network of each task on PASCAL-Context, and the survey's training of the joint one."""
    benchmarks.pascal_context(config, family="survey")
    branched.deeplabv3(config, common.resnet(18, "FTT"))
    _sgd(config, rate=0.005, epochs=20, batch=12)


def nyud_single(config: ConfigDict) -> None:
    """The same on NYUD."""
    benchmarks.nyud(config, family="survey")
    branched.deeplabv3(config, common.resnet(50, "FTT"))
    _sgd(config, rate=0.001, epochs=50, batch=8)


def pascal_context(config: ConfigDict) -> None:
    """Cross-stitch, five tasks."""
    pascal_context_single(config)
    config.model.architecture = "cross_stitch"
    config.model.own, config.model.other = 0.8, 0.05


def pascal_context_nddr(config: ConfigDict) -> None:
    """NDDR-CNN, five tasks."""
    pascal_context(config)
    config.model.architecture = "nddr"


def nyud(config: ConfigDict) -> None:
    """Cross-stitch, semantics and depth."""
    nyud_single(config)
    config.model.architecture = "cross_stitch"
    config.model.own, config.model.other = 0.9, 0.1


def nyud_nddr(config: ConfigDict) -> None:
    """NDDR-CNN, semantics and depth."""
    nyud(config)
    config.model.architecture = "nddr"


def _sgd(config: ConfigDict, *, rate: float, epochs: int, batch: int) -> None:
    """Momentum 0.9; the encoders start from ImageNet where no single-task runs are given."""
    config.optimizer.name = "sgd"
    config.optimizer.weight_decay = 1e-4
    config.schedule.learning_rate = rate
    config.train.epochs = float(epochs)
    config.train.eval_every_epochs = epochs // 10
    config.train.batch_size = batch
    config.model.pretrained = f"resnet{config.model.encoder.depth}"


PROTOCOLS = {
    f.__name__: f
    for f in (streets, streets_nddr, pascal_context, pascal_context_nddr, nyud, nyud_nddr)
}


def get_config(protocol: str = "streets") -> ConfigDict:
    """The config of one protocol."""
    return common.of_protocol(protocol, PROTOCOLS, name="cross_stitch")
