"""Every published number has a home: a row of a sweep with just its hyper-parameters."""

import itertools
import re

import jax
import numpy as np
import pytest
import traced
from test_configs import specs_of
from test_sweeps import all_rows

from mtl_jax import encoders, losses, system
from mtl_jax.configs import common
from mtl_jax.studies import published_benchmarks, sweeps

PUBLISHED = sweeps.read_published()
# Printed without a configuration that could be run.
NO_CONFIG = {
    "handout-best",
    "D-sunet-voc",
    "D-sunet-paper-1",
    "D-sunet-paper-2",
    "D-sunet-paper-3",
}


def rows_of(published_id: str) -> list[sweeps.Row]:
    return [row for row in all_rows() if published_id in row.published]


def each_id(*kinds: str):
    """A test's case for every published id: its lines of these kinds."""
    cases = {}
    for published_id, found in PUBLISHED.items():
        cases[published_id] = [line for line in found if line["kind"] in kinds]
    return [pytest.param(i, found, id=i) for i, found in cases.items() if found]


def test_the_table_is_whole():
    assert sum(map(len, PUBLISHED.values())) == 382
    used = {i for row in all_rows() for i in row.published}
    assert used <= set(PUBLISHED) | set(published_benchmarks.read())
    homeless = {i for i in PUBLISHED if i not in used and not i.startswith("data-")}
    assert homeless == NO_CONFIG


def test_a_number_without_a_config_is_called_so():
    kinds = {i: {line["kind"] for line in found} for i, found in PUBLISHED.items()}
    assert {i for i, found in kinds.items() if "reference" in found} == NO_CONFIG
    known = {"result", "cost", "finding", "setting", "data", "reference"}
    assert set().union(*kinds.values()) == known


def number_of_words(line) -> int:
    return len(re.sub(r"\S+=\S+", "", line["setting"]).split())


def test_the_table_has_labels_and_no_sentences():
    for found in PUBLISHED.values():
        for line in found:
            assert number_of_words(line) <= 8, line
            assert re.fullmatch(r"[\d.e;\-/ backbonewhmsMFT%]+", line["value"]), line


def weight_of(config, task: str) -> float:
    weights = config.weighting.get("weights")
    return weights[task] if weights else 1.0


TASKS = {"label": "semseg", "instance": "instance", "depth": "depth"}


def is_equal(config) -> bool:
    weights = {weight_of(config, task) for task in config.tasks}
    return config.weighting.name == "fixed" and weights == {1.0}


# key of a setting: (config, value) ─► whether the config has it
SETTINGS = {
    "opt": lambda c, v: c.optimizer.name == v,
    "lr": lambda c, v: c.schedule.learning_rate == float(v),
    "batch": lambda c, v: c.train.batch_size == int(v),
    "epochs": lambda c, v: c.train.epochs == float(v) and c.train.max_steps == 0,
    "w_semseg": lambda c, v: (
        (weight_of(c, "semseg"), weight_of(c, "depth")) == (float(v), pytest.approx(1 - float(v)))
    ),
    "w_depth": lambda c, v: weight_of(c, "depth") == float(v),
    "pretrained": lambda c, v: bool(c.model.pretrained) == (v == "yes"),
    "dilation": lambda c, v: c.model.encoder.replace_stride_with_dilation == v,
    "depth_loss": lambda c, v: c.tasks.depth.loss == v,
    "depth_norm": lambda c, v: c.tasks.depth.normalization == v,
    "deep_supervision": lambda c, v: c.train.deep_supervision == (v == "yes"),
    "weight_decay": lambda c, v: c.optimizer.weight_decay == float(v),
    "encoder": lambda c, v: c.model.encoder.name == v,
    "data": lambda c, v: c.data.dataset == v,
    "weighting": lambda c, v: is_equal(c) if v == "equal" else c.weighting.name == v,
    "temperature": lambda c, v: c.weighting.temperature == float(v),
    "weights": lambda c, v: (
        [weight_of(c, t) for t in TASKS.values()] == [float(weight) for weight in v.split("/")]
    ),
    "tasks": lambda c, v: set(c.tasks) == {TASKS.get(task, task) for task in v.split("+")},
    "tta": lambda c, v: c.eval.tta.scales == () if v == "none" else v == join(c.eval.tta.scales),
}


def join(values) -> str:
    return ";".join(f"{value:g}" for value in values)


