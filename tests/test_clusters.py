"""How the processes of a run find each other, and what becomes of them when one is gone."""

import argparse
import importlib.util
import itertools
import os
import re
import signal
import subprocess
import sys
import types
from pathlib import Path

import jax
import pytest
import tiny
import yaml
from run_main import begin
from test_kill import until_step
from test_parallel import free_port

from mtl_jax import _arguments
from mtl_jax.commands import cli, flags, processes, sweep
from mtl_jax.errors import UsageError
from mtl_jax.studies import engine, sweeps
from mtl_jax.studies.sweeps import SweepError

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "examples"


def given(*arguments) -> argparse.Namespace:
    found = _arguments.parse(flags.parser("mtl"), ["train", *arguments])
    flags.check(found, "train")
    return found


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--distributed=mpi"], "--distributed=mpi: expected auto"),
        (["--distributed=auto", "--processes=2"], "the one or the others"),
        (["--coordinator=a:1"], "need all of"),
        (["--coordinator=a:1", "--processes=2", "--process=2"], "expected 0 to 1"),
    ],
)
def test_flags_that_exclude_each_other(arguments, message):
    with pytest.raises(UsageError, match=message):
        given(*arguments)


@pytest.fixture
def initialized(monkeypatch):
    """What `jax.distributed.initialize` is called with."""
    calls = []
    monkeypatch.setattr(jax.distributed, "initialize", lambda *a, **k: calls.append((a, k)))
    return calls


def test_who_says_where_the_processes_are(initialized):
    processes.connect(given())
    assert initialized == []
    processes.connect(given("--distributed=auto"))
    processes.connect(given("--coordinator=a:1", "--processes=3", "--process=2"))
    heartbeat = {"heartbeat_timeout_seconds": processes.HEARTBEAT_SECONDS}
    assert initialized == [((None, None, None), heartbeat), (("a:1", 3, 2), heartbeat)]


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({}, "neither SLURM .srun., Open MPI"),
        ({"SLURM_JOB_ID": "7"}, "not started by srun"),
        ({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, r"pip install 'mtl-jax\[kubernetes\]'"),
    ],
)
def test_where_nothing_is_found(environment, message, monkeypatch):
    def finds_nothing(*_, **__):  # in JAX's words
        raise ValueError("coordinator_address should be defined.")

    monkeypatch.setattr(jax.distributed, "initialize", finds_nothing)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for name in [n for n in os.environ if n.startswith(("SLURM", "KUBERNETES"))]:
        monkeypatch.delenv(name)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match=message):
        processes.connect(given("--distributed=auto"))
    assert not processes.are_several()


class JaxRuntimeError(Exception):
    pass


def test_an_error_of_a_lost_process_is_told_from_others(monkeypatch):
    lost = JaxRuntimeError(
        "Gloo all-reduce failed: Connection closed by peer [127.0.0.1]:4\n  at x"
    )
    assert processes.lost(lost) == ""  # of a single process
    monkeypatch.setattr(processes, "are_several", lambda: True)
    message = processes.lost(lost)
    assert "\n" not in message
    assert "goes on from its last checkpoint" in message
    assert processes.lost(JaxRuntimeError("RESOURCE_EXHAUSTED: out of memory")) == ""
    assert processes.lost(ValueError("connection reset")) == ""


@pytest.mark.parametrize(
    ("error", "printed"),
    [
        (UsageError("The disk is full."), "UsageError: The disk is full."),
        (JaxRuntimeError("UNAVAILABLE: x"), "Another process of this run has ended"),
        (RuntimeError("a defect"), "Traceback"),
    ],
)
def test_one_of_several_does_not_wait_for_the_others(error, printed, monkeypatch, capsys):
    class Left(BaseException):
        pass

    def leave(status):
        raise Left(status)

    def fails():
        raise error

    monkeypatch.setattr(processes, "are_several", lambda: True)
    monkeypatch.setattr(processes, "_GRACE_SECONDS", 0)
    monkeypatch.setattr(os, "_exit", leave)
    with pytest.raises(Left, match="1"):
        cli.reported(fails)
    assert printed in capsys.readouterr().err


