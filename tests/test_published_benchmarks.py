"""Every number of the field's benchmarks has a home, a mark that it keeps, and a figure of ours."""

import json

import pytest
from test_configs import specs_of
from test_sweeps import LOADED

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
from mtl_jax.studies import benchmarks, published_benchmarks, sweeps
from mtl_jax.studies.sweeps import SweepError

TABLE = published_benchmarks.read()
# Systems that no config here trains, or benchmarks whose sweep has ids of another table.
NO_CONFIG = (
    "astmt",
    "atrc",
    "auto-lambda-and-cagrad",
    "demt",
    "diffusionmtl",
    "invptpp",
    "mtmamba",
    "multi-task-without-astmt",
    "pap",
    "pgt",
    "psd",
    "taskdiffusion",
    "tit",
    "tsp-transformer",
)
# Found as `mtl_jax.studies.published_balancing.csv`, whose rows configs/sweeps/balancing.py has.
BALANCING = "cityscapes-7-2."
# Rows of networks that are here, of an encoder that is not told or with tasks that are not.
OF_OTHER_CONFIGS = (
    "nyud-40-2.pad-net-normals",
    "nyud-40-4.cross-stitch.",
    "nyud-40-4.mti-net.",
    "nyud-40-4.pad-net.",
    "pascal-context-5.mti-net.hrnet-48.",
)


def is_without_config(row_id: str) -> bool:
    _, system, encoder, *_ = row_id.split(".")
    other_protocol = (system, encoder) == ("single-task", "resnet-101")  # ASTMT's own
    return system.startswith(NO_CONFIG) or row_id.startswith(OF_OTHER_CONFIGS) or other_protocol


def rows_of(row_id: str):
    return [row for sweep in LOADED.values() for row in sweep.rows if row_id in row.published]


def test_the_table_is_whole():
    lines = [line for found in TABLE.values() for line in found]
    assert len(lines) == 659
    marks = [line["mark"] for line in lines]
    assert {mark: marks.count(mark) for mark in published_benchmarks.MARKS} == {
        "read": 269,
        "second hand": 27,
        "counted": 14,
        "recalled": 349,
    }
    assert all(line["source"] and float(line["value"]) for line in lines)


def test_every_system_has_a_row_or_is_called_one_without():
    homeless = {i for i in TABLE if not rows_of(i) and not i.startswith(BALANCING)}
    expected = {i for i in TABLE if is_without_config(i)}
    partial = {i for i in TABLE if i.startswith("cityscapes-7-2-")}  # MTPSL's constants
    assert homeless == expected | partial


IN_ROWS = [pytest.param(i, id=i) for i in TABLE if rows_of(i)]


@pytest.mark.parametrize("row_id", IN_ROWS)
def test_a_row_trains_what_the_number_is_of(row_id):
    encoders = {"ResNet-18": 18, "ResNet-50": 50, "ResNet-50 from scratch": 50}
    for row in rows_of(row_id):
        line = TABLE[row_id][0]
        model, tasks = row.config.model, list(row.config.tasks)
        if line["encoder"] in encoders:
            assert model.encoder.depth == encoders[line["encoder"]]
        elif line["encoder"] == "HRNet-18":
            assert model.encoder.name == "hrnet"
        elif line["encoder"].startswith("ViT-"):
            assert (model.encoder.name, model.encoder.size) == ("vit", line["encoder"][-1])
        else:
            assert model.architecture in ("mtan", "segnet")
        if line["system"] == "MTAN" and line["benchmark"] == "nyud_40_2":
            assert model.architecture == "mtan_resnet"
        single = line["system"] == "single task"
        assert single == row.name.startswith("only_") == (len(tasks) == 1)
        if "from scratch" in line["encoder"]:
            assert not model.pretrained
        family = "survey" if line["benchmark"] == "nyud_40_2" else "transformer"
        if line["benchmark"] in ("nyud_40_4", "nyud_40_2"):
            expected = {"survey": "nyud/survey", "transformer": "nyud/atrc"}[family]
            assert row.config.data.dataset == expected


@pytest.mark.parametrize("row_id", IN_ROWS)
def test_a_number_can_be_compared(row_id):
    trained = {task for row in rows_of(row_id) for task in row.config.tasks}
    for told in sweeps.published_results((row_id,)):
        if told["metric"].startswith(("delta_m", "mean_rank")):
            assert told["our_metric"] is None
        else:
            assert told["our_metric"].partition("/")[0] in trained, told
    costs = [line for line in TABLE[row_id] if line["metric"] in published_benchmarks.COSTS]
    assert len(sweeps.published_costs((row_id,))) == len(costs)


def test_only_what_was_read_is_told_without_its_mark():
    for row_id, found in TABLE.items():
        for line in found:
            source = published_benchmarks.described(row_id, line)["source"]
            assert source.startswith(line["mark"]) or line["mark"] == "read", source


