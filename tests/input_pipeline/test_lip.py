import numpy as np
import pytest
import small_releases
from small_releases import read_image, save, truncate, write_image

from input_pipeline import transforms
from input_pipeline.datasets import DatasetError, lip

# The lists are in no order, and not all that lies in a folder is listed.
NAMES = {"train": ["0000007", "0000002", "0000005", "0000003"], "val": ["0000009", "0000001"]}
LAYOUTS = {
    "cihp": {
        "train": ("Training/train_id.txt", "Training/Images", "Training/Category_ids"),
        "val": ("Validation/val_id.txt", "Validation/Images", "Validation/Category_ids"),
    },
    "lip": {
        "train": ("train_id.txt", "train_images", "train_segmentations"),
        "val": ("val_id.txt", "val_images", "val_segmentations"),
    },
}
DOUBLED = "instance-level_human_parsing/instance-level_human_parsing"


def write(root, layout):
    for split, (list_file, images, parts) in LAYOUTS[layout].items():
        for number, name in enumerate([*NAMES[split], "0000099"]):
            rng = np.random.default_rng(number)
            size = (11, 10 + number)
            grey = np.repeat(rng.integers(0, 256, (*size, 1)), 3, axis=2).astype(np.uint8)
            ids = (rng.permutation(size[0] * size[1]) % 20).reshape(size).astype(np.uint8)
            write_image(root / images / f"{name}.jpg", grey)
            write_image(root / parts / f"{name}.png", ids)
        (root / list_file).write_text("\n".join(NAMES[split]))
    return root


@pytest.fixture
def release(tmp_path):
    return write(tmp_path / "cihp", "cihp")


@pytest.mark.parametrize(
    ("config", "layout", "top"),
    [("cihp", "cihp", ""), ("cihp", "cihp", DOUBLED), ("single_person", "lip", "LIP")],
)
def test_records_hold_the_ids_in_the_order_of_the_list(tmp_path, config, layout, top):
    root = write(tmp_path / "release" / top, layout)
    examples = small_releases.prepared(f"lip/{config}", tmp_path / "release")
    for split, folder in (("train", "train"), ("validation", "val")):
        _, images, parts = LAYOUTS[layout][folder]
        assert list(examples[split]) == NAMES[folder]
        for name, example in examples[split].items():
            ids = read_image(root / parts / f"{name}.png")
            np.testing.assert_array_equal(example["parts"], ids)
            assert set(np.unique(example["parts"])) == set(range(20))
            photo = read_image(root / images / f"{name}.jpg").astype(int)
            assert np.abs(example["image"] - photo).max() <= 2  # two JPEG decoders


def test_d2_is_the_beginning_of_the_list_and_all_of_validation(release, monkeypatch):
    builder = small_releases.builder_of("lip/d2")
    assert builder.builder_config.first == 11716
    monkeypatch.setattr(builder.builder_config, "first", 3)
    items = builder.find(release, partial=True)
    assert [item.id for item in items["train"]] == NAMES["train"][:3]
    assert [item.id for item in items["validation"]] == NAMES["val"]


def test_a_mirror_image_swaps_left_and_right():
    spec = small_releases.specs("lip/cihp")["parts"]
    names = spec.class_names
    swapped = {names[a]: names[b] for a, b in spec.flip_swap}
    expected = {f"left-{part}": f"right-{part}" for part in ("arm", "leg", "shoe")}
    assert swapped == expected
    image = np.zeros((1, 20, 3), np.uint8)
    parts = np.arange(20, dtype=np.int32)[None]
    specs = {"image": small_releases.specs("lip/cihp")["image"], "parts": spec}
    always = transforms.Augmentation(flip=1.0)
    flipped = transforms.augment({"image": image, "parts": parts}, specs, always, (0, 0))["parts"]
    expected = [*range(14), 15, 14, 17, 16, 19, 18]
    assert flipped[0, ::-1].tolist() == expected


def test_class_10_differs_between_the_releases():
    assert small_releases.specs("lip/cihp")["parts"].class_names[10] == "torso-skin"
    names = small_releases.specs("lip/single_person")["parts"].class_names
    assert names[10] == "jumpsuits"
    assert (len(names), names[13]) == (20, "face")
    assert lip.FLIP_SWAP == ((14, 15), (16, 17), (18, 19))


IDS = np.full((11, 10), 3, np.uint8)


@pytest.mark.parametrize(
    ("file", "damage", "message"),
    [
        ("Training/Images/0000007.jpg", truncate, "key 'image'.*does not decode"),
        ("Training/Category_ids/0000007.png", truncate, "key 'parts'.*does not decode"),
        ("Training/Category_ids/0000007.png", save(IDS + np.uint8(17)), r"0–19 .*found \[20\]"),
        ("Training/Category_ids/0000007.png", save(np.stack([IDS] * 3, -1)), "found mode 'RGB'"),
        ("Training/Category_ids/0000007.png", save(IDS.astype(np.uint16)), "found mode 'I;16'"),
        ("Training/Category_ids/0000007.png", save(IDS.T), "expected 11×10.*found 10×11"),
    ],
)
def test_a_damaged_file_is_named(release, file, damage, message):
    damage(release / file)
    with pytest.raises(DatasetError, match=rf"(?s){file}.*{message}"):
        small_releases.convert("lip/cihp", release)


def test_half_a_release_is_refused(release):
    message = r"(?s)'train': expected 28280 examples, found 4.*'validation': expected 5000"
    for config in ("cihp", "d2"):
        with pytest.raises(DatasetError, match=message):
            small_releases.find(f"lip/{config}", release, partial=False)
    (release / "Training" / "Category_ids" / "0000005.png").unlink()
    with pytest.raises(DatasetError, match="'train': without 'parts': 0000005"):
        small_releases.find("lip/cihp", release)
    (release / "Validation" / "val_id.txt").unlink()
    with pytest.raises(DatasetError, match=r"without the file: Validation/val_id.txt"):
        small_releases.find("lip/cihp", release)
