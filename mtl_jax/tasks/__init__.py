"""Tasks: targets, loss, metrics, post-processing and pictures of one kind of output each.

One module per type. A task knows no architecture and no data set, only a `LabelSpec` as a dict.
"""

import re
import sys
from collections.abc import Mapping
from typing import Any, Protocol

import jax
import numpy as np
from ml_collections import ConfigDict

from mtl_jax import _discovery, _options
from mtl_jax._options import Option, text
from mtl_jax.errors import ConfigError
from mtl_jax.pictures import maps as visualization

COMMON = {"key": Option(None, "the batch's key of its labels; None: the task's name", text)}
PART = _options.Part(sys.modules[__name__], "", "a kind of output", by="type")


class Task(Protocol):
    """What `build(name, config, spec)` of a module of this package returns: a frozen dataclass.

    Masks, sums and means are over the global batch, so all of it may run under `jax.jit` with the
    batch axis sharded.

    Attributes:
      name: the task's name, the key of `Predictions.final`.
      key: the batch's key that holds its labels.
      channels: C, the number of output channels.
      headline: (metric, 'max' or 'min'), by which a checkpoint of this task alone is chosen.
      classification: whether its loss is a cross-entropy, the negative log-likelihood of a class,
        and not a regression; the weighting by Kendall et al. weighs the two differently.
    """

    name: str
    key: str
    channels: int
    headline: tuple[str, str]
    classification: bool

    def targets(self, batch: Mapping[str, jax.Array]) -> Any:
        """What the loss and the metrics compare with; nothing valid if the batch lacks `key`."""

    def labelled(self, targets: Any, valid: jax.Array) -> jax.Array:
        """Bool scalar: whether any pixel counts. Arguments as of `loss`."""

    def loss(self, prediction: jax.Array, targets: Any, valid: jax.Array) -> jax.Array:
        """Float32 scalar; 0 without gradient where nothing is valid.

        Args:
          prediction: [B, H, W, C] logits or normalised values, any float type.
          targets: from `targets`.
          valid: [B] bool, False for the padding of a partial batch.
        """

    def metric_sums(self, prediction: jax.Array, targets: Any, valid: jax.Array) -> Any:
        """A pytree of sums over this batch that add up over batches. Arguments as of `loss`."""

    def metrics(self, sums: Any) -> dict[str, float]:
        """Metrics by name, without the task's, of the summed-up split. NaN: nothing was valid."""

    def postprocess(self, prediction: jax.Array) -> dict[str, jax.Array]:
        """[B, H, W, ...] maps by name; the one called like the task is its picture and its file.

        This and `metric_sums` get further positional arguments if the task `needs` others: the maps
        called like those tasks, in that order. A task that needs none treats every pixel by itself,
        as it may be given a part of an image.
        """

    def to_average(self, prediction: jax.Array, *, mirrored: bool, zoom: float) -> jax.Array:
        """[B, h, w, K] float32 whose mean over several views of a scene makes sense.

        Test-time augmentation resizes and averages it: metres, vectors, and where the task is a
        `classification` the probabilities of the classes, among which views may also vote.

        Args:
          prediction: [B, h, w, C] of one view.
          mirrored: it was made on the mirror image. Its columns are in the scene's order again;
            what else mirroring changes (left and right classes, the sign of x) is undone here.
          zoom: the view shows the scene this many times larger; lengths in pixels are undone here.
        """

    def from_average(self, average: jax.Array) -> jax.Array:
        """[B, H, W, C]: the prediction that `postprocess` turns into what [B, H, W, K] says."""

    def visualize(self, value: Any) -> np.ndarray:
        """[H, W, 3] uint8, from one example of its map or of its target."""

    def panel(self, image: np.ndarray, value: np.ndarray) -> visualization.Panel:
        """One map laid over its [H, W, 3] uint8 image, with what explains the colours."""

    def error_panel(self, value: np.ndarray, target: Any) -> visualization.Panel:
        """How far one map is from its target, for pictures of validation; optional."""

    def encode(self, value: np.ndarray) -> tuple[bytes, str, str]:
        """(file contents, suffix such as '.png', remark) of one map.

        The remark is '' or says what the file could not hold.
        """

    def describe(self) -> dict[str, Any]:
        """JSON-able facts for programs that read its map and know nothing of this project.

        `kind` is what the values mean, `file` the form in which `encode` writes them, one of those
        that serving/run_saved_model.py lists; further keys as the kind needs them.
        """


def needs(task: Task) -> tuple[str, ...]:
    """The tasks without whose maps this one cannot be post-processed: its `needs`, often absent."""
    return getattr(task, "needs", ())


def postprocess_all(
    tasks: Mapping[str, Task], predictions: Mapping[str, jax.Array]
) -> dict[str, dict[str, jax.Array]]:
    """{task: what its `postprocess` makes}, of tasks that may need each other's maps.

    Args:
      tasks: {name: Task}, with every task that one of them needs.
      predictions: {name: [B, H, W, C]}.
    """
    maps = {
        name: task.postprocess(predictions[name]) for name, task in tasks.items() if not needs(task)
    }
    for name, task in tasks.items():
        if needs(task):
            maps[name] = task.postprocess(predictions[name], *needed_maps(task, maps))
    return {name: maps[name] for name in tasks}


def needed_maps(task: Task, maps: Mapping[str, Mapping[str, Any]]) -> list[Any]:
    """What `task` needs, from the result of `postprocess_all`."""
    return [maps[name][name] for name in needs(task)]


def build(config_tasks: Any, label_specs: Mapping[str, Mapping[str, Any]]) -> dict[str, Task]:
    """Builds the tasks that a config names.

    Args:
      config_tasks: `config.tasks`, {name: {'type': a module of this package, 'key': the batch's
        key, by default the name, ...: the options of that type}}.
      label_specs: {key: LabelSpec as a dict} of the data set. A task whose key is not among them
        is unlabelled there; its config must then give what the spec would have told.

    Returns:
      {name: Task} in the order in which `config_tasks` was written, though a ConfigDict lists its
      keys in alphabetical order.

    Raises:
      ConfigError: no task at all, an unknown type or option, or a fact that is missing.
    """
    if not config_tasks:
        raise ConfigError("config.tasks is empty; expected at least one task, e.g. 'semseg'.")
    tasks = {}
    for name in _options.names_as_written(config_tasks):
        _check_name(name)
        key = f"config.tasks.{name}"
        options = _options.complete_part(config_tasks[name], PART, key=key)
        module = _discovery.load(
            sys.modules[__name__], options.pop(PART.by), key=f"{key}.{PART.by}"
        )
        options = ConfigDict(options)
        tasks[name] = module.build(name, options, label_specs.get(options.key or name))
    return {name: _join(task, tasks) for name, task in tasks.items()}


def _check_name(name: str) -> None:
    """Names are parts of file names, of metrics' and parameters' names, and of flags."""
    if not re.fullmatch(r"\w[\w-]{0,63}", name):
        raise ConfigError(
            f"config.tasks: {name[:80]!r} cannot be the name of a task; expected up to 64 letters, "
            "digits, underscores and hyphens, such as 'semseg'."
        )


def _join(task: Task, tasks: Mapping[str, Task]) -> Task:
    for name in needs(task):
        if name not in tasks or needs(tasks[name]):
            others = [other for other, t in tasks.items() if not needs(t)]
            raise ConfigError(
                f"config.tasks.{task.name} needs the task {name!r}; expected one of config.tasks "
                f"that needs none itself: {', '.join(others) or 'there is none'}."
            )
    return task.join(tasks) if needs(task) else task  # type: ignore[attr-defined]
