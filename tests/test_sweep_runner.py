"""Rows in processes of their own: failing, killed, stopped, resumed, shared out.

Most tests replace main.py by a script that does at once what the row's name says.
"""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest
import run_main
import tiny

from mtl_jax.configs import from_sweep
from mtl_jax.runs import files, rules, workdir
from mtl_jax.studies import runner as sweep_runner
from mtl_jax.studies import sweeps

ROOT = run_main.ROOT

SWEEP = """
from mtl_jax.configs import common
from mtl_jax.studies.sweeps import Row

PROTOCOLS = ("one",)
REPORTED = "one"


def row(name, rate=0.01, **options):
    config = common.base()
    config.model.architecture = "branched"
    config.schedule.learning_rate = rate
    return Row(name, config, **options)


def get_rows(protocol):
    return [{}]
"""

# What the processes of the rows do. They import nothing of ours, which takes seconds.
STAND_IN = """
import json, os, signal, sys, time
from pathlib import Path

flags = dict(a.lstrip("-").partition("=")[::2] for a in sys.argv[1:])
_, study, _, name = flags["config"].split(":")
row = json.loads(Path(study).with_suffix(".json").read_text())[name]
config, path = row["config"], Path(flags["workdir"])
config["model"]["pretrained"] = flags.get("config.model.pretrained", "")
saved, model = path / "config.json", path / "checkpoints" / "model"
print("hello from", name, flush=True)
if flags.get("mode") == "evaluate":
    trained = json.loads(saved.read_text())
    assert trained | {"name": config["name"]} == config
    assert model.read_text() == "trained"
    found = {"step": 1, "metrics": {}, "evaluated_with": row["evaluated_with"]}
    (path / row["evaluation"]).write_text(json.dumps(found))
    sys.exit()
if model.exists() and json.loads(saved.read_text()) != config:
    sys.exit("there is another run")
saved.write_text(json.dumps(config))
with (path / "starts").open("a") as file:
    file.write("x")
if "bad" in name:
    sys.exit("SomeError: it cannot be done")
if "killed" in name:
    os.kill(os.getpid(), signal.SIGKILL)
if "slow" in name and (path / "starts").read_text() == "x":
    while not (path / "go").exists():
        time.sleep(0.02)
if "lazy" in name:
    sys.exit()
model.parent.mkdir()
model.write_text("trained")
(path / row["label_specs"]).write_text("{}")
found = {"finished": True, "images_per_second": 10.0}
if "seeds" in flags:
    found["seeds"] = [int(seed) for seed in flags["seeds"].split(",")]
(path / "results.json").write_text(json.dumps(found))
"""


def write_rows(sweep) -> None:
    """Beside a study: what the stand-in has to know of its rows."""
    names = workdir.Workdir("any")
    rows = {}
    for row in sweep.rows:
        config = files.to_json(row.config)
        rows[row.name] = {
            "config": config,
            "evaluated_with": rules.evaluated_with(config),
            "evaluation": names.evaluation("validation", "best").name,
            "label_specs": names.label_specs.name,
        }
    Path(sweep.path).with_suffix(".json").write_text(json.dumps(rows))


@pytest.fixture
def make(tmp_path):
    """Makes a runner of given rows in tmp_path/runs; `said` has what it said."""

    def make(rows: str, **options):
        (tmp_path / "study.py").write_text(SWEEP.format(rows))
        (tmp_path / "main.py").write_text(STAND_IN)
        said = []
        sweep = sweeps.load(tmp_path / "study.py")
        write_rows(sweep)
        runner = sweep_runner.Runner(
            sweep=sweep,
            directory=tmp_path / "runs",
            command=(sys.executable, str(tmp_path / "main.py")),
            config=f"from_sweep:{sweep.path}:{sweep.protocol}",
            say=said.append,
            **options,
        )
        return runner, said

    return make


