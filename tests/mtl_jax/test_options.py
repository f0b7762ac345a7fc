"""Options are declared beside the code, and a config is filled from the declarations."""

import dataclasses
import json

import pytest
from ml_collections import ConfigDict

from mtl_jax import (
    _discovery,
    _options,
    _sections,
    architectures,
    encoders,
    options,
    tasks,
    weightings,
)
from mtl_jax._options import Option, each, number, one_of, rate, truth, whole
from mtl_jax.configs import branched, common, mtan, uncertainty
from mtl_jax.errors import ConfigError
from mtl_jax.optimizers import rules, schedules
from mtl_jax.runs import files, workdir

PACKAGES = (architectures, encoders, tasks, weightings, rules, schedules)
PARTS = [
    pytest.param(package.PART, name, id=f"{package.__name__}.{name}")
    for package in PACKAGES
    for name in _discovery.names(package)
]


def declared(options):
    """Every Option, at any depth."""
    for name, what in options.items():
        if isinstance(what, Option):
            yield name, what
        elif isinstance(what, dict):
            yield from declared(what)


def is_fraction_of_whole_type(what) -> bool:
    """Whether its check lets a fraction pass, but not its type, which is the default's."""
    return type(what.default) is int and what.check and what.check(what.default + 0.5) is None


@pytest.mark.parametrize("section", [_sections.TRAIN, _sections.EVAL, _sections.PREDICT])
def test_what_may_be_a_fraction_has_one_for_its_default(section):
    assert [name for name, what in declared(section) if is_fraction_of_whole_type(what)] == []


@pytest.mark.parametrize(("part", "name"), PARTS)
def test_every_part_declares_options_whose_defaults_pass_their_checks(part, name):
    for option, what in declared(part.options(name, key="key")):
        assert what.meaning, option
        assert not is_fraction_of_whole_type(what), option
        if what.check and what.default is not None:
            assert what.check(what.default) is None, option
        assert what.check is None or isinstance(what.check(object()), str), option


class TestFill:
    def test_completes_from_the_modules_that_are_named(self):
        config = branched.get_config("streets_scratch")
        options.fill(config)
        assert config.weighting == ConfigDict({"name": "fixed", "weights": {}})
        assert config.optimizer.beta2 == 0.999
        assert "momentum" not in config.optimizer
        assert "power" not in config.schedule
        assert config.model.encoder.ceil_mode is False
        assert config.tasks.depth.averaging == "image"
        assert config.task_order == ("semseg", "depth")
        again = config.copy_and_resolve_references()
        options.fill(again)
        assert again == config

    def test_an_option_of_another_method_is_refused_and_whose_it_is_said(self):
        config = branched.get_config("streets_scratch")
        config.weighting.temperature = 3.0
        with pytest.raises(
            ConfigError, match=r"weighting.temperature is an option of dwa.*weights"
        ):
            options.fill(config)

    def test_a_misspelt_option_is_refused_with_the_nearest(self):
        for key, near in (
            ("model.encoder.dept", "depth"),
            ("schedule.warmup_epoch", "warmup_epochs"),
            ("eval.tta.scale", "scales"),
            ("tasks.depth.los", "loss"),
            ("tasks.depth.typ", "type"),
            ("weighting.nam", "name"),
        ):
            config = branched.get_config("streets_scratch")
            *path, last = key.split(".")
            owner = config
            for step in path:
                owner = owner[step]
            owner[last] = 1
            with pytest.raises(
                ConfigError, match=f"config.{key} is unknown. Did you mean '{near}'"
            ):
                options.fill(config)

    def test_impossible_values_are_refused_with_what_was_expected(self):
        config = branched.get_config("streets_scratch")
        config.train.batch_size = 0
        with pytest.raises(
            ConfigError, match=r"config.train.batch_size=0; expected a whole number"
        ):
            options.fill(config)

    def test_an_integer_for_a_real_number_becomes_one(self):
        config = branched.get_config("streets_scratch")
        with config.ignore_type():
            config.schedule.learning_rate = 1
        options.fill(config)
        assert isinstance(config.schedule.learning_rate, float)

    def test_a_config_without_an_architecture_is_told_which_there_are(self):
        with pytest.raises(ConfigError, match=r"model.architecture is not set; .* branched, "):
            options.fill(common.base())

    def test_a_locked_config_stays_locked(self):
        config = branched.get_config("streets_scratch").lock()
        options.fill(config)
        assert config.is_locked
        assert config.weighting.is_locked


