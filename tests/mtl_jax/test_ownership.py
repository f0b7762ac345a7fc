"""A work directory is one run's: claimed after its lock, by processes that are alike."""

import copy
import json
import types

import pytest
from ml_collections import ConfigDict

from mtl_jax import options
from mtl_jax.commands import evaluate, train
from mtl_jax.configs import branched
from mtl_jax.runs import ownership, seeds
from mtl_jax.runs.files import WorkdirError, write_json
from mtl_jax.runs.workdir import Workdir


def config(**changes) -> ConfigDict:
    found = branched.get_config("streets_scratch")
    found.update_from_flattened_dict({k.replace("__", "."): v for k, v in changes.items()})
    options.fill(found)
    return found


def trained(path, **changes) -> Workdir:
    """A directory in which something has been trained."""
    where = Workdir(path)
    where.create()
    where.claim(config(**changes))
    where.training.touch()
    return where


def data(contents: str) -> types.SimpleNamespace:
    """A stream of examples that are told by this."""
    return types.SimpleNamespace(digest=lambda: contents)


@pytest.mark.parametrize("chosen_seeds", [(), (0, 1)])
def test_who_comes_second_changes_nothing(tmp_path, chosen_seeds):
    where = Workdir(tmp_path)
    where.create()
    first, second = config(schedule__learning_rate=0.01), config(schedule__learning_rate=0.02)
    with ownership.held(where):
        ownership.claim_config(where, first)  # nothing is trained yet
        with pytest.raises(WorkdirError, match="Another process is training"):
            train.run(second, tmp_path, chosen_seeds=chosen_seeds)
    assert where.read_config()["schedule"]["learning_rate"] == 0.01


@pytest.mark.parametrize(
    "change",
    [
        {"eval__selection": "loss", "eval__selection_mode": "min"},
        {"eval__split": "test", "eval__tta__flip": True, "eval__batch_size": 3},
        {"eval__crop_multiple": 32, "eval__image_size": (8, 8), "eval__images": 0},
        {"train__log_every": 3, "train__eval_every_epochs": 5, "train__checkpoint_every_steps": 2},
        {"data__data_dir": "/x", "data__manual_dir": "/y", "name": "other"},
        {"data__workers": 2},
        {"predict__figure": "both", "eval__delta_metrics": ("depth/abs:min",)},
    ],
)
def test_what_only_evaluation_logging_and_drawing_read_may_differ(tmp_path, change):
    ownership.check_config(trained(tmp_path), config(**change))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("schedule.learning_rate", 7.0),
        ("train.batch_size", 7),
        ("train.epochs", 7.0),
        ("train.accumulate", 7),
        ("optimizer.clip_norm", 7.0),
        ("weighting.name", "dwa"),
        ("data.dataset", "camvid"),
        ("data.augment.flip", 0.7),
        ("model.encoder.depth", 34),
        ("tasks.depth.loss", "l2"),
        ("seed", 7),
    ],
)
def test_what_training_reads_may_not(tmp_path, key, value):
    with pytest.raises(WorkdirError, match=rf"{key}: .* in the directory, {value!r} asked for"):
        ownership.check_config(trained(tmp_path), config(**{key.replace(".", "__"): value}))


@pytest.mark.parametrize(("schedule", "longer"), [("constant", True), ("step", True)])
def test_a_run_may_be_longer_where_its_rates_do_not_depend_on_it(tmp_path, schedule, longer):
    where = trained(tmp_path, schedule__name=schedule)
    ownership.check_config(where, config(schedule__name=schedule, train__epochs=99.0))
    ownership.check_config(where, config(schedule__name=schedule, train__max_steps=99))


@pytest.mark.parametrize("schedule", ["cosine", "polynomial"])
def test_otherwise_it_is_told_how_to_go_on(tmp_path, schedule):
    where = trained(tmp_path, schedule__name=schedule)
    with pytest.raises(WorkdirError, match=f"--config.model.pretrained={tmp_path} --config.model"):
        ownership.check_config(where, config(schedule__name=schedule, train__max_steps=99))


def test_a_key_that_the_directory_lacks_has_its_default(tmp_path):
    where = trained(tmp_path)
    older = where.read_config()
    del older["data"]["train_split"], older["train"]["freeze"], older["predict"]
    older["weighting"] |= {
        "temperature": 2.0,
        "form": "gaussian",
    }  # which every method had in 0.1.0
    write_json(where.config, older)
    ownership.check_config(where, config())
    with pytest.raises(WorkdirError) as error:
        ownership.check_config(where, config(data__train_split="train[:5]"))
    (line,) = (line for line in str(error.value).splitlines() if line.startswith("  "))
    assert line == "  data.train_split: 'train' in the directory, 'train[:5]' asked for"


def test_what_goes_on_in_another_way_marks_what_was_found_before(tmp_path):
    where = trained(tmp_path)
    where.write_evaluations([{"step": 1, "metrics": {}}])
    where.go_on_with(config(train__log_every=3))
    assert where.read_evaluations() == [{"step": 1, "metrics": {}}]
    assert where.read_config()["train"]["log_every"] == 3
    where.go_on_with(config(eval__split="test"))
    (entry,) = where.read_evaluations()
    assert entry["evaluated_with"]["split"] == "validation"
    where.go_on_with(config(eval__tta__flip=True))
    assert where.read_evaluations() == [entry]  # it was known already


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("data.resident", True),
        ("data.held_out", 0.1),
        ("data.edges", {"edge": "semseg"}),
        ("data.labels.kind", "one"),
        ("data.labels.seed", 7),
        ("data.labels.among", ("depth",)),
        ("train.steps_per_call", 7),
        ("train.remat", True),
        ("train.loss_average", "images"),
        ("train.freeze", ("encoder",)),
    ],
)
def test_newer_keys_that_change_numbers_may_not_either(tmp_path, key, value):
    with pytest.raises(WorkdirError, match=rf"{key}.*: .* in the directory, "):
        ownership.check_config(trained(tmp_path), config(**{key.replace(".", "__"): value}))


