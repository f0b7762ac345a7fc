"""Writes prepared data as plain arrays; Streets are drawn straight into them. See `arrays`."""

import io
import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import tqdm
from PIL import Image

from input_pipeline import arrays
from input_pipeline.errors import DatasetError
from input_pipeline.streets import dataset, workers

_BYTE_MAPS = ("image", "semseg", "parts")  # which the renderer's processes send as PNG
_STREETS_DTYPES = {
    **dict.fromkeys(_BYTE_MAPS, np.uint8),
    "depth": np.float16,
    "instance": np.uint16,
    "normals": np.float16,
}


def streets(configuration: str, folder: str | os.PathLike) -> arrays.Arrays:
    """Draws Streets straight into arrays, without TensorFlow.

    Args:
      configuration: e.g. '96x192_small'; '' is the default.
      folder: to write; it must not be there.

    Raises:
      DatasetError: there is no such configuration, or the folder is there already.
    """
    name = configuration or next(iter(dataset.CONFIGURATIONS))
    if name not in dataset.CONFIGURATIONS:
        raise DatasetError(
            f"There is no configuration {name!r} of 'streets' to draw into arrays; expected one of "
            f"{', '.join(dataset.CONFIGURATIONS)}."
        )
    scenes = dataset.CONFIGURATIONS[name]
    with arrays.Writer(folder, f"streets/{name}", dataset.label_specs()) as writer:
        for number, split in enumerate(dataset.SPLITS):
            count = getattr(scenes, split)
            drawn = workers.examples(scenes.seed, number, count, scenes.height, scenes.width)
            bar = tqdm.tqdm(drawn, total=count, desc=f"drawing streets, {split}", unit="image")
            examples = (
                (dataset.example_id(split, index), _decoded(example))
                for index, example in enumerate(bar)
            )
            writer.write(split, examples, count, _STREETS_DTYPES)
    return arrays.Arrays(folder)


def prepared(builder: Any, folder: str | os.PathLike) -> arrays.Arrays:
    """Writes a prepared data set as arrays.

    Args:
      builder: of `datasets.prepare`.
      folder: to write; it must not be there.

    Raises:
      DatasetError: the images differ in size, or the folder is there already.
    """
    from input_pipeline import records  # which imports TensorFlow

    specs = builder.label_specs
    dtypes = {key: builder.info.features[key].np_dtype for key in specs}
    with arrays.Writer(folder, builder.info.full_name, specs) as writer:
        for split in builder.info.splits:
            found = records.Records(builder, split, tuple(specs))
            writer.write(split, _examples(found, split), found.num_examples, dtypes)
    return arrays.Arrays(folder)


def _examples(found: Any, split: str) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
    bar = tqdm.tqdm(range(found.num_examples), desc=f"writing {split}", unit="image")
    for index in bar:
        (name,) = found.ids(np.array([index]))
        yield name, found.example(index)


def _decoded(example: dict[str, Any]) -> dict[str, np.ndarray]:
    """Of what the renderer's processes send."""
    return {
        key: np.asarray(Image.open(io.BytesIO(value))) if key in _BYTE_MAPS else value
        for key, value in example.items()
    }
