"""`benchmarks.gpu` comes to its end, whatever its parts do, and says what it did not reach."""

import functools
import multiprocessing
import os
import signal
import subprocess
import sys
import time
import types
from pathlib import Path

import pytest

from benchmarks import gpu
from benchmarks.gpu_parts import _cases, smoke
from mtl_jax import system

CASES = [_cases.Case({"row": name}, functools.partial(eval, text)) for name, text in (
    ("right", "{'value': 1.5}"),
    ("wrong", "1 / 0"),
    ("last", "{'value': 2.5}"),
)]  # fmt: skip


@pytest.mark.parametrize("processes", [None, 1])
def test_a_case_that_fails_is_a_row_and_the_others_go_on(processes, capfd):
    found = list(_cases.rows(CASES, processes, 60.0))
    assert found == [
        {"row": "right", "value": 1.5},
        {"row": "wrong", "problem": "ZeroDivisionError: division by zero"},
        {"row": "last", "value": 2.5},
    ]
    assert capfd.readouterr().err.endswith("ZeroDivisionError: division by zero\n")


def test_what_is_not_begun_in_time_is_named(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(_cases, "time", types.SimpleNamespace(monotonic=lambda: now[0]))
    slow = _cases.Case({"row": "slow"}, lambda: now.append(now.pop() + 9.0) or {})
    cases = [slow, *CASES]
    found = list(_cases.rows(cases, None, 10.0))
    assert found == [{"row": "slow"}]
    missing = _cases.missing([case.label for case in cases], found)
    assert [label["row"] for label in missing] == ["right", "wrong", "last"]
    part = {"rows": found, "not reached": missing, "seconds": 9.0, "problem": "ran out of time"}
    text = gpu.tables({"machine": {"kind": "cpu"}, "parts": {"smoke": part}})
    assert text.endswith("| slow |\n\nNot reached: right; wrong; last.\n")
    assert "## smoke (9 s) – ran out of time\n" in text


@pytest.mark.parametrize("processes", [1, 2])
def test_a_case_whose_process_dies_is_a_row_and_the_others_go_on(processes):
    """XLA aborts where it finds itself wrong."""
    dying = {"abort": functools.partial(os.abort), "exit": functools.partial(os._exit, 3)}
    cases = [*(_cases.Case({"row": name}, measure) for name, measure in dying.items()), *CASES]
    found = {row.pop("row"): row for row in _cases.rows(cases, processes, 60.0)}
    assert found == {
        "abort": {"problem": "its process ended with SIGABRT"},
        "exit": {"problem": "its process ended with status 3"},
        "right": {"value": 1.5},
        "wrong": {"problem": "ZeroDivisionError: division by zero"},
        "last": {"value": 2.5},
    }


def die_with_a_child() -> None:
    """Which has whatever this process has open."""
    if os.fork() == 0:
        time.sleep(3600)
    os.abort()


@pytest.mark.slow
def test_a_case_that_leaves_a_child_behind_is_dead_all_the_same():
    cases = [_cases.Case({"row": "leaves"}, die_with_a_child), *CASES]
    first, *others = _cases.rows(cases, 1, 60.0)
    assert first == {"row": "leaves", "problem": "its process ended with SIGABRT"}
    assert len(others) == len(CASES)


def test_another_process_that_hangs_is_not_waited_for():
    slow = _cases.Case({"row": "slow"}, functools.partial(time.sleep, 3600))
    assert list(_cases.rows([slow], 1, 0.5)) == []


def test_a_process_is_ended_while_it_is_being_begun(tmp_path, monkeypatch):
    monkeypatch.setattr(_cases, "time", types.SimpleNamespace(monotonic=lambda: 100.0))
    file = tmp_path / "came to its end"
    case = program(f"import time\ntime.sleep(3)\nopen({str(file)!r}, 'w').close()")
    assert list(_cases.rows([case], 1, 0.0)) == []
    assert not file.exists()


def test_a_case_is_ended_with_all_that_it_has_started(tmp_path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(_cases, "time", types.SimpleNamespace(monotonic=lambda: now[0]))
    file = tmp_path / "process"
    wait = f"until [ -s '{file}' ]; do sleep 0.01; done"
    waiting = program(f"import subprocess\nsubprocess.run({wait!r}, shell=True)")
    found = _cases.rows([hanging(file), waiting, *CASES], 2, 60.0)
    for row in ("program", "right", "wrong", "last"):
        assert next(found)["row"] == row
        assert len(multiprocessing.active_children()) == 1  # none is begun above the two
    assert is_running(int(file.read_text()))
    now[0] += 60.0
    assert list(found) == []
    assert_ends(int(file.read_text()))


def test_what_a_case_has_left_is_ended(tmp_path, monkeypatch, capfd):
    """A process, and a thread that the case's own process would wait for."""
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)  # what is printed may have to be flushed
    file = tmp_path / "process"
    case = program(f"""
import subprocess, threading, time
subprocess.run({background(file)!r}, shell=True)
threading.Thread(target=time.sleep, args=(3600,)).start()
print("said")
""")
    assert list(_cases.rows([case], 1, 60.0)) == [{"row": "program", "ran": True}]
    assert capfd.readouterr().out == "said\n"
    assert_ends(int(file.read_text()))


def test_a_case_is_ended_with_its_part(tmp_path):
    file = tmp_path / "process"
    text = (
        "import functools, subprocess\n"
        "from benchmarks.gpu_parts import _cases\n"
        f"command = {background(file) + '; wait'!r}\n"
        "measure = functools.partial(subprocess.run, command, shell=True)\n"
        "list(_cases.rows([_cases.Case({}, measure)], 1, 3600.0))"
    )
    part = subprocess.Popen([sys.executable, "-c", text])
    try:
        for _ in range(6000):
            if file.exists() and file.read_text():
                break
            time.sleep(0.01)
    finally:
        part.kill()
        part.wait()
    assert_ends(int(file.read_text()))


def program(text: str) -> _cases.Case:
    """A case that runs it."""
    measure = functools.partial(eval, "exec(text) or {'ran': True}", {"text": text})
    return _cases.Case({"row": "program"}, measure)


def background(file: Path | str) -> str:
    """A command that starts a process which goes on, and writes its number."""
    return f"sleep 3600 & echo $! > '{file}'"


def hanging(file: Path | str) -> _cases.Case:
    """A case that has started a process, and never ends."""
    measure = functools.partial(subprocess.run, f"{background(file)}; wait", shell=True)
    return _cases.Case({"row": "hanging"}, measure)


def test_a_part_is_ended_with_all_that_it_has_started(tmp_path):
    """A process that it leaves would keep the device's memory."""
    for wait, problem in (("; wait", "ran out of time"), ("", "")):
        file = tmp_path / f"process{wait}"
        command = ["sh", "-c", background(file) + wait]
        assert gpu.end_after(command, 2.0, dict(os.environ)) == problem
        assert_ends(int(file.read_text()))
    assert gpu.end_after(["sh", "-c", "exit 3"], 60.0, dict(os.environ)) == "ended with status 3"


def assert_ends(process: int) -> None:
    for _ in range(1000):
        if not is_running(process):
            return
        time.sleep(0.01)
    os.kill(process, signal.SIGKILL)
    raise AssertionError("What it had started goes on.")


def is_running(process: int) -> bool:
    try:
        return Path("/proc", str(process), "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):  # the latter while it is being read
        return False


def test_images_of_the_smoke_test_are_small_and_of_a_size_that_the_network_takes():
    crops = {}
    for name, model in smoke._models().items():
        config = smoke._config("architecture", name, model, "float32")
        system.network(config)  # which refuses others
        crops[name] = tuple(config.data.augment.crop)
    assert crops.pop("mlore") == (128, 256)
    assert crops.pop("task_prompter") == (224, 224)
    assert set(crops.values()) == {(64, 64)}


def test_pytorch_is_compared_with_ours_where_that_can_be():
    def row(side, network="a", **more):
        about = {"batch": 8, "device": "cuda", "parameters": 5, "step ms": 10.0}
        return {"network": network, "side": side} | about | more

    rows = [
        row("PyTorch", **{"step ms": 15.0}),
        row("ours"),
        row("PyTorch compiled", device="cpu"),
        row("PyTorch", "b"),
        {"network": "b", "batch": 8, "side": "ours", "problem": "out of memory"},
    ]
    gpu.compare(rows)
    assert rows[0]["ours is faster by"] == 1.5
    assert rows[2]["problem"] == "not comparable: device cpu, ours cuda"
    assert [row.get("ours is faster by") for row in rows[1:]] == [None] * 4


def test_rows_are_chosen_by_the_words_of_their_labels():
    label = {"network": "vit_l_dpt", "batch": 64, "side": "ours"}
    assert all(gpu._is_chosen(label, words) for words in ("", "64", "mtan,vit_l_dpt", "ours"))
    assert not any(gpu._is_chosen(label, words) for words in ("6", "vit", "mtan,PyTorch"))
