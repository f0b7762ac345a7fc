"""What is written for a photograph, and how."""

import io
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from mtl_jax import _files
from mtl_jax.pictures import figures
from mtl_jax.pictures import maps as visualization
from mtl_jax.prediction.errors import PredictionError
from mtl_jax.prediction.network import Item
from mtl_jax.prediction.settings import FIGURES, Settings
from mtl_jax.tasks import Task


def prepare_folder(folder: Path, files: Iterable[Path]) -> None:
    """Creates the output folder and checks that it can be written.

    Args:
      folder: need not exist.
      files: the inputs, none of which may lie in it.

    Raises:
      PredictionError: it cannot be written, or holds an input.
    """
    here = os.path.realpath(folder)
    inside = [file for file in files if os.path.dirname(os.path.realpath(file)) == here]
    if inside:
        raise PredictionError(
            f"--output={folder} holds the input {inside[0].name}, and may overwrite it or be "
            "read as input next time. Choose another folder."
        )
    try:
        _files.make_folder(folder)
    except OSError as error:
        raise PredictionError(
            f"--output={folder} cannot be written ({error.strerror}). "
            "Choose a folder that you may write to."
        ) from error


def suffixes(tasks: Iterable[str]) -> list[str]:
    """What may be appended to the name of an input, for tasks of these names."""
    figures = [f"_{kind}.{suffix}" for kind in FIGURES["both"] for suffix in ("png", "mp4")]
    return [*(f"_{name}.png" for name in tasks), *figures, "_frames", ".npz"]


def encode(
    tasks: Mapping[str, Task], item: Item, maps: Mapping[str, np.ndarray], settings: Settings
) -> tuple[dict[str, bytes], list[str]]:
    """Encodes all that is written for one photograph.

    Args:
      tasks: {name: Task}.
      item: the photograph.
      maps: {task: [H, W, ...]} of it.
      settings: say which figures, and whether .npz.

    Returns:
      {file name: contents}, and remarks on what files could not hold.
    """
    contents, remarks = {}, []
    for name, task in tasks.items():
        data, suffix, remark = task.encode(maps[name])
        file = f"{item.name}_{name}{suffix}"
        contents[file] = data
        if remark:
            remarks.append(f"{file}: {remark}")
    for kind in settings.figures:
        figure = figures.draw(kind, item.image, maps, tasks, width=settings.figure_width)
        contents[f"{item.name}_{kind}.png"] = visualization.encode_png(figure)
    if settings.save_npz:
        contents[f"{item.name}.npz"] = encode_npz(maps)
    return contents, remarks


def encode_npz(maps: Mapping[str, np.ndarray]) -> bytes:
    """A .npz of `<task>/prediction` for each task, as `evaluate` saves them."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **{f"{name}/prediction": value for name, value in maps.items()})
    return buffer.getvalue()
