"""The recipes of the field's benchmarks are those of the papers and of their authors' code."""

import functools
import importlib

import pytest
from test_configs import specs_of

from mtl_jax import encoders, options, tasks
from mtl_jax.configs import benchmarks as recipes
from mtl_jax.configs import (
    branched,
    common,
    cross_stitch,
    hrnet,
    invpt,
    mlore,
    mti_net,
    pad_net,
    single_task,
)


@pytest.mark.parametrize("family", recipes.FAMILIES)
def test_recipes_differ_as_the_papers_do(family):
    pascal, nyud = common.base(), common.base()
    recipes.pascal_context(pascal, family)
    recipes.nyud(nyud, family)
    assert options.task_order(pascal) == ("semseg", "human_parts", "sal", "normals", "edge")
    weights = dict(pascal.weighting.weights)
    assert weights == {"semseg": 1, "human_parts": 2, "sal": 5, "normals": 10, "edge": 50}
    survey = family == "survey"
    assert len(nyud.tasks) == (2 if survey else 4)
    assert pascal.tasks.sal.channels == (1 if survey else 2)
    assert pascal.tasks.normals.loss == ("l1" if survey else "l1_pixel")
    assert pascal.schedule.learning_rate == (1e-4 if survey else 2e-5)
    assert pascal.optimizer.weight_decay == (1e-4 if survey else 1e-6)
    steps = pascal.train.max_steps or pascal.train.epochs * (4998 // pascal.train.batch_size)
    assert steps == (100 * (4998 // 8) if survey else 40_000)
    assert pascal.eval.resize_back == nyud.eval.resize_back == survey
    assert pascal.data.augment.mode == nyud.data.augment.mode == family
    assert nyud.data.augment.crop == ((480, 640) if survey else (448, 576))


def recipe(benchmark, family):
    config = common.base()
    getattr(recipes, benchmark)(config, family)
    hrnet.model(config)
    return options.filled(config)


@pytest.mark.parametrize("family", recipes.FAMILIES)
@pytest.mark.parametrize("benchmark", ["pascal_context", "nyud"])
def test_every_task_of_a_recipe_has_labels(benchmark, family):
    config = recipe(benchmark, family)
    specs = specs_of(config)
    for name, task in tasks.build(config.tasks, specs).items():
        assert {task.key, *task.scored_keys} <= set(specs), name
    augment = config.data.augment
    assert {*augment.empty_is_unlabelled, *filter(None, [augment.balanced_by])} <= set(specs)


# What the papers' code says, of docs/benchmarks.md, and not what the recipes say.
TRANSFORMER = {
    "data.augment.scale": (0.5, 2.0),
    "data.augment.flip": 0.5,
    "data.augment.rotate": 0.0,
    "data.augment.balanced_by": "semseg",
    "data.augment.brightness": 32 / 255,
    "data.augment.contrast": 0.5,
    "data.augment.saturation": 0.5,
    "data.augment.hue": 18 / 180,
    "optimizer.name": "adam",
    "schedule.name": "polynomial",
    "schedule.every": "step",
    "train.batch_size": 2,
    "eval.padding": "mean",
    "eval.scores.protocols": ("invpt",),
}
SURVEY = {
    "data.augment.flip": 0.5,
    "data.augment.balanced_by": "",
    "data.augment.brightness": 0.0,
    "data.augment.hue": 0.0,
    "optimizer.name": "adam",
    "schedule.name": "polynomial",
    "train.batch_size": 8,
    "train.epochs": 100.0,
    "eval.image_size": (0, 0),
    "eval.scores.protocols": ("survey",),
}
PASCAL = {
    "data.augment.empty_is_unlabelled": ("parts",),
    "eval.scores.published_images": 2498,
    "tasks.edge.max_distance": 0.0075,
    "tasks.edge.truth_key": "edge_truth",
}
DEPTH = {
    "tasks.depth.loss": "l1",
    "tasks.depth.averaging": "batch",
    "tasks.depth.normalization": "none",
}
METRICS = ("semseg/miou_all:max", "human_parts/miou_all:max", "normals/mean:min")
RECIPES = {
    ("pascal_context", "transformer"): TRANSFORMER
    | PASCAL
    | {"data.augment.crop": (512, 512), "eval.image_size": (512, 512)},
    ("pascal_context", "survey"): SURVEY
    | PASCAL
    | {
        "data.augment.crop": (512, 512),
        "data.augment.scale": (0.75, 1.25),
        "data.augment.rotate": 20.0,
        "eval.resize": (512, 512),
    },
    ("nyud", "transformer"): TRANSFORMER
    | DEPTH
    | {
        "data.augment.empty_is_unlabelled": (),
        "eval.image_size": (448, 576),
        "tasks.edge.max_distance": 0.011,
        "tasks.edge.truth": "sides",
    },
    ("nyud", "survey"): SURVEY
    | DEPTH
    | {
        "data.augment.rotate": 0.0,
        "data.augment.scale": (1.0, 1.0),
        "data.augment.scales": (1.0, 1.2, 1.5),
        "eval.resize": (480, 640),
    },
}
COMPARED = {
    ("pascal_context", "transformer"): {*METRICS, "sal/maxF:max", "edge/odsF:max"},
    ("pascal_context", "survey"): {
        *METRICS,
        "sal/miou_per_image_survey:max",
        "edge/odsF_survey:max",
    },
    ("nyud", "transformer"): {
        "semseg/miou_all:max",
        "depth/rmse_unclamped:min",
        "normals/mean:min",
        "edge/odsF:max",
    },
    ("nyud", "survey"): {"semseg/miou_all:max", "depth/rmse_unclamped:min"},
}


def values(config, keys) -> dict:
    """{key: what a config has there}."""
    return {
        key: functools.reduce(lambda at, part: at[part], key.split("."), config) for key in keys
    }


@pytest.mark.parametrize(("benchmark", "family"), RECIPES)
def test_a_recipe_is_the_papers(benchmark, family):
    config = recipe(benchmark, family)
    assert values(config, RECIPES[benchmark, family]) == RECIPES[benchmark, family]
    assert set(config.eval.delta_metrics) == COMPARED[benchmark, family]
    weights = {"semseg": 1, "human_parts": 2, "sal": 5, "normals": 10, "edge": 50, "depth": 1}
    assert dict(config.weighting.weights) == {name: weights[name] for name in config.tasks}


def test_the_survey_trains_resnet18_on_smaller_batches():
    assert branched.get_config("pascal_context_survey").train.batch_size == 6
    assert branched.get_config("nyud_survey").train.batch_size == 8


# {module: {protocol: (the weights it starts from, learning rate)}}
STARTS = {
    module: dict.fromkeys(("pascal_context", "nyud"), (hrnet.PRETRAINED, 1e-4))
    for module in (hrnet, pad_net, mti_net)
} | {
    invpt: {
        "pascal_context": ("vit_large_patch16_384", 2e-5),
        "nyud": ("vit_large_patch16_384", 2e-5),
        "pascal_context_swin": ("swin_large_patch4_window12_384", 2e-5),
        "nyud_swin": ("swin_large_patch4_window12_384", 2e-5),
    },
    mlore: {
        "pascal_context": ("vit_large_patch16_384", 2e-5),
        "pascal_context_b": ("vit_base_patch16_384", 2e-5),
        "nyud": ("vit_large_patch16_384", 1e-5),
        "pascal_context_task_prompter": ("vit_large_patch16_384", 2e-5),
        "pascal_context_task_prompter_b": ("vit_base_patch16_384", 2e-5),
        "nyud_task_prompter": ("vit_large_patch16_384", 1e-5),
    },
}


@pytest.mark.parametrize("module", STARTS, ids=lambda module: module.__name__.split(".")[-1])
def test_networks_start_and_learn_as_their_authors_have_it(module):
    """All see images normalised by ImageNet's statistics, the published ViTs' own ones or not."""
    assert STARTS[module].keys() == {n for n in module.PROTOCOLS if not n.startswith("streets")}
    for protocol, expected in STARTS[module].items():
        config = options.filled(module.get_config(protocol))
        assert (config.model.pretrained, config.schedule.learning_rate) == expected, protocol
        sources = encoders.published()[config.model.encoder.name].sources
        assert config.model.pretrained in sources
        imagenet = (encoders.IMAGENET_MEAN, encoders.IMAGENET_STD)
        assert encoders.image_statistics(config.model) == imagenet, protocol


# Losses and training of each architecture, as its authors' code has them.
SUPERVISED = "train.deep_supervision_weights"
ADAM = {"optimizer.name": "adam", "optimizer.clip_norm": 0.0, "schedule.power": 0.9}
HRNET = ADAM | {"schedule.every": "epoch", "optimizer.weight_decay": 1e-4, "train.epochs": 100.0}
SGD = {
    "optimizer.name": "sgd",
    "optimizer.momentum": 0.9,
    "optimizer.weight_decay": 1e-4,
    "schedule.every": "epoch",
    "schedule.power": 0.9,
    SUPERVISED: (),
}
ON_PASCAL = SGD | {"schedule.learning_rate": 5e-3, "train.epochs": 20.0, "train.batch_size": 12}
ON_NYUD = SGD | {"schedule.learning_rate": 1e-3, "train.epochs": 50.0, "train.batch_size": 8}
VIT = ADAM | {
    "schedule.every": "step",
    "optimizer.weight_decay": 1e-6,
    "train.max_steps": 40_000,
    "model.encoder.drop_path": 0.15,
    "model.encoder.positions": "plain",
    "tasks.normals.loss": "l1_pixel",
}
PROMPTED = VIT | {"optimizer.clip_norm": 10.0, "model.encoder.class_token": False}
MLORE = PROMPTED | {"model.kept": 9}
STITCHES = {
    "pascal_context": ON_PASCAL | {"model.own": 0.8, "model.other": 0.05},
    "nyud": ON_NYUD | {"model.own": 0.9, "model.other": 0.1},
}
TRAINED = {
    "pad_net": dict.fromkeys(("pascal_context", "nyud"), HRNET | {SUPERVISED: (1.0,) * 2}),
    "mti_net": dict.fromkeys(("pascal_context", "nyud"), HRNET | {SUPERVISED: (1.0,) * 5}),
    "cross_stitch": STITCHES | {f"{name}_nddr": of for name, of in STITCHES.items()},
    "invpt": {
        "pascal_context": VIT | {SUPERVISED: (1.0, 1.0), "model.encoder.table": (32, 32)},
        "nyud": VIT | {SUPERVISED: (1.0, 1.0), "model.encoder.table": (28, 36)},
    },
    "mlore": {
        "pascal_context": MLORE
        | {"model.balance": 3e-4, "tasks.edge.positive_weight": 0.925, "model.width": 452},
        "pascal_context_b": MLORE
        | {"model.balance": 1e-4, "tasks.edge.positive_weight": 0.95, "model.width": 640},
        "nyud": MLORE
        | {"model.balance": 5e-4, "tasks.edge.positive_weight": 0.88, "model.width": 768},
        "pascal_context_task_prompter": PROMPTED | {"model.selected": 300, "model.width": 350},
        "pascal_context_task_prompter_b": PROMPTED | {"model.selected": 780, "model.width": 1024},
        "nyud_task_prompter": PROMPTED | {"model.selected": 768, "model.reweighting": False},
    },
}


@pytest.mark.parametrize(
    ("name", "protocol"), [(name, protocol) for name, of in TRAINED.items() for protocol in of]
)
def test_losses_and_training_are_the_authors(name, protocol):
    module = importlib.import_module(f"mtl_jax.configs.{name}")
    config = options.filled(module.get_config(protocol))
    assert values(config, TRAINED[name][protocol]) == TRAINED[name][protocol]


@pytest.mark.parametrize("name", ["pascal_context", "nyud"])
def test_each_task_of_cross_stitch_has_a_run_to_start_from(name):
    """Of the same network, on the same data."""
    joint = cross_stitch.get_config(name)
    for task in joint.tasks:
        alone = single_task.get_config(f"{name}_deeplabv3_{task}")
        assert list(alone.tasks) == [task]
        assert alone.data == joint.data
        assert alone.model.architecture == "branched"
        for part in ("encoder", "decoder", "aspp", "pretrained"):
            assert alone.model[part] == joint.model[part]
        assert all(chosen.startswith(f"{task}/") for chosen in alone.eval.delta_metrics)
