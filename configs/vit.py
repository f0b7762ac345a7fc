"""Vision transformers with dense heads: ViT and DINOv2, linear heads, DPT, the simple pyramid.

--config=configs/vit.py                    ViT-T on the embedded data set, sized for a CPU
--config=configs/vit.py:streets_dinov2     frozen DINOv2-S and linear heads on the embedded data set
--config=configs/vit.py:cityscapes         ViT-B fine-tuned, simple pyramid and HRNet's head
--config=configs/vit.py:cityscapes_linear  frozen DINOv2-B and linear heads
--config=configs/vit.py:nyuv2_linear       frozen DINOv2-S, linear heads, depth in 256 bins
--config=configs/vit.py:nyuv2_dpt          frozen DINOv2-S and DPT for semantics, depth, normals
--config=configs/vit.py:nyuv2_lora         the same with low-rank updates of the encoder

DINOv2's and ViT's weights are fetched by name, or `--config.model.pretrained=` is the path of a
file. DINOv2's images have sides that are multiples of 14.
"""

from ml_collections import ConfigDict

from mtl_jax.configs import branched, common


def model(
    config: ConfigDict, encoder: dict, decoder: dict, *, neck: str = "none", pretrained: str = ""
) -> None:
    """A transformer and a decoder for each task."""
    config.model.architecture = "branched"
    config.model.encoder = ConfigDict({"name": "vit", **encoder})
    config.model.neck = neck
    config.model.decoder = ConfigDict(decoder)
    config.model.pretrained = pretrained


def streets(config: ConfigDict) -> None:
    """ViT-T from random weights, which wants more images than there are."""
    model(config, {"size": "T"}, _TOP_DOWN, neck="simple_pyramid")
    common.streets(config)
    branched.small_training(config)
    config.tasks.depth.loss = "l1"
    config.tasks.depth.normalization = "log"
    config.data.augment = common.augment(crop=(96, 192), scale=(0.75, 1.25), flip=0.5)
    _adamw(config, 5e-4, decay=0.05)


def streets_dinov2(config: ConfigDict) -> None:
    """Linear heads alone are trained: little to compute but the features."""
    model(
        config,
        {"size": "S", "variant": "dinov2"},
        {"name": "linear", "layers": "all", "dropout": 0.1},
        pretrained="dinov2_vits14",
    )
    common.streets(config)
    branched.small_training(config)
    config.tasks.depth.loss = "l1"
    config.tasks.depth.normalization = "log"
    config.data.augment = common.augment(crop=(98, 196), scale=(1.0, 1.25), flip=0.5)
    config.train.freeze = ("encoder",)
    _adamw(config, 1e-3, decay=1e-3)


def cityscapes(config: ConfigDict) -> None:
    """ViT-B with patches of 16, every block at .75 of the next one's rate."""
    common.cityscapes(config)
    encoder = {"size": "B", "drop_path": 0.1}
    model(config, encoder, _TOP_DOWN, neck="simple_pyramid", pretrained="vit_base_patch16_224")
    config.model.dtype = "bfloat16"
    config.data.augment.crop = (512, 512)
    config.train.batch_size = 16
    config.optimizer.layer_decay = 0.75
    _adamw(config, 1e-4, decay=0.05)


def cityscapes_linear(config: ConfigDict) -> None:
    """Semantics as DINOv3's rerun of DINOv2's: AdamW 1e-3, 40,000 steps of 16 crops, 1,500 to warm
    up."""
    common.cityscapes(config)
    decoder = {"name": "linear", "dropout": 0.1, "ranges": {"depth": (0.001, 80.0)}}
    encoder = {"size": "B", "variant": "dinov2"}
    model(config, encoder, decoder, pretrained="dinov2_vitb14")
    config.tasks.depth = _depth_in_metres((0.001, 80.0))
    config.data.augment.crop = (504, 518)
    config.train.freeze = ("encoder",)
    config.train.batch_size = 16
    config.train.max_steps = 40_000
    config.train.epochs = 250
    config.train.eval_every_epochs = 25
    config.eval.crop_multiple = 1
    _adamw(config, 1e-3, decay=1e-3)
    config.schedule.warmup_epochs = 1500 / (2975 // 16)  # steps, of those of an epoch


def nyuv2_linear(config: ConfigDict) -> None:
    """Semantics and normals by a layer each, depth by bins, of the last four blocks."""
    encoder = {"size": "S", "variant": "dinov2", "taps": "last"}
    decoder = {"name": "linear", "layers": "all", "ranges": {"depth": (0.001, 10.0)}}
    model(config, encoder, decoder, pretrained="dinov2_vits14")
    _nyuv2(config)
    _adamw(config, 1e-3, decay=1e-3)


def nyuv2_dpt(config: ConfigDict) -> None:
    """DPT on blocks 3, 6, 9 and 12; the depth head is DINOv2's, trained with SigLoss as theirs."""
    decoder = {"name": "dpt", "ranges": {"depth": (0.001, 10.0)}}
    model(config, {"size": "S", "variant": "dinov2"}, decoder, pretrained="dinov2_vits14")
    _nyuv2(config)
    _adamw(config, 1e-4, decay=0.01)


def nyuv2_lora(config: ConfigDict) -> None:
    """As `nyuv2_dpt`; 221,184 parameters of the encoder are trained too."""
    nyuv2_dpt(config)
    config.model.encoder.lora_rank = 8


_TOP_DOWN = {"name": "top_down", "channels": 64}


def _nyuv2(config: ConfigDict) -> None:
    config.data.dataset = "nyuv2/40classes"
    config.data.augment = common.augment(crop=(476, 630), scale=(1.0, 1.5), flip=0.5)
    config.tasks = common.semantics_and_depth()
    config.tasks.depth = _depth_in_metres((0.001, 10.0))
    config.tasks.semseg.num_classes = 40
    config.tasks.normals = ConfigDict({"type": "normals"})
    config.train.freeze = ("encoder",)
    config.train.batch_size = 8
    config.train.epochs = 100
    config.train.eval_every_epochs = 10
    config.eval.selection = "semseg/miou"


def _depth_in_metres(valid_range: tuple[float, float]) -> ConfigDict:
    return ConfigDict(
        {"type": "depth", "normalization": "none", "loss": "sigloss", "range": valid_range}
    )


def _adamw(config: ConfigDict, rate: float, *, decay: float) -> None:
    """AdamW without decay of norms, tokens and tables, a short rise and half a cosine."""
    config.optimizer.name = "adamw"
    config.optimizer.weight_decay = decay
    config.optimizer.decay_vectors = False
    config.optimizer.clip_norm = 5.0
    config.schedule.name = "cosine"
    config.schedule.learning_rate = rate
    config.schedule.warmup_epochs = 0.4


PROTOCOLS = {
    f.__name__: f
    for f in (
        streets,
        streets_dinov2,
        cityscapes,
        cityscapes_linear,
        nyuv2_linear,
        nyuv2_dpt,
        nyuv2_lora,
    )
}


def get_config(protocol: str = "streets") -> ConfigDict:
    """The config of one protocol."""
    return common.of_protocol(protocol, PROTOCOLS, name="vit")
