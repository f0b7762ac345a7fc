import shutil

import h5py
import numpy as np
import pytest
import scipy.io
import small_releases
from small_releases import save_npy, truncate

from input_pipeline import sources, transforms
from input_pipeline.datasets import DatasetError, nyuv2
from input_pipeline.datasets import _nyu_classes as nyu

SIZE, MTAN_SIZE = (480, 640), (288, 384)
MTAN_SPLITS = {"train": ("train", 2), "validation": ("val", 1)}
RELEASE = "nyu_depth_v2_labeled.mat"


def frames():
    """Three frames as in MATLAB's file after h5py: axes backwards. Pixels hint at their place."""
    rng = np.random.default_rng(0)
    rows, columns = np.indices(SIZE)
    images = np.stack([rows % 256, columns % 256, (rows + columns) % 256])
    images = np.stack([(images + 10 * frame) % 256 for frame in range(3)]).astype(np.uint8)
    depths = rng.uniform(0.8, 9.9, (3, *SIZE)).astype(np.float32)
    labels = rng.integers(0, 895, (3, *SIZE)).astype(np.uint16)
    return {
        "images": images.transpose(0, 1, 3, 2),
        "depths": depths.transpose(0, 2, 1),
        "labels": labels.transpose(0, 2, 1),
    }


def write_official(root, **changes):
    """The three files of the official release; `changes` replace arrays, None leaves one out."""
    root.mkdir(exist_ok=True)
    with h5py.File(root / RELEASE, "w") as file:
        for name, array in (frames() | changes).items():
            if array is not None:
                file.create_dataset(name, data=array)
    write_splits(root, [3, 1], [2])
    write_mapping(root, 1 + np.arange(894) % 40)
    return root


def write_splits(root, train, test):
    columns = {"trainNdxs": train, "testNdxs": test}
    arrays = {name: np.array(values, np.uint16)[:, None] for name, values in columns.items()}
    scipy.io.savemat(root / "splits.mat", arrays)


def write_mapping(root, ids):
    scipy.io.savemat(root / "classMapping40.mat", {"mapClass": np.array(ids, np.uint8)[None]})


def write_mtan(root):
    """The authors' layout of MTAN, with every value that the files may hold."""
    rng = np.random.default_rng(1)
    for folder, count in MTAN_SPLITS.values():
        for name in ("image", "label", "depth", "normal"):
            (root / folder / name).mkdir(parents=True)
        for number in range(count):
            normals = rng.normal(size=(*MTAN_SIZE, 3))
            normals /= np.linalg.norm(normals, axis=2, keepdims=True)
            normals[:9] = 0
            normals[9] *= 0.5  # averaged at an edge
            depth = rng.uniform(0.7, 9.9, (*MTAN_SIZE, 1))
            depth[5] = 0
            arrays = {
                "image": rng.integers(0, 256, (*MTAN_SIZE, 3)) / 255,
                "label": rng.integers(-1, 13, MTAN_SIZE).astype(np.float64),
                "depth": depth.astype(np.float32),
                "normal": normals.astype(np.float32),
            }
            for name, array in arrays.items():
                np.save(root / folder / name / f"{number}.npy", array)
    return root


@pytest.fixture
def official(tmp_path):
    return write_official(tmp_path / "nyu")


@pytest.fixture
def mtan(tmp_path):
    return write_mtan(tmp_path / "nyu_mtan")


def test_official_records_hold_the_frames_of_the_splits(official):
    # By hand: bed, books, ceiling, chair, floor, furniture, objects, picture, sofa, table, tv, wall
    # and window, from the ids 1 ... 40 of the files.
    to_13 = {1: 12, 2: 5, 4: 1, 5: 4, 6: 9, 7: 10, 8: 12, 9: 13, 11: 8, 13: 13, 14: 10, 16: 13}
    to_13 |= {20: 5, 22: 3, 23: 2, 25: 11} | dict.fromkeys([3, 10, 12, 15, 17, 24, 32, 39], 6)
    to_13 |= {id_40: 7 for id_40 in range(1, 41) if id_40 not in to_13}
    stored = frames()
    labels_13 = np.array([255] + [to_13[1 + i % 40] - 1 for i in range(894)])
    labels_40 = np.array([255] + [i % 40 for i in range(894)])
    convert_13 = small_releases.builder_of("nyuv2/13classes").convert
    items_13 = small_releases.find("nyuv2/13classes", official)
    examples = small_releases.prepared("nyuv2/40classes", official)
    for split, names in (("train", ["0001", "0003"]), ("validation", ["0002"])):
        assert list(examples[split]) == names
        for item, (name, example) in zip(items_13[split], examples[split].items()):
            frame = int(name) - 1
            rows, columns = np.indices(SIZE)
            np.testing.assert_array_equal(example["image"][..., 0], (rows + 10 * frame) % 256)
            np.testing.assert_array_equal(example["image"][..., 1], (columns + 10 * frame) % 256)
            np.testing.assert_array_equal(example["depth"], stored["depths"][frame].T)
            labels = stored["labels"][frame].T
            np.testing.assert_array_equal(example["semseg"], labels_40[labels])
            np.testing.assert_array_equal(convert_13(item)["semseg"], labels_13[labels])
            assert "normals" not in example


