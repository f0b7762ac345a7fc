"""Reads the YAML that describes a folder of one's own: see `docs/datasets.md`, section `folder`."""

import dataclasses
import difflib
import math
import os
import re
from collections.abc import Mapping
from typing import Any

import yaml

from input_pipeline import labels
from input_pipeline.errors import DatasetError

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
    "unknown": _DEPTHS,
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
      files: pattern with one star, which stands for the id of the example, and maybe an ending.
      label: what the array means.
      array: name of the array in a .npz file; '' for other files.
      optional: whether examples may lack it.
      bits: of PNG values, 8 or 16.
      ids: (value in the file, id) pairs; empty where the file has ids.
      divide_by, offset: the value is file / divide_by + offset.
      unknown: values in the file that mean that nothing is known.
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
    divide_by: float = 1.0
    offset: float = 0.0
    unknown: tuple[float, ...] = ()
    outside_range: str = "refuse"
    axes: tuple[tuple[int, int], ...] = ()
    unit_length: bool = False


@dataclasses.dataclass(frozen=True)
class FolderSpec:
    """The whole file.

    Attributes:
      file: its path.
      keys: 'image' first.
      splits: by name, patterns of ids, or the name of a text file with an id per line.
      manual_dir: where the files are, unless somebody says otherwise.
      size: (height, width) to resize to, or None.
      description: for people.
      overlap: whether an example may be in several splits.
    """

    file: str
    keys: tuple[KeySpec, ...]
    splits: Mapping[str, tuple[str, ...] | str]
    manual_dir: str
    size: tuple[int, int] | None = None
    description: str = ""
    overlap: bool = False


class _Loader(yaml.SafeLoader):
    """Refuses a key that is there twice, of which YAML would take the last."""

    def construct_mapping(self, node, deep=False):
        found = []
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in found:
                raise yaml.YAMLError(f"{key!r} is there twice, {key_node.start_mark}")
            found.append(key)
        return super().construct_mapping(node, deep)


class _Section:
    """A mapping of the YAML, whose every access is checked and whose errors say where."""

    def __init__(self, file: str, where: str, values: Any, known: tuple[str, ...]):
        self._file, self._where = file, where
        if not isinstance(values, Mapping):
            raise self.error("", "a mapping", values)
        self._values = values
        for name in values:
            if name not in known:
                near = difflib.get_close_matches(str(name), known, n=1)
                hint = f" Did you mean {near[0]!r}?" if near else ""
                raise DatasetError(
                    f"{file}: {where}{name} is not known.{hint} Known: {', '.join(known)}."
                )

    def error(self, name: str, expected: str, found: Any) -> DatasetError:
        return DatasetError(
            f"{self._file}: {self._where}{name}: expected {expected}, found {found!r}."
        )

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def get(self, name: str, expected: str, check, default: Any = None) -> Any:
        """The value if `check` holds, else an error; the default if there is none."""
        if name not in self._values:
            return default
        value = self._values[name]
        if not check(value):
            raise self.error(name, expected, value)
        return value


def _is_flag(value) -> bool:
    return isinstance(value, bool)


def _is_text(value) -> bool:
    return isinstance(value, str) and bool(value)


def _is_whole(value) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_list(value, of, length=None) -> bool:
    return isinstance(value, list) and all(map(of, value)) and length in (None, len(value))


