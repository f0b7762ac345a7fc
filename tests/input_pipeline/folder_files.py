"""Small folders of one's own for tests: photographs, a label, and the YAML that describes them."""

import os
import pathlib

import numpy as np
from PIL import Image

from input_pipeline import datasets, pipeline

CLASSES = "{kind: classes, files: lab/*, names: [a, b, c]}"
SIZE = (6, 8)


def photograph(size=SIZE):
    """uint8 [H, W, 3] in which no two rows or columns are alike."""
    y, x = np.mgrid[: size[0], : size[1]]
    return np.stack([x * 255 // (size[1] - 1), y * 255 // (size[0] - 1), 0 * x + 60], -1).astype(
        np.uint8
    )


def put(path, value, **options):
    """Writes bytes, text, a .npy array or an image, and the folders above it."""
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(value, bytes):
        path.write_bytes(value)
    elif isinstance(value, str):
        path.write_text(value, encoding="utf-8")
    elif path.suffix == ".npy":
        np.save(path, value)
    else:
        Image.fromarray(value).save(path, **options)


def write(
    root, label=CLASSES, *, value=None, ending=".png", image=".png", ids=("t0", "v0"), **more
):
    """A folder with a photograph and a label for each id, and data.yaml, whose path is returned."""
    value = np.zeros(SIZE, np.uint8) if value is None else value
    for name in ids:
        put(root / f"rgb/{name}{image}", photograph(value.shape[:2]))
        put(root / f"lab/{name}{ending}", value)
    return describe(root, label, **more)


def describe(
    root, label=CLASSES, *, splits='{train: ["t*"], validation: ["v*"]}', files="rgb/*", more=""
):
    """Writes data.yaml; returns its path."""
    text = f"keys:\n  image: {{files: {files}}}\n  lab: {label}\nsplits: {splits}\n{more}"
    put(root / "data.yaml", text)
    return root / "data.yaml"


def prepare(yaml, records=None, **options):
    """The prepared builder; records lie beside the folder unless somebody says otherwise."""
    yaml = pathlib.Path(yaml)
    records = records or yaml.parent.parent / "records"
    return datasets.prepare(f"folder/{yaml}", data_dir=os.fspath(records), **options)


def read(builder, split="train"):
    """{id: {key: array}} of a split."""
    keys = tuple(builder.label_specs)
    stream = pipeline.EvalStream(builder, split=split, keys=keys, batch_size=1)
    return {
        stream.example_ids(i)[0]: {key: np.asarray(batch[key][0]) for key in keys}
        for i, batch in enumerate(stream.batches())
    }
