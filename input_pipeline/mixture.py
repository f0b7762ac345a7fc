"""Several data sets as one, in given proportions, for tasks that no single one has labels for.

A `Mixture` stands in for a builder: `TrainStream` and `EvalStream` read it like one data set. An
example keeps the labels that its data set has; the other keys are filled with what means "unknown".
"""

import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from input_pipeline import datasets
from input_pipeline._order import permutation
from input_pipeline.errors import DatasetError, OptionError
from input_pipeline.held_out import Part
from input_pipeline.labels import LabelSpec
from input_pipeline.quiet_tensorflow import tf, tfds
from input_pipeline.records import Records

OPTIONS: dict[str, Any] = {
    "dataset": "",
    "proportion": 1.0,
    "labels": {},
    "splits": {},
    "manual_dir": "",
}


@dataclasses.dataclass(frozen=True)
class Source:
    """One data set of a mixture.

    Attributes:
      name: of the source; two may be of one data set.
      builder: the prepared data set.
      proportion: its share of the examples, relative to the others'.
      labels: {key in a batch: the data set's own key} of what is kept; empty keeps all, unrenamed.
      splits: {split that is asked for: the data set's own}, e.g. {'train': 'train[:50%]'}; one that
        is not named is called alike.
    """

    name: str
    builder: tfds.core.DatasetBuilder
    proportion: float = 1.0
    labels: Mapping[str, str] = dataclasses.field(default_factory=dict)
    splits: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        if not (np.isfinite(self.proportion) and self.proportion > 0):
            raise OptionError(
                f"Source {self.name!r} has proportion={self.proportion}; expected more than 0."
            )
        known = self.builder.label_specs
        if unknown := [key for key in self.labels.values() if key not in known]:
            raise DatasetError(
                f"Source {self.name!r} is to keep the labels {unknown}, but "
                f"{self.builder.info.full_name} has {sorted(known)}."
            )

    @property
    def own_keys(self) -> dict[str, str]:
        """{key in a batch: the data set's own}, `image` first."""
        labels = self.labels or {key: key for key in self.builder.label_specs}
        return {"image": "image", **labels}


class Mixture:
    """Data sets that are read as one.

    Attributes:
      sources: in the order in which `EvalStream` gives them.
      label_specs: {key: LabelSpec} of all of them.
    """

    def __init__(self, sources: Sequence[Source]):
        """Checks that a key means the same wherever it occurs.

        Raises:
          DatasetError: there is no source, or two of them mean different things by one key.
        """
        if not sources:
            raise DatasetError("A mixture needs at least one data set.")
        self.sources = tuple(sources)
        self.label_specs: dict[str, LabelSpec] = {}
        owners: dict[str, str] = {}
        for source in sources:
            for key, own in source.own_keys.items():
                spec = source.builder.label_specs[own]
                first = self.label_specs.setdefault(key, spec)
                owner = owners.setdefault(key, source.name)
                if first != spec:
                    raise DatasetError(_contradiction(key, owner, first, source.name, spec))


def load(config: Mapping[str, Mapping[str, Any]], *, data_dir: str, manual_dir: str) -> Mixture:
    """The prepared data sets of `config.data.mixture`.

    Args:
      config: {name of a source: {'dataset': see `datasets.load`, and of `Source`: 'proportion',
        'labels', 'splits'; 'manual_dir' if it is not that of the others}}.
      data_dir: where records lie.
      manual_dir: see `datasets.load`.

    Raises:
      DatasetError: a data set is not prepared, or see `Mixture`.
      OptionError: an unknown option, or an impossible proportion.
    """
    sources = []
    for name, given in config.items():
        if unknown := sorted(set(given) - set(OPTIONS)):
            raise OptionError(
                f"config.data.mixture.{name} has {', '.join(unknown)}; known are "
                f"{', '.join(OPTIONS)}."
            )
        options = OPTIONS | dict(given)
        builder = datasets.load(
            options["dataset"], data_dir=data_dir, manual_dir=options["manual_dir"] or manual_dir
        )
        labels, splits = dict(options["labels"]), dict(options["splits"])
        sources.append(Source(name, builder, options["proportion"], labels, splits))
    return Mixture(sources)


