"""What every task type is derived from."""

import io
import math
import types
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from mtl_jax.pictures import maps
from mtl_jax.tasks import _specs


class Task:
    """What `build(name, options, spec)` of a module of this package returns: a frozen dataclass.

    Masks, sums and means are over the global batch, so all of it may run under `jax.jit` with the
    batch axis sharded.

    Attributes:
      name: the task's name, the key of `Predictions.final`.
      key: the batch's key that holds its labels.
      channels: C, the number of output channels.
      headline: (metric, 'max' or 'min'), by which a checkpoint of this task alone is chosen.
      classification: whether its loss is a cross-entropy, the negative log-likelihood of a class,
        and not a regression; the weighting by Kendall et al. treats the two differently.
      needs: the tasks without whose maps this one cannot be post-processed.
      class_names: of a map of classes; () of others.
      by_class: {metric: its title}, of which `metrics` has '<metric>/<class>' for each class. More
        is better.
      absent: the label that means "unknown"; a batch without `key` has no other.
      label_dtype: that `labels` come in.
      label_channels: of a label; () of one number per pixel.
      resized_by: how a prediction goes to another size: 'linear', of what `to_resize` makes of it;
        'nearest'; '' if it cannot, as its numbers are lengths in the image.
    """

    name: str
    key: str
    channels: int
    headline: tuple[str, str]
    classification: bool
    needs: tuple[str, ...] = ()
    class_names: tuple[str, ...] = ()
    by_class: Mapping[str, str] = types.MappingProxyType({})
    absent: float = 0.0
    label_dtype: DTypeLike = jnp.float32
    label_channels: tuple[int, ...] = ()
    resized_by: str = "linear"

    @property
    def tabled(self) -> Mapping[str, str]:
        """{metric: 'max' or 'min'} of what the field's tables compare, and with them Δm.

        The metric that stands for the task comes first. By default it is the headline alone.
        """
        return dict([self.headline])

    def join(self, tasks: "Mapping[str, Task]") -> "Task":
        """The task, once all are built; a task that `needs` others may look something up there."""
        del tasks
        return self

    def labels(self, batch: Mapping[str, jax.Array]) -> jax.Array:
        """`batch[key]`, [B, H, W, *label_channels]; all `absent` if the batch has no such labels.

        Raises:
          ValueError: they have another shape.
        """
        shape = (*batch["image"].shape[:3], *self.label_channels)
        if self.key not in batch:
            return jnp.full(shape, self.absent, self.label_dtype)
        found = batch[self.key]
        _specs.expect_shape(self.name, f"batch[{self.key!r}]", found.shape, shape)
        return found.astype(self.label_dtype)

    def targets(self, batch: Mapping[str, jax.Array]) -> Any:
        """What the loss and the metrics compare with, by default the `labels`.

        Nothing of it is valid if the batch lacks `key`.
        """
        return self.labels(batch)

    def mask(self, targets: Any, valid: jax.Array) -> jax.Array:
        """[B, H, W] bool, the pixels that count, by default whose label is not `absent`.

        A NaN that is not the absent label itself counts: it reaches loss and metrics, which become
        NaN. Arguments as of `loss`.
        """
        known = ~jnp.isnan(targets) if math.isnan(self.absent) else targets != self.absent
        if self.label_channels:
            known = jnp.any(known, axis=-1)
        return known & valid[:, None, None]

    def loss_mask(self, targets: Any, valid: jax.Array) -> jax.Array:
        """[B, H, W] bool, the pixels that count in the loss, by default those of `mask`.

        `loss`, `labelled` and `denominator` go by it, metrics by `mask`. Arguments as of `loss`.
        """
        return self.mask(targets, valid)

    def check(self, prediction: jax.Array, labels: jax.Array) -> None:
        """Raises ValueError if a prediction is not [B, H, W, channels] of labels [B, H, W, ...]."""
        shape = (*labels.shape[:3], self.channels)
        _specs.expect_shape(self.name, "prediction", prediction.shape, shape)

    def labelled(self, targets: Any, valid: jax.Array) -> jax.Array:
        """Bool scalar: whether any pixel counts in the loss. Arguments as of `loss`."""
        return jnp.any(self.loss_mask(targets, valid))

    def denominator(self, targets: Any, valid: jax.Array) -> jax.Array:
        """Float32 scalar: the number that `loss` divides a sum by, here that of the pixels.

        The loss of a batch is the mean of its parts' losses, weighted by this. Arguments as of
        `loss`.
        """
        return jnp.sum(self.loss_mask(targets, valid), dtype=jnp.int32).astype(jnp.float32)

    def at(self, step: jax.Array) -> "Task":
        """The task as it is at one update, of losses that change in the course of a run.

        Args:
          step: updates made so far, an int32 scalar, possibly traced.
        """
        del step
        return self

    def loss(self, prediction: jax.Array, targets: Any, valid: jax.Array) -> jax.Array:
        """Float32 scalar; 0 without gradient where nothing is valid.

        Args:
          prediction: [B, H, W, C] logits or normalised values, any float type.
          targets: from `targets`.
          valid: [B] bool, False for the padding of a partial batch.
        """
        raise NotImplementedError

    def metric_sums(self, prediction: jax.Array, targets: Any, valid: jax.Array) -> Any:
        """A pytree of sums over this batch that add up over batches. Arguments as of `loss`."""
        raise NotImplementedError

    def metrics(self, sums: Any) -> dict[str, float]:
        """Metrics by name, without the task's, of the summed-up split. NaN: nothing was valid.

        What a name is like says where the metric is shown, see `mtl_jax.metrics.names`.
        """
        raise NotImplementedError

    def confusion(self, sums: Any) -> np.ndarray | None:
        """[C, C] pixels of the true class (row) that were taken for a class; None by default."""
        del sums
        return None

    def postprocess(self, prediction: jax.Array) -> dict[str, jax.Array]:
        """[B, H, W, ...] maps by name; the one called like the task is its picture and its file.

        This and `metric_sums` get further positional arguments if the task `needs` others: the maps
        called like those tasks, in that order. A task that needs none treats every pixel by itself,
        as it may be given a part of an image.
        """
        raise NotImplementedError

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
        raise NotImplementedError

    def to_resize(self, prediction: jax.Array) -> jax.Array:
        """[B, h, w, K] float32 that may be interpolated; `from_average` undoes it."""
        return self.to_average(prediction, mirrored=False, zoom=1.0)

    def from_average(self, average: jax.Array) -> jax.Array:
        """[B, H, W, C]: the prediction that `postprocess` turns into what [B, H, W, K] says.

        By default the average itself.
        """
        return average

    def visualize(self, value: Any) -> np.ndarray:
        """[H, W, 3] uint8, from one example of its map or of its target."""
        raise NotImplementedError

    def panel(self, image: np.ndarray, value: np.ndarray) -> maps.Panel:
        """One map laid over its [H, W, 3] uint8 image, with what explains the colours.

        By default what `visualize` draws over the photograph without its colours.
        """
        picture = maps.lay_over(image, self.visualize(value))
        return maps.Panel(self.name, picture, opacity=maps.OPACITY)

    @property
    def scored_keys(self) -> tuple[str, ...]:
        """The batch's keys that `scorer` needs besides `key`."""
        return ()

    def scorer(self, options: Mapping[str, Any]) -> Any:
        """What makes the figures that take seconds for an image, in --mode=evaluate alone.

        Args:
          options: `config.eval.scores`.

        Returns:
          None, as of most tasks; or an object with `add(row, value)`, called with the arrays of one
          example of the batch and its map, on the host; `done`, how many of them are worked out;
          `finish(progress) -> {metric: value}`, of the whole split, which calls `progress()` as it
          goes on; and `close()`, which ends its processes.
        """
        del options

    def error_panel(self, value: np.ndarray, target: Any) -> maps.Panel | None:
        """How far one map is from its target, for pictures of validation; None by default."""
        del value, target
        return None

    def encode(self, value: np.ndarray) -> tuple[bytes, str, str]:
        """(file contents, suffix such as '.png', remark) of one map.

        The remark is '' or says what the file could not hold. By default float32 .npy.
        """
        buffer = io.BytesIO()
        np.save(buffer, np.asarray(value, np.float32))
        return buffer.getvalue(), ".npy", ""

    def describe(self) -> dict[str, Any]:
        """JSON-able facts for programs that read its map and know nothing of this project.

        `kind` is what the values mean, `file` the form in which `encode` writes them, one of those
        that serving/run_saved_model.py lists; further keys as the kind needs them. By default the
        class's name, and 'npy'.
        """
        return {"kind": type(self).__name__.lower(), "file": "npy"}
