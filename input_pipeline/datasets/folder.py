"""A folder of one's own: files by key, and a small YAML that says what they mean.

The data set is called after the YAML, 'folder/path/to/potholes.yaml'. `docs/datasets.md` has the
options, `docs/examples` some files.
"""

import dataclasses
import hashlib
import os
import pathlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

from input_pipeline import _images, labels, provenance, release, sources
from input_pipeline._messages import say
from input_pipeline.conversion import Item, Items
from input_pipeline.datasets import _folder_files, _folder_spec, _folder_values
from input_pipeline.datasets._folder_keys import KeySpec
from input_pipeline.datasets._folder_spec import FolderSpec
from input_pipeline.errors import DatasetError
from input_pipeline.quiet_tensorflow import tfds


@dataclasses.dataclass
class FolderConfig(tfds.core.BuilderConfig):
    """A configuration for each YAML, each folder of files, and each state of both.

    Attributes:
      spec: what the YAML says.
      manual_dir: where the files are.
      origin: of the YAML, kept beside the records: its path, and a digest of its text.
    """

    spec: FolderSpec | None = None
    manual_dir: str = ""
    origin: Mapping[str, str] = dataclasses.field(default_factory=dict)


def builder_config(path: str, *, manual_dir: str = "", data_dir: str = "") -> FolderConfig:
    """The configuration that the YAML file `path` describes.

    Its name has a hash of the YAML, of the folder of the files and of what `provenance` knows of
    every file that is used, so records are never taken for those of something else. Where the files
    are no longer there, records that were made from them with this YAML are found, if it is clear
    which.

    Args:
      path: of the YAML file.
      manual_dir: where the files are; '' is where the YAML says.
      data_dir: where records lie.

    Raises:
      DatasetError: there is no such YAML, or it is wrong.
    """
    if not path:
        raise DatasetError(
            "The data set 'folder' needs the path of a YAML file: 'folder/path/to/file.yaml'."
        )
    spec = _folder_spec.read(path)
    folder = os.path.abspath(os.path.expanduser(manual_dir)) if manual_dir else spec.manual_dir
    text = hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()
    origin = {"yaml": os.path.realpath(path), "yaml_sha256": text}
    stem = re.sub(r"[^\w.-]+", "_", pathlib.Path(path).stem)[:64]
    name = ""
    if _folder_files.any_image(spec, folder):
        state = _state(spec, folder)
    else:
        state = ""
        name = _records_of_absent_files(
            os.path.join(data_dir, Builder.name), stem, origin, folder if manual_dir else ""
        )
    identity = repr((text, os.path.realpath(folder), state))
    return FolderConfig(
        name=name or f"{stem}-{hashlib.sha256(identity.encode()).hexdigest()[:8]}",
        description=spec.description,
        spec=spec,
        manual_dir=folder,
        origin=origin,
    )


def _state(spec: FolderSpec, folder: str) -> str:
    """Names the state of all files that are used; '' where something is wrong with them."""
    try:
        return provenance.fingerprint(provenance.of(_folder_files.find(spec, folder), folder))
    except DatasetError:
        return ""  # No records have that name. What is wrong is said when they are to be made.


def _records_of_absent_files(root: str, stem: str, origin: Mapping[str, str], folder: str) -> str:
    """The name of the records that were made with this YAML, from that folder if one is given."""
    found = {
        name: made_from["folder"]
        for name, made_from in _all_records(root, stem)
        if made_from.get("yaml_sha256") == origin["yaml_sha256"]
        and folder in ("", made_from["folder"])
    }
    if len(found) != 1:
        return ""
    ((name, made_from),) = found.items()
    say(f"The files of {origin['yaml']} are not there: records made from {made_from} are used.")
    return name


def _all_records(root: str, stem: str) -> Iterator[tuple[str, provenance.Provenance]]:
    """Name and origin of the records of all YAMLs of that name."""
    for path in sorted(pathlib.Path(root).iterdir()) if os.path.isdir(root) else ():
        if path.name.startswith(f"{stem}-"):
            made_from = provenance.read(path / str(Builder.VERSION))
            if made_from is not None:
                yield path.name, made_from


