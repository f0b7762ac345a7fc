"""Metrics of a whole split, whatever the batch size and however ragged the last batch."""

from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from mtl_jax import _files, metrics, own_size, parallel
from mtl_jax.errors import UsageError
from mtl_jax.system import System
from mtl_jax.tasks import Task, needed_maps, postprocess_all
from mtl_jax.views import TestTimeAugmentation

# An int32 count of pixels must not overflow on the device between two drains to the host.
_PIXELS_BETWEEN_DRAINS = 2**30
# An image that is large enough to find out what a task measures.
_TINY = (8, 8)


class Images(NamedTuple):
    """What is known of every single image of a global batch, on the host.

    Attributes:
      valid: [B] bool, False for padding.
      finite: {task: [B] bool}, whether all that the network says of an image is finite.
      sums: {task: `metric_sums` of each image alone}, with a leading axis of B.
    """

    valid: np.ndarray
    finite: dict[str, np.ndarray]
    sums: dict[str, Any]


class _Sum(NamedTuple):
    """A sum on the device, and what rounding has taken from it.

    In float32 alone a sum of 10,000 images taken one by one is off by 10⁻⁴, and so a metric would
    depend on the batch size.
    """

    rounded: jax.Array
    lost: jax.Array

    def plus(self, new: jax.Array) -> "_Sum":
        """Adds an array; Knuth's two-sum, exact if the two are finite."""
        rounded = self.rounded + new
        if not jnp.issubdtype(rounded.dtype, jnp.floating):
            return _Sum(rounded, self.lost)
        added = rounded - self.rounded
        lost = (self.rounded - (rounded - added)) + (new - added)
        return _Sum(rounded, self.lost + lost)

    def on_host(self) -> np.ndarray:
        """In float64."""
        rounded, lost = (np.asarray(part).astype(np.float64) for part in self)
        return np.where(np.isfinite(rounded), rounded + lost, rounded)


def _is_sum(node: Any) -> bool:
    return isinstance(node, _Sum)