def is_network(config, system_name: str) -> bool:
    """Whether the model is what the table's column `system` says."""
    model = config.model
    resnet = dict(model.get("encoder", {})).get("depth")
    deeplab = {
        "joint, no ASPP, no skip": lambda: (
            (model.aspp.enabled, model.decoder.skip) == (False, False)
        ),
        "joint, ASPP, skip": lambda: (model.aspp.enabled, model.decoder.skip) == (True, True),
        "branched": lambda: True,
        "distillation": lambda: True,
    }
    if system_name in deeplab:
        plain = resnet == 34 and not model.se and not model.encoder.se
        name = system_name.split(",")[0]
        return model.architecture == name and plain and deeplab[system_name]()
    return {
        "branched, ResNet-50, SE": lambda: (
            (model.architecture, resnet, model.se) == ("branched", 50, True)
        ),
        "SegNet MTAN": lambda: (
            model.architecture == "mtan" and model.init == "kaiming_normal_fan_in"
        ),
        "SegNet MTAN, Liu et al. 2019": lambda: (
            model.architecture == "mtan"
            and model.init == "xavier_normal"
            and config.optimizer.weight_decay == 0
        ),
        "FCN VGG-16": lambda: (model.architecture, model.encoder.name) == ("fcn", "vgg"),
        "FCN AlexNet": lambda: (model.architecture, model.encoder.name) == ("fcn", "alexnet"),
        "FCN ResNet-18": lambda: (model.architecture, resnet) == ("fcn", 18),
        "Stacked U-Net": lambda: model.architecture == "stacked_unet",
        "ResNet-101, 3 decoders": lambda: (model.architecture, resnet) == ("uncertainty", 101),
    }[system_name.removesuffix(", test split")]()


@pytest.mark.parametrize(("published_id", "lines"), each_id("result", "cost"))
def test_a_result_has_rows_with_its_hyper_parameters(published_id, lines):
    rows = rows_of(published_id)
    assert rows
    for line, row in itertools.product(lines, rows):
        assert is_network(row.config, line["system"]), row.name
        for setting in line["setting"].split():
            if "=" in setting:
                key, value = setting.split("=")
                assert SETTINGS[key](row.config, value), f"{row.name}: {setting}"


@pytest.mark.parametrize(("published_id", "lines"), each_id("result"))
def test_a_result_can_be_compared(published_id, lines):
    rows = rows_of(published_id)
    results = sweeps.published_results(rows[0].published)
    for line in lines:
        mine = [r for r in results if (r["id"], r["metric"]) == (published_id, line["metric"])]
        assert float(line["value"]) in [result["value"] for result in mine], line
        if line["metric"] not in ("train_loss", "train_miou_pct", "train_miou"):
            ours = mine[0]["our_metric"]
            task = ours.split("/")[0] if "/" in ours else None
            assert task is None or task in rows[0].config.tasks, line


def test_a_published_percentage_is_ours_times_100():
    (result, *_) = sweeps.published_results(("C-dwa",))
    assert result == {
        "id": "C-dwa",
        "source": "C",
        "label": "SegNet MTAN: data=cityscapes_mtan/128x256 opt=adam lr=1e-4 weighting=dwa "
        "temperature=2",
        "metric": "miou_pct",
        "value": 68.09,
        "our_metric": "semseg/miou_all",
        "factor": 100.0,
    }


def test_a_published_depth_of_report_e_has_no_unit():
    (result, *_) = sweeps.published_results(("E-depth",))
    assert (result["our_metric"], result["factor"]) == ("depth/rmse_per_image", None)


def test_a_published_offset_is_in_pixels_of_half_the_size():
    """Report E predicts 128×256 and measures there; we predict, and measure, at 256×512."""
    output = {line["metric"]: float(line["value"]) for line in PUBLISHED["E-architecture"]}
    (row,) = rows_of("E-instance")
    width = int(row.config.data.dataset.split("x")[1])
    for result in sweeps.published_results(("E-instance",)):
        assert result["our_metric"] == "instance/rms"
        assert result["factor"] == output["output_width"] / width


def layers_of(config, module: str) -> list[tuple[int, ...]]:
    """Shapes of the kernels of the modules whose name begins so, after a small encoder."""
    config = config.copy_and_resolve_references()
    config.model.encoder = common.resnet(18, "FFF", width=8)
    model = system.build(config, specs_of(config)).model
    image = jax.ShapeDtypeStruct((1, 64, 64, 3), np.float32)
    shapes = traced.shapes(lambda x: model.init(jax.random.key(0), x, train=False), image)
    return [
        leaf.shape
        for path, leaf in jax.tree_util.tree_leaves_with_path(shapes["params"])
        if path[0].key.startswith(module) and path[-1].key == "kernel"
    ]


def crops(config, side: int) -> tuple[int, ...]:
    return (config.data.augment.crop[side], config.eval.image_size[side])


