import numpy as np
import pytest
from folder_files import put

from input_pipeline import datasets, labels, pipeline
from input_pipeline.datasets import DatasetError, nyud
from input_pipeline.datasets import _nyu_classes as nyu

SIZE = (6, 8)
IDS = {"train": ("0001", "0003", "0012"), "validation": ("0002", "0005", "0007")}
UP = (128, 0, 128)  # of a normal


def normals_picture():
    picture = np.full((*SIZE, 3), UP, np.uint8)
    picture[0] = 128
    picture[1] = 127
    return picture


def frame(name):
    rng = np.random.default_rng(int(name))
    depth = rng.uniform(1, 9, SIZE).astype(np.float32)
    depth[:, 0] = 0
    return {
        "images": rng.integers(0, 256, (*SIZE, 3)).astype(np.uint8),
        "segmentation": rng.integers(0, 41, SIZE).astype(np.uint8),
        "depth": depth * (name != "0005"),  # one without any depth
        "edge": rng.integers(0, 256, SIZE).astype(np.uint8),
    }


def write(root, source="atrc", size=SIZE):
    """The release, three frames in each list."""
    for split, names in IDS.items():
        put(root / f"gt_sets/{'val' if split == 'validation' else split}.txt", "\n".join(names))
        for name in names:
            for key, array in frame(name).items():
                array = np.resize(array, size + array.shape[2:])
                ending = ".npy" if key == "depth" else ".png"
                if source == "survey":
                    ending = {"images": ".jpg", "edge": ".npy"}.get(key, ending)
                    array = array / 255 if key == "edge" else array
                put(root / f"{key}/{name}{ending}", array)
            normals = np.resize(normals_picture(), (*size, 3))
            if source == "survey":
                put(root / f"normals/{name}.npy", np.broadcast_to([0.0, 0, -0.9], (*size, 3)))
            else:
                put(root / f"normals/{name}.png", normals)
    return root


def prepare(root, config="atrc", **options):
    options = {"partial": True, **options}
    records = str(root.parent / "records")
    return datasets.prepare(f"nyud/{config}", data_dir=records, manual_dir=str(root), **options)


def read(builder, split):
    keys = tuple(builder.label_specs)
    stream = pipeline.EvalStream(builder, split=split, keys=keys, batch_size=1)
    return {
        stream.example_ids(i)[0]: {key: batch[key][0] for key in keys}
        for i, batch in enumerate(stream.batches())
    }


@pytest.mark.parametrize("root", ["NYUDv2", "anything"])
def test_every_value_is_that_of_the_files(tmp_path, root):
    write(tmp_path / "release" / root)
    folder = "release" if root == "NYUDv2" else f"release/{root}"
    builder = prepare(tmp_path / folder)
    found = {split: read(builder, split) for split in IDS}
    assert {split: tuple(examples) for split, examples in found.items()} == IDS
    for name, example in {**found["train"], **found["validation"]}.items():
        raw = frame(name)
        np.testing.assert_array_equal(example["image"], raw["images"])
        ids = raw["segmentation"].astype(int)
        np.testing.assert_array_equal(example["semseg"], np.where(ids == 0, 255, ids - 1))
        np.testing.assert_array_equal(example["depth"], raw["depth"])
        np.testing.assert_allclose(example["edge"], raw["edge"] / 255, atol=1e-7)  # stays soft
        assert not example["normals"][:2].any()  # 127 and 128 are no direction
        np.testing.assert_allclose(np.linalg.norm(example["normals"][2:], axis=-1), 1, atol=1e-6)
        np.testing.assert_allclose(example["normals"][2:, :, 1], -1, atol=1e-4)
    assert builder.label_specs["semseg"].class_names == nyu.NAMES_40


def test_mid_grey_counts_as_a_normal_where_the_protocol_says_so(tmp_path):
    write(tmp_path / "release")
    found = read(prepare(tmp_path / "release", "atrc_all_normals"), "train")
    for example in found.values():
        np.testing.assert_allclose(np.linalg.norm(example["normals"], axis=-1), 1, atol=1e-6)


def test_the_copy_of_the_survey(tmp_path):
    write(tmp_path / "release" / "NYUD_MT", "survey")
    found = read(prepare(tmp_path / "release", "survey"), "train")
    for name, example in found.items():
        np.testing.assert_allclose(example["edge"], frame(name)["edge"] / 255, atol=1e-7)
        np.testing.assert_array_equal(example["normals"][0, 0], [0, 0, -1])


def test_one_copy_is_not_taken_for_the_other(tmp_path):
    write(tmp_path / "a")
    write(tmp_path / "b", "survey")
    with pytest.raises(DatasetError, match="this is the copy of nyud/survey"):
        prepare(tmp_path / "b")
    with pytest.raises(DatasetError, match="this is the copy of nyud/atrc"):
        prepare(tmp_path / "a", "survey")
    write(tmp_path / "c", size=(449, 8))
    with pytest.raises(DatasetError, match=r"at most 448×576 .*found 449×8.*nyud/survey"):
        prepare(tmp_path / "c")


def test_sizes_of_one_example_agree(tmp_path):
    root = write(tmp_path / "release")
    put(root / "edge/0003.png", np.zeros((6, 9), np.uint8))
    with pytest.raises(DatasetError, match=r"0003.png, key 'edge': expected 6×8.*found 6×9"):
        prepare(root)


def test_what_is_missing_is_named(tmp_path):
    root = write(tmp_path / "release")
    with pytest.raises(DatasetError, match=r"'train': expected 795 examples, found 3 \(--partial"):
        prepare(root, partial=False)
    (root / "normals/0012.png").unlink()
    with pytest.raises(DatasetError, match="split 'train': without 'normals': 0012"):
        prepare(root)
    (root / "gt_sets/val.txt").unlink()
    with pytest.raises(DatasetError, match=r"without the file: gt_sets/val\.txt"):
        prepare(root)
    put(root / "gt_sets/val.txt", "0002\n")
    put(root / "normals/0012.png", normals_picture())
    put(root / "segmentation/0001.png", np.full(SIZE, 41, np.uint8))
    with pytest.raises(DatasetError, match=r"0001.png, key 'semseg': expected ids 0–40, found 41"):
        prepare(root)


def test_edges_out_of_range_are_refused(tmp_path):
    root = write(tmp_path / "release", "survey")
    put(root / "edge/0001.npy", np.full(SIZE, 255, np.uint8))
    with pytest.raises(DatasetError, match=r"0001.npy, key 'edge': expected values from 0 to 1"):
        prepare(root, "survey")
    labels.check(np.float32([[0, 0.5, 1, -1]]), labels.edges(), "edge")
    assert nyud.Builder.BUILDER_CONFIGS[0].name == "atrc"