class TestSaved:
    def test_what_older_versions_wrote_for_all_methods_is_left_out(self):
        config = mtan.get_config("cityscapes_dwa")
        options.fill(config)
        old = json.loads(json.dumps(config.to_dict()))
        del old["task_order"]
        old["weighting"] |= {"form": "gaussian", "initial_variance": [1.0, 1.0]}
        old["optimizer"] |= {"momentum": 0.9}
        old["schedule"] |= {"power": 0.9}
        found = options.of_saved(old)
        assert found.task_order == ("depth", "semseg")
        config.task_order = ("depth", "semseg")
        assert found == config

    def test_statistics_that_are_the_encoders_count_as_unset(self):
        config = branched.get_config("streets_scratch")
        options.fill(config)
        old = json.loads(json.dumps(config.to_dict()))
        old["model"]["image_mean"] = [0.485, 0.456, 0.406]
        old["model"]["image_std"] = [0.5, 0.5, 0.5]
        found = options.of_saved(files.from_json(old))
        assert (found.model.image_mean, found.model.image_std) == ((), (0.5, 0.5, 0.5))

    def test_a_run_that_was_told_the_encoders_statistics_is_gone_on_with(self, tmp_path):
        config = branched.get_config("streets_scratch")
        config.model.image_mean = (0.485, 0.456, 0.406)
        options.fill(config)
        directory = workdir.Workdir(tmp_path)
        files.write_json(directory.config, files.to_json(config))
        directory.check_config(config, may_differ=())
        config.model.image_mean = (0.5, 0.456, 0.406)
        with pytest.raises(files.WorkdirError, match="image_mean"):
            directory.check_config(config, may_differ=())

    def test_what_no_part_has_is_refused_all_the_same(self):
        old = branched.get_config("streets_scratch").to_dict()
        old["weighting"]["temprature"] = 2.0
        with pytest.raises(ConfigError, match=r"temprature is unknown"):
            options.of_saved(old)

    def test_a_run_keeps_the_order_that_it_was_built_in(self):
        config = branched.get_config("streets_scratch")
        options.fill(config)
        options.keep_order(config, {"tasks": {}, "task_order": []})
        assert config.task_order == ("semseg", "depth")
        options.keep_order(config, {"tasks": {}})
        assert config.task_order == ("depth", "semseg")


class TestOrder:
    def test_is_that_in_which_tasks_were_written(self):
        config = branched.get_config("streets_scratch")
        config.tasks = ConfigDict({"zebra": {"type": "depth"}, "ant": {"type": "normals"}})
        assert options.task_order(config) == ("zebra", "ant")
        config.tasks.bee = ConfigDict({"type": "normals"})
        assert options.task_order(config.copy_and_resolve_references()) == ("zebra", "ant", "bee")

    def test_can_be_chosen(self):
        config = branched.get_config("streets_scratch")
        with config.ignore_type():
            config.task_order = ["depth"]
        options.fill(config)
        assert config.task_order == ("depth", "semseg")
        config.task_order = ("parts",)
        with pytest.raises(
            ConfigError, match=r"task_order names parts; config.tasks has semseg, d"
        ):
            options.fill(config)


class TestResolve:
    def test_choosing_another_method_drops_what_the_config_said_of_the_former(self):
        config = uncertainty.get_config()
        options.resolve(config, ["--config.weighting.temperature=3", "--config.weighting.name=dwa"])
        assert config.weighting == ConfigDict({"name": "dwa", "temperature": 3.0})

    def test_outer_parts_are_chosen_first(self):
        config = branched.get_config("streets_scratch")
        changes = ["model.encoder.name=vgg", "model.encoder.width=8", "model.architecture=fcn"]
        options.resolve(config, [f"--config.{change}" for change in changes])
        assert config.model.encoder == ConfigDict({"name": "vgg", "width": 8})
        assert "aspp" not in config.model
        assert config.model.tail.name == "corrected"

    def test_a_task_can_be_added(self):
        config = branched.get_config("streets_scratch")
        changes = ["tasks.material.type=segmentation", "tasks.material.num_classes=4"]
        options.resolve(config, [f"--config.{change}" for change in changes])
        assert config.tasks.material.num_classes == 4
        assert config.task_order == ("semseg", "depth", "material")

    def test_names_that_choose_nothing_are_values_like_others(self):
        config = branched.get_config("streets_scratch")
        options.resolve(config, ["--config.name=mine"])
        assert config.name == "mine"
        config = common.base()
        config.model.architecture = "fcn"
        config.tasks = common.semantics_and_depth()
        options.resolve(config, ["--config.model.tail.name=thesis"])
        assert config.model.tail.name == "thesis"

    def test_an_unknown_module_is_one_message_with_the_nearest(self):
        config = branched.get_config("streets_scratch")
        with pytest.raises(ConfigError, match=r"weighting.name='dwe': .* Did you mean 'dwa'"):
            options.resolve(config, ["--config.weighting.name=dwe"])

    def test_an_impossible_override_is_refused(self):
        config = branched.get_config("streets_scratch")
        with pytest.raises(ConfigError, match=r"flip=2.0; expected a number of at least 0"):
            options.resolve(config, ["--config.data.augment.flip=2"])


