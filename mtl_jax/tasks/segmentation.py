"""Semantic segmentation, or any other map of class ids such as human parts."""

import dataclasses
import types
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mtl_jax import losses, metrics
from mtl_jax._options import Option, each, one_of, text, whole
from mtl_jax.errors import ConfigError
from mtl_jax.pictures import maps as visualization
from mtl_jax.pictures import palettes
from mtl_jax.tasks._task import Task

LOSSES = {"cross_entropy": losses.cross_entropy}
DEFAULT_IGNORE = 255
OPTIONS = {
    "loss": Option("cross_entropy", "over pixels with a class", one_of(*LOSSES)),
    "num_classes": Option(None, "needed where the data set has no such labels", whole(least=1)),
    "ignore": Option(
        None, "the id that is no class; 255 if the data set says none either", measures=True
    ),
    "evaluated_classes": Option(
        None, "names: adds the metric miou_evaluated, the mean IoU over them alone", each(text)
    ),
}
KINDS = ("classes",)
HEADLINE = ("miou", "max")
TABLED = {"miou": "max", "pixel_accuracy": "max"}


@dataclasses.dataclass(frozen=True)
class Segmentation(Task):
    """One class per pixel. See `mtl_jax.tasks.Task` for the methods.

    Attributes:
      name: of the task.
      key: of its labels in a batch: int32 [B, H, W], 0 ... C−1 or `ignore`.
      class_names: C names.
      palette: RGB by class id.
      ignore: the id that counts neither in the loss nor in any metric.
      loss_name: a key of `LOSSES`.
      flip_swap: pairs of class ids that a mirror image exchanges.
      evaluated_ids: the classes of the metric `miou_evaluated`; () leaves it out.
    """

    name: str
    key: str
    class_names: tuple[str, ...] = dataclasses.field()  # needed, though the base class has ()
    palette: tuple[tuple[int, int, int], ...]
    ignore: int
    loss_name: str
    flip_swap: tuple[tuple[int, int], ...] = ()
    evaluated_ids: tuple[int, ...] = ()

    headline = HEADLINE
    tabled = TABLED
    by_class = types.MappingProxyType({"iou": "IoU"})
    classification = True
    label_dtype = jnp.int32
    resized_by = "nearest"

    @property
    def channels(self) -> int:
        return len(self.class_names)

    @property
    def absent(self) -> int:
        return self.ignore

    def loss(self, prediction: jax.Array, targets: jax.Array, valid: jax.Array) -> jax.Array:
        self.check(prediction, targets)
        mask = self.loss_mask(targets, valid)
        return LOSSES[self.loss_name](prediction, targets, mask)

    def metric_sums(
        self, prediction: jax.Array, targets: jax.Array, valid: jax.Array
    ) -> dict[str, jax.Array]:
        self.check(prediction, targets)
        mask = self.mask(targets, valid)
        labels = self.postprocess(prediction)[self.name]
        return metrics.segmentation_sums(targets, labels, mask, self.channels)

    def metrics(self, sums: Mapping[str, np.ndarray]) -> dict[str, float]:
        """See `mtl_jax.metrics.segmentation_metrics` and `segmentation_variants`."""
        confusion = sums["confusion"]
        found = metrics.segmentation_metrics(confusion, self.class_names, where=self.name)
        if self.evaluated_ids:
            found["miou_evaluated"] = metrics.miou_of_classes(confusion, self.evaluated_ids)
        return found | metrics.segmentation_variants(sums)

    def confusion(self, sums: Mapping[str, np.ndarray]) -> np.ndarray:
        return sums["confusion"][:-1]  # the last row, of other ids, is empty

    def postprocess(self, prediction: jax.Array) -> dict[str, jax.Array]:
        """{task: [B, H, W] int32}, the most likely class; the lowest id of several such."""
        return {self.name: jnp.argmax(prediction, axis=-1).astype(jnp.int32)}

    def to_average(self, prediction: jax.Array, *, mirrored: bool, zoom: float) -> jax.Array:
        """[B, h, w, C] probabilities; a mirror image's left is right."""
        del zoom
        probabilities = jax.nn.softmax(prediction.astype(jnp.float32), axis=-1)
        order = np.arange(self.channels)
        for a, b in self.flip_swap if mirrored else ():
            order[[a, b]] = b, a
        return probabilities[..., order]

    def from_average(self, average: jax.Array) -> jax.Array:
        """[B, H, W, C] logits whose softmax is `average`."""
        return jnp.log(jnp.maximum(average, jnp.finfo(jnp.float32).tiny))

    def visualize(self, value: np.ndarray) -> np.ndarray:
        return visualization.label_picture(value, np.asarray(self.palette, np.uint8))

    def panel(self, image: np.ndarray, value: np.ndarray) -> visualization.Panel:
        """The label map over the photograph without its colours, with a legend of the classes."""
        # What is no class is first or last. `np.unique` takes several times as long.
        ids = np.clip(np.asarray(value, np.int32), -1, self.channels)
        counts = np.bincount(ids.ravel() + 1, minlength=self.channels + 2)
        present = {self.class_names[c] for c in np.flatnonzero(counts[1:-1])}
        stripes = (("no label", None),) if counts[0] or counts[-1] else ()
        return visualization.Panel(
            title=self.name,
            picture=visualization.outline(
                visualization.lay_over(image, self.visualize(value)), np.asarray(value)
            ),
            opacity=visualization.OPACITY,
            legend=(*zip(self.class_names, self.palette), *stripes),
            absent=frozenset(self.class_names) - present,
        )

    def error_panel(self, value: np.ndarray, target: np.ndarray) -> visualization.Panel:
        """Which pixels have another class than the label says."""
        known = target != self.ignore
        wrong = known & (value != target)
        share = np.sum(wrong) / max(np.sum(known), 1)
        return visualization.wrong_pixels(f"{self.name}: {100 * share:.1f} % wrong", wrong, known)

    def encode(self, value: np.ndarray) -> tuple[bytes, str, str]:
        """A palette PNG of class ids."""
        palette = np.asarray(self.palette, np.uint8)
        return visualization.encode_label_png(value, palette), ".png", ""

    def describe(self) -> dict[str, Any]:
        return {
            "kind": "classes",
            "class_names": list(self.class_names),
            "palette": [list(colour) for colour in self.palette],
            "file": "palette_png",
        }


