"""Plain arrays: the same batches as from records, without TensorFlow."""

import itertools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import toy_dataset
from ml_collections import ConfigDict

from input_pipeline import arrays, labelling, pipeline, prepare, to_arrays
from input_pipeline.errors import DatasetError
from input_pipeline.transforms import Augmentation

ROOT = Path(__file__).resolve().parents[2]
KEYS = tuple(toy_dataset.SPECS)
CHANGES = Augmentation(crop=(16, 24), scale=(0.5, 2), flip=0.5, rotate=10, contrast=0.2)


@pytest.fixture(scope="module")
def builder(tmp_path_factory):
    return toy_dataset.prepare(tmp_path_factory.mktemp("records"))


@pytest.fixture(scope="module")
def written(builder, tmp_path_factory):
    return to_arrays.prepared(builder, tmp_path_factory.mktemp("arrays") / "toy")


def train(data, **options):
    defaults = {"keys": KEYS, "batch_size": 4, "seed": 7, "augmentation": CHANGES}
    return pipeline.TrainStream(data, **(defaults | options))


def assert_same_batches(left, right, count):
    for one, other in itertools.islice(zip(left, right), count):
        assert one.keys() == other.keys()
        for key in one:
            assert one[key].dtype == other[key].dtype
            np.testing.assert_array_equal(one[key], other[key], err_msg=key)


def test_arrays_give_the_batches_that_records_give(builder, written):
    of_arrays, of_records = train(written), train(builder)
    assert_same_batches(of_arrays.batches(1), of_records.batches(1), 4)
    assert of_arrays.example_ids(3) == of_records.example_ids(3)
    assert of_arrays.shapes == of_records.shapes
    assert of_arrays.labelled_per_epoch == of_records.labelled_per_epoch
    assert written.label_specs == builder.label_specs
    options = {"split": "validation", "keys": KEYS, "batch_size": 4, "image_size": (24, 24)}
    whole = [pipeline.EvalStream(data, **options) for data in (written, builder)]
    assert_same_batches(*(stream.batches() for stream in whole), 2)
    assert whole[0].example_ids(1) == whole[1].example_ids(1)
    whole[0].check_sizes()


def test_arrays_are_small_and_no_pickle(written):
    types = {
        path.stem: np.load(path, allow_pickle=False).dtype for path in written.path.glob("train/*")
    }
    assert types == {
        **{"image": np.uint8, "semseg": np.uint8, "instance": np.uint16},
        **{"depth": np.float32, "normals": np.float32, "ids": types["ids"]},
    }
    assert types["ids"].kind == "U"


def test_a_part_of_a_split_is_that_of_tfds(builder, written):
    for split in ("train[:30%]", "train[3:]", "train[-4:-1]", "train[25%:75%]"):
        ids = [train(data, split=split, batch_size=1).example_ids for data in (written, builder)]
        for step in range(3):
            assert ids[0](step) == ids[1](step), split
    with pytest.raises(DatasetError, match=r"no such split; expected one of train, validation"):
        train(written, split="test")
    with pytest.raises(DatasetError, match=r"expected at least one example, found none of 11"):
        train(written, split="train[11:]")
    with pytest.raises(DatasetError, match=r"expected 'image' and at least one label"):
        train(written, keys=("image", "parts"))


def test_an_error_in_a_batch_names_it(written, monkeypatch):
    stream = train(written)

    def fail(self, index):
        raise ValueError("that is how it is")

    monkeypatch.setattr(arrays.ArrayRecords, "example", fail)
    with pytest.raises(DatasetError, match=r"batch 0, one of the examples .*: that is how it is"):
        next(stream.batches())


def test_folders_that_are_no_arrays_are_refused(written, tmp_path):
    with pytest.raises(DatasetError, match=r"(?s)arrays.json cannot be read .*--arrays="):
        arrays.Arrays(tmp_path)
    described = json.loads((written.path / "arrays.json").read_text())
    (tmp_path / "arrays.json").write_text(json.dumps(described))
    with pytest.raises(DatasetError, match=r"image.npy is damaged"):
        train(arrays.Arrays(tmp_path))
    (tmp_path / "train").mkdir()
    for file in (written.path / "train").iterdir():
        np.save(tmp_path / "train" / file.name, np.load(file)[:5])
    with pytest.raises(DatasetError, match=r"image.npy holds 5 examples; expected 11"):
        train(arrays.Arrays(tmp_path))
    (tmp_path / "arrays.json").write_text(json.dumps(described | {"version": 9}))
    with pytest.raises(DatasetError, match=r"is of version 9; expected 1"):
        arrays.Arrays(tmp_path)