def test_files_that_a_run_reads_may_not_change_either(tmp_path):
    where, file = trained(tmp_path / "run"), tmp_path / "labels.json"
    file.write_text('{"a": ["depth"]}')
    partial = config(data__labels__kind="file", data__labels__file=str(file))
    scores = {"depth/rmse": 0.5, "semseg/miou": float("nan")}
    for _ in range(2):
        ownership.claim_inputs(where, partial, scores, data("a"))
    with pytest.raises(WorkdirError, match=r"other contents of config\.data\.dataset"):
        ownership.claim_inputs(where, partial, scores, data("b"))
    with pytest.raises(WorkdirError, match=r"other contents of config\.weighting\.baselines"):
        ownership.claim_inputs(where, partial, scores | {"depth/rmse": 0.25}, data("a"))
    file.write_text('{"a": ["semseg"]}')
    with pytest.raises(WorkdirError, match=r"other contents of config\.data\.labels\.file"):
        ownership.claim_inputs(where, partial, scores, data("a"))


def test_what_was_refused_before_it_trained_leaves_no_inputs(tmp_path):
    where = Workdir(tmp_path)
    ownership.claim_inputs(where, config(), {"depth/rmse": 0.5}, data("a"))
    ownership.claim_inputs(where, config(), {"depth/rmse": 0.25}, data("a"))
    ownership.claim_inputs(where, config(), {}, data("b"))
    assert json.loads(where.inputs.read_text()) == {"config.data.dataset": "b"}


@pytest.mark.parametrize("folder", [".", "seed_0"])
def test_a_start_that_failed_before_it_trained_gives_way(tmp_path, folder):
    """As one whose weights did not fit; folders of checkpoints are made before they are loaded."""
    where = Workdir(tmp_path)
    where.claim(config(schedule__learning_rate=0.01))
    where.claim_labels({})
    for kind in ("best", "latest"):
        (tmp_path / folder / "checkpoints" / kind).mkdir(parents=True)
    other = config(schedule__learning_rate=0.02)
    ownership.check_config(where, other)
    ownership.claim_config(where, other)
    assert where.read_config()["schedule"]["learning_rate"] == 0.02
    seeds.check_parent(where)
    (tmp_path / folder / "checkpoints" / "latest" / "7").mkdir()
    with pytest.raises(WorkdirError, match="another config"):
        ownership.claim_config(where, config())


def test_a_single_run_is_no_parent_of_several_seeds(tmp_path):
    with pytest.raises(WorkdirError, match="holds a single run"):
        seeds.check_parent(trained(tmp_path))


def test_what_differs_between_processes_is_named():
    same = {
        "config": {"schedule.learning_rate": 0.01, "seed": 0},
        "labels": {"depth.mean": 2.0},
        "data": {"examples": {"image": 24}},
        "version": {"jax": "1"},
    }
    assert ownership.differences([same, same]) == []
    other = copy.deepcopy(same)
    other["config"]["schedule.learning_rate"] = 0.05
    other["labels"]["depth.stddev"] = 3.0
    other["data"]["examples"] = {"image": 23}
    del other["version"]["jax"]
    assert ownership.differences([same, same, other]) == [
        "  config schedule.learning_rate: 0.01 in process 0, 0.05 in process 2",
        "  labels depth.stddev: None in process 0, 3.0 in process 2",
        "  data examples: {'image': 24} in process 0, {'image': 23} in process 2",
        "  version jax: '1' in process 0, None in process 2",
    ]


def test_processes_are_compared_by_config_labels_data_and_versions():
    stream = types.SimpleNamespace(
        labelled_per_epoch={"image": 24},
        steps_per_epoch=3,
        example_ids=lambda step: ["a"],
        digest=lambda: "of these data",
    )
    found = ownership.started_with(config(data__data_dir="/mine"), {"depth": {"mean": 2}}, stream)
    assert found["config"]["schedule.learning_rate"] == config().schedule.learning_rate
    assert "data.data_dir" not in found["config"]
    assert found["labels"] == {"depth.mean": 2}
    assert found["data"]["contents"] == "of these data"
    assert "jax" in found["version"]


def test_evaluate_refuses_labels_that_are_not_those_of_the_run(tmp_path, monkeypatch):
    from mtl_jax.commands import assembly

    def specs(*names):
        depth = {"kind": "depth", "unit": "m", "valid_range": [1.0, 9.0], "mean": 1, "stddev": 1}
        return {
            "image": {"kind": "image"},
            "semseg": {"kind": "classes", "class_names": list(names), "palette": []},
            "depth": depth,
        }

    where = trained(tmp_path)
    where.label_specs.unlink(missing_ok=True)
    where.claim_labels(specs("road", "pothole"))
    monkeypatch.setattr(assembly, "dataset", lambda config: (None, specs("pothole", "road")))
    with pytest.raises(WorkdirError, match=r"semseg.class_names: \['road', 'pothole'\] in the dir"):
        evaluate.run(config(), tmp_path)
