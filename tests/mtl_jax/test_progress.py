"""What a run shows: on a terminal, which the tests emulate, and elsewhere; profiles."""

import io
import re

import pytest

from mtl_jax.runs import progress

LOSSES = {"semseg": 1.5, "depth": 0.25}


class Terminal(io.StringIO):
    """Keeps what is written, and says that it is a terminal."""

    def isatty(self):
        return True

    def rows(self, columns: int) -> list[str]:
        """What one sees: the rows that are not empty, once every control sequence has acted."""
        screen, row, column = {}, 0, 0
        for token in re.findall(r"\x1b\[\d*[A-Z]|.|\n", self.getvalue(), re.DOTALL | re.ASCII):
            if token == "\n":
                row, column = row + 1, 0
            elif token == "\r":
                column = 0
            elif token.endswith("A") and len(token) > 1:
                row -= int(token[2:-1])
            elif token == "\x1b[J":
                screen = {at: c for at, c in screen.items() if at < (row, column)}
            else:
                if column == columns:
                    row, column = row + 1, 0
                screen[row, column] = token
                column += 1
        rows = {r: "" for r, _ in sorted(screen)}
        for (r, _), character in sorted(screen.items()):
            rows[r] += character
        return list(rows.values())


@pytest.mark.parametrize("columns", [40, 200])
def test_a_terminal_shows_one_progress_line_and_what_is_said_below_it(monkeypatch, columns):
    terminal = Terminal()
    monkeypatch.setattr("sys.stdout", terminal)
    monkeypatch.setenv("COLUMNS", str(columns))
    line = progress.Line(total_steps=30, steps_per_epoch=10, batch_size=8)
    progress.say("begin")
    for step in (10, 20):
        line.show(step, LOSSES, 2e-3, rate=16.0)
    progress.say("said")
    line.show(30, LOSSES, 2e-3, rate=16.0)
    progress.say("end")
    shown = [
        f"step {step}/30 ({percent}%, epoch {step / 10:.2f})  loss semseg 1.5000 depth 0.2500  "
        f"lr 2.00e-03  16.0 images/s  0:00:0{left} left"
        for step, percent, left in ((20, 67, 5), (30, 100, 0))
    ]
    wrapped = [[text[i : i + columns] for i in range(0, len(text), columns)] for text in shown]
    assert terminal.rows(columns) == ["begin", *wrapped[0], "said", *wrapped[1], "end"]


def test_elsewhere_every_progress_line_is_a_line(monkeypatch, capsys):
    line = progress.Line(total_steps=30, steps_per_epoch=10, batch_size=8)
    line.show(10, LOSSES, 2e-3, rate=16.0)
    progress.say("said")
    first, second = capsys.readouterr().out.splitlines()
    assert first.endswith("0:00:10 left")
    assert second == "said"


def test_an_evaluation_has_a_line_for_each_task_without_what_is_not_a_number(capsys):
    metrics = {"semseg/loss": 1.5, "semseg/miou": 0.5, "semseg/iou/road": 0.9}
    metrics |= {"depth/rel": 0.25, "depth/abs": float("nan"), "loss": 2.0}
    progress.evaluation(7, metrics, best=True, seconds=3.2)
    progress.evaluation([7, 8], {"loss": 2.0})
    assert capsys.readouterr().out.splitlines() == [
        "evaluation at step 7 (best so far), 3 s",
        "  semseg  loss 1.5  miou 0.5",
        "  depth   rel 0.25",
        "          loss 2",
        "evaluation at step [7, 8]",
        "    loss 2",
    ]


class Tracer:
    """Stands in for `jax.profiler`."""

    def __init__(self, monkeypatch):
        self.calls: list[str] = []
        monkeypatch.setattr("jax.profiler.start_trace", lambda _: self.calls.append("start"))
        monkeypatch.setattr("jax.profiler.stop_trace", lambda: self.calls.append("stop"))

    def run(self, profile: progress.Profile, steps: range) -> None:
        for step in steps:
            profile.before(step)
            self.calls.append(str(step))
            profile.after(step + 1, None)
        profile.stop()


@pytest.mark.parametrize(
    ("made", "calls", "said"),
    [
        (range(0, 6), "0 1 start 2 3 stop 4 5", "Profile of steps 2 to 4"),
        (range(3, 6), "start 3 stop 4 5", "Profile of steps 3 to 4"),  # resumed
        (range(0, 3), "0 1 start 2 stop", "Profile of steps 2 to 3"),  # stopped
        (range(4, 6), "4 5", ""),
    ],
)
def test_a_profile_is_complete_whenever_the_run_begins_and_ends(
    made, calls, said, tmp_path, monkeypatch, capsys
):
    tracer = Tracer(monkeypatch)
    tracer.run(progress.Profile("2:4", tmp_path, total_steps=6), made)
    assert " ".join(tracer.calls) == calls
    assert capsys.readouterr().out == (f"{said}: {tmp_path}\n" if said else "")


@pytest.mark.parametrize("steps", ["x", "3", "3:", "5:5", "-1:2", "²:3", "4:7"])
def test_profiles_that_are_none_are_refused(steps, tmp_path):
    with pytest.raises(ValueError, match=r"profile=.*expected 'first:last'.*within the 6 steps"):
        progress.Profile(steps, tmp_path, total_steps=6)
