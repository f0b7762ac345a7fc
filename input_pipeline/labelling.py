"""Labels that a run makes of others, or does without: edges on the fly, and partial labels.

A `Relabelled` stands in for a builder, and its records for those of the builder. Both changes come
after the random geometry: edges are made of the map that the network is shown, so that they are one
pixel wide whatever the zoom, and no interpolation softens them.
"""

import json
import os
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from input_pipeline import class_edges, labels, summary
from input_pipeline._order import permutation
from input_pipeline.errors import DatasetError, OptionError
from input_pipeline.labels import LabelSpec

Example = dict[str, np.ndarray]

KINDS = ("all", "one", "random", "file")
_SERIES = 1 << 20  # of random orders, beyond those of the sources of a mixture
# Goes with an example whose edges are made, as ones: where it is 0 afterwards, the frame was not.
FRAME = "frame of the edges"
FRAME_SPEC = LabelSpec(kind="frame", dtype="uint8")


class Relabelled:
    """A data set with edges of its other labels, of which training sees a part.

    Attributes:
      builder: the data set itself.
      edges: {key: the key of the class map or instances that these edges are made of}.
      partial: `config.data.labels`, what of the training labels is used.
      label_specs: {key: LabelSpec}, edges included.
    """

    def __init__(self, builder: Any, *, edges: Mapping[str, str], partial: Any):
        """Checks that edges can be made so.

        Raises:
          OptionError: they are to be made of something that is no map of ids, or would replace
            labels that the data set has.
        """
        self.builder, self.edges, self.partial = builder, dict(edges), partial
        known = builder.label_specs
        for key, source in edges.items():
            if source not in known or known[source].kind not in ("classes", "instances"):
                maps = [k for k, spec in known.items() if spec.kind in ("classes", "instances")]
                raise OptionError(
                    f"config.data.edges.{key}={source!r}: edges are made of a class map or of "
                    f"instances; the data set has {', '.join(maps) or 'none'}."
                )
            if key in known:
                raise OptionError(
                    f"config.data.edges.{key}: the data set has labels {key!r} of its own. Choose "
                    "another name, and give it to the task as its key."
                )
        self.label_specs = {**known, **dict.fromkeys(edges, labels.edges())}

    def __getattr__(self, name: str) -> Any:
        return getattr(self.builder, name)


class RelabelledRecords:
    """The records of a split of a `Relabelled`; attributes and methods are those of `Records`.

    Attributes:
      used: {key: bool [N], whether an example's label is used}, where labels are partial.
    """

    def __init__(
        self,
        data: Relabelled,
        split: str,
        keys: Sequence[str],
        open_records: Callable[[Sequence[str]], Any],
        *,
        training: bool,
    ):
        """Opens a split.

        Args:
          data: the data set.
          split, keys: as of `Records`.
          open_records: opens that split of `data.builder` for the keys that it is given.
          training: whether this is what is trained on, of which labels may be left out.

        Raises:
          DatasetError: see `Records`; or the file of partial labels is wrong.
        """
        edges = {key: data.edges[key] for key in keys if key in data.edges}
        own = [key for key in keys if key not in edges]
        sources = [source for source in edges.values() if source not in own]
        self._base = open_records([*own, *dict.fromkeys(sources)])
        self._edges, self.open_records = edges, open_records
        self.name, self.num_examples = self._base.name, self._base.num_examples
        self.missing = self._base.missing
        self.specs = {**self._base.specs, **dict.fromkeys(edges, labels.edges())}
        self.labelled = {**self._base.labelled}
        for key, source in edges.items():
            self.labelled[key] = self._base.labelled[source]
        self.used: dict[str, np.ndarray] = {}
        if training and data.partial.kind != "all":
            used = partial_labels(data, self, split, [key for key in keys if key != "image"])
            self.used = {key: column for key, column in used.items() if key in self.specs}
            self.labelled |= {key: int(column.sum()) for key, column in self.used.items()}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._base, name)

    def example(self, index: int) -> Example:
        """The arrays of one example, edges included, as they are stored."""
        return self._with_edges(self._base.example(index))

    def batches(
        self,
        steps: range,
        choose: Callable[[int], tuple[np.ndarray, np.ndarray]],
        change: Callable[[Example, np.ndarray], Example],
        *rest: Any,
    ) -> Iterator[Example]:
        """As of `Records`. What `change` has moved gets its edges, and loses what is not used."""

        def choose_too(step):
            indices, numbers = choose(step)
            return indices, np.column_stack([numbers, indices.astype(np.int64)])

        def relabel(example, numbers):
            if self._edges:
                size = next(iter(example.values())).shape[:2]
                example = {**example, FRAME: np.ones(size, np.uint8)}
            changed = self._with_edges(change(example, numbers[:-1]))
            for key, used in self.used.items():
                if not used[numbers[-1]]:
                    changed[key] = np.full_like(changed[key], self.specs[key].unknown)
            return changed

        return self._base.batches(steps, choose_too, relabel, *rest, self.specs)

    def _with_edges(self, example: Example) -> Example:
        found = dict(example)
        frame = found.pop(FRAME, None)
        for key, source in self._edges.items():
            found[key] = edges_of(example[source], self.specs[source], frame)
        return found


