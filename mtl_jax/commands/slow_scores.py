"""The figures that take seconds for an image, such as odsF: in --mode=evaluate alone."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tqdm

from mtl_jax.errors import ConfigError, UsageError
from mtl_jax.runs import progress
from mtl_jax.tasks import Task


class SlowScores:
    """The scorers of all tasks that have one, fed batch by batch.

    Attributes:
      keys: of the batch that they need besides those of the tasks.
    """

    def __init__(self, tasks: Mapping[str, Task], specs: Mapping[str, Any], options: Any):
        """Has seen nothing yet.

        Args:
          tasks: {name: Task}.
          specs: {key: LabelSpec as a dict} of the data set.
          options: `config.eval.scores`.

        Raises:
          ConfigError: an unknown protocol; a truth that the data set does not have; several
            processes of JAX, each of which would see a part of the images.
          UsageError: the file of ids cannot be read, or is empty.
        """
        from input_pipeline import cores

        self._published = options.published_images
        self._listed_in = options.ids
        self._ids = read_ids(options.ids) if options.ids else None
        self._scorers = _scorers(tasks, specs, options, options.workers or cores.available())
        self.keys = _keys(tasks, self._scorers)
        if self._scorers and jax.process_count() > 1:
            raise ConfigError(
                f"config.eval.scores.protocols={tuple(options.protocols)} need all images in one "
                f"process, found {jax.process_count()}. Use (), or evaluate with one process."
            )

    @contextlib.contextmanager
    def of(self, stream: Any) -> Iterator[Callable[[dict, dict], None] | None]:
        """Yields what an `Evaluator` is to call with each batch of `stream`; ends all processes.

        A bar shows how many images the processes have done.

        Raises:
          UsageError: the file of ids names images that are not in the stream.
        """
        if not self._scorers:
            yield None
            return
        if self._ids is not None:
            self._check_listed(stream, self._ids)
        steps = iter(range(stream.num_batches))

        def on_batch(batch: dict[str, np.ndarray], outputs: dict[str, Any]) -> None:
            ids = stream.example_ids(next(steps))
            for i in np.flatnonzero(batch["valid"]):
                if self._ids is not None and ids[i] not in self._ids:
                    continue
                row = {key: value[i] for key, value in batch.items()}
                for name, scorer in self._scorers.items():
                    scorer.add(row, np.asarray(outputs[name][name][i]))
                self._show()

        names = ", ".join(self._scorers)
        total = stream.num_examples if self._ids is None else len(self._ids)
        self._bar = tqdm.tqdm(total=total, desc=f"scores of {names}", unit="image", disable=None)
        try:
            yield on_batch
        finally:
            self._bar.close()
            for scorer in self._scorers.values():
                scorer.close()

    def finish(self) -> dict[str, float]:
        """{'<task>/<metric>': value}, once every batch was seen; within `of`."""
        found: dict[str, float] = {}
        for name, scorer in self._scorers.items():
            figures = scorer.finish(self._show)
            scored = int(figures.get("scored_images", 0))
            figures = {
                metric + self._of_others(metric, scored): value for metric, value in figures.items()
            }
            found |= {f"{name}/{metric}": value for metric, value in figures.items()}
            told = ", ".join(f"{metric} {value:.4g}" for metric, value in figures.items())
            progress.say(f"  {name}  {told or 'nothing is labelled'}")
        return found

    def _of_others(self, metric: str, scored: int) -> str:
        """What a figure's name ends in where it is of other images than the published ones."""
        if not self._published or metric == "scored_images":
            return ""
        # MTDP_Lib and SAK score the whole split, the others the listed images.
        as_published = self._ids is None if metric.endswith("_mtdp") else scored == self._published
        return "" if as_published else f"_of_{scored}"

    def _check_listed(self, stream: Any, ids: frozenset[str]) -> None:
        there = {name for step in range(stream.num_batches) for name in stream.example_ids(step)}
        if absent := sorted(ids - there):
            raise UsageError(
                f"config.eval.scores.ids={self._listed_in}: expected ids of the split that is "
                f"evaluated, found {len(absent)} of {len(ids)} that are not in it, such as "
                f"{', '.join(absent[:3])}. Give a list of this split, or evaluate all of it."
            )

    def _show(self) -> None:
        """Moves the bar to the number of images that all scorers are done with."""
        self._bar.update(min(scorer.done for scorer in self._scorers.values()) - self._bar.n)


def check(tasks: Mapping[str, Task], specs: Mapping[str, Any], options: Any) -> None:
    """Refuses before the first step what --mode=evaluate would fail at after the last.

    But for the number of processes, which may be another one then. Arguments and errors are those
    of `SlowScores`.
    """
    if options.ids:
        read_ids(options.ids)
    _scorers(tasks, specs, options, 1)


def _scorers(
    tasks: Mapping[str, Task], specs: Mapping[str, Any], options: Any, workers: int
) -> dict[str, Any]:
    """{task: its scorer}, of those that have one and labels."""
    given = {"protocols": tuple(options.protocols), "workers": workers}
    found = {}
    for name, task in tasks.items():
        if task.key not in specs:
            continue
        try:
            scorer = task.scorer(given)
        except ValueError as error:
            raise ConfigError(f"config.eval.scores: {error}") from error
        if scorer is not None:
            found[name] = scorer
    if missing := [key for key in _keys(tasks, found) if key not in specs]:
        raise ConfigError(
            f"config.tasks: the data set has no {', '.join(map(repr, missing))}, which the "
            f"truth_key of a task names; it has {', '.join(specs)}."
        )
    return found


def _keys(tasks: Mapping[str, Task], scorers: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(key for name in scorers for key in tasks[name].scored_keys)


def read_ids(path: str) -> frozenset[str]:
    """The ids of a file, one a line.

    Raises:
      UsageError: it cannot be read, or is empty.
    """
    try:
        text = Path(path).expanduser().read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"config.eval.scores.ids={path}: expected a text file with one id a line, found none "
            f"({error})."
        ) from error
    found = frozenset(filter(None, map(str.strip, text.splitlines())))
    if not found:
        raise UsageError(f"config.eval.scores.ids={path}: the file has no id.")
    return found
