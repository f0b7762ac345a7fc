"""Runs a sweep: one process and one work directory for each row, and what became of each.

<sweep directory>/sweep.json lists the rows, with what distinguishes them, what was published and
their state; <sweep directory>/<row>/ is a work directory like any other, with log.txt, all that its
process printed. States are read off the rows' directories, so that nothing is lost where this
process is killed, or where several of them write the list of one directory.
"""

import contextlib
import dataclasses
import os
import signal
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TextIO

from mtl_jax.runs import _locks, _signals, files, rules, workdir
from mtl_jax.runs.words import duration
from mtl_jax.runs.workdir import Workdir
from mtl_jax.studies import sweeps
from mtl_jax.studies.sweeps import LIST, Row, Sweep, SweepError

PENDING, RUNNING, DONE, FAILED = "pending", "running", "done", "failed"
STATE, LOCK, LOG = "row.json", "row.lock", "log.txt"
_ERROR_LINES = 15
_SAME_RUN = tuple(key for key in rules.SAME_RESULTS if not key.startswith("eval."))


@dataclasses.dataclass(frozen=True)
class Runner:
    """Runs the rows of a sweep in processes of their own.

    Attributes:
      sweep: what to run.
      directory: where its rows' directories are.
      command: what starts main.py, e.g. [python, main.py].
      config: what it is told as `--config`, with `:<row>` after it.
      arguments: further flags for every row, `--config.<key>=<value>` included.
      seeds: every row is run with each of them; () = with its config's.
      say: told what happens.
    """

    sweep: Sweep
    directory: Path
    command: Sequence[str]
    config: str
    arguments: Sequence[str] = ()
    seeds: Sequence[int] = ()
    say: Callable[[str], None] = print

    def run(self, rows: Sequence[Row]) -> int:
        """Runs those of `rows` that are not done yet, in order.

        Returns:
          The exit status: 0 if all are done, 1 if one has failed, 128 + a signal's number if that
          signal has stopped the sweep.

        Raises:
          SweepError: the directory belongs to another sweep, or cannot be written.
        """
        self.claim()
        with _Signals() as signals:
            for number, row in enumerate(rows, 1):
                heading = f"[{number}/{len(rows)}] {row.name}"
                if self.state(row)[0] == DONE:
                    self.say(f"{heading}: done before")
                    continue
                self._path(row).mkdir(parents=True, exist_ok=True)
                with _locks.held(self._path(row) / LOCK) as lock:
                    if lock is None:
                        self.say(f"{heading}: another process runs it; left to that one")
                        continue
                    if self.state(row)[0] == DONE:  # meanwhile, by another process
                        continue
                    self._run_row(row, heading, lock, signals)
                if signals.signum is not None:
                    self.say("Stopped; the same command goes on.")
                    return 128 + signals.signum
        states = [self.state(row)[0] for row in rows]
        self.say(
            f"{states.count(DONE)} of {len(rows)} rows done, {states.count(FAILED)} failed. "
            f"All of them: {self.directory / LIST}"
        )
        return 0 if states.count(DONE) == len(rows) else 1

    def state(self, row: Row) -> tuple[str, str | None]:
        """(state, error) of a row."""
        path = self._path(row)
        try:
            if _finished(row, path, list(self.seeds)):
                self._check(path, row, self._may_differ(row))
                return DONE, None
            noted = _read(path / STATE)
        except files.WorkdirError as error:
            return FAILED, str(error)
        if noted.get("state") == RUNNING:
            return (RUNNING if is_running(path) else PENDING), None
        return noted.get("state", PENDING), noted.get("error")

    def write_list(self) -> None:
        """Writes sweep.json."""
        different = sweeps.differences({row.name: row.config for row in self.sweep.rows})
        rows = []
        for row in self.sweep.rows:
            state, error = self.state(row)
            overrides = different[row.name]
            if row.starts_from:
                overrides |= {"model.pretrained": row.starts_from}
            if row.compares:
                overrides |= {"weighting.baselines": list(row.compares)}
            rows.append(
                {
                    "name": row.name,
                    "overrides": overrides,
                    "evaluates": row.evaluates or None,
                    "published": sweeps.published_results(row.published),
                    "published_costs": sweeps.published_costs(row.published),
                    "state": state,
                    "error": error,
                }
            )
        contents = {
            "name": self.sweep.name,
            "protocol": self.sweep.protocol,
            "arguments": [a for a in self.arguments if a.startswith("--config.")],
            "rows": rows,
        }
        files.write_json(self.directory / LIST, contents)

    def table(self, shown: Sequence[Row], images_per_second: float = 0.0) -> str:
        """Some of the rows as text, with what they cost: of several seeds, that of all together.

        Args:
          shown: the rows.
          images_per_second: to estimate the time with; 0 = the mean of the rows that are done.
        """
        rates = [_measured_rate(self._path(row)) for row in self.sweep.rows]
        measured = [rate for rate in rates if rate]
        rate = images_per_second or (sum(measured) / len(measured) if measured else 0.0)
        different = sweeps.differences({row.name: row.config for row in self.sweep.rows})
        runs = len(self.seeds) or 1
        width = max((len(row.name) for row in shown), default=0)
        lines, total_images, total_seconds = [], 0, 0.0
        for row in shown:
            what = ", ".join(f"{k}={v}" for k, v in different[row.name].items())
            estimate = None if row.evaluates else sweeps.cost(row.config)
            if row.evaluates:
                size, time = f"evaluates {row.evaluates}", ""
            elif estimate is None:
                size, time = "unknown size", "?"
            else:
                steps, images = estimate[0], runs * estimate[1]
                size = f"{steps:,} × {row.config.train.batch_size}"
                size += f" × {runs} seeds" if self.seeds else ""
                size += f" = {images:,} images"
                seconds = images / rate if rate else 0.0
                time = duration(seconds) if rate else "?"
                total_images, total_seconds = total_images + images, total_seconds + seconds
            state = self.state(row)[0]
            lines.append(f"{row.name:{width}}  {state:7}  {size:36}  {time:>9}  {what}")
        lines.append(f"{len(shown)} rows, {total_images:,} images to train on")
        if rate:
            source = "as given" if images_per_second else f"the mean of {len(measured)} finished"
            lines[-1] += (
                f", {duration(total_seconds)} of training at {rate:.1f} images/s ({source}); "
                "compilation and evaluations come on top"
            )
        else:
            lines[-1] += ". For the time give --images_per_second, or finish a row."
        return "\n".join(lines)

    def _check(self, path: Path, row: Row, may_differ: Sequence[str]) -> None:
        """Raises WorkdirError if a directory holds a run of another config than the row's."""
        Workdir(path).check_config(row.config, may_differ=may_differ)

    def _path(self, row: Row) -> Path:
        return self.directory / row.name

    def _may_differ(self, row: Row) -> tuple[str, ...]:
        allowed = rules.RESUME if row.evaluates else rules.SAME_RESULTS
        trained = self._trained(row)
        given = {"model.pretrained": trained.starts_from, "weighting.baselines": trained.compares}
        return (*allowed, *(key for key, rows in given.items() if rows))

    def _trained(self, row: Row) -> Row:
        """The row whose model this one has."""
        return self.sweep.row(row.evaluates) if row.evaluates else row

    def claim(self) -> None:
        """Makes the directory this sweep's. Raises SweepError if it is another's."""
        Workdir(self.directory).create()
        file = self.directory / LIST
        if file.exists():
            owner = files.read_json(file).get("name")
            if owner != self.sweep.name:
                raise SweepError(
                    f"{self.directory} holds the sweep {owner!r}, not {self.sweep.name!r}. "
                    "Use another --workdir."
                )
        self.write_list()

    def _run_row(self, row: Row, heading: str, lock: TextIO, signals: "_Signals") -> None:
        path = self._path(row)
        twin = self._twin(row)
        if twin:
            _take_over(twin, path, row)
            self.write_list()
            self.say(f"{heading}: done in {twin}; taken from there")
            return
        _drop_dead_links(path)
        self._note(row, RUNNING)
        error = None
        missing = [name for name in row.after if self.state(self.sweep.row(name))[0] != DONE]
        if missing:
            error = f"The row {missing[0]!r}, which it builds on, is not done."
        else:
            self.say(f"{heading}: started; {path / LOG}")
            if row.evaluates:
                _borrow(self._path(self.sweep.row(row.evaluates)), path)
            error = self._run_process(row, lock, signals)
        if signals.signum is not None:
            self._note(row, PENDING)
            return
        if error is None and self.state(row)[0] != DONE:
            error = "Its process ended without an error, but it left no results."
        if error is None and self.state(row)[0] == DONE:
            (path / STATE).unlink()
            self.write_list()
            self.say(f"{heading}: done")
        else:
            self._note(row, FAILED, error)
            self.say(f"{heading}: failed\n{error}")

    def _twin(self, row: Row) -> Path | None:
        """The same run, finished, of another sweep beside this one: studies have rows in common."""
        if row.after or Workdir(self._path(row)).config.exists():
            return None
        lists = set(self.directory.parent.glob(f"*/{LIST}")) - {self.directory / LIST}
        for file in sorted(lists):
            for other in _listed(file):
                path = file.parent / other["name"]
                if other["evaluates"] or not _finished(row, path, list(self.seeds)):
                    continue
                with contextlib.suppress(files.WorkdirError):
                    self._check(path, row, (*_SAME_RUN, "name"))
                    return path
        return None

    def _run_process(self, row: Row, lock: TextIO, signals: "_Signals") -> str | None:
        """Runs a row to its end. Returns the error, or None."""
        which = f"--config={self.config}:{row.name}"
        command = [*self.command, which, f"--workdir={self._path(row)}"]
        if row.evaluates:
            command.append("--mode=evaluate")
        command += self.arguments
        if self.seeds:
            command.append(f"--seeds={','.join(map(str, self.seeds))}")
        trained = self._trained(row)
        if trained.starts_from:
            command.append(f"--config.model.pretrained={self.directory / trained.starts_from}")
        if trained.compares:
            paths = ",".join(str(self.directory / name) for name in trained.compares)
            command.append(f"--config.weighting.baselines={paths}")
        log = self._path(row) / LOG
        with log.open("a") as file:
            begin = file.tell()
            # In a session of its own, so that Ctrl-C reaches it once, through this process. The
            # lock outlives this process in it: what still runs is not started a second time.
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=[lock.fileno()],
            )
            status = signals.wait(process)
        return _describe(status, log, begin) if status else None

    def _note(self, row: Row, state: str, error: str | None = None) -> None:
        files.write_json(self._path(row) / STATE, {"state": state, "error": error})
        self.write_list()