class MixedRecords:
    """The records of one split of a mixture; the attributes and methods are those of `Records`.

    Index i is an example of the first data set as long as it is less than their number, then of the
    second, and so on. An epoch has as many examples as all data sets together. Each data set's
    share of them is exact, and where among them its examples are is random; it goes through its own
    examples in an order of its own, all of them once before any of them again.
    """

    batches, describe = Records.batches, Records.describe

    def __init__(self, mixture: Mixture, split: str, keys: Sequence[str], part: Part | None = None):
        """Opens a split, or that part of it, of every data set.

        Raises:
          DatasetError: see `Records`.
          ValueError: a proportion is so small that an epoch has no example of that data set.
        """
        specs = mixture.label_specs
        self.specs = {key: specs[key] for key in keys if key in specs}
        self.missing = tuple(key for key in keys if key not in specs)
        self._names = [source.name for source in mixture.sources]
        self._own_keys = [
            {key: own for key, own in source.own_keys.items() if key in keys}
            for source in mixture.sources
        ]
        self._records = [
            Records(source.builder, source.splits.get(split, split), list(own.values()), part)
            for source, own in zip(mixture.sources, self._own_keys)
        ]
        self.name = " + ".join(records.name for records in self._records)
        self._starts = np.cumsum([0] + [records.num_examples for records in self._records])
        self.num_examples = int(self._starts[-1])
        self._shares = _shares([source.proportion for source in mixture.sources], self.num_examples)
        for source, share in zip(mixture.sources, self._shares):
            if not share:
                raise OptionError(
                    f"Source {source.name!r} has proportion={source.proportion}, which is none of "
                    f"the {self.num_examples} examples of an epoch."
                )
        self.stored_dtypes = {key: np.dtype(spec.dtype) for key, spec in self.specs.items()}
        self.labelled = {
            key: int(sum(n for n, own in zip(self._shares, self._own_keys) if key in own))
            for key in self.specs
        }

    def epoch_order(self, seed: int, epoch: int) -> np.ndarray:
        """int64 [num_examples], the indices of an epoch's examples."""
        sources = np.repeat(np.arange(len(self._shares)), self._shares)
        sources = sources[permutation(self.num_examples, seed, epoch)]
        order = np.empty(self.num_examples, np.int64)
        for source, (start, records) in enumerate(zip(self._starts, self._records)):
            visits = epoch * self._shares[source] + np.arange(self._shares[source])
            rounds, positions = np.divmod(visits, records.num_examples)
            indices = np.empty_like(visits)
            for index in np.unique(rounds):
                own_order = permutation(records.num_examples, seed, int(index), series=source + 2)
                indices[rounds == index] = own_order[positions[rounds == index]]
            order[sources == source] = start + indices
        return order

    def read(self, indices: np.ndarray) -> list[bytes]:
        """The serialized records, each after one byte that says of which data set it is."""
        found = [b""] * len(indices)
        for source, rows, own_indices in self._by_source(indices):
            for row, record in zip(rows, self._records[source].read(own_indices)):
                found[row] = bytes([source]) + record
        return found

    @property
    def decodes_directly(self) -> bool:
        """As of `Records`, of all of them."""
        return all(records.decodes_directly for records in self._records)

    def example(self, index: int) -> dict[str, np.ndarray]:
        """The arrays of one example: all keys of the mixture, as `decode` has them."""
        ((source, _, (own_index,)),) = self._by_source(np.array([index]))
        found, own_keys = self._records[source].example(own_index), self._own_keys[source]
        size = found["image"].shape[:2]
        return {
            key: found[own_keys[key]] if key in own_keys else spec.unlabelled(size)
            for key, spec in self.specs.items()
        }

    def ids(self, indices: np.ndarray) -> list[str]:
        """'source/id' of each example."""
        found = [""] * len(indices)
        for source, rows, own_indices in self._by_source(indices):
            for row, name in zip(rows, self._records[source].ids(own_indices)):
                found[row] = f"{self._names[source]}/{name}"
        return found

    def image_sizes(self, indices: np.ndarray) -> list[tuple[int, int]]:
        """(height, width) of each example's image, without decoding it."""
        found = [(0, 0)] * len(indices)
        for source, rows, own_indices in self._by_source(indices):
            for row, size in zip(rows, self._records[source].image_sizes(own_indices)):
                found[row] = size
        return found

    def decode(self, record: tf.Tensor) -> dict[str, tf.Tensor]:
        """Parses one record: all keys of the mixture, those that its data set lacks as unknown."""
        source = tf.io.decode_raw(tf.strings.substr(record, 0, 1), tf.uint8)[0]
        rest = tf.strings.substr(record, 1, np.iinfo(np.int32).max)
        example = tf.switch_case(
            tf.cast(source, tf.int32),
            [functools.partial(self._decode, i, rest) for i in range(len(self._records))],
        )
        return {
            key: tf.ensure_shape(value, [None, None, *([spec.channels] * (spec.channels > 0))])
            for (key, spec), value in zip(self.specs.items(), example)
        }

    def _decode(self, source: int, record: tf.Tensor) -> list[tf.Tensor]:
        example = self._records[source].decode(record)
        own_keys, size = self._own_keys[source], tf.shape(example["image"])[:2]

        def unlabelled(spec):
            shape = tf.concat([size, [spec.channels] * (spec.channels > 0)], axis=0)
            return tf.fill(shape, tf.constant(spec.unknown, spec.dtype))

        return [
            example[own_keys[key]] if key in own_keys else unlabelled(spec)
            for key, spec in self.specs.items()
        ]

    def _by_source(self, indices: np.ndarray) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """Number of the source, which of `indices` are of it, and these within the source."""
        sources = np.searchsorted(self._starts, indices, side="right") - 1
        for source in np.unique(sources):
            rows = np.flatnonzero(sources == source)
            yield int(source), rows, indices[rows] - self._starts[source]


def _shares(proportions: Sequence[float], total: int) -> np.ndarray:
    """Whole numbers in these proportions that add up to `total`, by largest remainders."""
    exact = np.array(proportions, np.float64) / np.sum(proportions) * total
    shares = exact.astype(np.int64)
    most = np.argsort(shares - exact, kind="stable")[: total - shares.sum()]
    shares[most] += 1
    return shares


def _contradiction(key: str, first: str, spec: LabelSpec, second: str, other: LabelSpec) -> str:
    differing = [
        field.name
        for field in dataclasses.fields(LabelSpec)
        if getattr(spec, field.name) != getattr(other, field.name)
    ]
    return (
        f"The key {key!r} means one thing in {first!r} and another in {second!r}: its "
        f"{', '.join(differing)} differ. Give it two names, for example with "
        f"config.data.mixture.{second}.labels = {{'{key}_{second}': '{key}'}}, and each name its "
        "own task; or keep it out of one of them by naming the labels to keep."
    )
