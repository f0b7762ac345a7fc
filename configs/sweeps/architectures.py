"""Every architecture with a config for a CPU, on the same images for as many steps, random weights.

--sweep=configs/sweeps/architectures.py  semantics and depth on Streets

Sizes, optimisers and rates are those of each config, so that the table says whether an architecture
learns here and what it costs, and not which of them is the best. Those that have layers over all
positions, and so one size of image, get 125 batches of 4 scenes of 128×256 instead of 250 of 8 of
64×128, which has as many pixels.
"""

from ml_collections import ConfigDict
from mtl_jax.configs.sweeps import _studies

from mtl_jax.configs import (
    branched,
    cross_stitch,
    distillation,
    hrnet,
    invpt,
    joint,
    mlore,
    mmoe,
    mtan,
    mti_net,
    pad_net,
    stacked_unet,
    vit,
)
from mtl_jax.studies.sweeps import Row

PROTOCOLS = ("streets",)
REPORTED = ""  # nothing is published of it
CONFIGS = {
    "joint": joint.get_config,
    "branched": lambda: branched.get_config("streets_scratch"),
    "distillation": distillation.get_config,
    "mtan": mtan.get_config,
    "mtan_resnet": lambda: mtan.get_config("streets_resnet"),
    "stacked_unet": stacked_unet.get_config,
    "cross_stitch": cross_stitch.get_config,
    "nddr": lambda: cross_stitch.get_config("streets_nddr"),
    "pad_net": pad_net.get_config,
    "pad_net_hrnet": lambda: pad_net.get_config("streets_hrnet"),
    "mti_net": mti_net.get_config,
    "mti_net_hrnet": lambda: mti_net.get_config("streets_hrnet"),
    "hrnet": hrnet.get_config,
    "mmoe": mmoe.get_config,
    "cgc": lambda: mmoe.get_config("streets_cgc"),
    "ple": lambda: mmoe.get_config("streets_ple"),
    "vit": vit.get_config,
    "invpt": invpt.get_config,
    "task_prompter": lambda: mlore.get_config("streets_task_prompter"),
    "mlore": mlore.get_config,
}
OF_ONE_SIZE = ("task_prompter", "mlore")


def get_rows(protocol: str) -> list[Row]:
    """A row for each."""
    del protocol  # there is one
    configs = {name: get_config() for name, get_config in CONFIGS.items()}
    for name, config in configs.items():
        _studies.small(config)
        if name in OF_ONE_SIZE:
            _in_full_size(config)
    return [Row(name, config) for name, config in configs.items()]


def _in_full_size(config: ConfigDict) -> None:
    config.data.dataset = "streets"
    config.train.batch_size = 4
    config.train.epochs = 0.25
    config.schedule.warmup_epochs = 0.025
