"""Pictures of validation examples: input, and target, prediction and error of every task."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from mtl_jax.pictures import figures, maps
from mtl_jax.pictures.maps import Panel

_WIDTH = 320  # of each picture, in pixels


def draw(
    batch: Mapping[str, np.ndarray],
    outputs: Mapping[str, Mapping[str, np.ndarray]],
    tasks: Mapping[str, Any],
    *,
    count: int = 4,
    ids: Sequence[str] | None = None,
) -> dict[str, np.ndarray]:
    """Draws the input, and below it a row for each task: target, prediction and error, explained.

    Args:
      batch: the contract's batch, on the host.
      outputs: {task: `task.postprocess` of its predictions}, on the host.
      tasks: {name: Task}.
      count: of examples, from the batch's start; padding is left out.
      ids: of the batch's examples, for the title.

    Returns:
      {'example_0': [H', W', 3] uint8, ...}. A row has the prediction alone where the example has no
      target.
    """
    targets = {name: jax.device_get(task.targets(batch)) for name, task in tasks.items()}
    drawn = {}
    for i in np.flatnonzero(batch["valid"])[:count]:
        image = np.asarray(batch["image"][i])
        size = figures.fit(image.shape[:2], _WIDTH)
        title = "input" if ids is None else str(ids[i])
        rows = [[Panel(title, figures.resize(image, size))]]
        for name, task in tasks.items():
            alone = jax.tree.map(lambda x, i=i: x[i : i + 1], targets[name])
            labelled = bool(task.labelled(alone, np.array([True])))
            target = jax.tree.map(lambda x: x[0], alone) if labelled else None
            rows.append(_row(task, np.asarray(outputs[name][name][i]), target, image, size))
        drawn[f"example_{i}"] = figures.stack(rows, width=_WIDTH)
    return drawn


def _row(task: Any, value: np.ndarray, target: Any, image: np.ndarray, size: tuple[int, int]):
    """Panels of one task: target, prediction and error; the prediction if there is no target."""
    large = functools.partial(jax.tree.map, functools.partial(maps.resize_nearest, size=size))
    shown, photograph = large(value), large(image)
    explained = task.panel(photograph, shown)  # what explains the colours is that of the overlay
    prediction = _plain(explained, f"{task.name}: prediction", task.visualize(shown))
    if target is None:
        return [prediction]
    its_target = large(target)
    if isinstance(its_target, np.ndarray):
        explained = task.panel(photograph, its_target)
    row = [_plain(explained, f"{task.name}: target", task.visualize(its_target)), prediction]
    error = task.error_panel(value, target)
    if error is not None:  # its numbers are of the pixels that there are
        row.append(dataclasses.replace(task.error_panel(shown, its_target), title=error.title))
    return row


def _plain(panel: Panel, title: str, picture: np.ndarray) -> Panel:
    """The panel with that picture instead of an overlay, and no more explained than it shows."""
    plain = dataclasses.replace(panel, title=title, picture=picture, opacity=1.0)
    return figures.shortened(plain)
