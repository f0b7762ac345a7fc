"""What every task type is derived from."""

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
        and not a regression; the weighting by Kendall et al. weighs the two differently.
      needs: the tasks without whose maps this one cannot be post-processed.
    """

    name: str
    key: str
    channels: int
    headline: tuple[str, str]
    classification: bool
    needs: tuple[str, ...] = ()

    def join(self, tasks: "Mapping[str, Task]") -> "Task":
        """The task, once all are built; a task that `needs` others may look something up there."""
        del tasks
        return self

    def labels(
        self,
        batch: Mapping[str, jax.Array],
        absent: float,
        dtype: DTypeLike,
        channels: tuple[int, ...] = (),
    ) -> jax.Array:
        """`batch[key]`, [B, H, W, *channels]; all `absent` if the batch has no such labels.

        Raises:
          ValueError: they have another shape.
        """
        shape = (*batch["image"].shape[:3], *channels)
        if self.key not in batch:
            return jnp.full(shape, absent, dtype)
        found = batch[self.key]
        _specs.expect_shape(self.name, f"batch[{self.key!r}]", found.shape, shape)
        return found.astype(dtype)

    def mask(self, targets: Any, valid: jax.Array) -> jax.Array:
        """[B, H, W] bool, the pixels that count. Arguments as of `loss`."""
        raise NotImplementedError

    def targets(self, batch: Mapping[str, jax.Array]) -> Any:
        """What the loss and the metrics compare with; nothing valid if the batch lacks `key`."""
        raise NotImplementedError

    def labelled(self, targets: Any, valid: jax.Array) -> jax.Array:
        """Bool scalar: whether any pixel counts. Arguments as of `loss`."""
        return jnp.any(self.mask(targets, valid))

    def denominator(self, targets: Any, valid: jax.Array) -> jax.Array:
        """Float32 scalar: the number that `loss` divides a sum by, here that of the pixels.

        The loss of a batch is the mean of its parts' losses, weighted by this. Arguments as of
        `loss`.
        """
        return jnp.sum(self.mask(targets, valid), dtype=jnp.int32).astype(jnp.float32)

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
        """Metrics by name, without the task's, of the summed-up split. NaN: nothing was valid."""
        raise NotImplementedError

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

    def from_average(self, average: jax.Array) -> jax.Array:
        """[B, H, W, C]: the prediction that `postprocess` turns into what [B, H, W, K] says."""
        raise NotImplementedError

    def visualize(self, value: Any) -> np.ndarray:
        """[H, W, 3] uint8, from one example of its map or of its target."""
        raise NotImplementedError

    def panel(self, image: np.ndarray, value: np.ndarray) -> maps.Panel:
        """One map laid over its [H, W, 3] uint8 image, with what explains the colours."""
        raise NotImplementedError

    def error_panel(self, value: np.ndarray, target: Any) -> maps.Panel | None:
        """How far one map is from its target, for pictures of validation; None by default."""
        del value, target
        return None

    def encode(self, value: np.ndarray) -> tuple[bytes, str, str]:
        """(file contents, suffix such as '.png', remark) of one map.

        The remark is '' or says what the file could not hold.
        """
        raise NotImplementedError

    def describe(self) -> dict[str, Any]:
        """JSON-able facts for programs that read its map and know nothing of this project.

        `kind` is what the values mean, `file` the form in which `encode` writes them, one of those
        that serving/run_saved_model.py lists; further keys as the kind needs them.
        """
        raise NotImplementedError