class _Signals(_signals.Handler):
    """Hands SIGTERM and Ctrl-C on to the row's process, which saves its state and ends."""

    def __init__(self):
        super().__init__()
        self._process: subprocess.Popen | None = None

    def wait(self, process: subprocess.Popen) -> int:
        """The process's exit status; negative: the signal that killed it."""
        self._process = process
        if self.signum is not None:  # it came while the process was being started
            process.send_signal(self.signum)
        try:
            return process.wait()
        finally:
            self._process = None

    def handle(self) -> None:
        """See `Handler`."""
        if self._process is not None and self.signum is not None:
            self._process.send_signal(self.signum)


def is_running(path: Path) -> bool:
    """Whether a process holds a row's directory; nobody does after a kill."""
    return _locks.is_held(path / LOCK)


def _finished(row: Row, path: Path, seeds: list[int]) -> bool:
    """Whether a row has left what it is run for."""
    directory = Workdir(path)
    if not row.evaluates:
        found = directory.read_results()
        return bool(found.get("finished")) and found.get("seeds", []) == seeds
    how = row.config.eval
    found = directory.read_evaluation(how.split, how.checkpoint)
    expected = rules.evaluated_with(files.to_json(row.config))
    return found.get("evaluated_with") == expected and found.get("seeds", []) == seeds


