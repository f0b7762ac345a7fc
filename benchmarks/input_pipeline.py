"""Images per second through each stage of the input pipeline, as a markdown table.

python -m benchmarks.input_pipeline                        # drawn images of 128×256 and 512×512
python -m benchmarks.input_pipeline --dataset=camvid       # a prepared data set

Each stage runs alone, on all cores, from inputs that lie in memory; 'all' is the training stream,
made by threads of this process, or by as many others as there are cores (config.data.workers).
"""

import functools
import os
import platform
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from absl import app, flags, logging

from input_pipeline import cores, datasets, labels, pipeline, transforms, workers
from input_pipeline import records as stored
from input_pipeline.quiet_tensorflow import tf, tfds

_DATASET = flags.DEFINE_string("dataset", "", "A prepared data set; '' draws images.")
_DATA_DIR = flags.DEFINE_string("data_dir", "", "Where its records are; default: that of TFDS.")
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 8, "Images in a batch.")
_SECONDS = flags.DEFINE_float("seconds", 3.0, "Time for each number.")
_ROUNDS = flags.DEFINE_integer("rounds", 3, "Numbers for each stage; the median is printed.")

_SIZES = ((128, 256), (512, 512))
_COUNT = 64


class Drawn(tfds.core.GeneratorBasedBuilder):
    """Image, classes and depth that compress about as well as photographs do."""

    name = "drawn"
    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = [  # noqa: RUF012
        tfds.core.BuilderConfig(name=f"{height}x{width}") for height, width in _SIZES
    ]
    label_specs = {  # noqa: RUF012
        "image": labels.image(),
        "semseg": labels.classes(tuple("abcdefghij"), ()),
        "depth": labels.depth((1.0, 100.0)),
    }

    def _info(self):
        height, width = (int(n) for n in self.builder_config.name.split("x"))
        image = functools.partial(tfds.features.Image, encoding_format="png")
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(
                {
                    "id": tfds.features.Text(),
                    "image": tfds.features.Image(shape=(height, width, 3), encoding_format="jpeg"),
                    "semseg": image(shape=(height, width, 1)),
                    "depth": tfds.features.Tensor(
                        shape=(height, width), dtype=np.float32, encoding="zlib"
                    ),
                }
            ),
        )

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        height, width, _ = self.info.features["image"].shape
        y, x = np.mgrid[:height, :width]
        for index in range(_COUNT):
            rng = np.random.default_rng(index)
            waves = [np.sin(x / a + y / b) for a, b in rng.uniform(5, 60, (3, 2))]
            noise = rng.normal(0, 8, (height, width, 3))
            image = np.clip(127 + 80 * np.stack(waves, -1) + noise, 0, 255)
            cells = (x // 32 + y // 32 + index) % 10
            yield (
                index,
                {
                    "id": str(index),
                    "image": image.astype(np.uint8),
                    "semseg": cells[..., None].astype(np.uint8),
                    "depth": np.round(20 + 18 * waves[0], 1).astype(np.float32),
                },
            )


class Speed(NamedTuple):
    """Images per second, and milliseconds of processor time per image, of all threads."""

    images: float
    milliseconds: float


def _speed(batches, images: int, pids: Sequence[int] = ()) -> Speed:
    """Of an endless iterator whose items are `images` images each: the median of the rounds.

    `pids` are processes whose time counts too. Each has made a batch before the clock starts.
    """
    for _ in range(max(1, len(pids))):
        next(batches)  # tracing and filling of buffers
    rounds = []
    for _ in range(_ROUNDS.value):
        start, processor, number = time.perf_counter(), processor_seconds(pids), 0
        while time.perf_counter() - start < _SECONDS.value:
            next(batches)
            number += images
        wall, processor = time.perf_counter() - start, processor_seconds(pids) - processor
        rounds.append((number / wall, 1000 * processor / number))
    return Speed(*np.median(rounds, axis=0))


def processor_seconds(pids: Sequence[int]) -> float:
    """Of this process and of others, which Linux tells in hundredths of a second."""
    ticks = 0
    for pid in pids:
        user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
        ticks += int(user) + int(system)
    return time.process_time() + ticks / os.sysconf("SC_CLK_TCK")


def _mapped(values, function) -> Speed:
    """The speed of `function` over `values`, in parallel."""
    dataset = tf.data.Dataset.from_tensor_slices(values).cache().repeat().enumerate()
    dataset = dataset.map(function, num_parallel_calls=tf.data.AUTOTUNE)
    # Only the count leaves the pipeline, so that no stage pays for another.
    batches = dataset.map(lambda *_: 0).batch(_BATCH_SIZE.value).prefetch(2)
    return _speed(batches.as_numpy_iterator(), _BATCH_SIZE.value)


def _augmentations(size) -> dict[str, transforms.Augmentation]:
    geometry = {"crop": size, "scale": (0.5, 2.0), "flip": 0.5, "rotate": 10.0}
    jitter = {"brightness": 0.2, "contrast": 0.2, "saturation": 0.2, "hue": 0.05}
    return {
        "crop and flip": transforms.Augmentation(crop=size, flip=0.5),
        "composed": transforms.Augmentation(**geometry),
        "stepwise": transforms.Augmentation(**geometry, mode="stepwise"),
        "composed and jitter": transforms.Augmentation(**geometry, **jitter),
    }


def _open(name: str, directory: str) -> tfds.core.DatasetBuilder:
    """A prepared data set, or 'drawn:<size>' of `Drawn`."""
    prefix, _, size = name.partition(":")
    if prefix == "drawn":
        return Drawn(config=size, data_dir=directory)
    return datasets.load(name, data_dir=directory)


def opened(
    name: str, directory: str, batch_size: int, augmentation: transforms.Augmentation
) -> pipeline.TrainStream:
    """The whole stream, here and in workers."""
    builder = _open(name, directory)
    keys = tuple(builder.label_specs)
    return pipeline.TrainStream(
        builder, keys=keys, batch_size=batch_size, seed=0, augmentation=augmentation
    )


def measure(name: str, directory: str) -> dict[str, dict[str, Speed]]:
    """{size of the images: {stage: speed}} of what `_open` opens."""
    builder, batch_size = _open(name, directory), _BATCH_SIZE.value
    keys = tuple(builder.label_specs)
    records = stored.Records(builder, "train", keys)
    rng = np.random.default_rng(0)

    def read():
        while True:
            yield records.read(rng.integers(0, records.num_examples, batch_size))

    speeds = {"read": _speed(read(), batch_size)}
    serialized = records.read(np.arange(min(records.num_examples, _COUNT)))
    speeds["decode"] = _mapped(
        np.array(serialized, object), lambda _, record: records.decode(record)
    )

    decoded = [records.decode(record) for record in serialized[:16]]
    arrays = {key: tf.stack([example[key] for example in decoded]) for key in keys}
    size = tuple(arrays["image"].shape[1:3])
    for kind, augmentation in _augmentations(size).items():

        def call(number, *values, augmentation=augmentation):
            example = dict(zip(keys, values))
            changed = transforms.augment(example, records.specs, augmentation, (0, int(number)))
            return [np.ascontiguousarray(value) for value in changed.values()]

        def change(number, example, call=call):
            values = [example[key] for key in keys]
            return tf.numpy_function(call, [number, *values], [value.dtype for value in values])

        speeds[kind] = _mapped(arrays, change)

    dataset = tf.data.Dataset.from_tensor_slices(arrays).cache().repeat().batch(batch_size)
    speeds["batch"] = _speed(dataset.prefetch(2).as_numpy_iterator(), batch_size)
    for kind, augmentation in _augmentations(size).items():
        arguments = (name, directory, batch_size, augmentation)
        stream = opened(*arguments)
        speeds[f"all, {kind}"] = _speed(stream.batches(), batch_size)
        if kind == "composed":
            number = cores.available()
            others = workers.Stream(stream, number, "benchmarks.input_pipeline:opened", arguments)
            batches = others.batches()
            row = f"all, {kind}, {number} processes"
            speeds[row] = _speed(batches, batch_size, batches.pids)
            batches.close()
    return {f"{size[0]}×{size[1]}": speeds}


def main(argv):
    if len(argv) > 1:
        raise app.UsageError(f"Unexpected arguments: {argv[1:]}.")
    logging.set_verbosity(logging.ERROR)
    results = {}
    if _DATASET.value:
        results |= measure(_DATASET.value, _DATA_DIR.value)
    else:
        tfds.display_progress_bar(False)
        with tempfile.TemporaryDirectory() as directory:
            for config in Drawn.BUILDER_CONFIGS:
                options = {"config": config.name, "data_dir": directory}
                Drawn(**options).download_and_prepare(file_format="array_record")
                results |= measure(f"drawn:{config.name}", directory)
    print(
        "\nImages per second (milliseconds of processor time per image); "
        f"{_DATASET.value or 'drawn images'} with all their labels, batch {_BATCH_SIZE.value}; "
        f"{cores.available()} cores, {platform.machine()}, Python {platform.python_version()}, "
        f"TensorFlow {tf.__version__}, TFDS {tfds.__version__}\n"
    )
    print(f"| stage | {' | '.join(results)} |\n|---|{'---:|' * len(results)}")
    for stage in next(iter(results.values())):
        cells = [f"{s[stage].images:,.0f} ({s[stage].milliseconds:.2f})" for s in results.values()]
        print(f"| {stage} | {' | '.join(cells)} |")
    ratios = [s["stepwise"].milliseconds / s["composed"].milliseconds for s in results.values()]
    print(f"| composed : stepwise | {' | '.join(f'{ratio:.2f}' for ratio in ratios)} |")


if __name__ == "__main__":
    app.run(main)
