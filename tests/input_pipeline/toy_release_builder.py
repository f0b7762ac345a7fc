"""Makes records of the toy release."""

import tensorflow_datasets as tfds
from toy_release import SPECS, Convert

from input_pipeline import release, sources
from input_pipeline.conversion import Item


class Builder(release.ReleaseBuilder):
    """7 and 3 examples."""

    name = "toy_release"
    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = [tfds.core.BuilderConfig(name="all")]  # noqa: RUF012
    MANUAL_DOWNLOAD_INSTRUCTIONS = "Draw it yourself. Licence: yours."
    specs = SPECS
    convert = Convert()

    def find(self, manual_dir, *, partial=False):
        del partial
        tree = sources.Tree(manual_dir)
        items = []
        for name, image in tree.stems("*.png").items():
            labels_of = {key: tree.file(f"{name}_{key}.npy") for key in SPECS if key != "image"}
            files = {key: file for key, file in labels_of.items() if file}
            items.append(Item(name, {"image": image, **files}))
        return {"train": items[:7], "validation": items[7:]}