def build(name: str, options: Any, spec: Mapping[str, Any] | None) -> Segmentation:
    """Builds the task `name`.

    Args:
      name: of the task.
      options: `config.tasks.<name>`: `key` and `OPTIONS`.
      spec: the data set's LabelSpec of the task's key as a dict, or None if it has no such key.

    Raises:
      ConfigError: the classes are unknown or contradictory.
    """
    key, num_classes = options.key, options.num_classes
    if spec is None:
        if num_classes is None:
            raise ConfigError(
                f"config.tasks.{name}: the data set has no labels {key!r}, so the number of "
                f"classes is unknown. Set config.tasks.{name}.num_classes, or "
                f"config.tasks.{name}.key to a key that the data set has."
            )
        spec = {"class_names": [f"class_{c}" for c in range(num_classes)], "palette": ()}
    class_names = tuple(spec["class_names"])
    if not class_names or num_classes not in (None, len(class_names)):
        raise ConfigError(
            f"config.tasks.{name}: expected the number of classes of the data set's {key!r}, "
            f"{len(class_names)}, found num_classes={num_classes}."
        )
    palette = spec["palette"] or palettes.distinct(len(class_names))
    return Segmentation(
        name=name,
        key=key,
        class_names=class_names,
        palette=tuple(tuple(colour) for colour in palette),
        ignore=_ignore(name, key, options.ignore, spec.get("ignore"), len(class_names)),
        loss_name=options.loss,
        flip_swap=tuple(tuple(pair) for pair in spec.get("flip_swap", ())),
        evaluated_ids=_evaluated_ids(name, options.evaluated_classes or (), class_names),
    )


def _evaluated_ids(name, chosen, class_names) -> tuple[int, ...]:
    unknown = [c for c in chosen if c not in class_names]
    if unknown:
        raise ConfigError(
            f"config.tasks.{name}.evaluated_classes: {', '.join(unknown)} are not among the "
            f"classes {', '.join(class_names)}."
        )
    return tuple(class_names.index(c) for c in chosen)


def _ignore(name, key, configured, specified, num_classes) -> int:
    """The ignored id, on which config and data set must not disagree."""
    if None not in (configured, specified) and configured != specified:
        raise ConfigError(
            f"config.tasks.{name}.ignore={configured}, but the data set's {key!r} uses "
            f"{specified}. Leave it unset."
        )
    known = [value for value in (configured, specified) if value is not None]
    ignore = known[0] if known else DEFAULT_IGNORE
    if 0 <= ignore < num_classes:
        raise ConfigError(
            f"config.tasks.{name}: the ignored id {ignore} is one of the {num_classes} classes "
            f"(0 ... {num_classes - 1}); expected an id outside of them."
        )
    return ignore