def test_records_of_mtans_release_hold_the_values_of_the_files(mtan):
    examples = small_releases.prepared("nyuv2/mtan_288x384", mtan)
    for split, (folder, count) in MTAN_SPLITS.items():
        assert list(examples[split]) == [f"{split}_{i:04d}" for i in range(count)]
        for number, example in enumerate(examples[split].values()):
            image, label, depth, normals = (
                np.load(mtan / folder / name / f"{number}.npy")
                for name in ("image", "label", "depth", "normal")
            )
            np.testing.assert_array_equal(example["image"], np.round(image * 255))
            np.testing.assert_array_equal(example["semseg"], np.where(label == -1, 255, label))
            np.testing.assert_array_equal(example["depth"], depth[..., 0])
            np.testing.assert_array_equal(example["normals"][:9], 0)
            length = np.linalg.norm(normals[9:], axis=2, keepdims=True)
            np.testing.assert_allclose(example["normals"][9:], normals[9:] / length, atol=1e-6)


def test_what_the_arrays_mean():
    assert set(small_releases.specs("nyuv2/40classes")) == {"image", "semseg", "depth"}
    specs = small_releases.specs("nyuv2/mtan_288x384")
    assert small_releases.magnified_twice("nyuv2/mtan_288x384", "depth", 4) == 2
    example = {"image": np.zeros((1, 2, 3), np.uint8), "normals": np.eye(3)[None, :2]}
    mirrored = transforms.augment(example, specs, transforms.Augmentation(flip=1.0), (0, 0))
    assert mirrored["normals"].tolist() == [[[0, 1, 0], [-1, 0, 0]]]
    assert specs["semseg"].class_names[0] == "bed"
    assert specs["semseg"].palette[12] == (225, 228, 194)
    names = small_releases.specs("nyuv2/40classes")["semseg"].class_names
    assert (len(names), names[0], names[39]) == (40, "wall", "otherprop")


def test_both_maps_count_from_one_with_void_at_zero():
    assert nyu.CLASS_40_OF_ID.tolist() == [255, *range(40)]
    assert nyu.CLASS_13_OF_ID[0] == 255
    assert nyu.NAMES_13[nyu.CLASS_13_OF_ID[1]] == "wall"
    by_name = {name: nyu.NAMES_13[nyu.CLASS_13_OF_ID[1 + i]] for i, name in enumerate(nyu.NAMES_40)}
    same = {"bed", "books", "ceiling", "chair", "floor", "picture", "sofa", "table", "wall"}
    assert all(by_name[name] == name for name in same | {"window"})
    assert by_name["television"] == "tv"
    assert by_name["floor mat"] == "floor"
    assert by_name["door"] == "wall"
    assert by_name["curtain"] == by_name["blinds"] == "window"
    assert by_name["desk"] == "table"
    assert by_name["otherfurniture"] == "furniture"
    assert by_name["otherprop"] == "objects"
    # How many of the 40 go into each of the 13.
    counts = np.bincount(nyu.CLASS_13_OF_ID[1:], minlength=13)
    assert counts.tolist() == [1, 1, 1, 1, 2, 8, 16, 1, 1, 2, 1, 2, 3]


def changed(name, index, value):
    array = frames()[name]
    array[index] = value
    return {name: array}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (changed("depths", (0, 5, 7), np.nan), "frame 0001, key 'depth': expected finite"),
        (changed("depths", (2, 5, 7), 11), r"frame 0003, key 'depth': .*\[0.5, 10\] m.*11"),
        (changed("labels", (1, 5, 7), 895), "frame 0002, key 'semseg': .*0–894, found 895"),
        ({"labels": None}, r"expected \['depths', 'images', 'labels'\], found \['depths', 'ima"),
        ({"images": frames()["images"].transpose(0, 1, 3, 2)}, "'images'.*3, 640, 480.*3, 480, 64"),
        ({"depths": frames()["depths"].astype(np.uint16)}, "'depths': expected floating .*uint16"),
        ({"depths": frames()["depths"][:2]}, "one number of frames, found .*'depths': 2"),
    ],
)
def test_a_wrong_official_release_is_refused(tmp_path, changes, message):
    root = write_official(tmp_path / "nyu", **changes)
    with pytest.raises(DatasetError, match=rf"{RELEASE}.*{message}"):
        small_releases.convert("nyuv2/40classes", root)


