"""Drawn streets with classes and depth, photographs with classes alone: do they help each other?

--sweep=configs/sweeps/mixed_data.py  the default's network on Streets and CamVid

A batch of the mixed rows has 4.8 drawn images and 3.2 photographs on average. `mixed_asynchronous`
updates the encoder after every batch and each decoder once it has seen 8 images of its own (report
D). The rows of one data set see as many of its images as the mixed rows do; `photographs_longer`
has as many steps as these instead.
"""

from ml_collections import ConfigDict
from mtl_jax.configs.sweeps import _studies

from mtl_jax.configs import branched
from mtl_jax.studies.sweeps import TRAIN_EXAMPLES, Row

PROTOCOLS = ("streets",)
REPORTED = ""  # nothing is published of it
STEPS = 370
TASKS = {"streets": ("semseg", "depth"), "camvid": ("camvid",)}


def get_rows(protocol: str) -> list[Row]:
    """Both data sets, also with asynchronous updates, and each alone."""
    del protocol  # there is one
    both = branched.get_config("streets_camvid")
    both.train.eval_every_epochs = 100  # once, at the end
    shares = {name: source.proportion for name, source in both.data.mixture.items()}
    waits = dict.fromkeys(("common", *both.tasks), both.train.batch_size)
    mixed = _lasting(both, STEPS)
    return [
        Row("mixed", mixed),
        Row("mixed_asynchronous", _studies.variant(mixed, {"optimizer.images_per_update": waits})),
        Row("streets", _lasting(_alone(both, "streets"), round(STEPS * shares["streets"]))),
        Row("photographs", _lasting(_alone(both, "camvid"), round(STEPS * shares["camvid"]))),
        Row("photographs_longer", _lasting(_alone(both, "camvid"), STEPS)),
    ]


def _alone(both: ConfigDict, name: str) -> ConfigDict:
    """A mixture of one data set, so that sizes, crops and names of the metrics stay."""
    source = both.data.mixture[name].to_dict() | {"proportion": 1.0}
    return _studies.variant(_studies.only(both, TASKS[name]), {"data.mixture": {name: source}})


def _lasting(config: ConfigDict, steps: int) -> ConfigDict:
    """So many steps, a tenth of them to warm up."""
    examples = sum(TRAIN_EXAMPLES[source.dataset] for source in config.data.mixture.values())
    epoch = examples // config.train.batch_size
    changes = {"train.epochs": (steps + 0.5) / epoch, "schedule.warmup_epochs": 0.1 * steps / epoch}
    return _studies.variant(config, changes)
