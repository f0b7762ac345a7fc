"""Predicts on users' photographs, of any size, and draws predictions on validation examples."""

import glob
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tqdm
from PIL import Image, ImageOps

from mtl_jax import visualization
from mtl_jax.tasks import postprocess_all

SUFFIXES = (".jpg", ".jpeg", ".png")
# 16-bit grey could mean any range of brightness, or be no photograph at all.
_MODES_8_BIT = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK")
_OVERLAY = "overlay"
MULTIPLE_OF = 32  # what every network accepts as the sides of an image
_OVERLAY_SIDE = 1280  # overlays of larger photographs show every n-th pixel


class PredictionError(ValueError):
    """An input or the output folder cannot be used; the message says which and why."""


def expand_inputs(patterns: str | Sequence[str]) -> list[Path]:
    """Finds the photographs that the user means.

    Args:
      patterns: files, folders or globs (`**` for any depth), a list or with commas between. Of a
        folder its JPEG and PNG files are taken, not those in folders within.

    Returns:
      Each file once, in the order given; those of one folder or glob sorted by name.

    Raises:
      PredictionError: a pattern matches nothing, or a file that is named neither JPEG nor PNG.
    """
    if isinstance(patterns, str):
        patterns = [patterns] if os.path.exists(patterns) else patterns.split(",")
    patterns = [pattern.strip() for pattern in patterns if pattern.strip()]
    if not patterns:
        raise PredictionError("--input names no file; expected files, folders or globs.")
    files: dict[Path, Path] = {}
    for pattern in patterns:
        for file in _expand(pattern):
            files.setdefault(file.resolve(), file)
    return list(files.values())


def read_image(path: str | os.PathLike) -> np.ndarray:
    """Reads a photograph the way it is meant to be seen.

    The EXIF orientation is applied, grey becomes RGB, transparent pixels are laid over black, CMYK
    is converted without its colour profile, and RGB of 16 bits per channel keeps the upper 8.

    Returns:
      [H, W, 3] uint8.

    Raises:
      PredictionError: the file does not decode as JPEG or PNG to its end, or is 16-bit grey.
    """
    try:
        with Image.open(path, formats=("JPEG", "PNG")) as image:
            if image.mode not in _MODES_8_BIT:
                raise PredictionError(
                    f"{path}: expected a photograph of 8 bits per channel, found mode "
                    f"{image.mode!r} ({image.width}×{image.height}). Convert it to 8 bits first."
                )
            upright = ImageOps.exif_transpose(image)
            if upright.has_transparency_data:
                upright = upright.convert("RGBA")
                black = Image.new("RGBA", upright.size, (0, 0, 0, 255))
                upright = Image.alpha_composite(black, upright)
            return np.array(upright.convert("RGB"), np.uint8)
    except PredictionError:
        raise
    # Pillow reports broken files with all of these, depending on the format and the damage.
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise PredictionError(
            f"{path}: does not decode as JPEG or PNG ({type(error).__name__}: {error})."
        ) from error


