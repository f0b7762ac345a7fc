"""Test-time augmentation: one prediction from several views of a photograph (report B 4.4).

The photograph is resized by each scale, and mirrored if asked for. Each view is predicted on its
own; its prediction is mirrored back and resized to the photograph's size by explicit size; then all
are averaged, the plain photograph's included, and divided by how many they are (report B's printed
formula divides four maps by three). What is averaged is each task's to say, `Task.to_average`.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mtl_jax import _options, layers
from mtl_jax.errors import ConfigError
from mtl_jax.tasks import Task

SEMANTICS = ("softmax", "vote", "plain")
# More than one vote, less than two: the plain photograph decides a tie that it takes part in.
_PLAIN_VOTE = 1.5


@dataclasses.dataclass(frozen=True)
class TestTimeAugmentation:
    """Which views there are besides the plain photograph, and how class maps are merged.

    Attributes:
      scales: of the additional views; report B: 0.5, 2 and 3.
      flip: whether every scale, 1 included, is predicted on the mirror image too.
      semantics: 'softmax' averages class probabilities, resized bilinearly. 'vote' lets the views'
        labels vote, resized by nearest neighbour; the most votes win, and of a tie the plain
        photograph's class if it is in it, otherwise the lowest id. 'plain' merges no class maps:
        they stay the plain photograph's, as in report B's table.
    """

    __test__ = False  # pytest would take it for a test

    scales: tuple[float, ...] = ()
    flip: bool = False
    semantics: str = "softmax"

    @property
    def views(self) -> tuple[tuple[float, bool], ...]:
        """(scale, mirrored) of all views but the plain photograph."""
        flips = (False, True) if self.flip else (False,)
        everything = [(scale, flip) for scale in (1.0, *self.scales) for flip in flips]
        return tuple(everything[1:])

    def merge(
        self,
        predict: Callable[[jax.Array], Mapping[str, jax.Array]],
        tasks: Mapping[str, Task],
        image: jax.Array,
        plain: Mapping[str, jax.Array],
    ) -> dict[str, jax.Array]:
        """The merged predictions, in the form of plain ones.

        Args:
          predict: image [B, h, w, 3], 0 ... 255, of any size, uint8 or float32 ─► {task:
            [B, h, w, C]}.
          tasks: {name: Task}.
          image: [B, H, W, 3] uint8.
          plain: `predict(image)`; returned as it is if there are no views.
        """
        if not self.views:
            return dict(plain)
        size = image.shape[1:3]
        kept = {name for name, task in tasks.items() if self._kept(task)}
        tasks = {name: task for name, task in tasks.items() if name not in kept}
        sums = {}
        for name, task in tasks.items():
            sums[name] = self._values(task, plain[name], size, mirrored=False, zoom=1.0)
            if self._votes(task):
                sums[name] *= _PLAIN_VOTE
        for scale, mirrored in self.views:
            predictions = self._predict_view(predict, image, scale, mirrored)
            for name, task in tasks.items():
                sums[name] += self._values(
                    task, predictions[name], size, mirrored=mirrored, zoom=scale
                )
        count = 1 + len(self.views)
        merged = {name: task.from_average(sums[name] / count) for name, task in tasks.items()}
        return merged | {name: plain[name] for name in kept}

    def _predict_view(self, predict, image, scale, mirrored):
        """Predictions [B, h, w, C] on one view, with columns in the photograph's order."""
        height, width = (max(1, round(side * scale)) for side in image.shape[1:3])
        view = image.astype(jnp.float32)
        if scale != 1.0:
            view = layers.resize_bilinear(view, (height, width))
        if mirrored:
            view = view[:, :, ::-1]
        columns = slice(None, None, -1) if mirrored else slice(None)
        return {name: value[:, :, columns] for name, value in predict(view).items()}

    def _kept(self, task) -> bool:
        return self.semantics == "plain" and task.classification

    def _votes(self, task) -> bool:
        return self.semantics == "vote" and task.classification

    def _values(self, task, prediction, size, *, mirrored, zoom):
        """What one view adds: [B, H, W, K] values, or one vote for a class."""
        values = task.to_average(prediction, mirrored=mirrored, zoom=zoom)
        if self._votes(task):
            labels = _resize_nearest(jnp.argmax(values, axis=-1), size)
            return jax.nn.one_hot(labels, values.shape[-1], dtype=jnp.float32)
        return layers.resize_bilinear(values, size)


def build(config: Any) -> TestTimeAugmentation:
    """Reads `config.eval.tta`.

    Args:
      config: `config.eval.tta`: scales, flip, semantics.

    Raises:
      ConfigError: a scale that is not positive, 1 (which is always there) or given twice; an
        unknown way of merging class maps.
    """
    scales = tuple(float(scale) for scale in config.scales)
    if len({1.0, *scales}) != 1 + len(scales) or not all(0 < s < np.inf for s in scales):
        raise ConfigError(
            f"config.eval.tta.scales={scales}: expected different positive scales besides 1, which "
            "is always one of the views, for example (0.5, 2.0)."
        )
    key = "config.eval.tta.semantics"
    _options.choice(config.semantics, dict.fromkeys(SEMANTICS), key=key)
    return TestTimeAugmentation(scales, bool(config.flip), config.semantics)


def _resize_nearest(labels: jax.Array, size: tuple[int, int]) -> jax.Array:
    """[B, h, w] ─► [B, H, W]: the label at the centre of each output pixel."""
    rows, columns = (
        ((np.arange(large) + 0.5) * small / large).astype(np.int32)
        for large, small in zip(size, labels.shape[1:3])
    )
    return labels[:, rows][:, :, columns]
