"""The evaluations of a run while it trains: metrics, pictures, and the best model so far."""

import dataclasses
import itertools
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from mtl_jax.evaluation import Evaluator, headlines
from mtl_jax.metrics.names import is_member
from mtl_jax.runs import files, image_metrics, progress
from mtl_jax.runs.results import Results
from mtl_jax.runs.step_log import Writer
from mtl_jax.runs.workdir import Workdir
from mtl_jax.tasks import Task
from mtl_jax.train_state import TrainState

_SUMS = ("loss", "headline_mean", "multitask_score")  # over all tasks


@dataclasses.dataclass(frozen=True)
class Evaluations:
    """Evaluates a state, and leaves what is found of it.

    Attributes:
      config: `config.eval`.
      tasks: {name: Task}.
      evaluator: of the run's system.
      batches, ids, draw: as of `loop.Run`.
      steps_per_epoch: of the training.
      workdir: where pictures and the images of the best evaluation are kept.
      writer: gets scalars and pictures.
      results: gets the metrics, and knows whether they are the best.
      save_best: saves the model of a state, with its evaluation, as the best.
      wait: until that is on disk.
    """

    config: Any
    tasks: Mapping[str, Task]
    evaluator: Evaluator
    batches: Callable[[], Iterable[dict[str, np.ndarray]]]
    ids: Callable[[int], Sequence[str]]
    draw: Callable[..., dict[str, np.ndarray]]
    steps_per_epoch: int
    workdir: Workdir
    writer: Writer
    results: Results
    save_best: Callable[[TrainState, dict[str, Any]], None]
    wait: Callable[[], None]

    def evaluate(self, step: int, state: TrainState) -> None:
        """Evaluates, draws, and saves the model if it is the best so far."""
        started = time.monotonic()
        pictures: dict[str, np.ndarray] = {}
        numbers = itertools.count()
        images = image_metrics.ImageMetrics(self.tasks, self.draw, keep=self.config.worst_images)

        def on_batch(batch, outputs):
            number, missing = next(numbers), self.config.images - len(pictures)
            if missing > 0:
                ids = self._own_ids(number, len(batch["valid"]))
                for picture in self.draw(batch, outputs, count=missing, ids=ids).values():
                    pictures[f"example_{len(pictures)}"] = picture
            images.on_batch(batch, outputs)

        metrics = self.evaluator(state.variables, self.batches(), on_batch, images.on_images)
        entry = self.results.entry(step, step / self.steps_per_epoch, metrics)
        best = self.results.is_best(entry)
        if best:  # before the evaluation is on record: what the record calls best exists
            self.save_best(state, entry)
            self.wait()
            self._keep_images(step, images)
        self.results.add_evaluation(entry, best=best)
        progress.evaluation(step, metrics, best=best, seconds=time.monotonic() - started)
        selected = metrics.get(self.config.selection)
        if selected is None or not np.isfinite(selected):
            why = "nothing of it is labelled" if selected is None else f"it is {selected}"
            progress.say(
                f"No model can be selected by {self.config.selection!r} on {self.config.split!r}, "
                f"as {why}; while that is so, the latest one counts as the best."
            )
        first = {self.config.selection, *_SUMS, *headlines(self.tasks)}
        self.writer.write_scalars(step, {_tag(name, first): v for name, v in metrics.items()})
        self.writer.write_images(step, {k: v[None] for k, v in pictures.items()})
        self.writer.flush()
        if jax.process_index() == 0:
            progress.save_pictures(self.workdir.predictions, pictures)
        self.results.write(final=False)

    def _keep_images(self, step: int, images: image_metrics.ImageMetrics) -> None:
        if jax.process_index() == 0:
            found = {"step": step, "split": self.config.split} | images.summary(self.ids)
            files.write_json(self.workdir.best_evaluation, found)
            progress.save_pictures(self.workdir.predictions, images.pictures(found["worst"]))

    def _own_ids(self, number: int, size: int) -> Sequence[str]:
        """The ids of this process's `size` examples of a global batch."""
        first = jax.process_index() * size
        return self.ids(number)[first : first + size]


def _tag(metric: str, first: Collection[str]) -> str:
    """The group of a metric and its name, as TensorBoard groups by what is before the first stroke.

    It sorts groups by name: `eval` has what is looked at `first`, and neither single classes nor
    the rest hide that.
    """
    if is_member(metric):
        return f"eval_by_class/{metric}"
    return f"eval/{metric}" if metric in first else f"eval_more/{metric}"
