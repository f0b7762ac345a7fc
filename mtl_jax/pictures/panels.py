"""Pictures of validation examples: input, and target and prediction of every task."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from mtl_jax.pictures import maps as visualization


def draw(
    batch: Mapping[str, np.ndarray],
    outputs: Mapping[str, Mapping[str, np.ndarray]],
    tasks: Mapping[str, Any],
    *,
    count: int = 4,
) -> dict[str, np.ndarray]:
    """Draws input, and target and prediction of every task, side by side.

    Args:
      batch: the contract's batch, on the host.
      outputs: {task: `task.postprocess` of its predictions}, on the host.
      tasks: {name: Task}.
      count: of examples, from the batch's start; padding is left out.

    Returns:
      {'example_0': [H', W', 3] uint8, ...}. A target is left out where the example has none.
    """
    targets = {name: jax.device_get(task.targets(batch)) for name, task in tasks.items()}
    panels = {}
    for i in np.flatnonzero(batch["valid"])[:count]:
        pictures = {"input": np.asarray(batch["image"][i])}
        for name, task in tasks.items():
            alone = jax.tree.map(lambda x, i=i: x[i : i + 1], targets[name])
            if task.labelled(alone, np.array([True])):
                target = jax.tree.map(lambda x: x[0], alone)
                pictures[f"{name}: target"] = task.visualize(target)
            pictures[f"{name}: prediction"] = task.visualize(np.asarray(outputs[name][name][i]))
        panels[f"example_{i}"] = visualization.panel(list(pictures.values()), list(pictures))
    return panels
