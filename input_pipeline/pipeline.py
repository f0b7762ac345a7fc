"""Records ─► batches. Batch k is a pure function of (seed, k), whatever was read before it.

A stream turns a step into the indices of its examples and the numbers that they are changed by;
the records read those examples, decode and change them in parallel, in order. Nothing is shuffled
in a buffer and nothing is skipped over, so starting at step k costs no more than at step 0.
With several processes each reads its contiguous slice of every batch.

Nothing here needs TensorFlow: records that are stored for it import it (`records.py`).
"""

import concurrent.futures
import functools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from input_pipeline import _digest, arrays, cores, draws, recipes, transforms
from input_pipeline.errors import DatasetError, OptionError
from input_pipeline.framing import Framing
from input_pipeline.held_out import Part
from input_pipeline.labelling import FRAME, FRAME_SPEC, Relabelled, RelabelledRecords

if TYPE_CHECKING:
    from input_pipeline.mixture import Mixture
    from input_pipeline.quiet_tensorflow import tfds

Batch = dict[str, np.ndarray]


def _open(
    builder: Any, split: str, keys: Sequence[str], part: Part | None, *, training: bool
) -> Any:
    """The records of a split, as `records.Records` has them."""
    if isinstance(builder, Relabelled):

        def open_records(own_keys):
            return _open(builder.builder, split, own_keys, part, training=training)

        return RelabelledRecords(builder, split, keys, open_records, training=training)
    if isinstance(builder, arrays.Arrays):
        return arrays.ArrayRecords(builder, split, keys, part)
    from input_pipeline import mixture, records  # which import TensorFlow

    opened = mixture.MixedRecords if isinstance(builder, mixture.Mixture) else records.Records
    return opened(builder, split, keys, part)


def _local_slice(batch_size: int, process_index: int, process_count: int) -> slice:
    if batch_size < 1 or batch_size % process_count:
        raise OptionError(
            f"batch_size={batch_size} is not a positive multiple of the number of processes, "
            f"{process_count}."
        )
    local = batch_size // process_count
    return slice(process_index * local, (process_index + 1) * local)


