import os
import pathlib
import shutil

import numpy as np
import pytest
from PIL import Image

from input_pipeline import datasets, pipeline, prepare, summary
from input_pipeline.datasets import DatasetError, camvid

REAL = pathlib.Path(
    os.environ.get("MTL_JAX_TEST_DATA", pathlib.Path(__file__).parents[3] / "shared" / "data")
)
FOLDERS = ("train", "val", "test")


@pytest.fixture
def release(tmp_path):
    """A release of three drawn frames per split, with every id that the files may hold."""
    rng = np.random.default_rng(0)
    root = tmp_path / "CamVid"
    for folder in FOLDERS:
        (root / folder).mkdir(parents=True)
        (root / f"{folder}annot").mkdir()
        for number in range(3):
            image = rng.integers(0, 256, (6, 8, 3)).astype(np.uint8)
            ids = rng.permutation(np.arange(48) % 12).reshape(6, 8).astype(np.uint8)
            Image.fromarray(image).save(root / folder / f"{folder}_{number}.png")
            Image.fromarray(ids).save(root / f"{folder}annot" / f"{folder}_{number}.png")
        (root / f"{folder}.txt").write_text("what the release has besides is passed over")
    return root


def convert(release, partial=True):
    data_dir = str(release.parent / "records")
    return datasets.prepare("camvid", data_dir=data_dir, manual_dir=str(release), partial=partial)


def test_records_hold_the_images_and_the_labels_with_void_ignored(release):
    builder = convert(release)
    for folder, split in zip(FOLDERS, ("train", "validation", "test")):
        stream = pipeline.EvalStream(builder, split=split, keys=("image", "semseg"), batch_size=3)
        (batch,) = stream.batches()
        assert stream.example_ids(0) == [f"{folder}_{n}" for n in range(3)]
        for row, name in enumerate(stream.example_ids(0)):
            image = np.array(Image.open(release / folder / f"{name}.png"))
            ids = np.array(Image.open(release / f"{folder}annot" / f"{name}.png"))
            np.testing.assert_array_equal(batch["image"][row], image)
            np.testing.assert_array_equal(batch["semseg"][row], np.where(ids == 11, 255, ids))


def test_the_class_table_is_that_of_the_release():
    spec = camvid.Builder.specs.fget(None)["semseg"]
    assert len(spec.class_names) == 11
    assert spec.ignore == 255
    assert spec.class_names[3] == "road"
    assert spec.palette[3] == (128, 64, 128)
    assert spec.palette[10] == (0, 128, 192)


def test_a_part_of_the_release_is_converted_only_when_asked(release):
    with pytest.raises(
        DatasetError, match=r"split 'train': expected 367 examples, found 3 .*partial"
    ):
        convert(release, partial=False)


def test_palette_labels_are_read_as_ids(release):
    file = release / "trainannot" / "train_0.png"
    ids = np.array(Image.open(file))
    picture = Image.fromarray(ids)
    picture.putpalette(np.random.default_rng(0).integers(0, 256, 768).astype(np.uint8).tobytes())
    assert picture.mode == "P"
    picture.save(file)
    stream = pipeline.EvalStream(
        convert(release), split="train", keys=("image", "semseg"), batch_size=1
    )
    semseg = next(stream.batches())["semseg"][0]
    np.testing.assert_array_equal(semseg, np.where(ids == 11, 255, ids))


def truncate(file):
    file.write_bytes(file.read_bytes()[:-60])


def save(array):
    return lambda file: Image.fromarray(array).save(file)


@pytest.mark.parametrize(
    ("file", "damage", "message"),
    [
        ("train/train_1.png", truncate, "key 'image': expected an 8-bit RGB .* does not decode"),
        ("train/train_1.png", lambda f: f.write_text("<html>"), "the file is no image"),
        ("train/train_1.png", save(np.zeros((6, 8), np.uint8)), "expected .*RGB.*found mode 'L'"),
        ("train/train_1.png", save(np.zeros((6, 8, 4), np.uint8)), "found mode 'RGBA'"),
        ("valannot/val_2.png", truncate, "key 'semseg': .* does not decode"),
        ("valannot/val_2.png", save(np.zeros((6, 8, 3), np.uint8)), "'semseg'.*found mode 'RGB'"),
        ("valannot/val_2.png", save(np.zeros((6, 8), np.uint16)), "8-bit ids.*found mode 'I;16'"),
        ("valannot/val_2.png", save(np.full((6, 8), 12, np.uint8)), r"0–10 or 255.*found \[12\]"),
        ("valannot/val_2.png", save(np.full((6, 8), 255, np.uint8)), "0–11.* found 255"),
        (
            "valannot/val_2.png",
            save(np.zeros((6, 9), np.uint8)),
            "expected 6×8 .*val_2.png, found 6×9",
        ),
    ],
)
def test_a_damaged_file_is_named(release, file, damage, message):
    damage(release / file)
    with pytest.raises(DatasetError, match=rf"(?s){pathlib.Path(file).stem}\.png.*{message}"):
        convert(release)
    assert not list(release.parent.rglob("*.array_record*"))


