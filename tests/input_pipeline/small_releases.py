"""What the tests of data sets share: from a release of a few examples to what training reads."""

import numpy as np
from PIL import Image

from input_pipeline import conversion, datasets, pipeline, transforms


def prepared(name, release):
    """The records of a release, read back: {split: {id: {key: array}}}."""
    builder = datasets.prepare(
        name, data_dir=str(release.parent / "records"), manual_dir=str(release), partial=True
    )
    return {split: read_back(builder, split) for split in builder.info.splits}


def read_back(builder, split):
    """{id: {key: array}}, in the order of the records."""
    keys = tuple(builder.label_specs)
    stream = pipeline.EvalStream(builder, split=split, keys=keys, batch_size=1)
    return {
        stream.example_ids(number)[0]: {key: batch[key][0] for key in keys}
        for number, batch in enumerate(stream.batches())
    }


def find(name, release, *, partial=True):
    """{split: items} of a release."""
    return builder_of(name).find(release, partial=partial)


def convert(name, release):
    """Converts and checks all examples of a release, without writing any record."""
    builder = builder_of(name)
    job = conversion.Job(name, builder.convert, builder.specs, builder.size)
    for items in builder.find(release, partial=True).values():
        for item in items:
            conversion.convert_item(job, item)


def specs(name):
    """{key: LabelSpec}."""
    return builder_of(name).specs


def magnified_twice(name, key, value):
    """What becomes of a map of `value` when its image is shown twice as large."""
    of_keys = {"image": specs(name)["image"], key: specs(name)[key]}
    example = {"image": np.zeros((8, 8, 3), np.uint8), key: np.full((8, 8), value, np.float32)}
    twice = transforms.Augmentation(scale=(2.0, 2.0), crop=(8, 8))
    (result,) = np.unique(transforms.augment(example, of_keys, twice, (0, 0))[key])
    return result


def builder_of(name):
    """A builder that is not prepared."""
    return datasets._builder(name, "/nowhere")[1]


def truncate(file):
    """Cuts off the last third of a file."""
    contents = file.read_bytes()
    file.write_bytes(contents[: len(contents) * 2 // 3])


def save(array):
    """A damage: the file holds another image."""
    return lambda file: Image.fromarray(array).save(file)


def save_npy(array):
    """A damage: the file holds another array."""
    return lambda file: np.save(file, array)


def write_image(file, array, *, palette=False):
    """Writes a PNG or JPEG, with a random palette or none, and the folders above it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(array)
    if palette:
        colours = np.random.default_rng(0).integers(0, 256, 768).astype(np.uint8)
        picture.putpalette(colours.tobytes())
        assert picture.mode == "P"
    picture.save(file)


def read_image(file):
    """The pixels of an image file."""
    with Image.open(file) as image:
        return np.array(image)
