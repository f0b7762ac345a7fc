"""`benchmarks.gpu` comes to its end, whatever its parts do, and says what it did not reach."""

import functools
import os
import signal
import time
import types
from pathlib import Path

import pytest

from benchmarks import gpu
from benchmarks.gpu_parts import _cases

CASES = [_cases.Case({"row": name}, functools.partial(eval, text)) for name, text in (
    ("right", "{'value': 1.5}"),
    ("wrong", "1 / 0"),
    ("last", "{'value': 2.5}"),
)]  # fmt: skip


@pytest.mark.parametrize("pool", [None, {"processes": 1, "maxtasksperchild": 1}])
def test_a_case_that_fails_is_a_row_and_the_others_go_on(pool):
    found = list(_cases.rows(CASES, pool, 60.0))
    assert found == [
        {"row": "right", "value": 1.5},
        {"row": "wrong", "problem": "ZeroDivisionError: division by zero"},
        {"row": "last", "value": 2.5},
    ]


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


def test_another_process_that_hangs_is_not_waited_for():
    slow = _cases.Case({"row": "slow"}, functools.partial(time.sleep, 3600))
    assert list(_cases.rows([slow], {"processes": 1}, 0.5)) == []


def test_a_part_is_ended_with_all_that_it_has_started(tmp_path):
    """A process that it leaves would keep the device's memory."""
    for wait, problem in (("; wait", "ran out of time"), ("", "")):
        file = tmp_path / f"process{wait}"
        program = f"sleep 3600 & echo $! > '{file}'{wait}"
        assert gpu.end_after(["sh", "-c", program], 2.0, dict(os.environ)) == problem
        left = int(file.read_text())
        for _ in range(1000):
            if not is_running(left):
                break
            time.sleep(0.01)
        else:
            os.kill(left, signal.SIGKILL)
            raise AssertionError(f"{problem or 'ended by itself'}: what it had started goes on")
    assert gpu.end_after(["sh", "-c", "exit 3"], 60.0, dict(os.environ)) == "ended with status 3"


def is_running(process: int) -> bool:
    state = Path("/proc", str(process), "stat")
    return state.exists() and state.read_text().rpartition(")")[2].split()[0] != "Z"


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
