"""The pictures of a run: examples, and the images that it is worst on."""

import itertools
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from mtl_jax.reporting.document import Block, Picture, Text, file_name
from mtl_jax.reporting.tables import number
from mtl_jax.runs.image_metrics import WORST
from mtl_jax.runs.workdir import Workdir

COUNT = 2  # of examples, and of the worst images of each task, by default
_WIDEST = 1600  # pixels
_QUALITY = 70


def of(name: str, workdir: Workdir, count: int = COUNT) -> list[Block]:
    """The first examples of the last evaluation, and the worst images of the best one.

    Args:
      name: of the run.
      workdir: its directory.
      count: at most so many examples, and so many of the worst images of each task.
    """
    examples = sorted(workdir.predictions.glob("example_*.png"), key=_index)
    wanted = [(file, f"Example {_index(file)} of the last evaluation") for file in examples[:count]]
    left_out = [f"{len(examples)} examples"] if len(examples) > count else []
    best = workdir.read_best_evaluation()
    for metric, direction in best.get("directions", {}).items():
        worst = best["worst"][metric.partition("/")[0]]
        wanted += _worst(workdir, metric, direction, best["images"], worst[:count])
        if len(worst) > count:
            left_out.append(f"{len(worst)} worst images by {metric}")
    # Pillow and OpenCV decode and encode without Python's lock.
    with ThreadPoolExecutor() as pool:
        found = list(pool.map(lambda picture: _picture(name, *picture), wanted))
    if left_out:
        found.insert(0, Text(f"Shown are at most {count} each of {', '.join(left_out)}."))
    return found


def _worst(
    workdir: Workdir,
    metric: str,
    direction: str,
    images: Mapping[str, Sequence[Any]],
    worst: Sequence[str],
) -> list[tuple[Path, str]]:
    """The worst images of one task, and what is said of each: its metric, the median of all."""
    task = metric.partition("/")[0]
    values = dict(zip(images["id"], images[metric], strict=True))
    known = [value for value in values.values() if value is not None]
    among = "lowest" if direction == "max" else "highest"
    found = []
    for rank, image in enumerate(worst):
        file = workdir.predictions / f"{WORST}_{task}_{rank}.png"
        title = (
            f"{_ordinal(rank, among)} {metric} of {len(known)} images: {number(values[image])} "
            f"(median {number(float(np.median(known)))}), {image}"
        )
        found.append((file, title))
    return found


def _picture(name: str, file: Path, title: str) -> Block:
    """A picture, or a remark where a run that was killed, or goes on, has left none or a part."""
    try:
        return Picture(file_name(name, file.stem), jpeg(file), title)
    except Exception as error:  # Pillow raises whatever a damaged file leads it to
        why = getattr(error, "strerror", None) or str(error).partition(" '")[0]
        return Text(f"{file.name} cannot be shown ({why}). {title}.")


def jpeg(file: Path) -> bytes:
    """A picture as a JPEG of a few ten kilobytes, at most `_WIDEST` pixels wide."""
    with Image.open(file) as picture:
        shown = picture.convert("RGB")
    if shown.width > _WIDEST:
        height = max(1, round(shown.height * _WIDEST / shown.width))
        shown = shown.resize((_WIDEST, height), Image.Resampling.LANCZOS)
    # The colours of classes bleed into each other if they are stored at half the resolution. A
    # progressive file would be 4 % smaller and take twice the time.
    options = {
        cv2.IMWRITE_JPEG_QUALITY: _QUALITY,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR: cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
        cv2.IMWRITE_JPEG_OPTIMIZE: 1,
    }
    bgr = cv2.cvtColor(np.asarray(shown), cv2.COLOR_RGB2BGR)
    _, encoded = cv2.imencode(".jpg", bgr, [*itertools.chain(*options.items())])
    return encoded.tobytes()


def _index(file: Path) -> int:
    return int(file.stem.rpartition("_")[2])


def _ordinal(rank: int, among: str) -> str:
    """'Lowest', 'Second lowest', ..."""
    number = ("", "second ", "third ")[rank] if rank < 3 else f"{rank + 1}th "
    return f"{number}{among}".capitalize()