@dataclasses.dataclass(frozen=True)
class Convert:
    """Reads one example of a folder."""

    keys: tuple[KeySpec, ...]
    size: tuple[int, int] | None

    def __call__(self, item: Item) -> dict[str, Any]:
        example = {}
        for spec in self.keys:
            if spec.key not in item.files:
                continue
            file = item.files[spec.key]
            if spec.key == "image":
                example["image"] = self._image(file, spec)
            else:
                value = _folder_values.decode(
                    _folder_values.read(file, spec), spec, f"{file}, key {spec.key!r}"
                )
                # Checked before it is resized, because a wrong value may vanish then.
                labels.check(value, spec.label, f"{file}, key {spec.key!r}")
                example[spec.key] = value
        self._check_sizes(item, example)
        if self.size is None:
            return example
        pixels = example.pop("image").pixels
        resized = {key: _images.resize_nearest(value, self.size) for key, value in example.items()}
        return {"image": _images.resize_image(pixels, self.size), **resized}

    def _image(self, file: sources.File, spec: KeySpec) -> _images.Photo:
        if spec.array:
            pixels = _images.read_npz(file, key="image", array=spec.array)
        elif file.name.lower().endswith(".npy"):
            pixels = _images.read_npy(file, key="image")
        else:
            return _images.read_as_seen(file)
        labels.check(pixels, spec.label, f"{file}, key 'image'")
        return _images.Photo(pixels, _images.png(pixels))

    def _check_sizes(self, item: Item, example: dict[str, Any]) -> None:
        expected = example["image"].pixels.shape[:2]
        for key, value in example.items():
            if key != "image" and value.shape[:2] != expected:
                raise DatasetError(
                    f"{item.files[key]}, key {key!r}: expected {expected[0]}×{expected[1]} "
                    f"(height×width), the size of {item.files['image']}, found "
                    f"{value.shape[0]}×{value.shape[1]}."
                )


class Builder(release.ReleaseBuilder):
    """Features: `id`, and the keys of the YAML. See `builder_config`."""

    name = "folder"
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First version."}  # noqa: RUF012 – as TFDS declares it
    MANUAL_DOWNLOAD_INSTRUCTIONS = """
    The folder that manual_dir names holds your files; without it, it is the folder of the YAML.
    """

    @property
    def _spec(self) -> FolderSpec:
        return self.builder_config.spec

    @property
    def description(self) -> str:
        """What the YAML says."""
        return self._spec.description or f"Described by {os.path.basename(self._spec.file)}."

    @property
    def size(self) -> tuple[int, int] | None:
        """(height, width), or None where images keep their size."""
        return self._spec.size

    @property
    def specs(self) -> dict[str, labels.LabelSpec]:
        """What the YAML says."""
        return {spec.key: spec.label for spec in self._spec.keys}

    @property
    def convert(self) -> Convert:
        """See `Convert`."""
        return Convert(self._spec.keys, self._spec.size)

    @property
    def work_dir(self) -> str:
        """One for all states of a YAML and its files: most examples are of more than one."""
        config = self.builder_config
        identity = repr((config.origin["yaml"], os.path.realpath(config.manual_dir)))
        digest = hashlib.sha256(identity.encode()).hexdigest()[:8]
        return os.fspath(self.data_path.parents[1] / f".converting-{self.version}-{digest}")

    @property
    def job_name(self) -> str:
        """What is in the YAML is told by `convert`, and the state of the files by themselves."""
        return f"{self.name}/{self.version}"

    @property
    def more_provenance(self) -> dict[str, Any]:
        """The YAML."""
        return dict(self.builder_config.origin)

    def notes(self) -> list[str]:
        """Which records of earlier states take up room."""
        origin, own = self.builder_config.origin, self.builder_config.name
        folder = os.path.realpath(self.builder_config.manual_dir)
        root = self.data_path.parents[1]
        return [
            f"{root / name} has records of an earlier state; remove it if no run reads it."
            for name, made_from in _all_records(os.fspath(root), own.rpartition("-")[0])
            if (made_from.get("yaml"), made_from["folder"]) == (origin["yaml"], folder)
            and name != own
        ]

    def check_summary(self, counted: Mapping[str, Any]) -> None:
        """Refuses masks of 0 and 255 whose foreground would count nowhere.

        Raises:
          DatasetError: a key has such masks, and the YAML does not say that 255 is to be ignored.
        """
        for spec in self._spec.keys:
            found = [of_split[spec.key] for of_split in counted.values() if spec.key in of_split]
            if spec.label.kind != "classes" or spec.ignore_given or not found:
                continue
            background, *others = spec.label.class_names
            ignored = any(of_split["ignored"] for of_split in found)
            if not others or not ignored or any(f["frequency"][o] for f in found for o in others):
                continue
            raise DatasetError(
                f"{self._spec.file}: keys.{spec.key}: the files hold 0 ({background!r}) and "
                f"{spec.label.ignore}, which counts nowhere unless the YAML says what it is; no "
                f"other class occurs. If {spec.label.ignore} is a class, add 'ids: {{0: "
                f"{background}, {spec.label.ignore}: {others[0]}}}'; if it does mean that nothing "
                f"is known, add 'ignore: {spec.label.ignore}'."
            )

    def find(self, manual_dir: str | os.PathLike, *, partial: bool = False) -> Items:
        """The examples of each split, sorted by id.

        Raises:
          DatasetError: a key has no files, an example lacks one, or the splits do not cover the
            examples, each once.
        """
        del partial  # There are no official numbers.
        if "validation" not in self._spec.splits:
            say(
                f"{self._spec.file} has no split 'validation', which training is evaluated on by "
                "default. Add one to its `splits`, or set config.eval.split."
            )
        return _folder_files.find(self._spec, manual_dir)
