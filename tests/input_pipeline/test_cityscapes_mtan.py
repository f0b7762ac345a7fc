import shutil

import numpy as np
import pytest
import small_releases
from small_releases import save_npy, truncate

from input_pipeline.datasets import DatasetError
from input_pipeline.datasets import _mtan_arrays as mtan

SIZE = (128, 256)
SPLITS = {"train": ("train", 3), "validation": ("val", 2)}  # ours: the folder, number of examples


def write(root, num_classes, label_folder, size=SIZE):
    """The authors' layout, with every value that the files may hold."""
    rng = np.random.default_rng(num_classes)
    for folder, count in SPLITS.values():
        for name in ("image", label_folder, "depth"):
            (root / folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            raw = rng.integers(0, 32258, size)
            raw[0, :4] = 0, 1, 2, 32257
            arrays = {
                "image": rng.integers(0, 256, (*size, 3)) / 255,
                # Both number types occur among the copies of the release.
                label_folder: rng.integers(-1, num_classes, size).astype(
                    np.float32 if number % 2 else np.int64
                ),
                "depth": (raw[..., None] / 65535).astype(np.float32),
            }
            arrays["image"][0, 0] = 0, 0.5, 1
            for name, array in arrays.items():
                np.save(root / folder / name / f"{number}.npy", array)
    return root


@pytest.fixture
def release(tmp_path):
    return write(tmp_path / "cityscapes", 7, "label")


@pytest.mark.parametrize(
    ("config", "num_classes", "label_folder"),
    [("128x256", 7, "label"), ("128x256", 7, "label_7"), ("128x256_19classes", 19, "label_19")],
)
def test_records_hold_the_values_of_the_files(tmp_path, config, num_classes, label_folder):
    root = write(tmp_path / "cityscapes", num_classes, label_folder)
    examples = small_releases.prepared(f"cityscapes_mtan/{config}", root)
    for split, (folder, count) in SPLITS.items():
        assert list(examples[split]) == [f"{split}_{i:04d}" for i in range(count)]
        for number, example in enumerate(examples[split].values()):
            image, label, depth = (
                np.load(root / folder / name / f"{number}.npy")
                for name in ("image", label_folder, "depth")
            )
            assert np.abs(example["image"] / 255 - image).max() <= 1 / 510 + 1e-9
            assert example["image"][0, 0].tolist() == [0, 128, 255]
            np.testing.assert_array_equal(example["semseg"], np.where(label == -1, 255, label))
            assert {0, num_classes - 1, 255} <= set(np.unique(example["semseg"]))
            np.testing.assert_array_equal(example["depth"], depth[..., 0])
            # Unknown, the three smallest steps above it and the greatest value of the release.
            np.testing.assert_allclose(example["depth"][0, :4] * 65535, [0, 1, 2, 32257], rtol=1e-6)


def test_the_larger_set_has_its_own_size_and_folders(tmp_path):
    root = write(tmp_path / "cityscapes", 7, "label_7", (256, 512))
    example = small_releases.prepared("cityscapes_mtan/256x512", root)["train"]["train_0000"]
    assert example["image"].shape == (256, 512, 3)
    with pytest.raises(DatasetError, match=r"expected 128×256 .*found 256×512"):
        small_releases.convert("cityscapes_mtan/128x256", root)


def test_what_the_arrays_mean():
    specs = small_releases.specs("cityscapes_mtan/128x256")
    assert specs["semseg"].class_names == (
        "flat",
        "construction",
        "object",
        "nature",
        "sky",
        "human",
        "vehicle",
    )
    assert specs["semseg"].palette[4] == (70, 130, 180)  # that of the class sky
    assert specs["depth"].kind == "inverse_depth"
    magnified = small_releases.magnified_twice("cityscapes_mtan/128x256", "depth", 0.125)
    assert magnified == 0.25
    assert specs["depth"].invalid == 0
    assert len(small_releases.specs("cityscapes_mtan/256x512_19classes")["semseg"].palette) == 19


def image(value=0.5, **changes):
    array = np.full((*SIZE, 3), 0.5)
    array[3, 4, 1] = value
    return array


def plane(value, background=0.25):
    array = np.full((*SIZE, 1), background, np.float32)
    array[3, 4] = value
    return array


@pytest.mark.parametrize(
    ("file", "damage", "message"),
    [
        ("train/image/1.npy", truncate, "key 'image': expected a .npy file"),
        ("train/image/1.npy", lambda f: f.write_text("<html>"), "does not load"),
        ("train/image/1.npy", save_npy(image(1.01)), r"expected values in \[0, 1\].*1.01"),
        ("train/image/1.npy", save_npy(image(-0.01)), r"expected values in \[0, 1\]"),
        ("train/image/1.npy", save_npy(image(np.nan)), r"expected values in \[0, 1\].*nan"),
        ("train/image/1.npy", save_npy(image().transpose(2, 0, 1)), "channels last.*3, 128, 256"),
        ("train/image/1.npy", save_npy(np.zeros((*SIZE, 3), np.uint8)), "floats.*found uint8"),
        ("val/label/0.npy", truncate, "key 'semseg'"),
        ("val/label/0.npy", save_npy(plane(7, 0)), r"0–6 or −1 \(void\), found \[7.0\] in 1 of"),
        ("val/label/0.npy", save_npy(plane(-2, 0)), r"found \[-2.0\]"),
        ("val/label/0.npy", save_npy(plane(255, 0)), r"found \[255.0\]"),
        ("val/label/0.npy", save_npy(plane(0.5, 0)), r"found \[0.5\]"),
        ("val/label/0.npy", save_npy(plane(np.nan, 0)), r"found \[nan\]"),
        ("val/label/0.npy", save_npy(np.zeros((128, 255))), "expected 128×256.*found 128×255"),
        ("val/label/0.npy", save_npy(np.zeros((2, *SIZE))), r"expected \[H, W\].*2, 128, 256"),
        ("val/depth/1.npy", truncate, "key 'depth'"),
        ("val/depth/1.npy", save_npy(plane(np.nan)), "key 'depth': expected finite"),
        ("val/depth/1.npy", save_npy(plane(-0.1)), "expected valid values in"),
        ("val/depth/1.npy", save_npy(plane(32257)), r"\[0, 0.5\] , found"),
        ("val/depth/1.npy", save_npy(plane(0, 0)), "every value is 0"),
        ("val/depth/1.npy", save_npy(np.ones(SIZE, np.uint16)), "expected floats.*uint16"),
    ],
)
def test_a_damaged_file_is_named(release, file, damage, message):
    damage(release / file)
    with pytest.raises(DatasetError, match=rf"(?s){file}.*{message}"):
        small_releases.convert("cityscapes_mtan/128x256", release)


def test_half_a_release_is_refused(release):
    with pytest.raises(DatasetError, match=r"'train': expected 2975 examples, found 3"):
        small_releases.find("cityscapes_mtan/128x256", release, partial=False)
    (release / "train" / "depth" / "1.npy").unlink()
    with pytest.raises(DatasetError, match="split 'train': without 'depth': 1"):
        small_releases.find("cityscapes_mtan/128x256", release)
    shutil.rmtree(release / "val" / "label")
    with pytest.raises(DatasetError, match="without the folder: val/label_7 or val/label"):
        small_releases.find("cityscapes_mtan/128x256", release)
    with pytest.raises(DatasetError, match=r"train/label_19, val/label_19"):
        small_releases.find("cityscapes_mtan/128x256_19classes", release)


def test_files_are_taken_by_number_and_not_by_name(release):
    for folder in ("image", "label", "depth"):
        for number in (2, 1):
            source = release / "train" / folder / f"{number}.npy"
            source.rename(source.with_name(f"{number + 8}.npy"))  # 0, 9 and 10
    numbers = [item.id for item in small_releases.find("cityscapes_mtan/128x256", release)["train"]]
    assert numbers == ["train_0000", "train_0009", "train_0010"]
    for folder in ("image", "label", "depth"):
        (release / "train" / folder / "9.npy").rename(release / "train" / folder / "09.npy")
    with pytest.raises(DatasetError, match=r"not called 0.npy, 1.npy, \.\.\.: 09"):
        small_releases.find("cityscapes_mtan/128x256", release)


def test_void_does_not_wrap_around():
    label = np.array([[-1, 0, 6]], np.int8)
    assert mtan.classes(label, 7, "x").tolist() == [[255, 0, 6]]
    assert mtan.classes(label.astype(np.float64), 7, "x").dtype == np.uint8