class Evaluator:
    """Evaluates a system on a stream; compiles once per image shape."""

    def __init__(self, system: System, mesh: Mesh, tta: TestTimeAugmentation | None = None):
        """Compiles nothing yet; the first batch does.

        Args:
          system: model and tasks.
          mesh: from `parallel.make_mesh`.
          tta: the views that metrics and outputs are merged from; by default there is one.
        """
        self._system, self._tta = system, tta or TestTimeAugmentation()
        self._mesh = mesh
        whole, split = parallel.replicated(mesh), parallel.batch_sharding(mesh)
        self._step = jax.jit(
            self._step_fn,
            in_shardings=(whole, whole, split),
            out_shardings=(whole, split, whole),
            donate_argnums=0,
        )

    def __call__(
        self,
        variables: dict[str, Any],
        batches: Iterable[dict[str, np.ndarray]],
        on_batch: Callable[[dict[str, np.ndarray], dict[str, dict[str, np.ndarray]]], None]
        | None = None,
        on_images: Callable[[Images], None] | None = None,
    ) -> dict[str, float]:
        """Evaluates the whole stream.

        Args:
          variables: the model's params and batch_stats.
          batches: this process's slices of all batches, padding marked by `valid`. Where they have
            an `own_size.STRETCHED` image the network sees that, and its predictions are resized
            back to `own_size.SIZE` before anything is measured.
          on_batch: called with each local batch and what `postprocess` made of its predictions,
            {task: {name: array}}; for saving and drawing.
          on_images: called before it with what is known of every image of the global batch.

        Returns:
          {'<task>/<metric>': value} for every task, '<task>/loss' (the mean over labelled images of
          the loss of one image), 'loss' (their unweighted sum) and the metrics that combine tasks.
          Losses are always those of the plain image: what was trained is that, not a merged one.
          A task without any label in the split is left out; NaN is a metric of a class that does
          not occur, and every metric of a task of which the network predicts a number that is not
          finite anywhere in the split: the class of a pixel whose logits are NaN would be class 0.

        Raises:
          UsageError: the stream is empty.
        """
        totals, sums, pixels = None, None, 0
        for batch in batches:
            on_device = parallel.put_batch(self._mesh, batch)
            if sums is None:
                sums = self._zeros(variables, on_device)
            sums, outputs, images = self._step(sums, variables, on_device)
            if on_images:
                on_images(jax.device_get(images))
            if on_batch:
                on_batch(batch, jax.tree.map(_local, outputs))
            pixels += int(np.prod(on_device["image"].shape[:3]))
            if pixels + int(np.prod(on_device["image"].shape[:3])) > _PIXELS_BETWEEN_DRAINS:
                totals, sums, pixels = _drain(totals, sums), None, 0
        if sums is not None:
            totals = _drain(totals, sums)
        if totals is None:
            raise UsageError("Evaluation got no batch: the split is empty.")
        return self._metrics(totals)

    def _zeros(self, variables, batch):
        shapes = jax.eval_shape(lambda v, b: self._sums(v, b)[0], variables, batch)
        zeros = jax.tree.map(lambda s: _Sum(*np.zeros((2, *s.shape), s.dtype)), shapes)
        return jax.device_put(zeros, parallel.replicated(self._mesh))

    def _step_fn(self, sums, variables, batch):
        new, outputs, images = self._sums(variables, batch)
        return jax.tree.map(_Sum.plus, sums, new, is_leaf=_is_sum), outputs, images

    def _sums(self, variables, batch):
        """(sums over the batch, maps, what is known of every image)."""
        tasks = self._system.tasks
        seen, frame = batch.get(own_size.STRETCHED, batch["image"]), batch["image"].shape[1:3]
        plain, merged = self._system.plain_and_merged(variables, seen, self._tta)
        targets = {name: task.targets(batch) for name, task in tasks.items()}

        def one(plain, merged, targets, valid, size):
            """Evaluates one image, as a batch of its own."""
            plain, merged, targets, valid = jax.tree.map(
                lambda array: array[None], (plain, merged, targets, valid)
            )
            finite = {name: jnp.isfinite(value).all() for name, value in merged.items()}
            if size is not None:
                plain, merged = (own_size.resized(tasks, p, size, frame) for p in (plain, merged))
            outputs, found = postprocess_all(tasks, merged), {}
            for name, task in tasks.items():
                labelled = task.labelled(targets[name], valid)
                found[name] = {
                    "metrics": task.metric_sums(
                        merged[name], targets[name], valid, *needed_maps(task, outputs)
                    ),
                    "loss": task.loss(plain[name], targets[name], valid) * labelled,
                    "images": labelled.astype(jnp.int32),
                    "not_finite": (valid[0] & ~finite[name]).astype(jnp.int32),
                }
            return found, jax.tree.map(lambda array: array[0], outputs)

        sizes = batch.get(own_size.SIZE)
        by_image, outputs = jax.vmap(one)(plain, merged, targets, batch["valid"], sizes)
        sums = jax.tree.map(lambda x: jnp.sum(x, axis=0, dtype=x.dtype), by_image)
        finite = {name: found["not_finite"] == 0 for name, found in by_image.items()}
        metric_sums = {name: found["metrics"] for name, found in by_image.items()}
        return sums, outputs, Images(batch["valid"], finite, metric_sums)

    def _metrics(self, totals) -> dict[str, float]:
        result = {}
        for name, task in self._system.tasks.items():
            found = totals[name]
            if not found["images"]:
                continue  # unlabelled in this split: no number is better than a made-up one
            own = {"loss": found["loss"] / found["images"]} | task.metrics(found["metrics"])
            for metric, value in own.items():
                result[f"{name}/{metric}"] = float("nan") if found["not_finite"] else float(value)
        losses = [result[f"{n}/loss"] for n in self._system.tasks if f"{n}/loss" in result]
        if losses:
            result["loss"] = float(sum(losses))
        return result | metrics.composite(result, headlines(self._system.tasks))


