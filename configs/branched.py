"""One encoder, and a decoder for each task (reports A and B, "branched").

--config=configs/branched.py                  embedded default: EfficientNet-Lite0 from ImageNet
                                              weights, a top-down decoder for each task
--config=configs/branched.py:streets_scratch  the same data, a small ResNet from random weights with
                                              an ASPP and a DeepLabV3+ decoder for each task
--config=configs/branched.py:streets_camvid   the default's network on Streets and on photographs,
                                              which have classes alone
--config=configs/branched.py:streets_six      the default's network for all that Streets has: six
                                              tasks, of which edges are made while training
--config=configs/branched.py:tabletop         the default's network on photographs of objects on
                                              tables, with five tasks
--config=configs/branched.py:pascal_context   five tasks as InvPT and its like train on them
--config=configs/branched.py:pascal_context_survey  the same, as Vandenhende et al.'s survey does
--config=configs/branched.py:nyud             four tasks, likewise
--config=configs/branched.py:nyud_survey      two tasks, likewise
--config=configs/branched.py:miniscapes       the reports' protocol (B after tuning)
--config=configs/branched.py:cityscapes       the same network on Cityscapes
--config=configs/branched.py:kitti            the same network on KITTI 2015
--config=configs/branched.py:camvid           photographs, semantics only, sized for a CPU
--config=configs/branched.py:folder           a folder of one's own, here potholes: classes and
                                              relative disparity; its YAML and data.manual_dir may
                                              be another's

All but the default, `streets_camvid`, `streets_six` and `tabletop` have the reports' heads, an
ASPP and a DeepLabV3+ decoder, or the survey's, a DeepLabV3.
"""

from ml_collections import ConfigDict

from mtl_jax.configs import benchmarks, common


def model(config: ConfigDict, encoder: ConfigDict, *, channels: int = 256, skip: int = 48) -> None:
    """The branched network, from random weights; widths 256 and 48 are the reports'."""
    config.model.architecture = "branched"
    config.model.encoder = encoder
    config.model.aspp = ConfigDict({"rates": (3, 6, 9), "channels": channels})
    config.model.decoder = ConfigDict({"skip_channels": skip, "channels": channels})
    config.model.se = False
    config.model.pretrained = ""


def deeplabv3(config: ConfigDict, encoder: ConfigDict, *, channels: int = 256) -> None:
    """A ResNet that dilates as the survey's does, and a DeepLabV3 decoder for each task."""
    encoder.dilation_rule = "survey"
    config.model.architecture = "branched"
    config.model.encoder = encoder
    config.model.aspp = ConfigDict({"rates": (12, 24, 36), "channels": channels})
    config.model.decoder = ConfigDict({"name": "deeplabv3", "dropout": 0.5})


def small(config: ConfigDict) -> None:
    """What a CPU with two cores trains in minutes: ResNet-18, narrower heads, Adam."""
    model(config, common.resnet(18, "FFT", width=32), channels=64, skip=24)
    small_training(config)


def small_training(config: ConfigDict) -> None:
    """Optimiser, schedule and length of the embedded defaults."""
    config.optimizer.name = "adam"
    config.optimizer.clip_norm = 5.0
    config.schedule.name = "cosine"
    config.schedule.learning_rate = 2e-3
    config.schedule.warmup_epochs = 0.2
    config.train.batch_size = 8
    config.train.epochs = 3.5
    config.train.log_every = 20


def streets(config: ConfigDict) -> None:
    """The embedded default: what two cores make of ImageNet weights in minutes."""
    _on_streets(config)
    config.model.architecture = "branched"
    config.model.encoder = common.efficientnet_lite(0)
    config.model.decoder = ConfigDict(
        {"name": "top_down", "channels": 64, "strides": (4, 8, 16, 32)}
    )
    config.model.pretrained = "efficientnet_lite0"
    config.optimizer.encoder_scale = 0.5
    config.optimizer.weight_decay = 0.0
    config.schedule.warmup_epochs = 0.16  # 40 steps
    config.train.epochs = 5.0  # 1,250 steps
    config.train.eval_every_epochs = 3
    # Streets is drawn in a few colours; the jitter is for photographs.
    jitter = {"brightness": 0.2, "contrast": 0.2, "saturation": 0.2, "hue": 0.02}
    config.data.augment = common.augment(crop=(96, 192), flip=0.5, **jitter)


def streets_camvid(config: ConfigDict) -> None:
    """The default's network on both: CamVid's photographs have its 11 classes, and no depth."""
    streets(config)
    config.data.dataset = ""
    config.data.mixture = ConfigDict(
        {
            "streets": {
                "dataset": "streets",
                "proportion": 0.6,
                "labels": {"semseg": "semseg", "depth": "depth"},
            },
            "camvid": {"dataset": "camvid", "proportion": 0.4, "labels": {"camvid": "semseg"}},
        }
    )
    config.data.augment.scale = (0.75, 1.5)
    config.tasks.camvid = ConfigDict({"type": "segmentation", "num_classes": 11})
    config.train.epochs = 2.5  # of 2,367 images: 740 steps
    config.eval.image_size = (180, 256)  # no image is larger
    config.eval.selection = "camvid/miou"