def _read(path: Path) -> dict[str, Any]:
    return files.read_json(path) if path.exists() else {}


def _listed(file: Path) -> list[dict[str, Any]]:
    """The rows of another sweep; none if that sweep.json is of another program."""
    try:
        found = files.read_json(file)
    except files.WorkdirError:
        return []
    rows = found.get("rows") if "protocol" in found else None
    return rows if isinstance(rows, list) else []


def _measured_rate(path: Path) -> float | None:
    """Images per second of a row that is done; the mean over its seeds."""
    directory = Workdir(path)
    if not directory.read_results().get("finished"):
        return None
    results = [run.read_results() for run in directory.seeds().values() or [directory]]
    rates = [found["images_per_second"] for found in results if found.get("images_per_second")]
    return sum(rates) / len(rates) if rates else None


def _borrow(source: Path, path: Path) -> None:
    """Makes `path` a work directory with the model of `source`, or of each of its seeds."""
    lender = Workdir(source)
    seeds = lender.seeds()
    for run in seeds.values() or [lender]:
        target = Workdir(path / run.path.relative_to(source))
        target.path.mkdir(exist_ok=True)
        for theirs, own in ((run.config, target.config), (run.label_specs, target.label_specs)):
            files.write_text(own, theirs.read_text())
        if not target.checkpoints.is_symlink():
            target.checkpoints.symlink_to(os.path.relpath(run.checkpoints, target.path))
    if seeds:
        files.write_text(Workdir(path).config, lender.config.read_text())


def _take_over(source: Path, path: Path, row: Row) -> None:
    """Makes `path` the work directory of `source`, by links, under its own name."""
    for entry in source.iterdir():
        if entry.name not in (STATE, LOCK, LOG, workdir.LOCK, Workdir(source).config.name):
            (path / entry.name).symlink_to(os.path.relpath(entry, path))
    (path / LOG).write_text(f"Taken from {source}.\n")
    Workdir(path).claim(row.config)


def _drop_dead_links(path: Path) -> None:
    """What was taken over from, or lent by, a directory that has been deleted since."""
    for entry in path.iterdir():
        if entry.is_symlink() and not entry.exists():
            entry.unlink()


def _describe(status: int, log: Path, begin: int) -> str:
    """Why a process failed: how it ended, and the end of what it printed since `begin`."""
    with log.open(errors="replace") as file:
        file.seek(begin)
        lines = [line.rstrip() for line in file if line.strip()]
    if status < 0:
        how = f"Killed by {signal.Signals(-status).name}"
        how += " (out of memory?)" if -status == signal.SIGKILL else ""
    else:
        how = f"Exit status {status}"
    return "\n".join([f"{how}; the end of {log}:", *lines[-_ERROR_LINES:]])