def array(task, least=0, most=7, count=8, step=1):
    values = {"ID": task, "MIN": least, "MAX": most, "COUNT": count, "STEP": step}
    return {f"SLURM_ARRAY_TASK_{name}": str(value) for name, value in values.items()}


def test_the_shard_of_a_slurm_array():
    assert sweeps.parse_shard("auto", array(5)) == (5, 8)
    assert sweeps.parse_shard("auto", array(9, 3, 11, 5, 2)) == (3, 5)
    assert sweeps.parse_shard("1/4", array(5)) == (1, 4)
    with pytest.raises(SweepError, match="no task of a SLURM array"):
        sweeps.parse_shard("auto", {})
    with pytest.raises(SweepError, match="with gaps"):
        sweeps.parse_shard("auto", array(5, 3, 5, 2))


# A study by an engine.


class Executor:
    """In place of submitit's."""

    made: tuple = ()

    def __init__(self, folder, cluster):
        Executor.made = (folder, cluster)
        self.parameters, self.parts = {}, []

    def update_parameters(self, **parameters):
        if "wrong" in parameters:
            raise NameError("Unknown parameter\n wrong")
        Executor.parameters = parameters

    def batch(self):
        import contextlib

        return contextlib.nullcontext()

    def submit(self, part):
        return types.SimpleNamespace(job_id=f"17_{part.command[-1]}", part=part)


@pytest.fixture
def submitit(monkeypatch):
    module = types.SimpleNamespace(AutoExecutor=Executor)
    monkeypatch.setitem(sys.modules, "submitit", module)
    return module


def study(folder, **options):
    return sweep.run(
        "depth_loss:streets",
        folder,
        command=["mtl"],
        overrides=["--config.train.max_steps=1"],
        chosen_seeds=(0, 1),
        engine_name="submitit",
        **options,
    )


def test_a_study_as_jobs(submitit, tmp_path, capsys, monkeypatch):
    submitted = []
    submit = engine.submit
    monkeypatch.setattr(engine, "submit", lambda *a: submitted.extend(submit(*a)) or submitted)
    options = {"jobs": 2, "engine_options": "slurm_partition=gpu,timeout_min=60"}
    assert study(tmp_path / "s", only_rows=("l1", "l2"), **options) == 0
    assert Executor.made == (tmp_path / "s/jobs", "slurm")
    assert Executor.parameters == {"slurm_partition": "gpu", "timeout_min": 60}
    common = ["mtl", "sweep", "--sweep=depth_loss:streets", f"--workdir={tmp_path / 's'}"]
    common += ["--rows=l1,l2", "--seeds=0,1", "--config.train.max_steps=1"]
    assert [job.part.command for job in submitted] == [
        [*common, "--shard=0/2"],
        [*common, "--shard=1/2"],
    ]
    assert (tmp_path / "s/sweep.json").exists()
    assert "Submitted 2 jobs: 17_--shard=0/2" in capsys.readouterr().out


def test_what_an_engine_cannot_do_is_said(submitit, tmp_path, monkeypatch):
    with pytest.raises(SweepError, match="--engine=submitit: Unknown parameter wrong"):
        study(tmp_path, engine_options="wrong=1")
    with pytest.raises(SweepError, match="expected <name>=<value>, found 'x'"):
        study(tmp_path, engine_options="x")
    with pytest.raises(SweepError, match="--engine=ray: expected one of submitit"):
        engine.submit("ray", [], 1, tmp_path)
    with pytest.raises(UsageError, match="of no use without --engine"):
        sweep.run("depth_loss:streets", tmp_path, command=[], jobs=3)
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(SweepError, match=r"pip install 'mtl-jax\[submitit\]'"):
        study(tmp_path)


def test_a_part_that_fails_fails_its_job(tmp_path):
    assert engine.Part([sys.executable, "-c", "pass"], tmp_path)() == 0
    with pytest.raises(RuntimeError, match="Exit status 3"):
        engine.Part([sys.executable, "-c", "raise SystemExit(3)"], tmp_path)()