def listed(runner) -> dict[str, dict]:
    return {
        row["name"]: row
        for row in json.loads((runner.directory / "sweep.json").read_text())["rows"]
    }


def states(runner) -> dict[str, str]:
    return {name: row["state"] for name, row in listed(runner).items()}


def states_now(runner) -> dict[str, str]:
    return {row.name: runner.state(row)[0] for row in runner.sweep.rows}


def starts(runner, row: str) -> int:
    return len((runner.directory / row / "starts").read_text())


def test_one_row_fails_and_the_others_go_on(make):
    runner, said = make(
        "row('good'), row('bad', rate=1.0), row('killed'), row('lazy'), row('last')"
    )
    assert runner.run(runner.sweep.rows) == 1
    assert states(runner) == {
        "good": "done",
        "bad": "failed",
        "killed": "failed",
        "lazy": "failed",
        "last": "done",
    }
    rows = listed(runner)
    assert "Exit status 1" in rows["bad"]["error"]
    assert rows["bad"]["error"].endswith("SomeError: it cannot be done")
    assert "Killed by SIGKILL (out of memory?)" in rows["killed"]["error"]
    assert "hello from killed" in rows["killed"]["error"]
    assert "left no results" in rows["lazy"]["error"]
    assert rows["good"]["error"] is None
    assert rows["bad"]["overrides"] == {"schedule.learning_rate": 1.0}
    assert "2 of 5 rows done, 3 failed" in said[-1]


def test_a_rerun_tries_what_failed_and_leaves_what_is_done(make):
    runner, said = make("row('good'), row('bad')")
    runner.run(runner.sweep.rows)
    runner.run(runner.sweep.rows)
    assert starts(runner, "good") == 1
    assert starts(runner, "bad") == 2
    assert "[1/2] good: done before" in said
    assert "hello" in (runner.directory / "good" / "log.txt").read_text()


def test_the_error_is_of_the_last_attempt(make):
    runner, _ = make("row('bad')")
    runner.run(runner.sweep.rows)
    runner.run(runner.sweep.rows)
    assert listed(runner)["bad"]["error"].count("SomeError") == 1
    assert (runner.directory / "bad" / "log.txt").read_text().count("SomeError") == 2


def test_rows_that_build_on_another(make):
    runner, _ = make(
        "row('first'), row('second', starts_from='first'), row('third', evaluates='second'), "
        "row('bad'), row('fifth', starts_from='bad')"
    )
    assert runner.run(runner.sweep.rows) == 1
    assert states(runner) == {
        "first": "done",
        "second": "done",
        "third": "done",
        "bad": "failed",
        "fifth": "failed",
    }
    saved = json.loads((runner.directory / "second" / "config.json").read_text())
    assert saved["model"]["pretrained"] == str(runner.directory / "first")
    rows = listed(runner)
    assert rows["second"]["overrides"] == {"model.pretrained": "first"}
    assert rows["third"]["evaluates"] == "second"
    assert "'bad', which it builds on, is not done" in rows["fifth"]["error"]
    runner.run(runner.sweep.rows)
    assert starts(runner, "second") == 1


def test_results_of_another_config_are_not_taken_for_the_rows(make):
    runner, _ = make("row('good')")
    runner.run(runner.sweep.rows)
    changed, _ = make("row('good', rate=0.5)")
    assert changed.run(changed.sweep.rows) == 1
    assert "schedule.learning_rate: 0.01 in the directory" in listed(changed)["good"]["error"]


def test_a_rows_process_finds_its_config(make):
    runner, _ = make("row('a'), row('b', rate=0.5)")
    path, second = runner.sweep.path, runner.sweep.rows[1]
    assert from_sweep.get_config(f"{path}:one:b") == second.config


def test_another_sweep_in_the_directory(make):
    runner, _ = make("row('good')")
    runner.run(runner.sweep.rows)
    file = runner.directory / "sweep.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"name": "other_one"}))
    with pytest.raises(sweeps.SweepError, match="holds the sweep 'other_one', not 'study_one'"):
        runner.run(runner.sweep.rows)