def test_images_of_another_size_are_refused(release):
    for folder in ("test", "testannot"):
        file = release / folder / "test_2.png"
        Image.open(file).resize((16, 12), Image.Resampling.NEAREST).save(file)
    with pytest.raises(DatasetError, match=r"test_2.png: expected 6×8 .*found 12×16"):
        convert(release)


def test_files_without_a_partner_are_named_up_to_ten(release):
    (release / "valannot" / "val_1.png").unlink()
    for number in range(20, 35):
        shutil.copy(release / "val" / "val_0.png", release / "val" / f"val_{number}.png")
    (release / "test" / "test_2.png").unlink()
    message = (
        r"split 'validation': without 'semseg' \(16 of them\): val_1, (val_2\d, ){9}\.\.\.\n"
        r"  split 'test': without 'image': test_2\n"
    )
    with pytest.raises(DatasetError, match=message):
        convert(release)


def test_missing_and_empty_folders_are_named(release):
    shutil.rmtree(release / "testannot")
    with pytest.raises(DatasetError, match="without the folder: testannot"):
        convert(release)
    (release / "testannot").mkdir()
    for file in (release / "test").iterdir():
        file.unlink()
    with pytest.raises(DatasetError, match="split 'test': expected 233 examples, found 0"):
        convert(release)


def test_two_files_of_one_name_are_refused(release):
    shutil.copy(release / "val" / "val_0.png", release / "val" / "val_0.jpg")
    with pytest.raises(DatasetError, match=r"val_0\.\w+ and \S+val_0\.\w+: two files"):
        convert(release)


def test_the_summary_counts_what_the_files_hold(release):
    builder = convert(release)
    text = summary.text(prepare.summarize(builder), builder.label_specs)
    # Each of the 12 ids covers 4 of 48 pixels: 1/12 is void, and a class is 1/11 of the rest.
    assert "train: 3 examples" in text
    assert text.count("8.33% ignored") == 3
    assert text.count("9.091%") == 33


def test_real_photographs_in_both_encodings(tmp_path):
    source = REAL / "camvid"
    if not source.is_dir():
        pytest.skip(f"{source} is absent; MTL_JAX_TEST_DATA names the folder with camvid/")
    root = tmp_path / "CamVid"
    frames = {}
    for folder, split in zip(FOLDERS, ("train", "validation", "test")):
        (root / folder).mkdir(parents=True)
        (root / f"{folder}annot").mkdir()
        for number, file in enumerate(sorted((source / folder).iterdir())[::40]):
            image = Image.open(file)
            label = Image.open(source / f"{folder}annot" / f"{file.stem}.png")
            frames.setdefault(split, []).append((file.stem, np.array(label)))
            label.save(root / f"{folder}annot" / f"{file.stem}.png")
            if number % 2:
                shutil.copy(file, root / folder)
            else:
                image.save(root / folder / f"{file.stem}.png")
    builder = convert(root)
    for split, expected in frames.items():
        stream = pipeline.EvalStream(builder, split=split, keys=("image", "semseg"), batch_size=1)
        for number, batch in enumerate(stream.batches()):
            name, ids = expected[number]
            assert stream.example_ids(number) == [name]
            np.testing.assert_array_equal(batch["semseg"][0], np.where(ids == 11, 255, ids))
            assert batch["image"].shape == (1, *ids.shape, 3)
            # Roads are grey and the sky is bright: the photograph belongs to its label.
            image = batch["image"][0].astype(np.float64)
            if (ids == 0).sum() > 500 and (ids == 3).sum() > 500:
                assert image[ids == 0].mean() > image[ids == 3].mean()


def test_all_701_photographs_pass_the_check_of_the_folders(tmp_path):
    source = REAL / "camvid"
    if not source.is_dir():
        pytest.skip(f"{source} is absent; MTL_JAX_TEST_DATA names the folder with camvid/")
    items = camvid.Builder(data_dir=tmp_path).find(source)
    counts = {split: len(of_split) for split, of_split in items.items()}
    assert counts == {"train": 367, "validation": 101, "test": 233}