def read(file: str | os.PathLike) -> FolderSpec:
    """Reads and checks the file.

    Raises:
      DatasetError: it is missing or no YAML, or says something that is unknown or makes no sense.
    """
    file = os.fspath(file)
    try:
        with open(file, encoding="utf-8") as stream:
            contents = yaml.load(stream, _Loader)
    except OSError as error:
        raise DatasetError(
            f"{file}: there is no such file. The data set 'folder/PATH' is described by the YAML "
            "file PATH; docs/datasets.md says how, docs/examples has some."
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DatasetError(f"{file} is not YAML: {error}") from error
    known = ("keys", "splits", "manual_dir", "size", "description", "overlap")
    top = _Section(file, "", contents, known)
    found = top.get("keys", "a mapping", lambda v: isinstance(v, Mapping), {})
    if "image" not in found or len(found) < 2:
        raise top.error("keys", "'image' and at least one label", list(found))
    names = ["image", *(key for key in found if key != "image")]
    here = os.path.dirname(os.path.abspath(file))
    size = top.get("size", "[height, width]", lambda v: _is_list(v, _is_whole, 2) and min(v) > 0)
    return FolderSpec(
        file=file,
        keys=tuple(_read_key(file, key, found[key]) for key in names),
        splits=_read_splits(top),
        manual_dir=os.path.join(here, top.get("manual_dir", "a folder", _is_text, "")),
        size=tuple(size) if size else None,
        description=top.get("description", "text", _is_text, ""),
        overlap=top.get("overlap", "true or false", _is_flag, False),
    )


def _read_splits(top: _Section) -> dict[str, tuple[str, ...] | str]:
    expected = "for each split a list of patterns of ids, or the name of a .txt file"

    def is_split(value):
        return _is_list(value, _is_text) or (_is_text(value) and value.endswith(".txt"))

    found = top.get("splits", expected, lambda v: isinstance(v, Mapping) and v, None)
    if found is None:
        raise top.error("splits", expected, None)
    for name, value in found.items():
        if not (_is_text(name) and re.fullmatch(r"[a-z][a-z0-9_]*", name) and is_split(value)):
            raise top.error("splits", expected, {name: value})
    return {k: tuple(v) if isinstance(v, list) else v for k, v in found.items()}


def _read_key(file: str, key: str, values: Any) -> KeySpec:
    if not _is_text(key) or not key.isidentifier() or key in ("id", "valid"):
        raise DatasetError(f"{file}: keys.{key}: expected a name of letters, other than id, valid.")
    kind = "image" if key == "image" else (values or {}).get("kind")
    if kind not in _KINDS or (kind == "image") != (key == "image"):
        raise DatasetError(
            f"{file}: keys.{key}.kind: expected one of {', '.join(_KINDS[1:])}, found {kind!r}."
        )
    known = tuple(option for option, kinds in _OPTIONS.items() if kind in kinds)
    section = _Section(file, f"keys.{key}.", values, known)
    pattern = section.get("files", "a pattern with one *", _is_pattern, f"{key}/*")
    array = section.get("array", "the name of an array", _is_text, "")
    if bool(array) != pattern.endswith(".npz"):
        raise section.error("array", "a name for .npz files and none for others", array)
    default_bits = 16 if kind in _DEPTHS else 8
    spec = KeySpec(
        key=key,
        files=pattern,
        label=labels.image(),
        array=array,
        optional=section.get("optional", "true or false", _is_flag, False),
        bits=section.get("bits", "8 or 16", lambda v: v in (8, 16), default_bits),
        divide_by=section.get("divide_by", "a number over 0", _is_positive, 1),
        offset=section.get("offset", "a number", _is_number, 0),
    )
    return {
        "image": lambda: spec,
        "classes": lambda: _read_classes(section, spec),
        "instances": lambda: _read_instances(section, spec),
        "normals": lambda: _read_normals(section, spec),
    }.get(kind, lambda: _read_depth(section, spec, kind))()


def _is_pattern(value) -> bool:
    return _is_text(value) and value.count("*") == 1 and not value.startswith(("/", ".."))


def _is_positive(value) -> bool:
    return _is_number(value) and value > 0


def _read_classes(section: _Section, spec: KeySpec) -> KeySpec:
    expected = "a list of class names (in quotes where YAML sees no text), or their number"
    names = section.get(
        "names", expected, lambda v: v and (_is_list(v, _is_text) or (_is_whole(v) and v > 0))
    )
    if names is None:
        raise section.error("names", expected, None)
    names = [f"class_{c}" for c in range(names)] if _is_whole(names) else names
    palette = section.get(
        "palette",
        f"[red, green, blue] from 0 to 255 for each of the {len(names)} classes",
        lambda v: _is_list(v, _is_colour, len(names)),
        [],
    )
    ignore = section.get(
        "ignore", "an id that is no class", lambda v: _is_whole(v) and v >= len(names), 255
    )
    swap = section.get(
        "flip_swap",
        "pairs of class names",
        lambda v: _is_list(v, lambda pair: _is_list(pair, names.__contains__, 2)),
        [],
    )
    pairs = tuple((names.index(a), names.index(b)) for a, b in swap)
    label = labels.classes(tuple(names), tuple(map(tuple, palette)), ignore=ignore, flip_swap=pairs)
    return dataclasses.replace(spec, label=label, ids=_read_ids(section, names, ignore))


def _is_colour(value) -> bool:
    return _is_list(value, lambda v: _is_whole(v) and 0 <= v <= 255, 3)


def _read_ids(section: _Section, names: list[str], ignore: int) -> tuple[tuple[int, int], ...]:
    """`ids`: what each value of the file becomes, a class name or 'ignore'."""
    meaning = {**{name: number for number, name in enumerate(names)}, "ignore": ignore}
    ids = section.get(
        "ids",
        f"for each value in the files one of {', '.join(meaning)}",
        lambda v: (
            isinstance(v, Mapping)
            and all(_is_whole(raw) and raw >= 0 and name in meaning for raw, name in v.items())
        ),
        {},
    )
    return tuple((raw, meaning[name]) for raw, name in ids.items())


def _read_instances(section: _Section, spec: KeySpec) -> KeySpec:
    ids = section.get(
        "ids",
        "for some values in the files an instance id from 1, or 0 for none",
        lambda v: (
            isinstance(v, Mapping)
            and all(_is_whole(n) and n >= 0 for pair in v.items() for n in pair)
        ),
        {},
    )
    names = section.get(
        "instance_classes", "a list of class names", lambda v: _is_list(v, _is_text), []
    )
    return dataclasses.replace(spec, label=labels.instances(tuple(names)), ids=tuple(ids.items()))


def _read_normals(section: _Section, spec: KeySpec) -> KeySpec:
    def is_axis(value):
        return isinstance(value, str) and bool(re.fullmatch(r"-?[xyz]", value))

    axes = section.get(
        "axes",
        "which axis of the file is right, which is down and which is ahead, such as [x, -z, y]",
        lambda v: _is_list(v, is_axis, 3) and len({axis[-1] for axis in v}) == 3,
        ["x", "y", "z"],
    )
    return dataclasses.replace(
        spec,
        label=labels.normals(),
        axes=tuple(("xyz".index(axis[-1]), -1 if axis[0] == "-" else 1) for axis in axes),
        unit_length=section.get("unit_length", "true or false", _is_flag, False),
    )


def _read_depth(section: _Section, spec: KeySpec, kind: str) -> KeySpec:
    limits = section.get(
        "range", "[least, greatest]", lambda v: _is_list(v, _is_number, 2) and 0 <= v[0] < v[1]
    )
    if limits is None:
        raise section.error("range", "[least, greatest] of the values, after divide_by", None)
    label = labels.LabelSpec(
        kind=kind,
        dtype="float32",
        zoom_power=section.get(
            "zoom_power", "-1, 0 or 1", lambda v: v in (-1, 0, 1), _ZOOM_POWER[kind]
        ),
        invalid=0.0,
        unit=section.get("unit", "text", _is_text, "m" if kind == "depth" else ""),
        valid_range=(float(limits[0]), float(limits[1])),
        mean=section.get("mean", "a number", _is_number),
        stddev=section.get("stddev", "a number over 0", _is_positive),
    )
    return dataclasses.replace(
        spec,
        label=label,
        unknown=tuple(
            section.get("unknown", "a list of numbers", lambda v: _is_list(v, _is_number), [0])
        ),
        outside_range=section.get(
            "outside_range", "'refuse' or 'unknown'", ("refuse", "unknown").__contains__, "refuse"
        ),
    )