def streets_six(config: ConfigDict) -> None:
    """Semantics, depth, instances, parts, normals and edges, from one encoder."""
    streets(config)
    config.data.edges = ConfigDict({"edge": "semseg"})
    config.tasks.instance = ConfigDict({"type": "instances", "semantics": "semseg"})
    config.tasks.parts = ConfigDict({"type": "segmentation"})
    config.tasks.normals = ConfigDict({"type": "normals"})
    config.tasks.edge = ConfigDict({"type": "edges"})
    # Offsets are in pixels, and most of the balanced loss of edges is multiplied by 0.05.
    weights = {"semseg": 1.0, "depth": 1.0, "instance": 0.05, "parts": 1.0, "normals": 1.0}
    config.weighting = ConfigDict({"name": "fixed", "weights": weights | {"edge": 10.0}})


def tabletop(config: ConfigDict) -> None:
    """Objects or not, depth, instances, normals and contours of 45 photographs."""
    streets(config)
    config.data.dataset = "folder/docs/examples/tabletop.yaml"  # seen from where main.py is
    config.data.edges = ConfigDict({"edge": "instance"})
    config.data.augment.update({"crop": (96, 128), "scale": (0.4, 1.0)})
    config.tasks.instance = ConfigDict({"type": "instances", "semantics": "semseg"})
    config.tasks.normals = ConfigDict({"type": "normals"})
    config.tasks.edge = ConfigDict({"type": "edges"})
    weights = {"semseg": 1.0, "depth": 1.0, "instance": 0.05, "normals": 1.0, "edge": 10.0}
    config.weighting = ConfigDict({"name": "fixed", "weights": weights})  # as `streets_six`
    config.schedule.warmup_epochs = 3.0
    config.train.epochs = 30.0  # 168 steps
    config.train.eval_every_epochs = 30


def streets_scratch(config: ConfigDict) -> None:
    """The same without weights to start from: the network of the studies on Streets."""
    _on_streets(config)
    model(config, common.resnet(18, "FFT", width=32), channels=64, skip=24)


def _on_streets(config: ConfigDict) -> None:
    small_training(config)
    common.streets(config)
    config.tasks.depth.loss = "l1"
    config.tasks.depth.normalization = "log"
    config.train.eval_every_epochs = 2
    config.data.augment = common.augment(crop=(96, 192), scale=(0.75, 1.25), flip=0.5)


def miniscapes(config: ConfigDict) -> None:
    """ResNet-34 from ImageNet weights and full widths, as reported."""
    model(config, common.resnet(34, "FFT"))
    common.miniscapes(config)
    config.model.pretrained = "resnet34"


def cityscapes(config: ConfigDict) -> None:
    """As `miniscapes`, on Cityscapes."""
    model(config, common.resnet(34, "FFT"))
    common.cityscapes(config)
    config.model.pretrained = "resnet34"


def kitti(config: ConfigDict) -> None:
    """As `miniscapes`, on KITTI 2015."""
    model(config, common.resnet(34, "FFT"))
    common.kitti(config)
    config.model.pretrained = "resnet34"


def pascal_context(config: ConfigDict) -> None:
    """ResNet-50 from ImageNet weights; `benchmarks.pascal_context` of the transformers."""
    model(config, common.resnet(50, "FFT"))
    benchmarks.pascal_context(config)
    config.model.pretrained = "resnet50"


def pascal_context_survey(config: ConfigDict) -> None:
    """ResNet-18 at output stride 8, the survey's multi-task baseline."""
    deeplabv3(config, common.resnet(18, "FTT"))
    benchmarks.pascal_context(config, "survey")
    config.train.batch_size = 6  # with this encoder; 8 with others
    config.model.pretrained = "resnet18"


def nyud(config: ConfigDict) -> None:
    """As `pascal_context`."""
    model(config, common.resnet(50, "FFT"))
    benchmarks.nyud(config)
    config.model.pretrained = "resnet50"


def nyud_survey(config: ConfigDict) -> None:
    """ResNet-50 at output stride 8, the survey's multi-task baseline."""
    deeplabv3(config, common.resnet(50, "FTT"))
    benchmarks.nyud(config, "survey")
    config.model.pretrained = "resnet50"


def camvid(config: ConfigDict) -> None:
    """As `streets_scratch`, on photographs."""
    small(config)
    common.camvid(config)


def folder(config: ConfigDict) -> None:
    """As `streets_scratch`, on 54 photographs of potholes with a disparity that is relative."""
    small(config)
    config.data.dataset = "folder/docs/examples/potholes.yaml"  # seen from where main.py is
    config.data.augment = common.augment(crop=(192, 320), scale=(0.75, 1.5), flip=0.5)
    config.tasks = common.semantics_and_depth(loss="l1", normalization="minmax")
    config.train.epochs = 15
    config.train.eval_every_epochs = 5


PROTOCOLS = {
    f.__name__: f
    for f in (
        streets_scratch,  # the first is what tests of every config compile; this is soonest done
        streets,
        streets_camvid,
        streets_six,
        tabletop,
        miniscapes,
        cityscapes,
        kitti,
        camvid,
        folder,
        pascal_context,
        pascal_context_survey,
        nyud,
        nyud_survey,
    )
}


def get_config(protocol: str = "streets") -> ConfigDict:
    """The config of one protocol."""
    return common.of_protocol(protocol, PROTOCOLS, name="branched")