# metric of a setting: what a config says
FACTS = {
    "epochs_over_batch": lambda c: c.train.epochs / c.train.batch_size,
    "lr": lambda c: c.schedule.learning_rate,
    "epochs": lambda c: c.train.epochs,
    "batch": lambda c: c.train.batch_size,
    "momentum": lambda c: c.optimizer.momentum,
    "weight_decay": lambda c: c.optimizer.weight_decay,
    "adam_beta1": lambda c: c.optimizer.beta1,
    "adam_beta2": lambda c: c.optimizer.beta2,
    "w_semseg": lambda c: weight_of(c, "semseg"),
    "w_depth": lambda c: weight_of(c, "depth"),
    "aspp_rates": lambda c: join(c.model.aspp.rates),
    "skip_channels": lambda c: c.model.decoder.skip_channels,
    "bottleneck_channels": lambda c: c.model.aspp.channels,
    "n_3x3_convs": lambda c: sum(s[:2] == (3, 3) for s in layers_of(c, "decoder")),
    "joint_output_channels": lambda c: c.tasks.semseg.num_classes + 1,
    "semseg_classes": lambda c: c.tasks.semseg.num_classes,
    "tta_scales": lambda c: join(c.eval.tta.scales),
    "berhu_c_fraction": lambda c: losses.BERHU_THRESHOLD,
    "step_lr_step": lambda c: c.schedule.every_epochs,
    "step_lr_gamma": lambda c: c.schedule.factor,
    "dwa_temperature": lambda c: c.weighting.temperature,
    "height": lambda c: int(c.data.dataset.split("/")[1].split("x")[0]),
    "width": lambda c: int(c.data.dataset.split("/")[1].split("x")[1]),
    "classes": lambda c: c.tasks.semseg.num_classes,
    "encoder_layers": lambda c: len(c.model.widths),
    "decoder_layers": lambda c: (
        len(c.model.widths)
        if c.model.architecture == "mtan"
        else len(layers_of(c, "decoder_semseg"))
    ),
    "crop": lambda c: c.data.augment.crop[0],
    "scale_min": lambda c: c.data.augment.scale[0],
    "scale_max": lambda c: c.data.augment.scale[1],
    "flip_p": lambda c: c.data.augment.flip,
    "rotate_deg_min": lambda c: -c.data.augment.rotate,
    "rotate_deg_max": lambda c: c.data.augment.rotate,
    "norm_mean": lambda c: join(encoders.image_statistics(c.model)[0]),
    "norm_std": lambda c: join(encoders.image_statistics(c.model)[1]),
    "seed": lambda c: c.seed,
    "voc_classes": lambda c: c.tasks.semseg.num_classes,
    "D1_fraction_series1": lambda c: sweeps._in_split(11716, c.data.train_split) / 11716,
    "decoder_kernels": lambda c: c.model.decoder.channels,
    "semseg_channels": lambda c: c.tasks.semseg.num_classes,
    "instance_channels": lambda c: system.build(c, specs_of(c)).tasks["instance"].channels,
    "depth_channels": lambda c: system.build(c, specs_of(c)).tasks["depth"].channels,
    # The decoders work at half the image's size.
    "output_height": lambda c: int(c.data.dataset.split("_")[1].split("x")[0]) // 2,
    "output_width": lambda c: int(c.data.dataset.split("_")[1].split("x")[1]) // 2,
}
# Of these some rows have it; of everything else all that carry the id.
IN_SOME_ROWS = {
    ("C-settings", "dwa_temperature"),
    ("A-tuned", "n_3x3_convs"),  # the baseline's decoder has none
    ("B-tuned", "tta_scales"),
    ("D-preprocessing", "voc_classes"),  # those of semantics
    ("D-preprocessing", "D1_fraction_series1"),
}


def has(config, metric: str, value: str) -> bool:
    if value.startswith("backbone"):
        backbone, new = (float(number) for number in re.findall(r"\d[\d.]*e-\d+", value))
        rate = config.schedule.learning_rate
        return rate == new and rate * config.optimizer.encoder_scale == pytest.approx(backbone)
    try:
        found = FACTS[metric](config)
    except (KeyError, AttributeError, ValueError):  # a row without depth, or without a decoder
        return False
    return found == value if isinstance(found, str) else found == pytest.approx(float(value))


@pytest.mark.parametrize(("published_id", "lines"), each_id("setting"))
def test_a_hyper_parameter_is_that_of_a_row(published_id, lines):
    rows = rows_of(published_id)
    for metric, value in ((line["metric"], line["value"]) for line in lines):
        several = metric == "weight_decay" and ";" in value
        quantifier = any if several or (published_id, metric) in IN_SOME_ROWS else all
        for part in value.split(";") if several else [value]:
            assert quantifier(has(row.config, metric, part) for row in rows), (metric, part)


@pytest.mark.parametrize(("published_id", "lines"), each_id("data"))
def test_a_size_is_that_of_the_data_set(published_id, lines):
    from input_pipeline.datasets import _cityscapes_classes, cityscapes, lip, pascal

    parts, whole = pascal._OFFICIAL_COUNTS, lip.Config(name="cihp")
    train, validation = {
        "data-voc": (parts["voc/train"], parts["voc/val"]),
        "data-sbd": (parts["sbd/train"], parts["sbd/val"]),
        "data-person-part": (parts["parts/train"], parts["parts/val"]),
        "data-lip": (whole.train, whole.validation),
        "data-cityscapes": tuple(cityscapes._OFFICIAL_COUNTS.values()),
    }[published_id]
    found = {
        "train_images": train,
        "val_images": validation,
        "total_images": train + validation,
        "classes": len(_cityscapes_classes.NAMES),
    }
    for line in lines:
        assert found[line["metric"]] == int(line["value"]), line