def test_what_arrays_cannot_hold_is_refused(written, tmp_path):
    specs = {"image": toy_dataset.SPECS["image"], "depth": toy_dataset.SPECS["depth"]}
    with pytest.raises(DatasetError, match="is there already"):
        to_arrays.Writer(written.path, "toy", specs)

    def write(examples):
        with to_arrays.Writer(tmp_path / "new", "toy", specs) as writer:
            writer.write("train", iter(examples), 2, {"depth": np.float16})

    ones = np.ones((2, 3), np.float32)
    with pytest.raises(DatasetError, match=r"train b, key 'depth': .* \(2, 3\) like that of a"):
        write([("a", {"depth": ones}), ("b", {"depth": ones[:1]})])
    with pytest.raises(DatasetError, match=r"train a, key 'depth': values .* do not fit"):
        write([("a", {"depth": ones * np.float32(1.0001)})])
    with pytest.raises(DatasetError, match="train: expected 2 examples, found 1"):
        write([("a", {"depth": ones})])
    assert not (tmp_path / "new").exists()
    write([("a", {"depth": ones}), ("b", {"depth": ones})])  # over what is left of the others
    assert arrays.Arrays(tmp_path / "new").splits == {"train": 2}


@pytest.mark.slow
def test_streets_drawn_into_arrays_are_those_of_the_records(streets_dir, tmp_path, capsys):
    from input_pipeline import datasets

    folder = tmp_path / "tiny"
    assert prepare.main(["--dataset=streets/64x128_tiny", f"--arrays={folder}"]) == 0
    assert f"--config.data.dataset=arrays:{folder}" in capsys.readouterr().out
    records = datasets.load("streets/64x128_tiny", data_dir=streets_dir)
    drawn = arrays.Arrays(folder)
    assert drawn.label_specs == records.label_specs
    assert drawn.splits == {"train": 24, "validation": 8, "test": 8}
    keys = tuple(records.label_specs)
    both = (train(data, keys=keys, augmentation=Augmentation()) for data in (drawn, records))
    assert_same_batches(*(stream.batches() for stream in both), 3)
    assert prepare.main(["--dataset=streets/1x1", f"--arrays={folder}_b"]) == 1
    assert "There is no configuration '1x1'" in capsys.readouterr().err