def test_namesakes_are_compared_with_what_they_are():
    def ours(row_id, metric):
        (line,) = [line for line in TABLE[row_id] if line["metric"] == metric]
        return published_benchmarks.ours(line)

    start = "pascal-context-5"
    assert ours(f"{start}.invpt-paper.vit-l.readme", "saliency_maxF") == ("sal/maxF_invpt", 100.0)
    assert ours(f"{start}.demt.hrnet-18.readme", "saliency_maxF") == ("sal/maxF", 100.0)
    assert ours(f"{start}.astmt.resnet-101.readme", "saliency_miou") == (
        "sal/miou_per_image_survey",
        100.0,
    )
    assert ours(f"{start}.pgt.swin-t.readme", "saliency_miou") == ("sal/miou_per_image_mtdp", 100.0)
    assert ours(f"{start}.pgt.swin-t.readme", "edge_odsF") == ("edge/odsF_mtdp", 100.0)
    assert ours("nyud-40-4.demt.hrnet-18.readme", "depth_rmse") == ("depth/rmse_unclamped", 1.0)


def test_the_printed_table_has_what_was_read_first():
    lines = benchmarks.published("nyud_40_4").splitlines()
    marks = [line.split(" | ")[-2] for line in lines[2:]]
    assert marks == sorted(marks, key=published_benchmarks.MARKS.index)
    assert [line for line in lines if line.startswith("| InvPT (paper) | ViT-L | 53.56 |")]
    with pytest.raises(SweepError, match="'nyud'; expected one of cityscapes_7_2"):
        benchmarks.published("nyud")


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


@pytest.mark.parametrize(("benchmark", "family"), RECIPES)
def test_a_recipe_is_the_papers(benchmark, family):
    config = recipe(benchmark, family)
    found = {}
    for key in RECIPES[benchmark, family]:
        value = config
        for part in key.split("."):
            value = value[part]
        found[key] = value
    assert found == RECIPES[benchmark, family]
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


@pytest.fixture
def finished(tmp_path):
    """A sweep of a multi-task row and its two single tasks."""
    names = (
        "pad_net_x_images",
        "only_semseg_x",
        "only_depth_x",
        "only_depth_other_x",
        "only_depth",
    )
    rows = [{"name": name} for name in names]
    told = published_benchmarks.described("a", TABLE["nyud-40-4.demt.hrnet-18.readme"][0])
    rows[0]["published"] = [told]
    (tmp_path / "sweep.json").write_text(json.dumps({"rows": rows}))
    values = {
        "pad_net_x_images": {"semseg/miou_all": 0.44, "depth/rmse_unclamped": 0.6},
        "only_semseg_x": {"semseg/miou_all": 0.40},
        "only_depth_x": {"depth/rmse_unclamped": 0.5},
        "only_depth_other_x": {"depth/rmse_unclamped": 9.0},
        "only_depth": {"depth/rmse_unclamped": 9.0},
    }
    for name, found in values.items():
        home = tmp_path / name
        home.mkdir()
        chosen = ["semseg/miou_all:max", "depth/rmse_unclamped:min"]
        config = {"eval": {"split": "validation", "checkpoint": "best", "delta_metrics": chosen}}
        (home / "config.json").write_text(json.dumps(config))
        entry = {"step": 1, "metrics": found}
        results = {"finished": True, "best": entry, "last": entry}
        (home / "results.json").write_text(json.dumps(results))
    return tmp_path


def test_the_table_of_a_sweep_has_ours_beside_the_published(finished, monkeypatch):
    monkeypatch.setattr(
        benchmarks.Workdir, "read_results", lambda self: json.loads(self.results.read_text())
    )
    monkeypatch.setattr(
        benchmarks.Workdir, "read_config", lambda self: json.loads(self.config.read_text())
    )
    text = benchmarks.table(finished)
    (row,) = [line for line in text.splitlines() if line.startswith("| pad_net_x")]
    change = (100 * (0.44 - 0.40) / 0.40 - 100 * (0.6 - 0.5) / 0.5) / 2
    assert row == f"| pad_net_x_images | 0.44 | 0.6 | {change:+.2f} |"
    assert "DeMT, HRNet-18: semseg_miou 39.18, ours 44 (README DeMT)" in text


def test_a_wrong_word_is_answered_in_one_line(tmp_path, capsys):
    for word, message in (
        ("nyud", "There is no published benchmark 'nyud'; expected one of cityscapes_7_2"),
        (str(tmp_path), "sweep.json is missing; run the sweep first."),
    ):
        assert benchmarks.main([word]) == 1
        out, err = capsys.readouterr()
        assert not out
        assert err.startswith("\nSweepError: ")
        assert message in err
    assert benchmarks.main(["nyud_40_2"]) == 0