def test_arrays_of_other_files_are_not_read(official, tmp_path):
    other = tmp_path / "other.mat"
    shutil.copy(official / RELEASE, other)
    frame = frames()["images"].shape
    (tmp_path / "raw").write_bytes(bytes(int(np.prod(frame))))
    for make in (
        lambda file: file.create_group("images"),
        lambda file: file.__setitem__("images", h5py.ExternalLink(other, "images")),
        lambda file: file.create_dataset("images", frame, "u1", external=str(tmp_path / "raw")),
    ):
        with h5py.File(official / RELEASE, "a") as file:
            del file["images"]
            make(file)
        with pytest.raises(DatasetError, match=r"'images': expected an array in this file, found"):
            nyuv2._check_release(sources.File(str(official / RELEASE)))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (RELEASE, r"MATLAB 7.3 \(HDF5\) file, but it does not open"),
        ("splits.mat", "expected a MATLAB 5 file, but it does not load"),
        ("classMapping40.mat", "expected a MATLAB 5 file, but it does not load"),
    ],
)
def test_an_unreadable_mat_file_is_named(official, name, message):
    truncate(official / name)
    with pytest.raises(DatasetError, match=rf"{name}.*{message}"):
        small_releases.convert("nyuv2/40classes", official)
    (official / name).unlink()
    with pytest.raises(DatasetError, match=f"without the file: {name}"):
        small_releases.find("nyuv2/40classes", official)


def test_splits_that_cannot_be_are_refused(official):
    def find():
        return small_releases.find("nyuv2/40classes", official)

    write_splits(official, [1, 4], [2, 0])
    with pytest.raises(DatasetError, match=r"outside 1–3.*: 0, 4"):
        find()
    write_splits(official, [1, 2], [2, 3])
    with pytest.raises(DatasetError, match="named twice: 2"):
        find()
    scipy.io.savemat(official / "splits.mat", {"trainNdxs": np.ones(3)})
    with pytest.raises(DatasetError, match="expected a variable 'testNdxs', found trainNdxs"):
        find()
    write_splits(official, [1, 3], [2])
    with pytest.raises(DatasetError, match="'train': expected 795 examples, found 2"):
        small_releases.find("nyuv2/40classes", official, partial=False)


@pytest.mark.parametrize(
    ("ids", "message"), [(np.ones(893), "found 893"), (np.full(894, 41), "to 41")]
)
def test_a_mapping_that_cannot_be_is_refused(official, ids, message):
    write_mapping(official, ids)
    with pytest.raises(DatasetError, match=f"'mapClass': expected 894 ids 0–40, .*{message}"):
        small_releases.find("nyuv2/40classes", official)


def test_a_release_that_was_replaced_is_read_again(official):
    first = small_releases.find("nyuv2/40classes", official)["train"][0]
    converter = small_releases.builder_of("nyuv2/40classes").convert
    before = converter(first)["depth"]
    other = write_official(official.parent / "other", **changed("depths", (0, 5, 7), 3.25))
    (other / RELEASE).replace(official / RELEASE)
    after = converter(first)["depth"]
    assert np.argwhere(before != after).tolist() == [[7, 5]]
    assert after[7, 5] == 3.25


VECTORS = np.full((*MTAN_SIZE, 3), 3**-0.5)


@pytest.mark.parametrize(
    ("file", "damage", "message"),
    [
        ("train/normal/1.npy", truncate, "key 'normals': expected a .npy file"),
        ("train/normal/1.npy", save_npy(2 * VECTORS), "length 1 at most, found 2"),
        ("train/normal/1.npy", save_npy(np.nan * VECTORS), "length 1 at most, found nan"),
        ("train/normal/1.npy", save_npy(VECTORS[..., :2]), "channels last, .*288, 384, 2"),
        ("train/normal/1.npy", save_npy(VECTORS[1:]), "expected 288×384.*found 287×384"),
        ("val/label/0.npy", save_npy(np.full(MTAN_SIZE, 13)), r"0–12 or −1.*found \[13\]"),
        ("val/depth/0.npy", save_npy(np.full(MTAN_SIZE, np.inf)), "expected finite"),
        ("val/depth/0.npy", save_npy(np.full(MTAN_SIZE, 1e4)), r"\[0.01, 10\] m, found 10000"),
    ],
)
def test_a_damaged_file_is_named(mtan, file, damage, message):
    damage(mtan / file)
    with pytest.raises(DatasetError, match=rf"{file}.*{message}"):
        small_releases.convert("nyuv2/mtan_288x384", mtan)


def test_half_of_mtans_release_is_refused(mtan):
    with pytest.raises(DatasetError, match="'train': expected 795 examples, found 2"):
        small_releases.find("nyuv2/mtan_288x384", mtan, partial=False)
    (mtan / "val" / "normal" / "0.npy").unlink()
    message = r"(?s)no files: val/normal/\*.npy.*split 'validation': without 'normals': 0"
    with pytest.raises(DatasetError, match=message):
        small_releases.find("nyuv2/mtan_288x384", mtan)
