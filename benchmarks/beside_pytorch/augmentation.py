"""The training stream beside albumentations in a PyTorch DataLoader, in turn in one run.

    python -m benchmarks.beside_pytorch.augmentation --torch_python=torchenv/bin/python

Both sides read the same compressed images, classes and depth, change them as report D does (scale
from 0.5 to 2, crop, flip, rotation by up to 10 degrees) and make batches of 8. The DataLoader has
as many workers as there are cores; our stream is made by threads, or by as many processes.
albumentations makes the changes one after the other, as its users write them, or all at once by its
`Affine`. `processor` is the time of all threads and workers for an image.
"""

import argparse
import functools
import json
import platform
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import input_pipeline as drawn
from benchmarks.beside_pytorch._other_side import OtherSide
from input_pipeline import cores, records, transforms, workers
from input_pipeline.quiet_tensorflow import tf, tfds

_LOADER = Path(__file__).with_name("loader.py")
_BATCH = 8


class Ours:
    """This project's training stream."""

    def __init__(self, name: str, directory: str, size: tuple[int, int], processes: int):
        """Opens it, and fills its buffers; 0 processes: threads of this one make the batches."""
        augmentation = transforms.Augmentation(crop=size, scale=(0.5, 2.0), flip=0.5, rotate=10.0)
        arguments = (name, directory, _BATCH, augmentation)
        stream: Any = drawn.opened(*arguments)
        if processes:
            opener = f"{drawn.__name__}:{drawn.opened.__name__}"
            stream = workers.Stream(stream, processes, opener, arguments)
        self._batches = stream.batches()
        self._pids = self._batches.pids if processes else ()
        for _ in range(4):
            next(self._batches)

    def measure(self, seconds: float) -> dict[str, float]:
        """Images per second, and milliseconds of processor time for one."""
        start, processor, images = time.perf_counter(), self._processor(), 0
        while time.perf_counter() - start < seconds:
            next(self._batches)
            images += _BATCH
        wall, processor = time.perf_counter() - start, self._processor() - processor
        return {"images/s": images / wall, "ms": 1e3 * processor / images}

    def _processor(self) -> float:
        return drawn.processor_seconds(self._pids)

    def close(self) -> None:
        """Lets go of the threads or processes."""
        self._batches.close()


class Loader(OtherSide):
    """albumentations in a DataLoader, in a process of its own."""

    def __init__(self, python: str, folder: Path, size: tuple[int, int], form: str):
        """Starts it."""
        given = {"folder": str(folder), "size": size, "batch": _BATCH, "form": form}
        super().__init__(python, _LOADER, given | {"workers": cores.available()})

    def measure(self, seconds: float) -> dict[str, float]:
        """Images per second, and milliseconds of processor time for one."""
        return self.ask(str(seconds))


def write_files(builder: Any, folder: Path) -> None:
    """The compressed bytes of the records as <number>.image, .semseg and .depth."""
    keys = tuple(builder.label_specs)
    stored = records.Records(builder, "train", keys)
    for number in range(stored.num_examples):
        (record,) = stored.read(np.array([number]))
        features = tf.train.Example.FromString(record).features.feature
        for key in keys:
            (folder / f"{number}.{key}").write_bytes(features[key].bytes_list.value[0])


def measure(config: Any, flags: argparse.Namespace, directory: Path) -> list[dict[str, Any]]:
    """A row for each side."""
    options = {"config": config.name, "data_dir": str(directory)}
    drawn.Drawn(**options).download_and_prepare(file_format="array_record")
    builder = drawn.Drawn(**options)
    size = tuple(int(side) for side in config.name.split("x"))
    folder = directory / f"files_{config.name}"
    folder.mkdir()
    write_files(builder, folder)
    ours = functools.partial(Ours, f"drawn:{config.name}", str(directory), size)
    several = cores.available()
    sides: dict[str, Any] = {"ours, threads": ours(0), f"ours, {several} processes": ours(several)}
    for form in ("one after the other", "Affine"):
        sides[f"albumentations, {form}"] = Loader(flags.torch_python, folder, size, form)
    found: dict[str, list[dict[str, float]]] = {name: [] for name in sides}
    for number in range(flags.rounds):
        for name in list(sides)[:: (-1) ** number]:
            found[name].append(sides[name].measure(flags.seconds))
    rows = []
    for name, side in sides.items():
        side.close()
        median = {key: statistics.median(row[key] for row in found[name]) for key in found[name][0]}
        rows.append({"size": config.name.replace("x", "×"), "side": name} | median)
    return rows


def main() -> None:
    """Prints one Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--torch_python", required=True, help="has PyTorch and albumentations")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0, help="for each number")
    parser.add_argument("--json", default="", help="a file to write all numbers to")
    flags = parser.parse_args()
    tfds.display_progress_bar(False)
    print(f"{cores.available()} cores, {platform.machine()}, TensorFlow {tf.__version__}\n")
    print("| size | side | images/s | processor ms |\n|---|---|---:|---:|", flush=True)
    rows = []
    with tempfile.TemporaryDirectory() as directory:
        for config in drawn.Drawn.BUILDER_CONFIGS:
            for row in measure(config, flags, Path(directory)):
                rows.append(row)
                print(
                    f"| {row['size']} | {row['side']} | {row['images/s']:,.0f} | {row['ms']:.2f} |",
                    flush=True,
                )
    if flags.json:
        Path(flags.json).write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