def edges_of(ids: np.ndarray, spec: LabelSpec, frame: np.ndarray | None = None) -> np.ndarray:
    """Edges of a map of ids: float32 [H, W], 1 on a thin line where ids differ, −1 unknown.

    Pixels without a class take that of the nearest one with a class if it is at most two pixels
    away, as borders are often not labelled; farther in, edges are unknown. Of instances, whose 0 is
    a background, an image without any is unlabelled. What is outside the frame is unknown, and no
    edge runs along it: padding changes nothing.

    Args:
      ids: [H, W].
      spec: of the map.
      frame: [H, W], 0 where nothing of the image is; None: all of it is there.
    """
    outside = np.zeros(ids.shape, bool) if frame is None else frame == 0
    edges = np.full(ids.shape, -1.0, np.float32)
    void = outside if spec.kind == "instances" else outside | (ids == spec.ignore)
    if void.all() or (spec.kind == "instances" and not ids.any()):
        return edges
    box = tuple(
        slice(int(where[0]), int(where[-1]) + 1)
        for where in (np.flatnonzero(~outside.all(axis=1 - axis)) for axis in (0, 1))
    )
    ids, void = ids[box], void[box]
    unsaid = outside[box]
    if void.any():
        ids, far = class_edges.fill(ids, void)
        unsaid = unsaid | far
    edges[box] = np.where(unsaid, np.float32(-1), class_edges.of_classes(ids))
    return edges


def partial_labels(
    data: Relabelled, records: RelabelledRecords, split: str, keys: Sequence[str]
) -> dict[str, np.ndarray]:
    """Which examples a label is used of: {key: bool [N]}.

    Args:
      data: the data set.
      records: of the split.
      split: its name.
      keys: of the run's labels, which share the images if `data.partial.among` names none.

    Raises:
      DatasetError: the file of them cannot be read, or says something about nothing.
      OptionError: the data set lacks one of `data.partial.among`.
    """
    options = data.partial
    shared = list(options.among or (key for key in keys if key in data.label_specs))
    if lacking := [key for key in shared if key not in data.label_specs]:
        raise OptionError(
            f"config.data.labels.among: the data set has no {', '.join(lacking)}; it has "
            f"{', '.join(data.label_specs)}."
        )
    if options.kind == "file":
        used = read_file(options.file, shared, records)
    else:
        draw = {"one": one_label, "random": random_labels}[options.kind]
        used = draw(available(data, records, split, shared), options.seed)
    return dict(zip(shared, used.T))


