"""The data set and the streams that a run's config describes."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from input_pipeline import arrays, held_out, labelling, pipeline, transforms, workers
from input_pipeline.errors import OptionError
from input_pipeline.held_out import Part

_OTHER_SEED = 2**32  # held-out examples are augmented by other numbers than those beside them


def load(data: Any):
    """The prepared builder, mixture, or arrays, of `config.data`, relabelled if it says so.

    Raises:
      DatasetError: it is not prepared, or there is no such data set.
      OptionError: both `dataset` and `mixture` are set.
    """
    found = _load(data)
    if not data.edges and data.labels.kind == "all":
        return found
    return labelling.Relabelled(found, edges=data.edges, partial=data.labels)


def _load(data: Any):
    if data.dataset.startswith(arrays.PREFIX) and not data.mixture:
        return arrays.Arrays(data.dataset.removeprefix(arrays.PREFIX))
    from input_pipeline import datasets, mixture  # which import TensorFlow

    where = {"data_dir": data.data_dir, "manual_dir": data.manual_dir}
    if not data.mixture:
        return datasets.load(data.dataset, **where)
    if data.dataset:
        raise OptionError(
            f"config.data.dataset={data.dataset!r} and config.data.mixture "
            f"({', '.join(data.mixture)}) both name the data; leave one of them empty."
        )
    return mixture.load(data.mixture, **where)


def train_stream(builder, config: Any, keys: Sequence[str], **process: int) -> pipeline.TrainStream:
    """The training batches of a run, less what is held out.

    Where `config.data.workers` is not 0, so many processes make them (`workers.py`), of the data
    that `load(config.data)` opens.

    Args:
      builder: from `load`.
      config: the whole config.
      keys: the batch's keys that are needed.
      **process: process_index and process_count, of several.

    Raises:
      OptionError: an option of the augmentation or the split is impossible.
    """
    part = _part(config, held=False) if config.data.held_out else None
    stream = _train_stream(builder, config, keys, part, config.seed, **process)
    return _by_workers(stream, "train_stream", config, keys, process)


def held_out_stream(
    builder, config: Any, keys: Sequence[str], **process: int
) -> pipeline.TrainStream:
    """Batches like those of training, of what is held out. Arguments as of `train_stream`.

    Raises:
      OptionError: nothing is.
    """
    part = _part(config, held=True)
    stream = _train_stream(builder, config, keys, part, config.seed + _OTHER_SEED, **process)
    return _by_workers(stream, "held_out_stream", config, keys, process)


def in_worker(
    opened: str, config: Any, keys: Sequence[str], process: dict[str, int]
) -> pipeline.TrainStream:
    """What a worker makes its batches of: the same stream, without further workers."""
    builder = load(config.data)
    return {"train_stream": train_stream, "held_out_stream": held_out_stream}[opened](
        builder, config, keys, **process
    )


def _by_workers(
    stream: pipeline.TrainStream, opened: str, config: Any, keys: Sequence[str], process: Any
) -> pipeline.TrainStream | workers.Stream:
    number = config.data.workers
    if not number:
        return stream
    if config.data.resident:
        raise OptionError(
            f"config.data.workers={number} processes would make batches, but with "
            "config.data.resident=True the data lie on the devices and this process alone draws "
            "what is done to them. Leave one of them out."
        )
    alone = config.copy_and_resolve_references()
    alone.data.workers = 0
    arguments = (opened, alone, tuple(keys), process)
    return workers.Stream(stream, number, f"{__name__}:{in_worker.__name__}", arguments)


def _part(config: Any, *, held: bool) -> Part:
    share = config.data.held_out
    if not share:
        raise OptionError(
            "config.data.held_out=0.0, but training images that are not trained on are asked for, "
            "by config.weighting.name or config.eval.split. Hold some out, for example with "
            "--config.data.held_out=0.1."
        )
    return Part(share, config.seed, held)


def _train_stream(
    builder, config: Any, keys: Sequence[str], part: Part | None, seed: int, **process: int
) -> pipeline.TrainStream:
    augment = {name: v for name, v in config.data.augment.items() if not _is_off(name, v)}
    return pipeline.TrainStream(
        builder,
        split=config.data.train_split,
        part=part,
        keys=keys,
        batch_size=config.train.batch_size,
        seed=seed,
        augmentation=transforms.Augmentation(**augment),
        **process,
    )


def eval_stream(builder, config: Any, keys: Sequence[str], **process: int) -> pipeline.EvalStream:
    """The batches of `config.eval.split`. Arguments and errors as of `train_stream`.

    The split 'held_out' is what is held out of `config.data.train_split`.
    """
    size, split, part = tuple(config.eval.image_size), config.eval.split, None
    resize = tuple(config.eval.resize)
    if split == held_out.SPLIT:
        split, part = config.data.train_split, _part(config, held=True)
    return pipeline.EvalStream(
        builder,
        split=split,
        part=part,
        keys=keys,
        batch_size=config.eval.batch_size,
        image_size=size if any(size) else None,
        resize=resize if any(resize) else None,
        resize_back=config.eval.resize_back,
        padding=config.eval.padding,
        crop_multiple=config.eval.crop_multiple,
        **process,
    )


def _is_off(name: str, value: Any) -> bool:
    """Configs keep one type per key, so (0, 0) and (1, 1) stand for None."""
    return (name, tuple(np.atleast_1d(value))) in (("crop", (0, 0)), ("scale", (1.0, 1.0)))
