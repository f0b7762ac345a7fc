"""Records decoded directly: what TensorFlow's graph makes of them, bit for bit, and its batches."""

import io
import itertools
import zlib

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
import toy_dataset
from PIL import Image

from input_pipeline import (
    _decoding,
    cores,
    held_out,
    labelling,
    labels,
    mixture,
    pipeline,
    records,
    transforms,
)
from input_pipeline.errors import DatasetError
from mtl_jax.configs import common

KEYS = tuple(toy_dataset.SPECS)
RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (24, 31, 3)).astype(np.uint8)


@pytest.fixture(scope="module")
def builder(tmp_path_factory):
    return toy_dataset.prepare(tmp_path_factory.mktemp("records"))


@pytest.fixture
def one_core(monkeypatch):
    monkeypatch.setattr(cores, "_most", 1)


def assert_same(left, right):
    assert left.keys() == right.keys()
    for key in left:
        assert left[key].dtype == right[key].dtype
        np.testing.assert_array_equal(left[key], right[key], err_msg=key)


def encoded(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def described(channels, dtype):
    """(features, specs) of one key, 'value', with so many channels."""
    feature = tfds.features.Image(shape=(None, None, channels), dtype=dtype)
    spec = labels.image() if channels == 3 else labels.classes(("a",), ((0, 0, 0),))
    return tfds.features.FeaturesDict({"value": feature}), {"value": spec}


def written(contents):
    feature = tf.train.Feature(bytes_list=tf.train.BytesList(value=[contents]))
    features = tf.train.Features(feature={"value": feature})
    return tf.train.Example(features=features).SerializeToString()


GREY = Image.fromarray(RGB[..., 0])
PHOTOGRAPHS = {
    "JPEG": encoded(Image.fromarray(RGB), "JPEG"),
    "grey JPEG": encoded(GREY, "JPEG"),
    "PNG": encoded(Image.fromarray(RGB), "PNG"),
    "PNG with alpha": encoded(Image.fromarray(RGB).convert("RGBA"), "PNG"),
    "PNG with a palette": encoded(Image.fromarray(RGB).convert("P"), "PNG"),
    "PNG with a transparent colour": encoded(
        Image.fromarray(RGB), "PNG", transparency=tuple(RGB[3, 4].tolist())
    ),
    "grey PNG": encoded(GREY, "PNG"),
    "grey PNG of one bit": encoded(GREY.convert("1"), "PNG"),
    "BMP": encoded(Image.fromarray(RGB), "BMP"),
    "JPEG of 512×512": encoded(Image.fromarray(RGB).resize((512, 512)), "JPEG"),
    "PNG of 512×512": encoded(Image.fromarray(RGB).resize((512, 512)), "PNG"),
}
DEEP = Image.fromarray(RNG.integers(0, 65536, (24, 31)).astype(np.uint16))
MAPS = {
    "PNG": (PHOTOGRAPHS["grey PNG"], np.uint8),
    "PNG of 16 bits": (encoded(DEEP, "PNG"), np.uint16),
    "PNG of 8 bits as 16": (PHOTOGRAPHS["grey PNG"], np.uint16),
    "PNG of 16 bits as 8": (encoded(DEEP, "PNG"), np.uint8),
    "PNG with alpha": (encoded(GREY.convert("LA"), "PNG"), np.uint8),
    "PNG of one bit": (PHOTOGRAPHS["grey PNG of one bit"], np.uint8),
    "PNG of four bits": (encoded(GREY, "PNG", bits=4), np.uint8),
    "PNG of colours": (PHOTOGRAPHS["PNG"], np.uint8),
    "grey with a transparent value": (encoded(GREY, "PNG", transparency=7), np.uint8),
}


def assert_decodes_like_the_graph(features, specs, contents):
    decoder = _decoding.Decoder(features, specs)
    assert decoder.is_complete
    record = written(contents)
    graph = features.deserialize_example(record)["value"]
    found = decoder(record)["value"]
    (spec,) = specs.values()
    expected = graph.numpy() if spec.channels else graph.numpy()[..., 0]
    assert found.dtype == spec.dtype
    assert found.flags.c_contiguous
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("kind", PHOTOGRAPHS)
def test_photographs_are_those_of_the_graph(kind):
    assert_decodes_like_the_graph(*described(3, np.uint8), PHOTOGRAPHS[kind])


@pytest.mark.parametrize("kind", MAPS)
def test_maps_are_those_of_the_graph(kind):
    contents, dtype = MAPS[kind]
    assert_decodes_like_the_graph(*described(1, dtype), contents)


@pytest.mark.parametrize("config", ["same", "mixed"])
def test_examples_are_those_of_the_graph(config, tmp_path):
    found = records.Records(toy_dataset.prepare(tmp_path, config), "train", KEYS)
    assert found.decodes_directly
    for index, record in enumerate(found.read(np.arange(3))):
        graph = {key: value.numpy() for key, value in found.decode(record).items()}
        assert_same(found.example(index), graph)


def streams(builder):
    """What opens each kind of stream."""
    geometry = {"crop": (16, 24), "scale": (0.5, 2.0), "flip": 0.5, "rotate": 10.0}
    options = {"keys": KEYS, "batch_size": 4}
    training = {**options, "seed": 3, "augmentation": transforms.Augmentation(**geometry)}
    mixed = mixture.Mixture(
        [
            mixture.Source("classes", builder, 1.0, {"semseg": "semseg"}, {}),
            mixture.Source("depth", builder, 2.0, {"depth": "depth", "normals": "normals"}, {}),
        ]
    )
    partial = common.base().data.labels
    partial.kind = "one"
    relabelled = labelling.Relabelled(builder, edges={"edge": "semseg"}, partial=partial)
    part = held_out.Part(0.6, seed=1, held_out=True)
    edges = {**training, "keys": (*KEYS, "edge")}
    return {
        "training": lambda: pipeline.TrainStream(builder, **training).batches(2),
        "held out": lambda: pipeline.TrainStream(builder, part=part, **training).batches(),
        "mixture": lambda: pipeline.TrainStream(mixed, **training).batches(),
        "edges, few labels": lambda: pipeline.TrainStream(relabelled, **edges).batches(),
        "evaluation": lambda: pipeline.EvalStream(builder, split="validation", **options).batches(),
    }


@pytest.mark.parametrize(
    "kind", ["training", "held out", "mixture", "edges, few labels", "evaluation"]
)
def test_batches_of_one_core_are_those_of_several(builder, kind, monkeypatch):
    start = streams(builder)[kind]
    monkeypatch.setattr(cores, "available", lambda: 2)
    several = list(itertools.islice(start(), 5))
    monkeypatch.setattr(cores, "available", lambda: 1)
    monkeypatch.setattr(
        records._tf_batches, "batches", None
    )  # it is not TensorFlow that makes them
    for one, other in zip(itertools.islice(start(), 5), several, strict=True):
        assert_same(one, other)


def test_features_of_another_kind_are_left_to_the_graph():
    plain = tfds.features.Tensor(shape=(4, 4), dtype=np.float32)
    features = tfds.features.FeaturesDict({"value": plain})
    assert not _decoding.Decoder(features, {"value": labels.depth((1, 2))}).is_complete


class Damaged:
    """Records of which the fourth is damaged."""

    def __init__(self, source, damage):
        self._source, self._damage = source, damage

    def __len__(self):
        return len(self._source)

    def __getitem__(self, index):
        return self._damage(self._source[index]) if index == 3 else self._source[index]

    def __getitems__(self, indices):
        return [self[index] for index in indices]


class TestWhatDoesNotDecode:
    @pytest.mark.parametrize(
        "damage",
        [
            lambda r: r.replace(b"\x89PNG", b"\x89BAD"),
            lambda r: r.replace(b"IDAT", b"IDAX"),
            lambda r: r.replace(b"image", b"imago"),
            lambda r: r[:40],
        ],
    )
    def test_a_record_is_named(self, builder, one_core, monkeypatch, damage):
        stream = pipeline.EvalStream(builder, split="validation", keys=KEYS, batch_size=2)
        monkeypatch.setattr(stream._records, "_source", Damaged(stream._records._source, damage))
        with pytest.raises(DatasetError, match=r"batch 1, .*3.*record 3: its? .*does not decode"):
            list(stream.batches())

    def test_a_file_that_is_damaged_while_it_is_read(self, tmp_path, one_core):
        stream = pipeline.TrainStream(
            toy_dataset.prepare(tmp_path), keys=KEYS, batch_size=4, seed=0
        )
        for file in tmp_path.rglob("*train*array_record*"):
            contents = bytearray(file.read_bytes())
            contents[len(contents) // 4 :] = bytes(len(contents) - len(contents) // 4)
            file.write_bytes(contents)
        with pytest.raises(DatasetError, match=r"^toy/same.*batch \d, .*record \d+: "):
            list(itertools.islice(stream.batches(), 3))

    def test_a_photograph_of_absurd_size(self):
        header = PHOTOGRAPHS["PNG"][:16] + (60000).to_bytes(4) * 2 + PHOTOGRAPHS["PNG"][24:29]
        checksum = zlib.crc32(header[12:]).to_bytes(4)
        features, specs = described(3, np.uint8)
        with pytest.raises(ValueError, match="its 'value' does not decode"):
            _decoding.Decoder(features, specs)(written(header + checksum + PHOTOGRAPHS["PNG"][33:]))

    def test_depth_whose_bytes_are_damaged(self, builder, one_core):
        found = records.Records(builder, "train", ("image", "depth"))
        example = tf.train.Example.FromString(found.read(np.array([1]))[0])
        (value,) = example.features.feature["depth/value"].bytes_list.value
        example.features.feature["depth/value"].bytes_list.value[:] = [value[:-9]]
        found._source = [None, example.SerializeToString()]
        with pytest.raises(DatasetError, match=r"record 1: its 'depth' does not decode"):
            found.example(1)

    def test_images_of_several_sizes_form_no_batch(self, tmp_path, one_core):
        mixed = toy_dataset.prepare(tmp_path, "mixed")
        stream = pipeline.TrainStream(mixed, keys=KEYS, batch_size=4, seed=0)
        with pytest.raises(DatasetError, match=r"batch 0.*Only images of one size form a batch"):
            next(stream.batches())