def predict_files(
    apply_fn: Callable[[np.ndarray], Mapping[str, jax.Array]],
    tasks: Mapping[str, Any],
    files: Sequence[Path],
    output_dir: str | os.PathLike,
    *,
    multiple_of: int = MULTIPLE_OF,
    max_size: int | None = None,
    report: Callable[[str], None] = print,
) -> list[Path]:
    """Writes, for each photograph, one file per task and one overlay figure, at its own size.

    `<name>_<task>.png` is a palette PNG of class ids or a 16-bit PNG of millimetres, as the task
    encodes it; `<name>_overlay.png` shows them beside the photograph. <name> is the file's, or more
    of its path where two would be the same. Every file is written whole or not at all.

    Args:
      apply_fn: uint8 [1, H, W, 3] ─► {task: [1, H, W, C]}. It is compiled once per padded size.
      tasks: {name: Task}.
      files: from `expand_inputs`.
      output_dir: created if need be. It must not hold one of `files`.
      multiple_of: photographs are padded to a multiple of it at the bottom and right, by
        repeating the last row and column, and predictions are cropped again.
      max_size: photographs with a longer side are shrunk to it for the network, and predictions
        are enlarged again by nearest neighbour. None predicts on all of their pixels.
      report: is told at the end where the files are and what they could not hold.

    Returns:
      The files written.

    Raises:
      PredictionError: the output folder cannot be used, before anything is predicted; or some
        photographs could not be read, after all others are written.
    """
    if _OVERLAY in tasks:
        raise PredictionError(f"A task called {_OVERLAY!r} would overwrite the overlay figures.")
    output_dir = _prepare_output(Path(output_dir), files)
    postprocess = jax.jit(
        lambda predictions: {
            name: maps[name] for name, maps in postprocess_all(tasks, predictions).items()
        }
    )

    def predict(image: np.ndarray) -> dict[str, np.ndarray]:
        small = _shrink(image, max_size)
        maps = postprocess(dict(apply_fn(_pad(small, multiple_of)[None])))
        height, width = small.shape[:2]
        crops = {name: np.asarray(value)[0, :height, :width] for name, value in maps.items()}
        return {name: _enlarge(crop, image.shape[:2]) for name, crop in crops.items()}

    written, failures, remarks = [], [], []
    for path, name in zip(tqdm.tqdm(files, unit="image", disable=None), output_names(files)):
        try:
            image = read_image(path)
        except PredictionError as error:
            failures.append(str(error))
            continue
        try:
            contents = _encode(tasks, name, image, predict(image), remarks)
            written += [_write(output_dir / file, data) for file, data in contents.items()]
        except Exception as error:
            error.add_note(f"This happened while predicting on {path}.")
            raise
    report(f"Predicted on {len(files) - len(failures)} of {len(files)} images: {output_dir}")
    if remarks:
        more = f" Likewise {len(remarks) - 1} more files." if len(remarks) > 1 else ""
        report(f"{remarks[0]}.{more}")
    if failures:
        raise PredictionError(
            f"{len(failures)} of {len(files)} images could not be read; all others are done.\n"
            + "\n".join(f"  {failure}" for failure in failures)
        )
    return written


def output_names(files: Sequence[Path]) -> list[str]:
    """A name for each file, all of them different: the shortest of four forms that makes it so.

    That is the file's name without suffix; its path below the common folder, joined by '_';
    the same with the suffix; or the latter after a number.
    """
    files = [Path(file).absolute() for file in files]
    if not files:
        return []
    root = os.path.commonpath([file.parent for file in files])
    below = ["_".join(file.relative_to(root).parts) for file in files]
    forms = (
        [file.stem for file in files],
        [os.path.splitext(path)[0] for path in below],
        [path.replace(".", "_") for path in below],
        [f"{i:06d}_{path.replace('.', '_')}" for i, path in enumerate(below)],
    )
    # Some file systems take no notice of case.
    return next(names for names in forms if len({n.casefold() for n in names}) == len(files))


def validation_panels(
    batch: Mapping[str, np.ndarray],
    outputs: Mapping[str, Mapping[str, np.ndarray]],
    tasks: Mapping[str, Any],
    *,
    count: int = 4,
) -> dict[str, np.ndarray]:
    """Draws input, and target and prediction of every task, side by side.

    Args:
      batch: the contract's batch, on the host.
      outputs: {task: `task.postprocess` of its predictions}, on the host.
      tasks: {name: Task}.
      count: of examples, from the batch's start; padding is left out.

    Returns:
      {'example_0': [H', W', 3] uint8, ...}. A target is left out where the example has none.
    """
    targets = {name: jax.device_get(task.targets(batch)) for name, task in tasks.items()}
    panels = {}
    for i in np.flatnonzero(batch["valid"])[:count]:
        pictures = {"input": np.asarray(batch["image"][i])}
        for name, task in tasks.items():
            alone = jax.tree.map(lambda x, i=i: x[i : i + 1], targets[name])
            if task.labelled(alone, np.array([True])):
                target = jax.tree.map(lambda x: x[0], alone)
                pictures[f"{name}: target"] = task.visualize(target)
            pictures[f"{name}: prediction"] = task.visualize(np.asarray(outputs[name][name][i]))
        panels[f"example_{i}"] = visualization.panel(list(pictures.values()), list(pictures))
    return panels