def test_nothing_of_it_loads_tensorflow(written):
    code = (
        "import sys; sys.modules['tensorflow'] = sys.modules['tensorflow_datasets'] = None\n"
        "from input_pipeline import arrays, from_config, pipeline, to_arrays\n"
        f"data = arrays.Arrays({str(written.path)!r})\n"
        f"stream = pipeline.TrainStream(data, keys={KEYS}, batch_size=2, seed=0)\n"
        "print(next(stream.batches())['image'].shape, stream.draws(3)['index'].shape)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "(2, 20, 28, 3) (2,)\n", done.stderr


def copied(written, folder):
    """A folder of arrays that can be damaged, and what its arrays.json holds."""
    shutil.copytree(written.path, folder)
    return folder, json.loads((folder / "arrays.json").read_text())


def without(described, *path):
    *parents, last = path
    inner = described
    for step in parents:
        inner = inner[step]
    del inner[last]
    return described


@pytest.mark.parametrize(
    "damage",
    [
        lambda d: [],
        lambda d: None,
        lambda d: without(d, "dataset"),
        lambda d: without(d, "splits"),
        lambda d: without(d, "specs", "depth", "kind"),
        lambda d: d | {"splits": ["train"]},
        lambda d: d | {"splits": {"train": "11"}},
        lambda d: d | {"splits": {}},
        lambda d: d | {"splits": {"../other": 11}},
        lambda d: d | {"specs": {"../../image": d["specs"]["image"]}},
        lambda d: d | {"specs": {"image": d["specs"]["image"] | {"more": 1}}},
        lambda d: d | {"specs": {"image": d["specs"]["image"] | {"dtype": "O"}}},
        lambda d: d | {"specs": {"image": d["specs"]["image"] | {"kind": 3}}},
        lambda d: d | {"specs": [1]},
    ],
)
def test_a_damaged_description_is_one_message(written, tmp_path, damage):
    folder, described = copied(written, tmp_path / "toy")
    (folder / "arrays.json").write_text(json.dumps(damage(described)))
    with pytest.raises(DatasetError, match=r"arrays.json is (damaged|of version)"):
        arrays.Arrays(folder)
    (folder / "arrays.json").write_bytes(b"[" * 200_000)
    with pytest.raises(DatasetError, match=r"arrays.json cannot be read"):
        arrays.Arrays(folder)


@pytest.mark.parametrize(
    ("key", "damage"),
    [
        ("image", lambda a: a[..., 0]),
        ("image", lambda a: a[..., :2]),
        ("image", lambda a: a.astype(np.float32)),
        ("image", lambda a: a.astype("U3")),
        ("image", lambda a: np.uint8(7)),
        ("image", lambda a: np.zeros((11, 0, 28, 3), np.uint8)),
        ("depth", lambda a: a[:, :-1]),
        ("depth", lambda a: np.array([{}] * 11)),
        ("ids", lambda a: np.arange(11)),
    ],
)
def test_a_damaged_array_is_one_message(written, tmp_path, key, damage):
    folder, _ = copied(written, tmp_path / "toy")
    file = folder / "train" / f"{key}.npy"
    np.save(file, damage(np.load(file)), allow_pickle=True)
    with pytest.raises(DatasetError, match=r"(holds|is damaged|expected arrays of one size)"):
        train(arrays.Arrays(folder))


def test_what_is_no_array_file_is_neither_waited_for_nor_read(written, tmp_path):
    folder, _ = copied(written, tmp_path / "toy")
    file = folder / "train" / "depth.npy"
    whole = file.read_bytes()
    for contents in (b"", whole[:7], whole[:300], b"PK\x03\x04" + whole, b"\x80\x04."):
        file.write_bytes(contents)
        with pytest.raises(DatasetError, match=r"depth.npy is damaged"):
            train(arrays.Arrays(folder))
    for name in ("train/depth.npy", "arrays.json"):
        (folder / name).unlink()
        os.mkfifo(folder / name)
        with pytest.raises(DatasetError, match="it is no file"):
            train(arrays.Arrays(folder))


def test_two_starts_do_not_write_into_one_folder(tmp_path):
    specs = {"image": toy_dataset.SPECS["image"]}
    folder, ones = tmp_path / "new", np.ones((2, 3, 3), np.uint8)
    with to_arrays.Writer(folder, "toy", specs) as first:
        other = to_arrays.Writer(folder, "toy", specs)
        with pytest.raises(DatasetError, match="Another process is writing"), other:
            pass
        first.write("train", iter([("a", {"image": ones})]), 1, {"image": np.uint8})
    np.testing.assert_array_equal(arrays.Arrays(folder).open("train", "image"), ones[None])
    with pytest.raises(DatasetError, match="is there already"), other:
        pass
    assert os.listdir(tmp_path) == ["new"]


def test_what_cannot_be_written_is_one_message_and_leaves_nothing(tmp_path, monkeypatch):
    specs = {"image": toy_dataset.SPECS["image"]}
    (tmp_path / "file").touch()
    below = to_arrays.Writer(tmp_path / "file" / "new", "toy", specs)
    with pytest.raises(DatasetError, match=r"file/new cannot be written \("), below:
        pass
    # A disk that is full, as /dev/full is: mapped memory would end this process.
    pathlib_open = Path.open

    def full(path, *arguments):
        return pathlib_open(Path("/dev/full") if path.suffix == ".npy" else path, *arguments)

    monkeypatch.setattr(Path, "open", full)
    image = np.zeros((300, 300, 3), np.uint8)
    writer, examples = to_arrays.Writer(tmp_path / "new", "toy", specs), [("a", {"image": image})]
    with pytest.raises(DatasetError, match=r"written \(No space left on device\)"), writer:
        writer.write("train", iter(examples), 1, {"image": np.uint8})
    assert os.listdir(tmp_path) == ["file"]


def test_another_pixel_or_another_use_of_labels_is_another_digest(builder, written, tmp_path):
    folder, _ = copied(written, tmp_path / "toy")
    assert train(arrays.Arrays(folder)).digest() == train(written).digest()
    assert train(builder).digest() == train(written).digest()
    file = folder / "train" / "semseg.npy"
    array = np.load(file)
    array[-1, 3, 4] ^= 1
    np.save(file, array)
    assert train(arrays.Arrays(folder)).digest() != train(written).digest()
    partial = [
        ConfigDict({"kind": "one", "among": (), "seed": seed, "file": ""}) for seed in (0, 0, 1)
    ]
    of_partial = [
        train(labelling.Relabelled(written, edges={}, partial=few)).digest() for few in partial
    ]
    assert of_partial[0] == of_partial[1] != of_partial[2]
