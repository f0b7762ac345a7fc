"""What is read off a command line before a command is started."""

import os
import re
import sys

import pytest
import run_main
import tiny

import mtl_jax
from mtl_jax import options, overrides, system
from mtl_jax.commands import assembly, cli, flags
from mtl_jax.commands import config as configuration
from mtl_jax.configs import branched
from mtl_jax.errors import ConfigError, UsageError


def test_huge_pages_are_asked_for_once(monkeypatch):
    started = []
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(os, "execv", lambda *command: started.append(command))
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    cli.use_huge_pages()
    assert os.environ["GLIBC_TUNABLES"] == "glibc.malloc.hugetlb=1"
    assert started == [(sys.executable, [sys.executable, *sys.orig_argv[1:]])]
    cli.use_huge_pages()
    assert len(started) == 1


def test_ctrl_c_has_the_status_of_its_signal():
    def interrupted():
        raise KeyboardInterrupt

    assert cli.reported(interrupted) == 130


def test_overrides_are_told_from_flags():
    given = ["evaluate", "-workdir", "runs/a", "--config.train.batch_size", "3", "-seeds=0"]
    given += ["--config.eval.save_predictions", "--config.seed=-1"]
    found, changes = flags.split(given)
    assert found == ["evaluate", "--workdir", "runs/a", "--seeds=0"]
    assert changes == [
        "--config.train.batch_size=3",
        "--config.eval.save_predictions=True",
        "--config.seed=-1",
    ]


def changed(*changes: str):
    config = branched.get_config()
    overrides.apply(config, [f"--config.{change}" for change in changes])
    return config


@pytest.mark.parametrize(
    ("change", "value"),
    [
        ("train.batch_size=3", 3),
        ("train.epochs=2", 2.0),
        ("schedule.learning_rate=1e-3", 1e-3),
        ("eval.save_predictions=true", True),
        ("eval.save_predictions=0", False),
        ("data.dataset=camvid", "camvid"),
        ("model.pretrained=1", "1"),
        ("data.augment.crop=(64, 96)", (64, 96)),
        ("data.augment.crop=64,96", (64, 96)),
        ("data.augment.crop=[64,96]", (64, 96)),
        ("eval.tta.scales=0.5", (0.5,)),
        ("eval.tta.scales=()", ()),
        ("eval.tta.scales=", ()),
        ("train.freeze=encoder", ("encoder",)),
        ("train.freeze=encoder,depth", ("encoder", "depth")),
        ("train.freeze=('encoder','depth')", ("encoder", "depth")),
        ("weighting.weights.semseg=0.7", 0.7),
        ("optimizer.images_per_update.common=10", 10),
        ("tasks.material.type=segmentation", "segmentation"),
        ("tasks.depth.averaging=linear", "linear"),
        ("data.mixture.a.dataset=camvid", "camvid"),
    ],
)
def test_a_value_has_the_type_of_what_it_replaces(change, value):
    config = changed(change)
    for part in change.partition("=")[0].split("."):
        config = config[part]
    assert config == value
    assert type(config) is type(value)


def test_an_open_section_takes_several_names():
    config = changed("weighting.weights.semseg=0.7", "weighting.weights.depth=0.3")
    assert config.weighting.weights.to_dict() == {"semseg": 0.7, "depth": 0.3}
    config = changed("weighting.weights={'semseg': 1, 'depth': 2}", "weighting.weights.depth=3")
    assert config.weighting.weights.to_dict() == {"semseg": 1, "depth": 3}


@pytest.mark.parametrize(
    ("config", "key", "value"),
    [
        ("cross_stitch", "single_task.depth", "runs/depth"),
        ("vit:nyuv2_dpt", "pretrained_heads.depth", "dinov2_vits14_nyu_dpt_head"),
        ("vit:streets_dinov2", "decoder.ranges.depth", (0.001, 10.0)),
    ],
)
def test_a_network_has_keys_that_are_names_of_tasks(config, key, value):
    found = configuration.load(config, [f"--config.model.{key}={value}"]).model
    for part in key.split("."):
        found = found[part]
    assert found == value


def test_a_task_by_flag_is_one_of_the_system(streets_dir):
    changes = ["--config.tasks.parts.type=segmentation"]
    changes += [f"--config.data.dataset={tiny.TINY}", f"--config.data.data_dir={streets_dir}"]
    config = configuration.load("branched", changes)
    _, specs = assembly.dataset(config)
    tasks = system.build(config, specs).tasks
    assert set(tasks) == {"semseg", "depth", "parts"}
    assert tasks["parts"].channels == len(specs["parts"]["class_names"])


def test_the_last_of_several_settings_counts():
    assert changed("seed=1", "seed=2").seed == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("train.batch_size=3.5", "--config.train.batch_size=3.5: expected an integer"),
        ("train.epochs=long", "--config.train.epochs=long: expected a number"),
        ("eval.save_predictions=perhaps", "expected True or False"),
        ("train.batch_size.x=3", "train.batch_size=8 is a value, which has no 'x'"),
        ("train=3", "'train' is a section. Set its keys [(]train.accumulate"),
        ("weighting.weigths.semseg=1", "Did you mean 'weighting.weights'?"),
        ("dataset=camvid", "Did you mean 'data.dataset'?"),
        ("xyz=1", "config has data, eval, model"),
        ("seed", "expected --config.<key>=<value>"),
        ("data.augment.crop=(64,", "expected values with commas between"),
    ],
)
def test_mistakes_name_what_is_right(change, message):
    with pytest.raises(ConfigError, match=message):
        changed(change)


