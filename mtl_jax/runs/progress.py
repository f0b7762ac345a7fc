"""What a run shows to the person who watches it."""

import shutil
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
from PIL import Image

from mtl_jax.errors import ConfigError
from mtl_jax.metrics.names import is_member, is_variant
from mtl_jax.runs.files import write_text
from mtl_jax.runs.words import duration

# The progress line that the terminal's cursor stands on.
_unfinished = ""


def say(text: str) -> None:
    """One line on standard output, from the first process only."""
    global _unfinished
    if _is_first_process():
        print(f"\n{text}" if _unfinished else text, flush=True)
        _unfinished = ""


def _is_first_process() -> bool:
    """Without asking for devices where there is only one process."""
    return not jax.distributed.is_initialized() or jax.process_index() == 0


def parameter_overview(variables: dict[str, Any], path: Path) -> None:
    """Says how many parameters each part has, and writes the table of all of them to `path`."""
    # Imported here because only a start from step 0 needs it.
    from clu import parameter_overview as overview

    if jax.process_index() == 0:
        table = overview.get_parameter_overview(variables["params"], include_stats=False)
        write_text(path, table + "\n")
    parts = {
        name: sum(x.size for x in jax.tree.leaves(tree))
        for name, tree in variables["params"].items()
    }
    listing = ", ".join(f"{name} {size:,}" for name, size in parts.items())
    say(f"{sum(parts.values()):,} parameters ({listing}); all of them in {path}.")


def evaluation(
    step: int | list[int],
    metrics: dict[str, float],
    *,
    best: bool = False,
    seconds: float | None = None,
) -> None:
    """A line for each task, and one for what is of all; everything else is in evaluation.jsonl.

    Args:
      step: that the model was saved at; several if the metrics are means over runs.
      metrics: of the split.
      best: whether no evaluation of this run was better.
      seconds: that it took, if that is to be said.
    """
    found = " (best so far)" * best + (f", {seconds:.0f} s" if seconds is not None else "")
    say(f"evaluation at step {step}{found}")
    lines: dict[str, list[str]] = {}
    for name, value in metrics.items():
        if value == value and not (is_member(name) or is_variant(name)):
            task, _, metric = name.rpartition("/")
            lines.setdefault(task, []).append(f"{metric} {value:.4g}")
    width = max(map(len, lines), default=0)
    for task, shown in lines.items():
        say(f"  {task:{width}}  {'  '.join(shown)}")


def results(found: dict[str, Any], path: Path) -> None:
    """One line on what a run has come to.

    Args:
      found: what its results.json holds.
      path: of its directory.
    """
    selection = found["selection"]

    def shown(metrics: dict[str, float | None]) -> str:
        value = metrics.get(selection)
        return "unknown" if value is None or value != value else f"{value:.4g}"

    best, last = found["best"], found["last"]
    say(
        f"Best {selection} {shown(best['metrics'])} at step {best['step']}, last "
        f"{shown(last['metrics'])}, mean of the last {min(10, found['evaluations'])} "
        f"{shown(found['mean_of_last_10'])}. Everything is in {path}."
    )


def save_pictures(directory: Path, pictures: dict[str, np.ndarray]) -> None:
    """Writes {name: [H, W, 3] uint8} as PNG files."""
    directory.mkdir(exist_ok=True)
    for name, picture in pictures.items():
        Image.fromarray(picture).save(directory / f"{name}.png")


def _rewrite(text: str) -> None:
    """Puts a progress line in the place of the one before, however many rows that took."""
    global _unfinished
    rows_above = max(0, len(_unfinished) - 1) // shutil.get_terminal_size().columns
    up = f"\x1b[{rows_above}A" if rows_above else ""
    print(f"\r{up}\x1b[J{text}", end="", flush=True)
    _unfinished = text


class Line:
    """The progress line: rewritten in place on a terminal, one line each elsewhere."""

    def __init__(self, total_steps: int, steps_per_epoch: int, batch_size: int):
        """Takes the run's length."""
        self._total, self._per_epoch, self._batch = total_steps, steps_per_epoch, batch_size

    def show(self, step: int, losses: dict[str, float], learning_rate: float, rate: float) -> None:
        """Shows one step; `rate` in images per second."""
        shown = " ".join(f"{task} {value:.4f}" for task, value in losses.items())
        seconds = (self._total - step) * self._batch / rate
        text = (
            f"step {step}/{self._total} ({step / self._total:.0%}, epoch "
            f"{step / self._per_epoch:.2f})  loss {shown}  lr {learning_rate:.2e}  "
            f"{rate:.1f} images/s  {duration(seconds)} left"
        )
        if jax.process_index():
            return
        if sys.stdout.isatty():
            _rewrite(text)
        else:
            print(text, flush=True)


class Profile:
    """Traces the steps of 'first:last' for TensorBoard's profiler; '' traces none."""

    def __init__(self, steps: str, directory: Path, total_steps: int):
        """Reads the range. Raises ConfigError if it is none of a run of `total_steps`."""
        self._directory, self._steps = directory, range(0)
        self._traced: range | None = None  # steps of the trace that is being made
        if steps:
            first, _, last = steps.partition(":")
            numbers = first.isdecimal() and last.isdecimal()
            if not numbers or not int(first) < int(last) <= total_steps:
                raise ConfigError(
                    f"config.train.profile={steps!r}; expected 'first:last', for example "
                    f"'100:110', within the {total_steps} steps of the run."
                )
            self._steps = range(int(first), int(last))

    @property
    def bounds(self) -> tuple[int, int]:
        """The number of steps made before the first and after the last of them."""
        return self._steps.start, self._steps.stop

    def before(self, step: int) -> None:
        """Call before each step with the number of steps made. A resumed run traces the rest."""
        if step in self._steps and self._traced is None:
            jax.profiler.start_trace(str(self._directory))
            self._traced = range(step, step)

    def after(self, step: int, state: Any) -> None:
        """Call after each step with the number of steps made and its result."""
        if self._traced is not None:
            self._traced = range(self._traced.start, step)
            if step >= self._steps.stop:
                jax.block_until_ready(state)
                self.stop()

    def stop(self) -> None:
        """Writes what has been traced if the run ends before the last of the steps."""
        if self._traced is not None:
            jax.profiler.stop_trace()
            first, last = self._traced.start, self._traced.stop
            say(f"Profile of steps {first} to {last}: {self._directory}")
            self._traced = None