def headlines(tasks: Mapping[str, Task]) -> dict[str, str]:
    """{'<task>/<metric>': 'max' or 'min'} of every task's headline metric."""
    return {f"{name}/{task.headline[0]}": task.headline[1] for name, task in tasks.items()}


def metric_names(tasks: Mapping[str, Task], labelled: Collection[str]) -> list[str]:
    """What an `Evaluator` finds in a split, without evaluating anything.

    Args:
      tasks: {name: Task}, all of them.
      labelled: the names of those with a label in the split.
    """

    def sums():
        batch = {"image": jnp.zeros((1, *_TINY, 3), jnp.uint8)}
        predictions = {
            name: jnp.zeros((1, *_TINY, task.channels), jnp.float32) for name, task in tasks.items()
        }
        maps, valid = postprocess_all(tasks, predictions), jnp.ones(1, bool)
        return {
            name: task.metric_sums(
                predictions[name], task.targets(batch), valid, *needed_maps(task, maps)
            )
            for name, task in tasks.items()
        }

    zeros = jax.tree.map(lambda s: np.zeros(s.shape), jax.eval_shape(sums))
    names = [
        f"{name}/{metric}"
        for name in tasks
        if name in labelled
        for metric in ("loss", *tasks[name].metrics(zeros[name]))
    ]
    known = metrics.composite(dict.fromkeys(names, 1.0), headlines(tasks))
    return [*names, *["loss"] * bool(names), *(name for name in known if name not in names)]


class PredictionSaver:
    """Writes one .npz per example, `<id>.npz`: what each task predicts, and its targets.

    Use as `Evaluator`'s `on_batch`. Of an id of several parts, `a/b`, the first ones are folders.
    The arrays of a file are `<task>/prediction` as `postprocess` gives it (class ids, metres) and
    `<task>/target` as the batch holds it, where it does.
    """

    def __init__(self, folder: Path, stream: Any, tasks: Mapping[str, Task]):
        """Creates the folder.

        Args:
          folder: to write to.
          stream: the `EvalStream` that is evaluated; tells each example's id.
          tasks: {name: Task}.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._stream, self._tasks, self._step = folder, stream, tasks, 0

    def __call__(self, batch: dict[str, np.ndarray], outputs: dict[str, Any]) -> None:
        """Writes the examples of one batch; padding is left out."""
        ids = self._stream.example_ids(self._step)[self._stream.local_slice]
        self._step += 1
        for row, name in enumerate(ids):
            if not batch["valid"][row]:
                continue
            arrays = {}
            for task_name, task in self._tasks.items():
                arrays[f"{task_name}/prediction"] = outputs[task_name][task_name][row]
                if task.key in batch:
                    arrays[f"{task_name}/target"] = batch[task.key][row]
            # An id may be somebody else's, and lead nowhere outside.
            parts = [part for part in name.split("/") if part not in ("", ".", "..")]
            path = self._folder.joinpath(*parts[:-1], f"{parts[-1] if parts else '_'}.npz")
            path.parent.mkdir(parents=True, exist_ok=True)
            with _files.replacing(path, durable=False) as temporary, temporary.open("wb") as file:
                np.savez_compressed(file, **arrays)


def _drain(totals, sums):
    """Adds the device's sums to the host's in float64, which is exact for counts below 2^53."""
    host = jax.tree.map(_Sum.on_host, sums, is_leaf=_is_sum)
    return host if totals is None else jax.tree.map(np.add, totals, host)


def _local(array: jax.Array) -> np.ndarray:
    """The part of a batch-sharded array that this process holds, in order."""
    shards = sorted(array.addressable_shards, key=lambda shard: shard.index[0].start or 0)
    return np.concatenate([np.asarray(shard.data) for shard in shards])