def test_names_and_files_are_the_same_configs(tmp_path, monkeypatch):
    expected = branched.get_config("kitti")
    options.fill(expected)
    expected.lock()
    assert configuration.load("branched:kitti") == expected
    assert configuration.load("configs/branched.py:kitti") == expected
    assert configuration.load("branched").is_locked
    own = tmp_path / "mine.py"
    own.write_text(
        "from mtl_jax.configs import branched\n\ndef get_config():\n"
        "    config = branched.get_config()\n    config.name = 'mine'\n    return config\n"
    )
    monkeypatch.chdir(tmp_path)
    assert configuration.load("mine.py", ["--config.seed=4"]).seed == 4
    assert configuration.load(own).name == "mine"
    assert configuration.load("branched:kitti") == expected
    with pytest.raises(UsageError, match=r"mine\.py has no protocols; leave out ':kitti'"):
        configuration.load("mine.py:kitti")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("open('/nowhere/at_all')", "a.py: line 1, in <module>: open('/nowhere/at_all'): FileNot"),
        ("x = 1\ndef get_config(:\n", "a.py: line 2: invalid syntax: def get_config(:"),
        ("import nosuchmodule\n", "a.py: line 1, in <module>: import nosuchmodule: ModuleNotFound"),
        ("import damaged\n", "damaged.py, line 1: invalid syntax: 1 +"),
        (
            "def get_config():\n    pass\n",
            "found None. Is its last line, `return config`, missing?",
        ),
        ("def get_config():\n    return 3\n", "expected a ConfigDict, found 3."),
        ("get_config = 3\n", "a.py: it has no function get_config."),
        (
            "def get_config(protocol):\n    pass\n",
            "needs protocol; it may need a protocol at ",
        ),
        (
            "def get_config():\n    import json\n    json.loads('x')\n",
            "a.py: line 3, in get_config: json.loads('x'): JSONDecodeError: Expecting value: line "
            "1 column 1 (char 0) (raised at ",
        ),
    ],
)
def test_a_mistake_in_a_config_is_one_line_that_says_where(tmp_path, monkeypatch, text, message):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "damaged.py").write_text("1 +\n")
    (tmp_path / "a.py").write_text(text)
    with pytest.raises(ConfigError, match=re.escape(message)) as found:
        configuration.load(tmp_path / "a.py")
    assert "\n" not in str(found.value)


def test_a_defect_that_no_file_of_the_users_calls_keeps_its_traceback(monkeypatch):
    monkeypatch.setattr(branched, "PROTOCOLS", None)
    with pytest.raises(TypeError):
        configuration.load("branched")


def test_only_a_config_is_trained(tmp_path):
    with pytest.raises(ConfigError, match=r"mtl_jax\.train: expected a ConfigDict, found 5\."):
        mtl_jax.train(5, tmp_path)


def test_the_resolved_config_is_printed_as_overrides():
    output = run_main.call("config", "--config=branched", "--config.train.epochs=2")
    lines = output.splitlines()
    assert "train.epochs=2.0" in lines
    assert "data.augment.crop=(96, 192)" in lines
    again = run_main.call("config", "--config=branched", *(f"--config.{line}" for line in lines))
    assert again == output


@pytest.mark.parametrize(
    ("config", "change", "message"),
    [
        ("branched", "model.decoder.name=dpt", "'dpt' goes with vit"),
        ("vit", "data.augment.crop=(100,192)", "multiples of 16; nearest"),
        ("vit", "model.encoder.variant=dinov2", "multiples of 14; nearest"),
        ("mlore", "data.augment.crop=(128,192)", "images of 128×256 pixels alone"),
        ("branched", "eval.tta.scales=0", "expected different positive scales"),
        ("branched", "eval.checkpoint=last", "checkpoint='last'; expected one of best, latest."),
        ("branched", "train.freeze=encodr", "freeze names ['encodr']; expected some of encoder"),
        ("branched", "weighting.weights.sem=1", "names the tasks ['sem'], but config.tasks has"),
        (
            "branched:streets_scratch",
            "model.pretrained=resnet34",
            "encoder.width=32: set config.model.encoder.width=64.",
        ),
    ],
)
def test_what_the_config_alone_shows_is_an_error_of_config(
    config, change, message, tmp_path, monkeypatch
):
    arguments = [f"--config={config}", f"--config.{change}", f"--workdir={tmp_path / 'run'}"]
    monkeypatch.setattr(assembly, "dataset", None)  # training opens none before it says so
    for command in ("config", "train"):
        output = run_main.fails(command, *arguments)
        assert message in output
    assert not (tmp_path / "run" / "config.json").exists()


def test_every_option_is_listed_with_its_meaning():
    output = run_main.call("--config=branched", "--help_options", "--config.weighting.name=dwa")
    lines = {line.partition("  ")[0]: line for line in output.splitlines()}
    assert "config.weighting.temperature=2.0" in lines
    assert "uncertainty" in lines["config.weighting.name='dwa'"]
    assert "config.train.batch_size=8" in lines


def test_a_work_directory_brings_its_config(tmp_path):
    config = branched.get_config()
    run_main.workdir_of(tmp_path, config)
    output = run_main.call("config", f"--workdir={tmp_path}", "--config.seed=7")
    assert "seed=7" in output.splitlines()


def test_a_damaged_config_is_one_message(tmp_path):
    (tmp_path / "config.json").write_text("{")
    output = run_main.fails("--mode=evaluate", f"--workdir={tmp_path}")
    assert f"WorkdirError: {tmp_path}/config.json cannot be read: it is not valid JSON" in output
