"""Reads the part of a folder's YAML that says what a key means."""

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

from input_pipeline import checks, labels, palettes
from input_pipeline.datasets._yaml import (
    Section,
    is_flag,
    is_list,
    is_number,
    is_positive,
    is_text,
    is_whole,
    shown,
)
from input_pipeline.errors import DatasetError

_MOST_IDS = 65535  # what records hold
_DEPTHS = ("depth", "disparity", "inverse_depth")
_KINDS = ("image", "classes", "instances", "normals", *_DEPTHS)
_SUFFIXES = (".png", ".jpg", ".jpeg", ".npy", ".npz")

# Options of a key, with the kinds that they are for.
_OPTIONS = {
    "kind": _KINDS,
    "files": _KINDS,
    "array": _KINDS,
    "optional": _KINDS[1:],
    "bits": _KINDS[1:],
    "names": ("classes",),
    "palette": ("classes",),
    "ignore": ("classes",),
    "ids": ("classes", "instances"),
    "flip_swap": ("classes",),
    "instance_classes": ("instances",),
    "divide_by": ("normals", *_DEPTHS),
    "offset": ("normals", *_DEPTHS),
    "unknown": ("normals", *_DEPTHS),
    "range": _DEPTHS,
    "outside_range": _DEPTHS,
    "unit": _DEPTHS,
    "zoom_power": _DEPTHS,
    "mean": _DEPTHS,
    "stddev": _DEPTHS,
    "axes": ("normals",),
    "unit_length": ("normals",),
}
_ZOOM_POWER = {"depth": -1, "disparity": 1, "inverse_depth": 1}


@dataclasses.dataclass(frozen=True)
class KeySpec:
    """One key of the data set.

    Attributes:
      key: its name.
      files: pattern whose stars stand for the id of the example, and maybe an ending.
      label: what the array means.
      array: name of the array in a .npz file; '' for other files.
      optional: whether examples may lack it.
      bits: of PNG values, 8 or 16.
      ids: (value in the file, id) pairs; empty where the file has ids.
      void: of class maps, the value in the file that becomes `label.ignore`; None where the file
        has `label.ignore` itself.
      ignore_given: of class maps, whether the YAML says what counts nowhere.
      divide_by, offset: the value is file / divide_by + offset.
      unknown: values in the file that mean that nothing is known; of normals vectors of three.
      outside_range: 'refuse' or 'unknown', for values that are not in `label.valid_range`.
      axes: of normals, for x, y, z: (which of the file, sign).
      unit_length: whether normals are scaled to length 1.
    """

    key: str
    files: str
    label: labels.LabelSpec
    array: str = ""
    optional: bool = False
    bits: int = 8
    ids: tuple[tuple[int, int], ...] = ()
    void: int | None = None
    ignore_given: bool = False
    divide_by: float = 1.0
    offset: float = 0.0
    unknown: tuple[Any, ...] = ()
    outside_range: str = "refuse"
    axes: tuple[tuple[int, int], ...] = ()
    unit_length: bool = False


def read(file: str, key: str, values: Any) -> KeySpec:
    """Reads what the YAML says of a key.

    Raises:
      DatasetError: it says something that is unknown or makes no sense.
    """
    if not is_text(key) or not key.isidentifier() or key in ("id", "valid"):
        raise DatasetError(
            f"{file}: keys.{shown(key)}: expected a name of letters, other than id, valid."
        )
    values = {} if values is None and key == "image" else values
    if not isinstance(values, Mapping):
        raise DatasetError(
            f"{file}: keys.{key}: expected its options, such as {{kind: depth, files: z/*.png}}, "
            f"found {shown(values)}."
        )
    kind = "image" if key == "image" else values.get("kind")
    if not is_text(kind) or kind not in _KINDS or (kind == "image") != (key == "image"):
        raise DatasetError(
            f"{file}: keys.{key}.kind: expected one of {', '.join(_KINDS[1:])}, found "
            f"{shown(kind)}."
        )
    known = tuple(option for option, kinds in _OPTIONS.items() if kind in kinds)
    section = Section(file, f"keys.{key}.", values, known)
    expected = "a path below the folder with a * in it, not **, for what is the id"
    pattern = section.get("files", expected, _is_pattern, f"{key}/*")
    array = section.get("array", "the name of an array", is_text, "")
    if bool(array) != pattern.endswith(".npz"):
        raise section.error("array", "a name for .npz files and none for others", array)
    default_bits = 16 if kind in _DEPTHS else 8
    spec = KeySpec(
        key=key,
        files=pattern,
        label=labels.image(),
        array=array,
        optional=section.get("optional", "true or false", is_flag, False),
        bits=section.get("bits", "8 or 16", lambda v: is_whole(v) and v in (8, 16), default_bits),
        divide_by=section.get("divide_by", "a number over 0", is_positive, 1),
        offset=section.get("offset", "a number", is_number, 0),
    )
    return {
        "image": lambda: spec,
        "classes": lambda: _read_classes(section, spec),
        "instances": lambda: _read_instances(section, spec),
        "normals": lambda: _read_normals(section, spec),
    }.get(kind, lambda: _read_depth(section, spec, kind))()


def _is_pattern(value) -> bool:
    if not is_text(value) or "*" not in value or "**" in value or "\0" in value:
        return False
    return not value.startswith("/") and ".." not in value.split("/")


