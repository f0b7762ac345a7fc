"""What several sweeps share: changes to a config, and the small budget of the Streets protocols."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from mtl_jax import tasks
from mtl_jax.configs import branched, common, hrnet, joint
from mtl_jax.studies.sweeps import Row

# Report D's code, unlike its text, moves the biases of new layers at 20 times the encoder's rate.
BIASES = {"optimizer.bias_scale": 20.0}
# Undoes `from_imagenet`, but for the network.
SCRATCH = {"model.pretrained": "", "optimizer.encoder_scale": 1.0}
# What VGG-16's released Caffe weights expect of an image.
CAFFE = {"model.image_mean": (0.48503, 0.45796, 0.4076), "model.image_std": (1 / 255,) * 3}


def variant(base: ConfigDict, changes: Mapping[str, Any]) -> ConfigDict:
    """A copy of `base` with {'dotted.key': value} set; a value may be a dict."""
    config = base.copy_and_resolve_references()
    for key, value in changes.items():
        *parents, last = key.split(".")
        owner = config
        for parent in parents:
            owner = owner[parent]
        owner[last] = ConfigDict(value) if isinstance(value, Mapping) else value
    return config


def small(config: ConfigDict) -> ConfigDict:
    """A row's budget on Streets: 250 steps of 8 scenes of 64×128, evaluated once, at the end."""
    for source in (config.data, *config.data.mixture.values()):
        if source.dataset == "streets":
            source.dataset = "streets/64x128"
    config.data.augment = common.augment(flip=0.5)
    config.train.batch_size = 8
    config.train.epochs = 1.0
    config.train.eval_every_epochs = 8
    config.schedule.warmup_epochs = 0.1
    return config


def from_imagenet(config: ConfigDict) -> ConfigDict:
    """On Streets, what stands for the reports' ResNet from ImageNet: EfficientNet-Lite0, dilated as
    the ResNet was."""
    flags = config.model.encoder.replace_stride_with_dilation
    config.model.encoder = common.efficientnet_lite(0, flags)
    config.model.pretrained = "efficientnet_lite0"
    config.optimizer.encoder_scale = 0.5
    return config


def streets_joint(flags: str = "FFF") -> ConfigDict:
    """The small joint network on Streets, without ASPP and skip, from random weights."""
    config = small(joint.get_config())
    config.model.aspp.enabled = False
    config.model.decoder.skip = False
    config.model.encoder.replace_stride_with_dilation = flags
    return config


def joint_baseline(protocol: str) -> ConfigDict:
    """The joint network without ASPP, skip and dilation, from scratch; on Miniscapes, B's rates."""
    return streets_joint() if protocol == "streets" else joint.get_config("miniscapes_baseline")


def squeeze_excitation(protocol: str) -> ConfigDict:
    """The branched network with squeeze-and-excitation everywhere; on Miniscapes, on ResNet-50."""
    if protocol == "streets":
        config = small(branched.get_config("streets_scratch"))
        config.tasks.depth.update({"loss": "l2", "normalization": "standard"})
    else:
        config = branched.get_config("miniscapes")
        config.model.encoder = common.resnet(50, "FFT")
        config.model.pretrained = "resnet50"
    config.model.encoder.se = True
    config.model.se = True
    return config


def tuned(protocol: str) -> ConfigDict:
    """The network of B's studies of depth: with squeeze-and-excitation, from ImageNet weights.

    On Streets in the heads alone, as in B's code: EfficientNet-Lite has none.
    """
    config = squeeze_excitation(protocol)
    return from_imagenet(config) if protocol == "streets" else config


def with_batch(config: ConfigDict, batch_size: int) -> ConfigDict:
    """Another batch size with epochs in proportion: the number of steps stays (report A)."""
    factor = batch_size / config.train.batch_size
    return variant(
        config,
        {
            "train.batch_size": batch_size,
            "train.epochs": config.train.epochs * factor,
            "schedule.warmup_epochs": config.schedule.warmup_epochs * factor,
        },
    )


def weights(semseg: float, depth: float) -> dict[str, Any]:
    """Changes to fixed weights of the two tasks."""
    return {"weighting.weights": {"semseg": semseg, "depth": depth}}


