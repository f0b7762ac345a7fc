"""From images of any size to maps of the same size: shrinking, padding, batches and tiles."""

import contextlib
import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any

import jax
import numpy as np
from PIL import Image

from mtl_jax import tasks as all_tasks
from mtl_jax.pictures.maps import resize_nearest
from mtl_jax.prediction import tiles
from mtl_jax.prediction.settings import Settings
from mtl_jax.tasks import Task

# Images of other sizes than most, that wait for company: so many batches of them at most.
_WAITING_BATCHES = 4


@dataclasses.dataclass(frozen=True)
class Item:
    """A photograph, or a frame of a video.

    Attributes:
      name: for its files.
      origin: for messages.
      image: [H, W, 3] uint8.
      time: of a frame, in seconds since its video began.
    """

    name: str
    origin: str
    image: np.ndarray
    time: Fraction = Fraction(0)


class Inferer:
    """Makes maps of images of any size, one compilation per padded size."""

    def __init__(
        self,
        apply_fn: Callable[[np.ndarray], Mapping[str, jax.Array]],
        tasks: Mapping[str, Task],
        settings: Settings,
    ):
        """Compiles nothing yet; the first image does.

        Args:
          apply_fn: uint8 [B, h, w, 3] ─► {task: [B, h, w, C]}, B = `settings.batch_size`.
          tasks: {name: Task}.
          settings: batch size, largest size, tiles.
        """
        self._apply, self._tasks, self._settings = apply_fn, dict(tasks), settings
        self._joint = [name for name, task in self._tasks.items() if task.needs]
        self._postprocess = jax.jit(self._postprocess_fn)
        self._postprocess_joint = jax.jit(self._postprocess_joint_fn)

    def run(self, items: Iterable[Item]) -> Iterator[tuple[Item, dict[str, np.ndarray]]]:
        """Makes maps of one image after the other, holding a few of them at a time.

        Images of one padded size are predicted together, so those of different sizes may change
        places; those of one size, as the frames of a video, keep their order. What is predicted of
        an image does not depend on the others: a batch that is not full is filled up.

        Yields:
          An item, and {task: [H, W, ...]} of it at the image's own size.
        """
        for group in self._groups(items):
            with naming(*(item.origin for item in group)):
                maps = self._maps([item.image for item in group])
            yield from zip(group, maps)

    def _groups(self, items: Iterable[Item]) -> Iterator[list[Item]]:
        """Up to `batch_size` items of one padded size; one alone if it is to be tiled."""
        waiting: dict[tuple[int, int], list[Item]] = {}
        for item in items:
            size = _shrunk(item.image.shape[:2], self._settings.max_size)
            is_tiled = self._settings.tile_shape(size) is not None
            shape = size if is_tiled else self._settings.sizes.padded(size)
            waiting.setdefault(shape, []).append(item)
            if is_tiled or len(waiting[shape]) == self._settings.batch_size:
                yield waiting.pop(shape)
            elif sum(map(len, waiting.values())) >= _WAITING_BATCHES * self._settings.batch_size:
                yield waiting.pop(next(iter(waiting)))  # those that have waited longest
        yield from waiting.values()

    def _maps(self, images: Sequence[np.ndarray]) -> list[dict[str, np.ndarray]]:
        small = [shrink(image, self._settings.max_size) for image in images]
        tile = self._settings.tile_shape(small[0].shape[:2])
        if tile:
            maps = [self._maps_of_tiled(image, tile) for image in small]
        else:
            maps = self._maps_of_whole(small)
        return [
            {name: resize_nearest(value, image.shape[:2]) for name, value in its_maps.items()}
            for image, its_maps in zip(images, maps)
        ]

    def _maps_of_whole(self, images: Sequence[np.ndarray]) -> list[dict[str, np.ndarray]]:
        """Of images of one padded size."""
        padded = self._settings.sizes.padded
        batch = self._batch([pad(image, padded(image.shape[:2])) for image in images])
        predictions = dict(self._apply(batch))
        joint = {name: predictions.pop(name) for name in self._joint}
        maps, raw = jax.device_get((self._postprocess(predictions), joint))
        finished = []
        for i, image in enumerate(images):
            its_maps = {name: value[i] for name, value in maps.items()}
            its_raw = {name: value[i] for name, value in raw.items()}
            finished.append(self._finished(its_maps, its_raw, image))
        return finished

    def _finished(
        self, maps: Mapping[str, np.ndarray], raw: Mapping[str, np.ndarray], image: np.ndarray
    ) -> dict[str, np.ndarray]:
        """{task: [h, w, ...]}, cropped to the image, of all tasks.

        A task that needs others may look at all of the image, of which padding is no part.

        Args:
          maps: {task: [h', w', ...]} of the tasks that need no other, padded.
          raw: {task: [h', w', C]} predictions of those that do, padded.
          image: [h, w, 3].
        """
        height, width = image.shape[:2]
        maps, raw = (
            {name: value[None, :height, :width] for name, value in x.items()} for x in (maps, raw)
        )
        if raw:
            maps |= jax.device_get(self._postprocess_joint(raw, maps))
        return {name: maps[name][0] for name in self._tasks}

    def _maps_of_tiled(self, image: np.ndarray, tile: tuple[int, int]) -> dict[str, np.ndarray]:
        """Of one image; besides maps, no more than a row of tiles is held at a time.

        A task that needs no other treats every pixel by itself, so it is post-processed row by row.
        The others are post-processed at the end, on what was blended of the whole image.
        """
        padded = pad(image, tuple(map(max, image.shape[:2], tile)))
        tiling = tiles.plan(padded.shape[:2], tile, self._settings.overlap(tile))
        maps: dict[str, list[np.ndarray]] = {}
        raw: dict[str, list[np.ndarray]] = {name: [] for name in self._joint}
        for strip in tiling.blend(self._predict_tiles(tiling.cut(padded))):
            for name in self._joint:
                raw[name].append(strip.pop(name))
            found = self._postprocess({name: value[None] for name, value in strip.items()})
            for name, value in jax.device_get(found).items():
                maps.setdefault(name, []).append(value[0])
        maps, raw = (
            {name: np.concatenate(parts) for name, parts in x.items()} for x in (maps, raw)
        )
        return self._finished(maps, raw, image)

    def _predict_tiles(self, cut: Iterable[np.ndarray]) -> Iterator[dict[str, np.ndarray]]:
        """{task: [h, w, C]} of each tile."""
        for group in _chunks(cut, self._settings.batch_size):
            found = jax.device_get(dict(self._apply(self._batch(group))))
            for i in range(len(group)):
                yield {name: found[name][i] for name in self._tasks}

    def _batch(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """[batch_size, h, w, 3]; the last image fills up what is missing."""
        missing = self._settings.batch_size - len(images)
        return np.stack([*images, *[images[-1]] * missing])

    def _postprocess_fn(self, predictions):
        """{task: [B, h, w, ...]} of the tasks that there are predictions of."""
        present = {name: task for name, task in self._tasks.items() if name in predictions}
        found = all_tasks.postprocess_all(present, predictions)
        return {name: maps[name] for name, maps in found.items()}

    def _postprocess_joint_fn(self, predictions, maps):
        """{task: [B, h, w, ...]} of the tasks that need `maps` of others."""
        found = {}
        for name, prediction in predictions.items():
            needed = [maps[other] for other in self._tasks[name].needs]
            found[name] = self._tasks[name].postprocess(prediction, *needed)[name]
        return found


@contextlib.contextmanager
def naming(*origins: str) -> Iterator[None]:
    """Any error within says which images it was about."""
    try:
        yield
    except Exception as error:
        error.add_note(f"This happened while predicting on {', '.join(origins)}.")
        raise


def shrink(image: np.ndarray, max_size: int) -> np.ndarray:
    """Shrinks an image so that no side is longer than `max_size` pixels, unless that is 0.

    Args:
      image: [H, W, 3] uint8.
      max_size: the most pixels of a side, or 0.
    """
    height, width = _shrunk(image.shape[:2], max_size)
    if (height, width) == image.shape[:2]:
        return image
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))


def pad(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Repeats the last row and column of [H, W, ...] until its size is `size`."""
    bottom, right = (large - small for large, small in zip(size, image.shape[:2]))
    return np.pad(image, ((0, bottom), (0, right), (0, 0)), mode="edge")


def _shrunk(size: tuple[int, int], max_size: int) -> tuple[int, int]:
    longer = max(size)
    if not max_size or longer <= max_size:
        return size
    height, width = (max(1, round(side * max_size / longer)) for side in size)
    return height, width


def _chunks(values: Iterable[Any], size: int) -> Iterator[list[Any]]:
    values = iter(values)
    while chunk := list(itertools.islice(values, size)):
        yield chunk