def test_every_option_is_described():
    config = uncertainty.get_config()
    options.fill(config)
    text = options.describe(config)
    for line in (
        "config.weighting.name='uncertainty' ",
        "config.weighting.form='repo' ",
        "config.tasks.instance.semantics='semseg' ",
        "config.eval.tta.flip=False ",
        "config.model.encoder.name='resnet' ",
    ):
        assert line in text
    assert "dwa, " in text


def test_a_mtan_on_resnet_refuses_another_encoder():
    config = mtan.get_config("streets_resnet")
    with pytest.raises(ConfigError, match=r"model.encoder.name='vgg'; expected resnet"):
        options.select(config, "model.encoder.name", "vgg")


def test_a_segnet_has_no_encoder_of_ones_own():
    config = mtan.get_config()
    config.model.encoder = common.resnet(18)
    with pytest.raises(ConfigError, match=r"model.encoder is an option of branched, .*fcn"):
        options.fill(config)


def test_options_as_fields():
    @dataclasses.dataclass(frozen=True)
    class Method:
        tasks: tuple[str, ...] = ()
        c: float = _options.option(0.4, "radius", number(above=0, most=1))
        weights: dict = _options.option({}, "of tasks")

    declared = _options.declared(Method)
    assert list(declared) == ["c", "weights"]
    assert Method().weights == {}
    found = _options.complete({"c": 1, "weights": ConfigDict({"a": 2})}, declared, key="k")
    assert found == {"c": 1.0, "weights": {"a": 2}}
    assert isinstance(found["c"], float)
    with pytest.raises(ConfigError, match=r"k.c=2.0; expected a number above 0 and of at most 1"):
        _options.complete({"c": 2.0}, declared, key="k")
    with pytest.raises(ConfigError, match=r"k.c=0.0"):
        _options.check_values(Method, {"c": 0.0}, key="k")


@pytest.mark.parametrize(
    ("check", "good", "bad"),
    [
        (number(above=0), (1e-6, 3), (0, -1, 1e-300, 1e300, True, "1", float("nan"), None)),
        (number(least=0), (0, 0.0), (-1e-9, float("inf"))),
        (whole(least=1), (1, 2**31 - 1), (0, 1.0, True, 2**31)),
        (rate, (0, 0.999), (1, -0.1, True, "0")),
        (one_of("a", 1), ("a", 1), ("b", True, 1.0)),
        (truth, (True, False), (0, 1, "True")),
        (each(whole(least=1), length=2), ((1, 2), [3, 4]), ((1,), (1, 2, 3), (0, 1), 5, "ab")),
    ],
)
def test_checks(check, good, bad):
    assert [check(value) for value in good] == [None] * len(good)
    assert all(isinstance(check(value), str) for value in bad), [check(v) for v in bad]


class TestWithoutAConfig:
    def test_parts_have_defaults_of_their_own(self):
        assert encoders.make("resnet", depth=34).width == 64
        model = architectures.make("fcn", {"depth": 1}, encoder={"name": "vgg"})
        assert type(model.encoder).__name__ == "VGG"
        assert not model.average_pool
        assert float(
            schedules.make_schedule({"name": "constant"}, steps_per_epoch=1, total_steps=1)(0)
        )


def test_a_filled_copy_leaves_the_config_alone_and_is_its_own_filled_copy():
    config = branched.get_config()
    before = config.to_json()
    filled = options.filled(config)
    assert config.to_json() == before != filled.to_json()
    assert options.filled(filled).to_json() == filled.to_json()