def one_label(has: np.ndarray, seed: int) -> np.ndarray:
    """One label for each image, in equal parts: bool [N, K].

    Labels that few images have are given out first. Where there are too few images with a label,
    the others share what is left; images without any label get none.

    Args:
      has: [N, K] bool, which labels an image has.
      seed: not negative.
    """
    used = np.zeros(has.shape, bool)
    free: np.ndarray = has.any(axis=1)
    order = permutation(len(has), seed, 0, series=_SERIES)
    rarest = np.argsort(has.sum(axis=0), kind="stable")
    for place, key in enumerate(rarest):
        quota = -(-int(free.sum()) // (has.shape[1] - place))
        mine = [i for i in order if free[i] and has[i, key]][:quota]
        used[mine, key] = True
        free[mine] = False
    for i in np.flatnonzero(free):  # of labels that ran out of images, whatever they have
        used[i, np.flatnonzero(has[i])[0]] = True
    return used


def random_labels(has: np.ndarray, seed: int) -> np.ndarray:
    """For each image a number, uniform from 1 to one less than it has, and so many labels.

    Arguments and result as of `one_label`; an image that has one label keeps it.
    """
    used = np.zeros(has.shape, bool)
    for i, row in enumerate(has):
        own = np.flatnonzero(row)
        if not len(own):
            continue
        philox = np.random.Philox(
            key=np.array([seed, i], np.uint64), counter=np.array([0, 0, 0, _SERIES + 1], np.uint64)
        )
        raw = philox.random_raw(1 + len(own))
        number = 1 + int(raw[0] % np.uint64(max(len(own) - 1, 1)))
        used[i, own[np.argsort(raw[1:], kind="stable")[:number]]] = True
    return used


def available(
    data: Relabelled, records: RelabelledRecords, split: str, keys: Sequence[str]
) -> np.ndarray:
    """Which labels of `keys` an example has: bool [N, K].

    The summary beside the records says whether all have a label; otherwise that array of every
    record is read once.
    """
    has = np.ones((records.num_examples, len(keys)), bool)
    sources = [data.edges.get(key, key) for key in keys]
    if not hasattr(data.builder, "info"):  # arrays, or several data sets: no summary
        stored = records.open_records(["image", *dict.fromkeys(sources)])
        for i in range(records.num_examples):
            example = stored.example(i)
            has[i] = [(example[s] != data.label_specs[s].unknown).any() for s in sources]
        return has
    from input_pipeline.quiet_tensorflow import tfds

    directory = getattr(data.builder, "data_dir", None)
    counted = (summary.read(directory) if directory else None) or {}
    counted = counted.get(split.partition("[")[0], {})
    for column, source in enumerate(sources):
        of_key = counted.get(source)
        if of_key is None or of_key["examples"] == counted["examples"]:
            continue
        partial = tfds.decode.PartialDecoding({source: True})
        features = partial.extract_features(data.builder.info.features)
        spec = data.label_specs[source]
        for i in range(records.num_examples):
            value = features.deserialize_example_np(records.read(np.array([i]))[0])[source]
            has[i, column] = bool((value != spec.unknown).any())
    return has


def read_file(path: str, keys: Sequence[str], records: RelabelledRecords) -> np.ndarray:
    """Partial labels of a file: bool [N, K].

    Args:
      path: a .json file, {id: [keys]}, of which an id that is absent has no label; or a .npy file,
        [N, K] of 0 and 1, the examples in the order of the records and the labels in that of
        `keys`.
      keys: of the labels.
      records: of the split.

    Raises:
      DatasetError: it cannot be read, has another size, or names an unknown id or label.
    """
    where, file = f"config.data.labels.file={path}", os.path.expanduser(path)
    shape = (records.num_examples, len(keys))
    try:
        if os.path.exists(file) and not os.path.isfile(file):
            raise OSError("it is no file")  # such as a named pipe, which would be waited for
        if path.endswith(".npy"):
            table = np.lib.format.open_memmap(file, mode="r")  # which refuses objects
        else:
            named = _named(json.loads(pathlib.Path(file).read_text(encoding="utf-8")))
    # A changed header of a .npy ends in what Python's own parser raises, TokenError for example.
    except Exception as error:
        raise DatasetError(
            f"{where}: expected JSON, {{id: [labels]}}, or a .npy of 0 and 1, found none "
            f"({type(error).__name__}: {str(error)[:200]})."
        ) from error
    if path.endswith(".npy"):
        is_number = table.dtype.kind in "biuf"
        if table.shape != shape or not is_number or not np.isin(table, (0, 1)).all():
            raise DatasetError(
                f"{where}: expected 0 and 1 of shape {list(shape)}, one row for each example and "
                f"one column for each of {', '.join(keys)}; found {table.dtype} of shape "
                f"{list(table.shape)}."
            )
        return np.array(table, bool)
    ids = records.ids(np.arange(records.num_examples))
    strange = sorted(set(named) - set(ids))
    unknown_keys = sorted({key for found in named.values() for key in found} - set(keys))
    if strange or unknown_keys:
        raise DatasetError(
            f"{where}: expected ids of {records.name} and labels out of {', '.join(keys)}; found "
            f"the ids {strange[:5]} and the labels {unknown_keys[:5]}."
        )
    rows = [[key in named.get(name, ()) for key in keys] for name in ids]
    return np.array(rows, bool)


def _named(found: Any) -> dict[str, list[str]]:
    """{id: [keys]}. Raises ValueError if a JSON value is no such thing."""
    if not isinstance(found, dict):
        raise ValueError("it holds no object")
    for name, its in found.items():
        if not isinstance(its, list) or not all(isinstance(key, str) for key in its):
            raise ValueError(f"the labels of {name[:80]!r} are {its!r:.80}")
    return found
