"""Streets: driving scenes that are drawn, not downloaded.

The renderer is `input_pipeline.streets`. Every example has semantics, metric depth, instances,
parts of people and surface normals, all from one geometry; see `Builder`.
"""

import dataclasses
from collections.abc import Iterator

import numpy as np

from input_pipeline import _progress, builder, labels
from input_pipeline.quiet_tensorflow import tfds
from input_pipeline.streets import dataset, workers

EMBEDDED = True

_DESCRIPTION = """
Driving scenes from a procedural renderer: a pinhole camera in a random street, with the 19 classes
of Cityscapes as far as they occur, metric depth with holes as stereo leaves them, instances of
people and vehicles, parts of people, and surface normals. The same scenes on every machine.
"""


@dataclasses.dataclass
class StreetsConfig(tfds.core.BuilderConfig):
    """A resolution and the numbers of examples.

    Attributes:
      height, width: of the images in pixels. The scene of an index is the same at every resolution
        with the same ratio.
      train, validation, test: numbers of examples; an example does not depend on them.
      seed: another one gives other scenes.
    """

    name: str = ""
    height: int = dataset.DEFAULT.height
    width: int = dataset.DEFAULT.width
    train: int = dataset.DEFAULT.train
    validation: int = dataset.DEFAULT.validation
    test: int = dataset.DEFAULT.test
    seed: int = dataset.DEFAULT.seed

    def __post_init__(self):
        for field in ("height", "width", "train", "validation", "test"):
            if getattr(self, field) < 1:
                raise ValueError(
                    f"StreetsConfig.{field}={getattr(self, field)}; expected at least 1."
                )
        if self.seed < 0:
            raise ValueError(f"StreetsConfig.seed={self.seed}; expected a non-negative integer.")
        counts = f"{self.train} / {self.validation} / {self.test}"
        self.name = self.name or self._default_name()
        self.description = f"{self.height}×{self.width}, {counts} examples, seed {self.seed}."

    def _default_name(self) -> str:
        """The resolution, and whatever else is not the default."""
        name = f"{self.height}x{self.width}"
        for field in dataclasses.fields(StreetsConfig):
            if field.name in ("train", "validation", "test", "seed"):
                value = getattr(self, field.name)
                name += f"_{field.name}{value}" if value != field.default else ""
        return name


class Builder(builder.LocalBuilder):
    """Streets as a TFDS data set.

    Features, all H × W: `id` text, 'train_000012'; `image` uint8 RGB; `semseg` uint8 Cityscapes
    train ids, 255 on class borders finer than a pixel and on the camera car's bonnet; `depth`
    float16 metres along the optical axis, 0 where unknown; `instance` uint16, 0 for none; `parts`
    uint8 of PASCAL Person-Part, 0 outside people, 255 on borders; `normals` float16 unit vectors,
    x right, y down, z ahead, zero where unknown. A cast to the dtype of the label specs is all the
    decoding that there is. Half precision rounds depth by at most 0.05 %, 1 cm at 20 m.

    Other sizes: `Builder(config=StreetsConfig(height=64, width=128, train=100, ...))`.
    """

    name = "streets"
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First version."}  # noqa: RUF012 – as TFDS declares it
    BUILDER_CONFIGS = [  # noqa: RUF012
        StreetsConfig(name=name, **dataclasses.asdict(scenes))
        for name, scenes in dataset.CONFIGURATIONS.items()
    ]

    @property
    def label_specs(self) -> dict[str, labels.LabelSpec]:
        """What the arrays mean."""
        return dataset.label_specs()

    def _info(self) -> tfds.core.DatasetInfo:
        config = self.builder_config
        size = (config.height, config.width)
        byte_map = tfds.features.Image(shape=(*size, 1), encoding_format="png")
        return builder.LocalInfo(
            builder=self,
            description=_DESCRIPTION,
            features=tfds.features.FeaturesDict(
                {
                    "id": tfds.features.Text(),
                    "image": tfds.features.Image(shape=(*size, 3), encoding_format="png"),
                    "semseg": byte_map,
                    "depth": tfds.features.Tensor(shape=size, dtype=np.float16, encoding="zlib"),
                    "instance": tfds.features.Tensor(shape=size, dtype=np.uint16, encoding="zlib"),
                    "parts": byte_map,
                    "normals": tfds.features.Tensor(
                        shape=(*size, 3), dtype=np.float16, encoding="zlib"
                    ),
                }
            ),
            disable_shuffling=True,  # Record i is scene i.
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager):
        del dl_manager
        return {split: self._generate_examples(split) for split in dataset.SPLITS}

    def _generate_examples(self, split: str) -> Iterator[tuple[int, dict]]:
        config = self.builder_config
        count = getattr(config, split)
        drawn = workers.examples(
            config.seed, dataset.SPLITS.index(split), count, config.height, config.width
        )
        bar = _progress.bar(drawn, total=count, desc=f"drawing streets, {split}", unit="image")
        for index, example in enumerate(bar):
            yield index, {"id": dataset.example_id(split, index), **example}
