"""What the page has to know of a task and of one map of it, as plain JSON values."""

import dataclasses
from typing import Any

import matplotlib
import numpy as np

from mtl_jax.pictures import figures, palettes
from mtl_jax.pictures.maps import DepthScale, Panel

_STOPS = 32  # of a colour bar


def safe(task: Any) -> Any:
    """The task with colours that can be told apart by colour-blind eyes, if it has a palette."""
    names = getattr(task, "class_names", ())
    if not names or not dataclasses.is_dataclass(task) or not hasattr(task, "palette"):
        return task
    return dataclasses.replace(task, palette=palettes.distinct(len(names)))


def of_map(task: Any, image: np.ndarray, value: np.ndarray) -> dict[str, Any]:
    """How to read and to explain one map.

    Args:
      task: whose map it is.
      image: [H, W, 3] uint8.
      value: [H, W] ids or numbers, or [H, W, C] vectors.

    Returns:
      {'kind': 'classes', 'objects', 'number' or 'vector'; 'channels': of values.bin;
      'integer': whether its values are int32, else float32; 'names': of classes; 'unit';
      'axes': of vectors; 'legend': [{'name', 'colour' or None, 'share'} of what occurs];
      'bar': of a colour bar or None}.
    """
    about, value = task.describe(), np.asarray(value)
    panel = figures.shortened(safe(task).panel(image, value))
    names = list(getattr(task, "class_names", ()))
    whole = value.dtype.kind in "iub"
    if value.ndim == 3:
        kind = "vector"
    elif whole:
        kind = "classes" if names else "objects"
    else:
        kind = "number"
    return {
        "kind": kind,
        "channels": 1 if value.ndim == 2 else value.shape[2],
        "integer": whole,
        "names": names,
        "unit": about.get("unit") or "",
        "axes": list(about.get("axes", ())),
        "count": int(np.count_nonzero(np.unique(value))) if kind == "objects" else None,
        "legend": _legend(panel, names, value),
        "bar": _bar(panel.depth_scale) if panel.depth_scale else None,
    }


def values(value: np.ndarray) -> bytes:
    """The map's values, row by row, as little-endian int32 or float32."""
    value = np.asarray(value)
    return value.astype("<i4" if value.dtype.kind in "iub" else "<f4").tobytes()


def _legend(panel: Panel, names: list[str], value: np.ndarray) -> list[dict[str, Any]]:
    """What occurs, most of it first where it is counted."""
    shares = {}
    if names:
        ids, counts = np.unique(value, return_counts=True)
        shares = {names[i]: n / value.size for i, n in zip(ids, counts) if 0 <= i < len(names)}
    entries = [
        {"name": name, "colour": colour and [int(c) for c in colour], "share": shares.get(name)}
        for name, colour in panel.legend
    ]
    return sorted(entries, key=lambda entry: -(entry["share"] or 0))


def _bar(scale: DepthScale) -> dict[str, Any]:
    """Colours from one end to the other, and where along it which numbers are."""
    table = matplotlib.colormaps[scale.colormap](np.linspace(0, 1, _STOPS))[:, :3]
    norm = scale.norm()
    return {
        "colours": np.rint(255 * table).astype(int).tolist(),
        "ticks": [{"value": t, "at": float(norm(t))} for t in figures.ticks(scale)],
        "unit": scale.unit,
    }