def test_more_seeds_than_before_are_not_done(make):
    runner, _ = make("row('good')", seeds=(0, 1))
    assert runner.run(runner.sweep.rows) == 0
    more, _ = make("row('good')", seeds=(0, 1, 2))
    assert more.state(more.sweep.rows[0])[0] == "pending"


def test_a_run_that_another_sweep_has_finished_is_taken_from_there(make, tmp_path):
    runner, _ = make("row('good'), row('other', rate=0.5)")
    runner.run(runner.sweep.rows)
    (tmp_path / "second.py").write_text(
        SWEEP.format(
            "row('same', rate=0.5), row('merged', rate=0.5, evaluates='same'), row('new', 2.0)"
        )
    )
    second, said = make("row('good')")
    sweep = sweeps.load(tmp_path / "second.py")
    write_rows(sweep)
    changed = {"sweep": sweep, "config": f"from_sweep:{sweep.path}:one"}
    second = dataclasses.replace(second, **changed, directory=tmp_path / "runs_2")
    (runner.directory / "other" / workdir.LOCK).touch()  # as training leaves it
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "sweep.json").write_text('{"rows": 3}')  # of another program
    assert second.run(second.sweep.rows) == 0
    assert set(states(second).values()) == {"done"}
    source = runner.directory / "other"
    assert f"[1/3] same: done in {source}; taken from there" in said
    assert (second.directory / "same" / "results.json").resolve() == source / "results.json"
    assert not (second.directory / "same" / workdir.LOCK).exists()  # each has its own
    assert starts(runner, "other") == 1
    saved = json.loads((second.directory / "same" / "config.json").read_text())
    assert saved["name"] == "second_one_same"
    assert starts(second, "new") == 1
    shutil.rmtree(runner.directory)
    assert states_now(second) == {"same": "pending", "merged": "done", "new": "done"}
    assert second.run(second.sweep.rows) == 0
    assert starts(second, "same") == 1
    assert (second.directory / "same" / "checkpoints" / "model").read_text() == "trained"


def test_two_shards_of_one_directory(make):
    runner, _ = make("row('a'), row('b'), row('c'), row('d', starts_from='a')")
    assert runner.run(runner.sweep.shard(0, 2)) == 0
    assert states(runner) == {"a": "done", "b": "pending", "c": "done", "d": "done"}
    assert runner.run(runner.sweep.shard(1, 2)) == 0
    assert set(states(runner).values()) == {"done"}


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 120
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} does not appear"
        time.sleep(0.02)


def test_a_signal_is_handed_on_and_the_rerun_goes_on(make):
    runner, said = make("row('slow'), row('next')")

    def interrupt():
        wait_for(runner.directory / "slow" / "starts")
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=interrupt)
    thread.start()
    before = signal.getsignal(signal.SIGTERM)
    assert runner.run(runner.sweep.rows) == 128 + signal.SIGTERM
    thread.join()
    assert signal.getsignal(signal.SIGTERM) == before
    assert states(runner) == {"slow": "pending", "next": "pending"}
    assert "the same command goes on" in said[-1]
    assert runner.run(runner.sweep.rows) == 0
    assert starts(runner, "slow") == 2


