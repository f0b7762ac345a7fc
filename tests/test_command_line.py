"""Which config is asked for, where --config does not say it."""

import pytest
import run_main

from configs import command_line


@pytest.mark.parametrize("given", [["--workdir={}"], ["--workdir", "{}"], ["-workdir={}"]])
def test_a_work_directory_brings_its_config(given, tmp_path):
    (tmp_path / "config.json").write_text("{}")
    arguments = ["--mode=evaluate", *(argument.format(tmp_path) for argument in given)]
    _, config, *others = command_line.with_saved_config(["main.py", *arguments])
    assert config.startswith("--config=")
    assert config.endswith(f"configs/from_workdir.py:{tmp_path}")
    assert others == arguments


@pytest.mark.parametrize("also", [["--config=configs/joint.py"], ["--config", "configs/joint.py"]])
def test_a_config_that_is_given_stays(also, tmp_path):
    (tmp_path / "config.json").write_text("{}")
    argv = ["main.py", f"--workdir={tmp_path}", *also]
    assert command_line.with_saved_config(argv) == argv


def test_without_a_run_nothing_is_added(tmp_path):
    for argv in (["main.py"], ["main.py", f"--workdir={tmp_path}"], ["main.py", "--workdir"]):
        assert command_line.with_saved_config(argv) == argv


def test_what_is_for_the_rows_of_a_sweep_is_out_of_sight_of_the_flags():
    argv = ["main.py", "--config.seed=3", "--sweep=study.py", "--shard=0/2"]
    expected = ["main.py", "--sweep=study.py", "--shard=0/2", "--", "--config.seed=3"]
    assert command_line.with_saved_config(argv) == expected


def test_a_damaged_config_is_one_message(tmp_path):
    (tmp_path / "config.json").write_text("{")
    output = run_main.fails("--mode=evaluate", f"--workdir={tmp_path}")
    assert f"WorkdirError: {tmp_path}/config.json is not valid JSON" in output