@pytest.mark.slow
def test_submitits_own_jobs_on_this_machine(tmp_path):
    pytest.importorskip("submitit")
    command = [
        sys.executable,
        "-c",
        "import sys, pathlib; pathlib.Path(sys.argv[1][-3:-2]).touch()",
    ]
    os.chdir(tmp_path)
    jobs = engine.submit("submitit:local", command, 2, tmp_path / "jobs", {"timeout_min": 1})
    assert [job.result() for job in jobs] == [0, 0]
    assert {"0", "1"} <= {path.name for path in tmp_path.iterdir()}


# What becomes of a run when one of its processes is gone.


@pytest.mark.parametrize(
    "killed", [pytest.param(0, marks=pytest.mark.weekly), pytest.param(1, marks=pytest.mark.slow)]
)
def test_a_process_that_is_killed_ends_the_other_and_one_alone_goes_on(
    streets_dir, tmp_path, monkeypatch, killed
):
    """Two real processes that find each other as SLURM's do; then another number of them."""
    slurm = {"JOB_ID": str(free_port() % 2**12), "STEP_NODELIST": "127.0.0.1", "NTASKS": "2"}
    for name, value in slurm.items():  # of the id, JAX makes a port
        monkeypatch.setenv(f"SLURM_{name}", value)
    several = [f"--workdir={tmp_path / 'run'}", *tiny.arguments(streets_dir)]
    several += ["--config.train.epochs=500", "--config.train.eval_every_epochs=500"]
    several += ["--config.train.checkpoint_every_steps=4", "--distributed=auto"]
    processes = []
    for number in ("0", "1"):
        monkeypatch.setenv("SLURM_PROCID", number)
        monkeypatch.setenv("SLURM_LOCALID", number)
        processes.append(begin(*several))
    output = until_step(processes[0], 11)  # the save before the last one is whole
    other = processes[1 - killed]
    processes[killed].kill()
    output += other.communicate(timeout=100)[0]
    processes[killed].communicate()
    said = "Another process of this run has ended or cannot be reached"
    if killed == 0:  # JAX's service was in it: JAX may be quicker to end the other than we are
        assert other.returncode in (1, -signal.SIGABRT), output
        assert said in output or "another task died" in output
    else:
        assert other.returncode == 1, output
        assert said in output
        assert "Traceback" not in output

    alone = begin(f"--workdir={tmp_path / 'run'}")
    output = "".join(itertools.takewhile(lambda line: not line.startswith("step "), alone.stdout))
    alone.terminate()
    output += alone.communicate(timeout=200)[0]
    assert alone.returncode == 128 + signal.SIGTERM, output
    assert "run the same command again" in output
    assert "Traceback" not in output
    assert re.search(r"Resuming at step (4|8) of 1500", output), output


# The examples.


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("slurm/*.sbatch")), ids=lambda p: p.name)
def test_batch_scripts_are_bash_with_flags_that_there_are(path):
    text = path.read_text()
    subprocess.run(["bash", "-n", path], check=True)
    directives = [line.split()[1] for line in text.splitlines() if line.startswith("#SBATCH")]
    assert all(re.fullmatch(r"--[a-z-]+(=\S+)?", line) for line in directives)
    known = flags.parser("mtl")._option_string_actions
    called = re.search(r"mtl (train|sweep)(.*)", text)[2]
    for flag in re.findall(r"(--\w+)[=\s]", called.replace("--config.", "--config=")):
        assert flag in known, flag


def test_the_job_set_is_a_command_that_there_is():
    found = yaml.safe_load((EXAMPLES / "kubernetes/jobset.yaml").read_text())
    (job,) = found["spec"]["replicatedJobs"]
    spec = job["template"]["spec"]
    assert spec["completionMode"] == "Indexed"
    assert spec["parallelism"] == spec["completions"]
    (container,) = spec["template"]["spec"]["containers"]
    arguments, changes = flags.split(container["args"])
    found = _arguments.parse(flags.parser("mtl"), arguments)
    flags.check(found, flags.command(found))
    assert found.distributed == "auto"
    assert changes == ["--config.data.data_dir=/shared/data"]