def _expand(pattern: str) -> list[Path]:
    path = Path(pattern).expanduser()
    if path.is_dir():
        found = sorted(file for file in path.iterdir() if file.suffix.lower() in SUFFIXES)
        if not found:
            raise PredictionError(
                f"--input={pattern}: this folder holds no {', '.join(SUFFIXES)} file. "
                "For folders within it, give a glob such as "
                f"'{path}/**/*.jpg'."
            )
        return found
    # A file's name may look like a glob, as in 'street [1].jpg'.
    found = [path] if path.exists() else sorted(map(Path, glob.iglob(str(path), recursive=True)))
    found = [file for file in found if not file.is_dir()]
    if not found:
        raise PredictionError(
            f"--input={pattern}: no such file or folder, and no file matches it as a glob. "
            f"The current folder is {Path.cwd()}."
        )
    for file in found:
        if file.suffix.lower() not in SUFFIXES:
            raise PredictionError(
                f"--input={pattern}: expected files named {', '.join(SUFFIXES)}, found {file}."
            )
    return found


def _prepare_output(output_dir: Path, files: Iterable[Path]) -> Path:
    inside = [file for file in files if file.resolve().parent == output_dir.resolve()]
    if inside:
        raise PredictionError(
            f"--output={output_dir} holds the input {inside[0].name}, and may overwrite it or be "
            "read as input next time. Choose another folder."
        )
    probe = output_dir / f".writable_{os.getpid()}"
    try:
        output_dir.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise PredictionError(
            f"--output={output_dir} cannot be written ({error.strerror}). "
            "Choose a folder that you may write to."
        ) from error
    return output_dir


def _shrink(image: np.ndarray, max_size: int | None) -> np.ndarray:
    height, width = image.shape[:2]
    longer = max(height, width)
    if max_size is None or longer <= max_size:
        return image
    size = [max(1, round(side * max_size / longer)) for side in (width, height)]
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR))


def _pad(image: np.ndarray, multiple_of: int) -> np.ndarray:
    bottom, right = (-side % multiple_of for side in image.shape[:2])
    return np.pad(image, ((0, bottom), (0, right), (0, 0)), mode="edge")


def _enlarge(value: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Nearest neighbour, [h, w, ...] ─► [H, W, ...]: neither ids nor depths may be mixed."""
    rows, columns = (
        ((np.arange(large) + 0.5) * small / large).astype(np.int64)
        for large, small in zip(size, value.shape[:2])
    )
    return value if value.shape[:2] == size else value[rows[:, None], columns]


def _encode(tasks, name, image, maps, remarks) -> dict[str, bytes]:
    """{file name: contents} of what is written for one photograph; appends to `remarks`."""
    contents = {}
    step = max(1, -(-max(image.shape[:2]) // _OVERLAY_SIDE))
    thumbnail = image[::step, ::step]
    panels = [visualization.Panel("input", thumbnail)]
    for task_name, task in tasks.items():
        data, suffix, remark = task.encode(maps[task_name])
        file = f"{name}_{task_name}{suffix}"
        contents[file] = data
        panels.append(task.panel(thumbnail, maps[task_name][::step, ::step]))
        if remark:
            remarks.append(f"{file}: {remark}")
    figure = visualization.overlay_figure(panels)
    contents[f"{name}_{_OVERLAY}.png"] = visualization.encode_png(figure)
    return contents


def _write(path: Path, contents: bytes) -> Path:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(contents)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path