def equally_weighted(config: ConfigDict) -> ConfigDict:
    """Every loss counts once."""
    config.weighting = ConfigDict({"name": "fixed"})
    return config


def report_a(config: ConfigDict, *, semseg: float = 0.7, depth: float = 0.3) -> ConfigDict:
    """What report A settled on in place of B's: Adam 2e-4, batch 8, 32 epochs, 0.7 / 0.3."""
    config = variant(with_batch(config, 8), weights(semseg, depth))
    config.optimizer.name = "adam"
    config.schedule.learning_rate = 2e-4
    return config


def only(config: ConfigDict, chosen: Sequence[str]) -> ConfigDict:
    """Some of a config's tasks; the best checkpoint is chosen by the first one's headline."""
    config = variant(config, {"tasks": {task: config.tasks[task].to_dict() for task in chosen}})
    for task in config.tasks.values():
        if task.get("semantics") not in (None, *chosen):  # alone, instances stay offsets
            del task["semantics"]
    if weights := config.weighting.get("weights"):
        kept = {task: weights[task] for task in chosen if task in weights}
        config.weighting.weights = ConfigDict(kept)
    first = config.tasks[chosen[0]].type
    metric, config.eval.selection_mode = tasks.headline(first)
    config.eval.selection = f"{chosen[0]}/{metric}"
    return config


def pretext(name: str, base: ConfigDict) -> Row:
    """On Streets, what stands for ImageNet: the same encoder trained on normals and instances."""
    both = {"normals": {"type": "normals"}, "instance": {"type": "instances"}}
    config = only(variant(base, {"tasks": both}), list(both))
    return Row(name, equally_weighted(config))


def against_single_tasks(
    base: ConfigDict,
    name: str,
    *,
    ending: str = "",
    published: tuple[tuple[str, ...], tuple[str, ...]] = ((), ()),
) -> list[Row]:
    """A multi-task row and a row 'only_<task><ending>' for each of its tasks, its baselines of Δm.

    Args:
      base: the multi-task config.
      name: of its row.
      ending: of the names of the others.
      published: ids of what is published for the one, and for the others.
    """
    rows = [Row(name, base, published=published[0])]
    for task in base.tasks:
        config = equally_weighted(only(base, [task]))
        config.eval.delta_metrics = tuple(
            chosen for chosen in base.eval.delta_metrics if chosen.startswith(f"{task}/")
        )
        rows.append(Row(f"only_{task}{ending}", config, published=published[1]))
    return rows


def of_streets(chosen: Sequence[str]) -> list[Row]:
    """A small network for some of the six tasks of Streets, and a row for each of these alone."""
    base = small(branched.get_config("streets_six"))
    return against_single_tasks(only(base, chosen), "branched")


def on_hrnet18(recipe: Callable[[ConfigDict], None]) -> ConfigDict:
    """A benchmark's recipe with HRNet-18 from ImageNet weights, and its heads."""
    config = common.base()
    recipe(config)
    hrnet.model(config)
    config.model.pretrained = hrnet.PRETRAINED
    return config


def benchmark(
    bases: Mapping[str, ConfigDict],
    networks: Mapping[str, tuple[Any, str, str]],
    multi: Mapping[str, str],
    single: Mapping[str, str],
    *,
    start: str,
    joint: str = ".",
) -> list[Row]:
    """The rows of a benchmark.

    Args:
      bases: {encoder: the config of a branched network on it}, each of which is a row, as are its
        tasks alone.
      networks: {row: (module of a config, its protocol, what is published for it)}.
      multi: {encoder: what is published for the multi-task network on it}.
      single: {encoder: what is published for single tasks on it}.
      start, joint: an id is `start`, `joint` and one of the words by which it is published.
    """

    def ids(words):
        return tuple(f"{start}{joint}{word}" for word in words.split())

    rows = []
    for encoder, base in bases.items():
        published = (ids(multi.get(encoder, "")), ids(single.get(encoder, "")))
        rows += against_single_tasks(
            base, f"branched_{encoder}", ending=f"_{encoder}", published=published
        )
    for name, (module, protocol, words) in networks.items():
        rows.append(Row(name, module.get_config(protocol), published=ids(words)))
    return rows
