"""Predicts on photographs and keeps the last few, so that the page can ask for their parts."""

import collections
import dataclasses
import io
import secrets
import threading
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image

from mtl_jax.demo import facts
from mtl_jax.errors import UsageError
from mtl_jax.pictures import maps as pictures
from mtl_jax.prediction import Model, PredictionError, inputs, network

FORMATS = ("JPEG", "PNG", "WEBP")
PHOTO_BYTES = 40 << 20
PIXELS = 60_000_000
LARGEST_SIDE = 1280
_KEPT = 6  # photographs with their maps


class DemoError(UsageError):
    """The page asked for what cannot be done; the message is for the person in front of it."""


@dataclasses.dataclass(frozen=True)
class Photograph:
    """A photograph, and what every network makes of it.

    Attributes:
      image: [H, W, 3] uint8, as it was predicted on.
      maps: {network: {task: [H, W, ...]}}.
    """

    image: np.ndarray
    maps: dict[str, dict[str, np.ndarray]]


class Studio:
    """The networks of a page, and the photographs that it has been given.

    Attributes:
      models: {name: Model}.
      largest_side: pixels that photographs and frames are shrunk to.
      busy: held while something is predicted, as all threads share the machine.
    """

    def __init__(self, models: Mapping[str, Model], *, largest_side: int = LARGEST_SIDE):
        """Takes the networks; predicts nothing yet."""
        self.models, self.largest_side = dict(models), largest_side
        self.busy = threading.Lock()
        self._photographs: collections.OrderedDict[str, Photograph] = collections.OrderedDict()

    def about(self) -> dict[str, Any]:
        """What the page says of the networks before there is a photograph."""
        return {
            "models": [
                {"name": name, "tasks": list(model.tasks), "step": model.step}
                for name, model in self.models.items()
            ],
            "largest_side": self.largest_side,
            "photo_bytes": PHOTO_BYTES,
        }

    def predict(self, content: bytes) -> dict[str, Any]:
        """Predicts on a photograph, and keeps it.

        Args:
          content: of a JPEG, PNG or WebP file.

        Returns:
          Its `id`, `width`, `height` and `original` size; and `results`, for each network its name,
          the seconds that it took, and {task: `facts.of_map`}.

        Raises:
          DemoError: it is no such file, or too large.
        """
        original = read(content)
        image = network.shrink(original, self.largest_side)
        found, results = {}, []
        with self.busy:
            for name, model in self.models.items():
                started = time.monotonic()
                found[name] = model.predict(image)
                seconds = time.monotonic() - started
                about = {
                    task: facts.of_map(model.tasks[task], image, value)
                    for task, value in found[name].items()
                }
                results.append({"model": name, "seconds": seconds, "tasks": about})
        key = secrets.token_urlsafe(12)
        self._photographs[key] = Photograph(image, found)
        while len(self._photographs) > _KEPT:
            self._photographs.popitem(last=False)
        return {
            "id": key,
            "height": image.shape[0],
            "width": image.shape[1],
            "original": list(original.shape[1::-1]),
            "results": results,
        }

    def image(self, key: str) -> bytes:
        """PNG of a photograph, as it was predicted on."""
        return pictures.encode_png(self._photograph(key).image)

    def picture(self, key: str, model: str, task: str) -> bytes:
        """PNG of a map in its colours, those of classes safe for colour-blind eyes."""
        kind, value = self._map(key, model, task)
        return pictures.encode_png(facts.safe(kind).visualize(value))

    def values(self, key: str, model: str, task: str) -> bytes:
        """See `facts.values`."""
        return facts.values(self._map(key, model, task)[1])

    def file(self, key: str, model: str, task: str) -> tuple[bytes, str]:
        """(contents, suffix) of the file that `predict` writes of a map."""
        kind, value = self._map(key, model, task)
        contents, suffix, _ = kind.encode(value)
        return contents, suffix

    def figure(self, key: str, model: str) -> bytes:
        """PNG of the figure that `predict` draws, with legends."""
        photograph = self._photograph(key)
        if model not in photograph.maps:
            raise DemoError(f"There is no network {model!r}.")
        drawn = self.models[model].draw(photograph.image, photograph.maps[model])
        return pictures.encode_png(drawn)

    def _photograph(self, key: str) -> Photograph:
        if key not in self._photographs:
            raise DemoError(f"This photograph is gone: the last {_KEPT} are kept. Drop it again.")
        return self._photographs[key]

    def _map(self, key: str, model: str, task: str) -> tuple[Any, np.ndarray]:
        found = self._photograph(key).maps.get(model, {})
        if task not in found:
            raise DemoError(f"There is no map {task!r} of the network {model!r}.")
        return self.models[model].tasks[task], found[task]


def read(content: bytes) -> np.ndarray:
    """[H, W, 3] uint8 of a photograph's file. Its size is checked before its pixels are decoded.

    Raises:
      DemoError: it is none, or too large.
    """
    if len(content) > PHOTO_BYTES:
        raise DemoError(f"This file is larger than {PHOTO_BYTES >> 20} MB, the most for a picture.")
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            if image.width * image.height > PIXELS:
                raise DemoError(
                    f"This picture has {image.width} × {image.height} pixels; at most "
                    f"{PIXELS // 1_000_000} million are read. Shrink it first."
                )
            return inputs.as_rgb(image, "This picture")
    except PredictionError as error:
        raise DemoError(str(error)) from error
    except DemoError:
        raise
    except Exception as error:  # Pillow raises whatever a damaged file leads it to
        raise DemoError(
            "This file does not decode as JPEG, PNG or WebP, nor is it a video that is known here."
        ) from error
