"""One encoder and a small decoder for each task at half the image's size (report E).

--config=configs/uncertainty.py             embedded default, sized for a CPU
--config=configs/uncertainty.py:cityscapes  34 ids, instances and disparity at 256×512

The tasks are weighted by learned variances.
"""

from ml_collections import ConfigDict

from mtl_jax.configs import branched, common

# The 19 of the 34 ids that Cityscapes evaluates: of these the run has a mean IoU of its own.
EVALUATED = (
    *("road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign"),
    *("vegetation", "terrain", "sky", "person", "rider", "car", "truck", "bus", "train"),
    *("motorcycle", "bicycle"),
)


def model(config: ConfigDict, encoder: ConfigDict, *, channels: int = 512) -> None:
    """The network; width, initialisation and resize are the report's."""
    encoder.dilation_rule = "torchvision"
    config.model.architecture = "uncertainty"
    config.model.encoder = encoder
    config.model.decoder = ConfigDict({"channels": channels, "init": "truncated_normal"})
    config.model.resize = "tf1"


def weighting(config: ConfigDict) -> None:
    """Learned variances, in the form and from the start of the report's code."""
    config.weighting.name = "uncertainty"
    config.weighting.form = "repo"
    config.weighting.initial_variance = (0.2, 1.0)


def streets(config: ConfigDict) -> None:
    """The embedded default."""
    branched.streets_scratch(config)
    del config.model.aspp, config.model.se
    model(config, common.resnet(18, "FTT", width=16), channels=32)
    config.tasks.instance = ConfigDict({"type": "instances", "semantics": "semseg"})
    weighting(config)
    # Three layers at σ = 0.01 would keep so short a run near zero.
    config.model.decoder.init = "kaiming_normal_fan_in"


def cityscapes(config: ConfigDict) -> None:
    """The network, inputs and weighting of the report. Batch, rate and epochs, which were never
    published, are ours."""
    model(config, common.resnet(101, "FTT"))
    weighting(config)
    config.data.dataset = "cityscapes/ids_256x512"
    config.model.image_mean = (0.5, 0.5, 0.5)
    config.model.image_std = (0.5, 0.5, 0.5)
    # The loss is of disparity over its maximum, the metrics are in pixels of 256×512.
    config.tasks = common.semantics_and_depth(normalization="minmax", loss="l1", averaging="batch")
    config.tasks.semseg.num_classes = 34
    config.tasks.semseg.evaluated_classes = EVALUATED
    # Person and car, the classes that the report decodes.
    config.tasks.instance = ConfigDict(
        {"type": "instances", "semantics": "semseg", "classes": (24, 26)}
    )
    config.optimizer.name = "adam"
    config.optimizer.weight_decay = 0.0
    config.schedule.name = "constant"
    config.schedule.learning_rate = 1e-4
    config.train.batch_size = 8
    config.train.epochs = 84


PROTOCOLS = {f.__name__: f for f in (streets, cityscapes)}


def get_config(protocol: str = "streets") -> ConfigDict:
    """The config of one protocol."""
    return common.of_protocol(protocol, PROTOCOLS, name="uncertainty")
