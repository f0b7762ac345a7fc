"""MTAN, the losses weighted equally or by dynamic weight average at T = 2 (report C).

--sweep=configs/sweeps/mtan.py             small network on Streets, an epoch of 50 steps
--sweep=configs/sweeps/mtan.py:cityscapes  as reported, and as Liu et al. 2019 trained: Xavier
                                           initialisation, no weight decay, 200 epochs
"""

from mtl_jax.configs.sweeps import _studies

from mtl_jax.configs import mtan
from mtl_jax.studies.sweeps import Row

PROTOCOLS = ("streets", "cityscapes")
REPORTED = "cityscapes"
DWA = {"weighting.name": "dwa", "weighting.temperature": 2.0}
LIU = {
    "model.init": "xavier_normal",
    "optimizer.weight_decay": 0.0,
    "train.epochs": 200.0,
    "schedule.every_epochs": 100,
}


def get_rows(protocol: str) -> list[Row]:
    """Equal weights and dynamic weight average."""
    if protocol == "streets":
        # The weights follow the losses of whole epochs, so five short ones.
        small = _studies.variant(
            _studies.small(mtan.get_config()),
            {"data.train_split": "train[:200]", "train.epochs": 5.0, "train.eval_every_epochs": 5},
        )
        return [Row("equal", small), Row("dwa", _studies.variant(small, DWA))]
    equal = mtan.get_config("cityscapes")
    liu = _studies.variant(equal, LIU)
    return [
        Row("equal", equal, published=("C-equal", "C-settings")),
        Row("dwa", _studies.variant(equal, DWA), published=("C-dwa", "C-settings")),
        Row("liu_equal", liu, published=("C-liu-equal", "C-liu-settings")),
        Row("liu_dwa", _studies.variant(liu, DWA), published=("C-liu-dwa", "C-liu-settings")),
    ]
