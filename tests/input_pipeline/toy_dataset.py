"""A data set of a few tiny examples with every kind of label, drawn from the index alone."""

import functools

import numpy as np
import tensorflow_datasets as tfds

from input_pipeline import labels

SPECS = {
    "image": labels.image(),
    "semseg": labels.classes(
        ("ground", "left", "right"), ((0, 0, 0), (255, 0, 0), (0, 255, 0)), flip_swap=((1, 2),)
    ),
    "depth": labels.depth((0.5, 80.0)),
    "instance": labels.instances(("left",)),
    "normals": labels.normals(),
}
COUNTS = {"train": 11, "validation": 5}


def example(split: str, index: int, height: int = 20, width: int = 28) -> dict[str, np.ndarray]:
    """The arrays of example `index`, as they are in a batch."""
    rng = np.random.default_rng([len(split), index])
    depth = rng.uniform(1, 79, (height, width)).astype(np.float32)
    depth[:2] = 0
    normals = rng.normal(size=(height, width, 3))
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    normals[-1] = 0
    return {
        "image": rng.integers(0, 256, (height, width, 3)).astype(np.uint8),
        "semseg": rng.choice([0, 1, 2, 255], (height, width)).astype(np.int32),
        "depth": depth,
        "instance": rng.integers(0, 1000, (height, width)).astype(np.int32),
        "normals": normals.astype(np.float32),
    }


def size(config: str, index: int) -> tuple[int, int]:
    """Height and width of an example."""
    return (20, 28) if config == "same" else (16 + index, 30 - index)


class Builder(tfds.core.GeneratorBasedBuilder):
    """`same`: all of 20×28; `mixed`: every example has a size of its own."""

    name = "toy"
    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = [  # noqa: RUF012
        tfds.core.BuilderConfig(name="same"),
        tfds.core.BuilderConfig(name="mixed"),
    ]
    label_specs = SPECS

    def _info(self):
        image = tfds.features.Image
        tensor = functools.partial(tfds.features.Tensor, dtype=np.float32, encoding="zlib")
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(
                {
                    "id": tfds.features.Text(),
                    "image": image(shape=(None, None, 3), encoding_format="png"),
                    "semseg": image(shape=(None, None, 1), encoding_format="png"),
                    "instance": image(
                        shape=(None, None, 1), dtype=np.uint16, encoding_format="png"
                    ),
                    "depth": tensor(shape=(None, None)),
                    "normals": tensor(shape=(None, None, 3)),
                }
            ),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager):
        return {split: self._generate_examples(split, count) for split, count in COUNTS.items()}

    def _generate_examples(self, split, count):
        for index in range(count):
            arrays = example(split, index, *size(self.builder_config.name, index))
            arrays["semseg"] = arrays["semseg"][..., None].astype(np.uint8)
            arrays["instance"] = arrays["instance"][..., None].astype(np.uint16)
            yield index, {"id": f"{split}-{index}", **arrays}


def prepare(directory, config: str = "same") -> Builder:
    """Writes the records to `directory` and opens them."""
    Builder(config=config, data_dir=directory).download_and_prepare(file_format="array_record")
    return Builder(config=config, data_dir=directory)
