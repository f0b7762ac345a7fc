"""Instances: the offset of every pixel from the centroid of the instance that it belongs to."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mtl_jax import clustering, losses, metrics
from mtl_jax._options import Option, number, text
from mtl_jax._segments import Segments
from mtl_jax.errors import ConfigError
from mtl_jax.pictures import instances as instance_drawing
from mtl_jax.pictures import maps as visualization
from mtl_jax.tasks._task import Task

OPTIONS = {
    "semantics": Option(
        None,
        "segmentation task that says which pixels belong to instances; None: offsets only",
        text,
    ),
    "classes": Option(None, "names or ids of those; None: what the data set says of its instances"),
    "min_votes": Option(
        clustering.MIN_VOTES, "of a centre, see mtl_jax.clustering.vote", number(above=0)
    ),
}
KINDS = ("instances",)
HEADLINE = ("rms", "min")


@dataclasses.dataclass(frozen=True)
class Offsets(Task):
    """Two numbers per pixel, (dy, dx) in pixels. See `mtl_jax.tasks.Task` for the methods.

    Attributes:
      name: of the task.
      key: of its labels in a batch: int32 [B, H, W] instance ids, 0 = none.
    """

    name: str
    key: str

    channels = 2
    headline = HEADLINE
    classification = False
    label_dtype = jnp.int32
    resized_by = ""

    def targets(self, batch: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
        """Offsets from the centroids of what each image shows of its instances (report E).

        They are made here, after augmentation, so that nothing has to transform them.

        Returns:
          `ids` [B, H, W] int32; `mask` [B, H, W] bool, the pixels of instances; `offsets`
          [B, H, W, 2] float32, (row, column) of the pixel minus those of the instance's centroid,
          0 outside the mask. All of it is empty if the batch has no such labels.
        """
        ids = self.labels(batch)
        if self.key not in batch:
            return _targets(ids, jnp.zeros((*ids.shape, 2), jnp.float32))
        return _targets(ids, centroid_offsets(ids))

    def mask(self, targets: Mapping[str, jax.Array], valid: jax.Array) -> jax.Array:
        return targets["mask"] & valid[:, None, None]

    def loss(
        self, prediction: jax.Array, targets: Mapping[str, jax.Array], valid: jax.Array
    ) -> jax.Array:
        """Σ |m·ŷ − y| over both channels / (Σ m + 10⁻⁴), over the global batch (report E)."""
        self.check(prediction, targets["offsets"])
        distance = losses.l1_per_pixel(prediction.astype(jnp.float32), targets["offsets"])
        return losses.sum_over_count(distance, self.loss_mask(targets, valid))

    def denominator(self, targets: Mapping[str, jax.Array], valid: jax.Array) -> jax.Array:
        """Σ m + 10⁻⁴, as in the loss."""
        return super().denominator(targets, valid) + losses.COUNT_OFFSET

    def metric_sums(
        self, prediction: jax.Array, targets: Mapping[str, jax.Array], valid: jax.Array
    ) -> dict[str, jax.Array]:
        self.check(prediction, targets["offsets"])
        offsets, mask = prediction.astype(jnp.float32), self.mask(targets, valid)
        return metrics.offset_sums(targets["offsets"], offsets, mask, valid)

    def metrics(self, sums: Mapping[str, np.ndarray]) -> dict[str, float]:
        """See `mtl_jax.metrics.offset_metrics`."""
        return metrics.offset_metrics(sums)

    def postprocess(self, prediction: jax.Array) -> dict[str, jax.Array]:
        """{task: [B, H, W, 2] float32}, in pixels of the image that the network was given."""
        return {self.name: prediction.astype(jnp.float32)}

    def to_average(self, prediction: jax.Array, *, mirrored: bool, zoom: float) -> jax.Array:
        """[B, h, w, 2] in pixels of the scene; in a mirror image dx has the other sign."""
        offsets = prediction.astype(jnp.float32) / zoom
        return offsets * jnp.float32([1, -1]) if mirrored else offsets

    def visualize(self, value: Any) -> np.ndarray:
        """Colours of the directions and lengths; black outside the instances of a target."""
        if isinstance(value, Mapping):
            picture = visualization.offset_picture(value["offsets"])
            return np.where(np.asarray(value["mask"])[..., None], picture, np.uint8(0))
        return visualization.offset_picture(value)

    def panel(self, image: np.ndarray, value: np.ndarray) -> visualization.Panel:
        """The offsets over the photograph without its colours."""
        picture = visualization.blend(visualization.grey(image), self.visualize(value))
        return visualization.Panel(self.name, picture)

    def describe(self) -> dict[str, Any]:
        return {"kind": "offsets", "unit": "px", "axes": ["down", "right"], "file": "npy"}


@dataclasses.dataclass(frozen=True)
class Instances(Offsets):
    """Offsets that are decoded to instances, with the help of another task's classes.

    Attributes:
      needs: (name of the segmentation task,).
      classes: whose pixels belong to instances, as names or ids of that task.
      class_ids: the same as ids; found by `join`.
      min_votes: see `mtl_jax.clustering.vote`.
    """

    needs: tuple[str, ...] = ()
    classes: tuple[str | int, ...] = ()
    min_votes: float = clustering.MIN_VOTES
    class_ids: tuple[int, ...] = ()

    def join(self, tasks: Mapping[str, Task]) -> "Instances":
        """Looks up the ids of `classes`.

        Raises:
          ConfigError: there are no `classes`, or the other task has none such.
        """
        semantics = tasks[self.needs[0]]
        names = semantics.class_names
        ids = {name: i for i, name in enumerate(names)} | {i: i for i in range(len(names))}
        unknown = [str(c) for c in self.classes if c not in ids]
        if unknown or not self.classes:
            raise ConfigError(
                f"config.tasks.{self.name}.classes: expected classes of {semantics.name!r} "
                f"({', '.join(names) or 'it has none'}), found "
                f"{', '.join(unknown) or 'none, and the data set says none either'}."
            )
        return dataclasses.replace(self, class_ids=tuple(ids[c] for c in self.classes))

    def metric_sums(
        self,
        prediction: jax.Array,
        targets: Mapping[str, jax.Array],
        valid: jax.Array,
        semantics: jax.Array,
    ) -> dict[str, Any]:
        ids = self.postprocess(prediction, semantics)[self.name]
        return {
            "offsets": super().metric_sums(prediction, targets, valid),
            "instances": metrics.instance_sums(targets["ids"], ids, valid),
        }

    def metrics(self, sums: Mapping[str, Any]) -> dict[str, float]:
        """See `mtl_jax.metrics.offset_metrics` and `instance_metrics`."""
        return super().metrics(sums["offsets"]) | metrics.instance_metrics(sums["instances"])

    def postprocess(self, prediction: jax.Array, semantics: jax.Array) -> dict[str, jax.Array]:
        """{task: [B, H, W] int32 instance ids from 1, 0 = none; 'offsets': [B, H, W, 2] float32}.

        Args:
          prediction: [B, H, W, 2].
          semantics: [B, H, W] int32, the map of the task that this one needs.
        """
        offsets = prediction.astype(jnp.float32)
        things = jnp.isin(semantics, jnp.array(self.class_ids, semantics.dtype))
        ids = clustering.vote(offsets, things, min_votes=self.min_votes)
        return {self.name: ids, "offsets": offsets}

    def visualize(self, value: Any) -> np.ndarray:
        """The instances on black, each in a colour, with an outline and its number."""
        ids = value["ids"] if isinstance(value, Mapping) else value
        return instance_drawing.draw(ids)

    def panel(self, image: np.ndarray, value: np.ndarray) -> visualization.Panel:
        """The instances over the photograph, each in a colour, with an outline and its number."""
        return visualization.Panel(self.name, instance_drawing.draw_over(image, value))

    def error_panel(self, value: np.ndarray, target: Mapping[str, np.ndarray]):
        """Which pixels of instances are missed, and which are none."""
        found, known = np.asarray(value) > 0, np.asarray(target["ids"]) > 0
        return visualization.missed_and_invented(self.name, found, known)

    def encode(self, value: np.ndarray) -> tuple[bytes, str, str]:
        """A 16-bit PNG of instance ids."""
        return visualization.encode_id_png(value), ".png", ""

    def describe(self) -> dict[str, Any]:
        return {"kind": "instances", "class_ids": list(self.class_ids), "file": "id_png"}


def centroid_offsets(ids: jax.Array) -> jax.Array:
    """Row and column of every pixel minus those of its instance's centroid, in pixels.

    Any int32 ids and any number of them. Coordinates are summed as integers, so the result depends
    on neither the ids nor the order of summation.

    Args:
      ids: [B, H, W] int32, 0 = no instance.

    Returns:
      [B, H, W, 2] float32, 0 where there is no instance.

    Raises:
      ConfigError: an image so large that the sums might overflow, about 2900×2900.
    """
    height, width = ids.shape[1:]
    # Coordinates count from the middle, so half an image on one side is the most that adds up.
    if height * width * max(height, width) // 8 >= 2**31 - 1:
        raise ConfigError(
            f"centroid_offsets: the coordinates of an instance in images of {height}×{width} may "
            "add up to more than 32 bits. Train on crops or on smaller images."
        )
    rows, columns = jnp.mgrid[:height, :width].astype(jnp.int32)
    rows, columns = rows.ravel() - height // 2, columns.ravel() - width // 2

    def one(ids):
        segments = Segments(ids.ravel())
        area = segments.sum(jnp.ones_like(rows)).astype(jnp.float32)
        offsets = [x - segments.sum(x).astype(jnp.float32) / area for x in (rows, columns)]
        return jnp.stack(offsets, axis=-1).reshape(height, width, 2)

    return jnp.where((ids != 0)[..., None], jax.vmap(one)(ids), 0.0)


def build(name: str, options: Any, spec: Mapping[str, Any] | None) -> Offsets | Instances:
    """Builds the task `name`: `Instances` where the config names the `semantics`, else `Offsets`.

    Args:
      name: of the task.
      options: `config.tasks.<name>`: `key` and `OPTIONS`.
      spec: the data set's LabelSpec of the task's key as a dict, or None if it has no such key.

    Raises:
      ConfigError: the key holds something else than instance ids.
    """
    key = options.key
    if options.semantics is None:
        if options.classes is not None:
            raise ConfigError(
                f"config.tasks.{name}.classes is set, but not .semantics, the segmentation task "
                "that they are classes of."
            )
        return Offsets(name=name, key=key)
    classes = options.classes
    if classes is None:
        classes = spec["instance_classes"] if spec else ()
    return Instances(
        name=name,
        key=key,
        needs=(options.semantics,),
        classes=tuple(classes),
        min_votes=options.min_votes,
    )


def _targets(ids, offsets) -> dict[str, jax.Array]:
    return {"ids": ids, "mask": ids != 0, "offsets": offsets}
