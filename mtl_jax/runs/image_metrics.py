"""Metrics image by image: where a network fails, and what it takes for what."""

import heapq
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from mtl_jax.evaluation import Images
from mtl_jax.tasks import Task

WORST = "worst"  # pictures are called worst_<task>_<rank>


class ImageMetrics:
    """Collects, over one evaluation, the headline metric of every image and the worst images.

    Its two methods are `Evaluator`'s `on_images` and `on_batch`. With several processes the metrics
    are of all images, but pictures only of those that this process holds.
    """

    def __init__(
        self,
        tasks: Mapping[str, Task],
        draw: Callable[..., dict[str, np.ndarray]],
        *,
        keep: int,
    ):
        """Has seen nothing yet.

        Args:
          tasks: {name: Task}.
          draw: makes pictures {name: [H, W, 3] uint8} of a batch of one, its maps, and `ids`, a
            list with its id.
          keep: how many of the worst images to draw for each task.
        """
        self._tasks, self._draw, self._keep = tasks, draw, keep
        self._directions = {name: task.headline[1] for name, task in tasks.items()}
        self._values: dict[str, list[float]] = {name: [] for name in tasks}
        self._confusion: dict[str, np.ndarray] = {}
        self._padding: list[bool] = []
        self._batches = 0
        self._worst: dict[str, list[tuple[float, int, dict, dict]]] = {name: [] for name in tasks}
        self._first = 0  # index in the split of the latest batch's first image

    def on_images(self, images: Images) -> None:
        """Computes the metrics of the images of one global batch."""
        self._first = len(self._padding)
        self._batches += 1
        self._padding += (~images.valid).tolist()
        for name, task in self._tasks.items():
            sums = jax.tree.map(np.float64, images.sums[name])
            for i in range(len(images.valid)):
                found = task.metrics(jax.tree.map(lambda x, i=i: x[i], sums))
                value = found[task.headline[0]] if images.finite[name][i] else np.nan
                self._values[name].append(value)
            counts = task.confusion(jax.tree.map(lambda x: x.sum(axis=0), sums))
            if counts is not None:
                self._confusion[name] = self._confusion.get(name, 0) + counts

    def on_batch(self, batch: dict[str, np.ndarray], outputs: dict[str, Any]) -> None:
        """Keeps the images of this process's part of that batch that are among the worst."""
        first = self._first + jax.process_index() * len(batch["valid"])
        for name in self._tasks if self._keep else ():
            for row in np.flatnonzero(batch["valid"]):
                self._consider(name, first + int(row), int(row), batch, outputs)

    def _consider(self, name: str, index: int, row: int, batch: dict, outputs: dict) -> None:
        """Keeps the image, `index` in the split, if it is among the worst of a task so far."""
        value, worst = self._values[name][index], self._worst[name]
        if np.isnan(value):
            return  # unlabelled, or predicted as something that is not finite
        # Of equals the earlier image is worse; no two have the same index.
        rank = (-value if self._directions[name] == "max" else value, -index)
        full = len(worst) == self._keep
        if full and rank < worst[0][:2]:
            return
        one = jax.tree.map(lambda x: np.array(x[row : row + 1]), (batch, outputs))
        (heapq.heapreplace if full else heapq.heappush)(worst, (*rank, *one))

    def summary(self, ids: Callable[[int], Sequence[str]]) -> dict[str, Any]:
        """What best_evaluation.json tells of the images.

        Args:
          ids: the ids of the images of a global batch, with anything for padding.

        Returns:
          `images`: {'id': [...], '<task>/<headline>': [...]} in the order of the split, NaN where
          an image has no label of a task; `directions`: {'<task>/<headline>': 'max' or 'min'};
          `worst`: {task: [ids, the worst first]} of the pictures; `confusion`: {task: [C][C] counts
          of pixels, rows are true classes} of the tasks that have one.
        """
        names = [name for step in range(self._batches) for name in ids(step)]
        real = np.flatnonzero(~np.array(self._padding, bool))
        images: dict[str, list] = {"id": [names[i] for i in real]}
        metrics = {name: f"{name}/{task.headline[0]}" for name, task in self._tasks.items()}
        images |= {
            metric: [self._values[name][i] for i in real] for name, metric in metrics.items()
        }
        return {
            "images": images,
            "directions": {metrics[name]: way for name, way in self._directions.items()},
            "worst": {
                name: [names[-index] for _, index, *_ in sorted(worst, reverse=True)]
                for name, worst in self._worst.items()
            },
            "confusion": {
                name: counts.astype(np.int64).tolist() for name, counts in self._confusion.items()
            },
        }

    def pictures(self, ids: Mapping[str, Sequence[str]]) -> dict[str, np.ndarray]:
        """{'worst_<task>_<rank>': [H, W, 3] uint8}, rank 0 being the worst.

        Args:
          ids: `worst` of `summary`.
        """
        found = {}
        for name, worst in self._worst.items():
            for rank, (_, _, batch, outputs) in enumerate(sorted(worst, reverse=True)):
                (picture,) = self._draw(batch, outputs, ids=[ids[name][rank]]).values()
                found[f"{WORST}_{name}_{rank}"] = picture
        return found