class TrainStream:
    """Endless batches of augmented examples, in a new order in every epoch.

    Attributes:
      num_examples: in the split.
      steps_per_epoch: full batches in an epoch; the examples beyond the last one are left out of
        that epoch.
      specs: {key: LabelSpec} of the arrays in a batch.
      missing: keys that were asked for and that the data set does not have.
      labelled_per_epoch: {key: examples of an epoch that have it}.
      local_slice: this process's rows of the global batch.
    """

    def __init__(
        self,
        builder: "tfds.core.DatasetBuilder | Mixture",
        *,
        keys: Sequence[str],
        batch_size: int,
        seed: int,
        split: str = "train",
        part: Part | None = None,
        augmentation: transforms.Augmentation = transforms.Augmentation(),
        process_index: int = 0,
        process_count: int = 1,
    ):
        """Opens the stream.

        Args:
          builder: a prepared data set, several of them, or `arrays.Arrays`.
          keys: 'image' and label keys. A label that the data set does not have is left out.
          batch_size: of the global batch, over all processes.
          seed: not negative. Order and augmentation depend on it and on the step alone.
          split, part: see `Records`.
          augmentation: see `transforms.Augmentation`.
          process_index: of this process.
          process_count: number of processes.

        Raises:
          DatasetError: see `Records`; or the split is smaller than a batch.
          ValueError: `batch_size` is not a multiple of `process_count`, or `seed` is negative.
        """
        if seed < 0:
            raise OptionError(f"seed={seed}; expected a number that is not negative.")
        self.local_slice = _local_slice(batch_size, process_index, process_count)
        self._records = _open(builder, split, keys, part, training=True)
        self.specs, self.missing = self._records.specs, self._records.missing
        self.num_examples = self._records.num_examples
        self.labelled_per_epoch = self._records.labelled
        self.steps_per_epoch = self.num_examples // batch_size
        if not self.steps_per_epoch:
            raise DatasetError(
                f"{self._records.name} has {self.num_examples} examples, fewer than one batch of "
                f"{batch_size}."
            )
        self._batch_size, self._seed, self._augmentation = batch_size, seed, augmentation
        order = functools.partial(self._records.epoch_order, seed)
        self._order = functools.lru_cache(maxsize=2)(order)

    @functools.cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """{key: [H, W] or [H, W, C]} of one example; reads the first record."""
        _, numbers = self._read(0)
        example = self._change(self._records.example(0), numbers[0])
        return {key: example[key].shape for key in self.specs}

    @property
    def layout(self) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
        """{key: (shape, type)} of one example's arrays in a batch, `valid` too."""
        found = {
            key: (shape, np.dtype(self.specs[key].dtype)) for key, shape in self.shapes.items()
        }
        return {**found, "valid": ((), np.dtype(bool))}

    @functools.cached_property
    def stored(self) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
        """{key: ([H, W] or [H, W, C], type)} of one example before anything is drawn.

        The type is a small one that holds every value. Reads the first record.

        Raises:
          OptionError: the labels are made, or left out, batch by batch.
        """
        if isinstance(self._records, RelabelledRecords):
            raise OptionError(
                "config.data.edges and config.data.labels are what the host does to each batch; "
                "leave config.data.resident False with them."
            )
        example, dtypes = self._records.example(0), self._records.stored_dtypes
        return {key: (example[key].shape, np.dtype(dtypes[key])) for key in self.specs}

    def decoded(self, start: int, stop: int) -> dict[str, np.ndarray]:
        """The examples `start` to `stop` of the split, {key: [n, *shape]} as `stored` says.

        Raises:
          DatasetError: a record does not decode, or the examples differ in size.
        """
        found = {
            key: np.zeros((stop - start, *shape), dtype)
            for key, (shape, dtype) in self.stored.items()
        }

        def put(row):
            for key, value in self._records.example(start + row).items():
                if value.shape != found[key].shape[1:]:
                    (name,) = self._records.ids(np.array([start + row]))
                    raise DatasetError(
                        f"{self._records.name}: {name} is {value.shape} in {key!r}, and the first "
                        f"example {found[key].shape[1:]}. Only examples of one size can be kept "
                        "decoded; leave config.data.resident False."
                    )
                found[key][row] = value

        with concurrent.futures.ThreadPoolExecutor(cores.available()) as pool:
            list(pool.map(put, range(stop - start)))
        return found

    def draws(self, step: int) -> dict[str, Any]:
        """What is drawn for this process's part of the batch `step`: see `draws.of_batch`.

        Raises:
          OptionError: only the host can make such a batch.
        """
        indices, seeds = self._read(step)
        height_width = self.stored["image"][0][:2]
        return draws.of_batch(indices, seeds, self.specs, self._augmentation, height_width)

    def example_ids(self, step: int) -> list[str]:
        """The ids of the examples in the global batch `step`, in order."""
        epoch, positions = self._positions(step)
        return self._records.ids(self._order(epoch)[positions])

    def digest(self) -> str:
        """See `_digest.of`: of all processes that read the same data the same."""
        return _digest.of(self._records)

    def batches(self, start_step: int = 0, every: int = 1) -> Iterator[Batch]:
        """Yields this process's part of the batches `start_step`, `start_step` + 1, ... for ever.

        Args:
          start_step: the first.
          every: n = the first and every n-th after it: others make those between (`workers.py`).

        Yields:
          {key: [b, H, W] or [b, H, W, C]} and `valid` bool [b], all True.

        Raises:
          DatasetError: a record does not decode, or the arrays of a batch differ in size (which
            they cannot where `augmentation.crop` is set).
        """
        local = self.local_slice.stop - self.local_slice.start
        steps = range(start_step, np.iinfo(np.int64).max, every)
        size = self._augmentation.crop
        return self._records.batches(steps, self._read, self._change, local, size, self._describe)

    def _positions(self, step: int) -> tuple[int, np.ndarray]:
        """The epoch of a global batch, and the positions of its examples in that epoch's order."""
        epoch, step = divmod(step, self.steps_per_epoch)
        return epoch, step * self._batch_size + np.arange(self._batch_size)

    def _read(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Indices of this process and, for each, a seed that no other example of the run has."""
        epoch, positions = self._positions(step)
        positions = positions[self.local_slice]
        visit = epoch * self.num_examples + positions
        seeds = np.stack([np.full_like(visit, self._seed), visit], axis=1)
        return self._order(epoch)[positions], seeds

    def _change(self, example: Batch, seed: np.ndarray) -> Batch:
        specs = {**self.specs, FRAME: FRAME_SPEC}
        changed = transforms.augment(example, specs, self._augmentation, tuple(seed.tolist()))
        return {**changed, "valid": np.bool_(True)}

    def _describe(self, step: int) -> str:
        epoch, positions = self._positions(step)
        return self._records.describe(self._order(epoch)[positions], f"batch {step}")


class EvalStream:
    """Whole images, once, in the order of the records. The last batch is padded.

    Attributes:
      num_examples: in the split.
      num_batches: the same for every process.
      specs: {key: LabelSpec} of the arrays in a batch.
      missing: keys that were asked for and that the data set does not have.
      local_slice: this process's rows of the global batch.
    """

    def __init__(
        self,
        builder: "tfds.core.DatasetBuilder | Mixture",
        *,
        split: str,
        part: Part | None = None,
        keys: Sequence[str],
        batch_size: int,
        image_size: tuple[int, int] | None = None,
        resize: tuple[int, int] | None = None,
        resize_back: bool = False,
        padding: str = "black",
        crop_multiple: int = 1,
        process_index: int = 0,
        process_count: int = 1,
    ):
        """Opens the stream.

        Args:
          builder: a prepared data set, several of them, one after the other, or `arrays.Arrays`.
          split, part: see `Records`.
          keys: 'image' and label keys. A label that the data set does not have is left out.
          batch_size: of the global batch, over all processes.
          image_size, resize, resize_back, padding, crop_multiple: see `framing.Framing`; what
            `resize_back` adds, see `batches`.
          process_index: of this process.
          process_count: number of processes.

        Raises:
          DatasetError: see `Records`.
          ValueError: `batch_size` is not a multiple of `process_count`, `image_size` or
            `crop_multiple` is not positive, or both are given; `resize_back` without `resize`.
        """
        self._framing = Framing(image_size, resize, resize_back, padding, crop_multiple)
        self.local_slice = _local_slice(batch_size, process_index, process_count)
        self._records = _open(builder, split, keys, part, training=False)
        self.specs, self.missing = self._records.specs, self._records.missing
        self.num_examples = self._records.num_examples
        self.num_batches = -(-self.num_examples // batch_size)
        self._batch_size = batch_size

    def example_ids(self, step: int) -> list[str]:
        """The ids of the examples in the global batch `step`; '' for padding."""
        indices = self._indices(step)
        ids = self._records.ids(indices[indices < self.num_examples])
        return ids + [""] * (self._batch_size - len(ids))

    def batches(self) -> Iterator[Batch]:
        """Yields this process's part of every batch.

        Yields:
          {key: [b, H, W] or [b, H, W, C]} and `valid` bool [b], False where the last example is
          repeated to fill the last batch. With `resize_back` also `stretched` uint8 [b, *resize,
          3], the image, and `own_size` int32 [b, 2], its height and width in the frame.

        Raises:
          DatasetError: a record does not decode, or the arrays of a batch differ in size.
        """
        local = self.local_slice.stop - self.local_slice.start
        rest = self._read, self._change, local, self._framing.size, self._describe
        for step, batch in enumerate(self._records.batches(range(self.num_batches), *rest)):
            if self._framing.resize_back:
                batch = {**batch, **self._stretched(step, batch["image"])}
            yield batch

    def _stretched(self, step: int, images: np.ndarray) -> Batch:
        sizes = self._records.image_sizes(self._read(step)[0])
        spec, own = self.specs["image"], zip(images, sizes)
        stretched = [recipes.stretched(i[:h, :w], spec, self._framing.resize) for i, (h, w) in own]
        return {"stretched": np.stack(stretched), "own_size": np.array(sizes, np.int32)}

    def check_sizes(self) -> None:
        """Looks at the sizes of all images, so that a batch does not fail after hours of training.

        Raises:
          DatasetError: the images of a batch will differ in size.
        """
        frame = self._framing.size
        if self._framing.resize_back and frame:
            self._check_frame(frame)
        if frame or self._batch_size == 1:
            return
        multiple = self._framing.crop_multiple
        for step in range(self.num_batches):
            indices = self._indices(step)
            indices = indices[indices < self.num_examples]
            sizes = self._records.image_sizes(indices)
            cropped = [tuple(side // multiple * multiple for side in size) for size in sizes]
            other = next((i for i, size in enumerate(cropped) if size != cropped[0]), 0)
            if other:
                one, two = self._records.ids(indices[[0, other]])
                (height, width), (other_height, other_width) = sizes[0], sizes[other]
                raise DatasetError(
                    f"{self._records.name}: {one} is {height}×{width} and {two} "
                    f"{other_height}×{other_width}, and only images of one size form a batch of "
                    f"config.eval.batch_size={self._batch_size}. Set config.eval.image_size to a "
                    "(height, width) that all are padded to, or config.eval.batch_size=1."
                )

    def _check_frame(self, frame: tuple[int, int]) -> None:
        for index, size in enumerate(self._records.image_sizes(np.arange(self.num_examples))):
            if size[0] > frame[0] or size[1] > frame[1]:
                (name,) = self._records.ids(np.array([index]))
                raise DatasetError(
                    f"{self._records.name}: {name} is {size[0]}×{size[1]}, larger than {frame}, "
                    "the frame of config.eval.resize_back. Set config.eval.image_size to a larger."
                )

    def _indices(self, step: int) -> np.ndarray:
        return step * self._batch_size + np.arange(self._batch_size)

    def _read(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        indices = self._indices(step)[self.local_slice]
        valid = indices < self.num_examples
        numbers = np.stack([valid, valid], axis=1).astype(np.int64)
        return np.minimum(indices, self.num_examples - 1), numbers

    def _change(self, example: Batch, valid: np.ndarray) -> Batch:
        if self._framing.changes:
            fit, specs = self._framing.fit, {**self.specs, FRAME: FRAME_SPEC}
            example = {key: fit(value, specs[key]) for key, value in example.items()}
        return {**example, "valid": np.bool_(valid[0])}

    def _describe(self, step: int) -> str:
        indices = np.minimum(self._indices(step), self.num_examples - 1)
        return self._records.describe(indices, f"batch {step}")