@pytest.mark.slow
def test_a_row_that_outlives_its_killed_sweep_is_not_started_twice(make, tmp_path):
    runner, said = make("row('slow'), row('next')")
    script = f"""
        import sys
        from pathlib import Path
        sys.path.insert(0, {str(ROOT)!r})
        from mtl_jax.studies import runner as sweep_runner, sweeps
        sweep = sweeps.load({str(tmp_path / "study.py")!r})
        command = (sys.executable, {str(tmp_path / "main.py")!r})
        directory, config = Path({str(runner.directory)!r}), {runner.config!r}
        sweep_runner.Runner(sweep, directory, command, config).run(sweep.rows)
    """
    parent = subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)])
    wait_for(runner.directory / "slow" / "starts")
    parent.kill()
    parent.wait()
    slow = runner.sweep.row("slow")
    assert runner.state(slow)[0] == "running"
    assert runner.run(runner.sweep.rows) == 1
    assert "[1/2] slow: another process runs it; left to that one" in said
    assert states(runner) == {"slow": "running", "next": "done"}
    (runner.directory / "slow" / "go").touch()
    wait_for(runner.directory / "slow" / "results.json")
    assert runner.run(runner.sweep.rows) == 0
    assert starts(runner, "slow") == 1


def test_a_killed_row_is_pending(make):
    runner, _ = make("row('good')")
    path = runner.directory / "good"
    path.mkdir(parents=True)
    (path / "row.json").write_text('{"state": "running", "error": null}')
    assert runner.state(runner.sweep.rows[0]) == ("pending", None)


def test_the_list_of_rows_and_their_cost(make):
    runner, _ = make("row('a'), row('b', evaluates='a'), row('c', rate=0.5)")
    text = runner.table(runner.sweep.rows)
    assert "give --images_per_second" in text
    # 2,000 scenes in batches of 4 for 16 epochs, at 10 images/s.
    assert "a  pending  8,000 × 4 = 32,000 images" in text
    assert "evaluates a" in text
    assert not runner.directory.exists()
    given = runner.table(runner.sweep.rows, 10.0)
    assert "  0:53:20  " in given
    assert "64,000 images" in given
    assert "1:46:40 of training at 10.0 images/s (as given)" in given
    runner.run(runner.sweep.rows[:1])
    measured = runner.table(runner.sweep.rows)
    assert "at 10.0 images/s (the mean of 1 finished)" in measured
    assert "a  done" in measured


def test_seeds_multiply_the_cost_and_have_a_rate(make):
    runner, _ = make("row('a'), row('b', rate=0.5)", seeds=(0, 1, 2))
    given = runner.table(runner.sweep.rows, 10.0)
    assert "a  pending  8,000 × 4 × 3 seeds = 96,000 images" in given
    assert "2 rows, 192,000 images to train on, 5:20:00 of training" in given
    path = runner.directory / "a"
    for seed, rate in enumerate((5.0, 10.0, 15.0)):
        (path / f"seed_{seed}").mkdir(parents=True)
        results = json.dumps({"finished": True, "images_per_second": rate})
        (path / f"seed_{seed}" / "results.json").write_text(results)
    assert "give --images_per_second" in runner.table(runner.sweep.rows)  # not all of its seeds yet
    (path / "results.json").write_text(json.dumps({"finished": True, "seeds": [0, 1, 2]}))
    files.write_json(path / "config.json", files.to_json(runner.sweep.rows[0].config))
    assert "at 10.0 images/s (the mean of 1 finished)" in runner.table(runner.sweep.rows)


# --- main.py -------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_sweep_by_main(streets_dir, tmp_path, monkeypatch):
    monkeypatch.setattr(run_main, "MAIN", run_main.TOY)
    overrides = [a for a in tiny.arguments(streets_dir) if a.startswith("--config.")]
    command = [
        "--sweep=configs/sweeps/squeeze_excitation.py",
        f"--workdir={tmp_path}",
        f"--compilation_cache={os.environ['JAX_COMPILATION_CACHE_DIR']}",
        *overrides,
        *tiny.NO_PICTURES,
        "--config.train.max_steps=2",
    ]
    run_main.call(*command, "--shard=1/3")
    rows = json.loads((tmp_path / "sweep.json").read_text())["rows"]
    assert [row["state"] for row in rows] == ["pending", "done", "pending"]
    results = json.loads((tmp_path / "se_heads" / "results.json").read_text())
    assert results["steps"] == 2
    assert "(the mean of 1 finished)" in run_main.call(*command, "--sweep_list")
