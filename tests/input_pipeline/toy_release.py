"""A release of tiny files, for tests of what all releases share.

Its builder is a module of its own: processes that convert import this one, and need no TensorFlow.
"""

import dataclasses
import os
import pathlib
import time

import numpy as np
from PIL import Image

from input_pipeline import _images, labels, sources
from input_pipeline.conversion import Item

SPECS = {
    "image": labels.image(),
    "semseg": labels.classes(("ground", "wall"), ((0, 0, 0), (255, 0, 0))),
    "depth": labels.depth((0.5, 80.0)),
    "instance": labels.instances(("wall",)),
    "normals": labels.normals(),
}
SIZE = (6, 8)


def example(number: int) -> dict[str, np.ndarray]:
    """The arrays of one example; every third has no depth."""
    rng = np.random.default_rng(number)
    normals = rng.normal(size=(*SIZE, 3))
    normals[0] = 0
    length = np.linalg.norm(normals, axis=-1, keepdims=True)
    arrays = {
        "image": rng.integers(0, 256, (*SIZE, 3), np.uint8),
        "semseg": rng.choice(np.array([0, 1, 255], np.uint8), SIZE),
        "depth": np.float32(rng.uniform(1, 50, SIZE) * rng.integers(0, 2, SIZE)),
        "instance": rng.integers(0, 40000, SIZE, np.uint16),
        "normals": np.float32(normals / np.maximum(length, 1e-9)),
    }
    if number % 3 == 2:
        del arrays["depth"]
    return arrays


def write(root: pathlib.Path, count: int) -> list[Item]:
    """Writes examples 0 ... count − 1 and returns their items."""
    items = []
    for number in range(count):
        arrays = example(number)
        files = {"image": root / f"{number:03}.png"}
        Image.fromarray(arrays.pop("image")).save(files["image"])
        for key, array in arrays.items():
            files[key] = root / f"{number:03}_{key}.npy"
            np.save(files[key], array)
        files = {key: sources.File(os.fspath(file)) for key, file in files.items()}
        items.append(Item(f"{number:03}", files, data=("number", number)))
    return items


@dataclasses.dataclass(frozen=True)
class Convert:
    """Reads the arrays, notes the id in the file `log`, and fails where `trouble` says so."""

    log: str = ""
    trouble: tuple[tuple[str, str], ...] = ()

    def __call__(self, item):
        if self.log:
            with open(self.log, "a") as file:
                file.write(f"{item.id} {os.getpid()}\n")
        match dict(self.trouble).get(item.id):
            case "crash":
                os._exit(7)
            case "bug":
                raise ZeroDivisionError("as bugs go")
            case "print":
                print("what a library may say")
            case "wait":
                time.sleep(0.2)
        read = {k: _images.read_npy(f, key=k) for k, f in item.files.items() if k != "image"}
        return {"image": _images.read_photo(item.files["image"]), **read}