def _read_classes(section: Section, spec: KeySpec) -> KeySpec:
    expected = (
        "a list of different class names (in quotes where YAML sees no text), or their number, at "
        f"most {_MOST_IDS}"
    )
    names = section.get("names", expected, _are_names)
    if names is None:
        raise section.error("names", expected, None)
    names = [f"class_{c}" for c in range(names)] if is_whole(names) else names
    palette = section.get(
        "palette",
        f"[red, green, blue] from 0 to 255 for each of the {len(names)} classes",
        lambda v: is_list(v, _is_colour, len(names)),
        palettes.default(len(names)),
    )
    default = 255 if len(names) <= 255 else _MOST_IDS
    given = section.get(
        "ignore",
        f"an id that is no class, or a value under 0 that the files have for it, up to {_MOST_IDS}",
        lambda v: is_whole(v) and (v < 0 or len(names) <= v <= _MOST_IDS),
    )
    ignore = default if given is None or given < 0 else given
    swap = section.get(
        "flip_swap",
        "pairs of class names",
        lambda v: is_list(v, lambda pair: is_list(pair, names.__contains__, 2)),
        [],
    )
    pairs = tuple((names.index(a), names.index(b)) for a, b in swap)
    return dataclasses.replace(
        spec,
        label=labels.classes(
            tuple(names), tuple(map(tuple, palette)), ignore=ignore, flip_swap=pairs
        ),
        ids=_read_ids(section, names, ignore),
        void=given if given is not None and given < 0 else None,
        ignore_given=given is not None or "ids" in section,
    )


def _are_names(value: Any) -> bool:
    if is_whole(value):
        return 0 < value <= _MOST_IDS
    if not is_list(value, is_text) or len(value) > _MOST_IDS:
        return False
    return 0 < len(value) == len(set(value))


def _is_colour(value) -> bool:
    return is_list(value, lambda v: is_whole(v) and 0 <= v <= 255, 3)


def _read_ids(section: Section, names: list[str], ignore: int) -> tuple[tuple[int, int], ...]:
    """`ids`: what each value of the file becomes, a class name or 'ignore'."""
    meaning = {**{name: number for number, name in enumerate(names)}, "ignore": ignore}
    ids = section.get(
        "ids",
        f"for each value in the files one of {checks.first(['ignore', *names])}",
        lambda v: (
            isinstance(v, Mapping)
            and all(is_whole(r) and is_text(name) and name in meaning for r, name in v.items())
        ),
        {},
    )
    return tuple((raw, meaning[name]) for raw, name in ids.items())


def _read_instances(section: Section, spec: KeySpec) -> KeySpec:
    ids = section.get(
        "ids",
        f"for some values in the files an instance id from 1 to {_MOST_IDS}, or 0 for none",
        lambda v: (
            isinstance(v, Mapping)
            and all(is_whole(raw) and is_whole(n) for raw, n in v.items())
            and all(0 <= n <= _MOST_IDS for n in v.values())
        ),
        {},
    )
    names = section.get(
        "instance_classes",
        "a list of different class names",
        lambda v: is_list(v, is_text) and len(set(v)) == len(v),
        [],
    )
    return dataclasses.replace(spec, label=labels.instances(tuple(names)), ids=tuple(ids.items()))


def _read_normals(section: Section, spec: KeySpec) -> KeySpec:
    def is_axis(value):
        return isinstance(value, str) and bool(re.fullmatch(r"-?[xyz]", value))

    axes = section.get(
        "axes",
        "which axis of the file is right, which is down and which is ahead, such as [x, -z, y]",
        lambda v: is_list(v, is_axis, 3) and len({axis[-1] for axis in v}) == 3,
        ["x", "y", "z"],
    )
    unknown = section.get(
        "unknown",
        "a list of [x, y, z] as they are in the files, such as [[0, 0, 0]]",
        lambda v: is_list(v, lambda vector: is_list(vector, _is_value, 3)),
        [[0, 0, 0]],
    )
    return dataclasses.replace(
        spec,
        label=labels.normals(),
        axes=tuple(("xyz".index(axis[-1]), -1 if axis[0] == "-" else 1) for axis in axes),
        unit_length=section.get("unit_length", "true or false", is_flag, False),
        unknown=tuple(map(tuple, unknown)),
    )


def _is_value(value: Any) -> bool:
    """A number of a file; .nan and .inf too."""
    return is_number(value) or isinstance(value, float)


def _read_depth(section: Section, spec: KeySpec, kind: str) -> KeySpec:
    limits = section.get(
        "range", "[least, greatest]", lambda v: is_list(v, is_number, 2) and 0 <= v[0] < v[1]
    )
    if limits is None:
        raise section.error("range", "[least, greatest] of the values, after divide_by", None)
    label = labels.LabelSpec(
        kind=kind,
        dtype="float32",
        zoom_power=section.get(
            "zoom_power", "-1, 0 or 1", lambda v: is_whole(v) and abs(v) < 2, _ZOOM_POWER[kind]
        ),
        invalid=0.0,
        unit=section.get("unit", "text", is_text, "m" if kind == "depth" else ""),
        valid_range=(float(limits[0]), float(limits[1])),
        mean=section.get("mean", "a number", is_number),
        stddev=section.get("stddev", "a number over 0", is_positive),
    )
    return dataclasses.replace(
        spec,
        label=label,
        unknown=tuple(
            section.get(
                "unknown", "a list of numbers or .nan", lambda v: is_list(v, _is_value), [0]
            )
        ),
        outside_range=section.get(
            "outside_range",
            "'refuse' or 'unknown'",
            lambda v: is_text(v) and v in ("refuse", "unknown"),
            "refuse",
        ),
    )
