import shutil
import zipfile

import numpy as np
import pytest
import scipy.io
import small_releases
from PIL import Image
from small_releases import read_image, save, truncate, write_image

from input_pipeline.datasets import DatasetError, _voc_classes, pascal
from input_pipeline.datasets.pascal import Entry

VOC = "VOCdevkit/VOC2012"
SBD = "benchmark_RELEASE/dataset"
PARTS = "pascal_person_part"
# 'both' is in VOC's train and in SBD, 'held_out' in VOC's val and in SBD, as some of either are.
LISTS = {
    "voc/train": ["both", "voc_0"],
    "voc/val": ["held_out", "voc_1"],
    "sbd/train": ["sbd_1", "both", "sbd_0", "held_out"],
    "sbd/val": ["sbd_2", "sbd_3"],
    "parts/train": ["sbd_0", "sbd_2", "sbd_1"],
    "parts/val": ["sbd_3", "both"],
}
LIST_FILES = {
    "voc/train": f"{VOC}/ImageSets/Segmentation/train.txt",
    "voc/val": f"{VOC}/ImageSets/Segmentation/val.txt",
    "sbd/train": f"{SBD}/train.txt",
    "sbd/val": f"{SBD}/val.txt",
    "parts/train": f"{PARTS}/pascal_person_part_trainval_list/train_id.txt",
    "parts/val": f"{PARTS}/pascal_person_part_trainval_list/val_id.txt",
}


def size_of(name):
    return (9, 8 + 2 * (len(name) % 3))  # photographs differ in size


def ids_of(name, count, seed):
    """Every id below `count` and, of VOC, the void border."""
    height, width = size_of(name)
    rng = np.random.default_rng([seed, *name.encode()])
    return (rng.permutation(height * width) % count).reshape(height, width).astype(np.uint8)


def write_sbd(file, ids, **changes):
    """cls/*.mat: a struct of three fields, in another order than their names."""
    file.parent.mkdir(parents=True, exist_ok=True)
    fields = {"Boundaries": np.zeros((20, 1)), "Segmentation": ids, "CategoriesPresent": [1, 2]}
    scipy.io.savemat(file, {"GTcls": fields | changes})


@pytest.fixture
def release(tmp_path):
    root = tmp_path / "pascal"
    for name, file in LIST_FILES.items():
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_text("\n".join(LISTS[name]) + "\n")
    for source, folder in (("voc", f"{VOC}/JPEGImages"), ("sbd", f"{SBD}/img")):
        for number, name in enumerate(LISTS[f"{source}/train"] + LISTS[f"{source}/val"]):
            grey = np.random.default_rng(number).integers(0, 256, size_of(name)).astype(np.uint8)
            image = np.repeat(grey[..., None], 3, axis=2)
            # Among photographs from the web there are grey ones.
            write_image(root / folder / f"{name}.jpg", grey if name == "sbd_0" else image)
    for name in LISTS["voc/train"] + LISTS["voc/val"]:
        ids = ids_of(name, 22, 0)
        ids[ids == 21] = 255
        write_image(root / VOC / "SegmentationClass" / f"{name}.png", ids, palette=True)
    for name in LISTS["sbd/train"] + LISTS["sbd/val"]:
        write_sbd(root / SBD / "cls" / f"{name}.mat", ids_of(name, 21, 1))
    for name in LISTS["parts/train"] + LISTS["parts/val"]:
        ids = ids_of(name, 7, 2)
        write_image(root / PARTS / "pascal_person_part_gt" / f"{name}.png", ids, palette=True)
    return root


def test_d1_is_sbd_without_vocs_val_and_then_vocs_train_not_merged():
    splits = pascal.d1(LISTS)
    from_sbd = [Entry("sbd", name) for name in ("sbd_1", "both", "sbd_0", "sbd_2", "sbd_3")]
    assert splits["train"] == [*from_sbd, Entry("voc", "both"), Entry("voc", "voc_0")]
    assert splits["validation"] == [Entry("voc", "held_out"), Entry("voc", "voc_1")]


def test_trainaug_has_every_photograph_once_with_vocs_labels_first():
    splits = pascal.trainaug(LISTS)
    from_sbd = [Entry("sbd", name) for name in ("sbd_1", "sbd_0", "sbd_2", "sbd_3")]
    assert splits["train"] == [Entry("voc", "both"), Entry("voc", "voc_0"), *from_sbd]
    assert splits["validation"] == pascal.d1(LISTS)["validation"]


def test_d3_is_what_person_part_and_sbd_share_in_each_split():
    # sbd_2 is in Person-Part's train but SBD's val; both is the other way round.
    splits = pascal.d3(LISTS)
    assert splits["train"] == [Entry("sbd", "sbd_0"), Entry("sbd", "sbd_1")]
    assert splits["validation"] == [Entry("sbd", "sbd_3")]


def test_the_numbers_of_the_report_follow_from_lists_of_the_official_lengths():
    """11,355 of SBD, of which 1,103 are in VOC's val and 1,134 in its train."""
    voc_train = [f"t{i}" for i in range(1464)]
    voc_val = [f"v{i}" for i in range(1449)]
    sbd = [f"s{i}" for i in range(11355 - 1103 - 1134)] + voc_val[:1103] + voc_train[:1134]
    lists = {"voc/train": voc_train, "voc/val": voc_val}
    lists |= {"sbd/train": sbd[:8498], "sbd/val": sbd[8498:]}
    d1, trainaug = pascal.d1(lists), pascal.trainaug(lists)
    assert (len(d1["train"]), len(d1["validation"])) == (11716, 1449)
    assert len({entry.name for entry in d1["train"]}) == len(trainaug["train"]) == 10582
    assert len({entry.id for entry in d1["train"]}) == 11716
    # The first half, on which the first series trains, is of SBD alone.
    assert {entry.source for entry in d1["train"][:5858]} == {"sbd"}


@pytest.mark.parametrize("config", ["d1", "trainaug", "d3"])
def test_records_hold_the_labels_of_their_source(release, config):
    splits = getattr(pascal, config)(LISTS)
    examples = small_releases.prepared(f"pascal/{config}", release)
    for split, entries in splits.items():
        assert list(examples[split]) == [entry.id for entry in entries]
        for entry, example in zip(entries, examples[split].values()):
            folder = f"{VOC}/JPEGImages" if entry.source == "voc" else f"{SBD}/img"
            photo = read_image(release / folder / f"{entry.name}.jpg").astype(int)
            photo = photo if photo.ndim == 3 else photo[..., None]
            assert np.abs(example["image"] - photo).max() <= 2  # two JPEG decoders
            assert example["image"].shape == (*size_of(entry.name), 3)
            if entry.source == "voc":
                ids = ids_of(entry.name, 22, 0)
                expected = np.where(ids == 21, 255, ids)
            else:
                expected = ids_of(entry.name, 21, 1)
            np.testing.assert_array_equal(example["semseg"], expected)
            if config == "d3":
                np.testing.assert_array_equal(example["parts"], ids_of(entry.name, 7, 2))
            else:
                assert "parts" not in example


def test_person_part_is_read_from_its_archive(release):
    with zipfile.ZipFile(release / f"{PARTS}.zip", "w") as archive:
        for file in (release / PARTS).rglob("*.*"):
            archive.write(file, file.relative_to(release))
    shutil.rmtree(release / PARTS)
    shutil.rmtree(release / VOC)  # which d3 does not need
    items = small_releases.find("pascal/d3", release)
    assert [item.id for item in items["train"]] == ["sbd_0_sbd", "sbd_1_sbd"]
    small_releases.convert("pascal/d3", release)


def test_the_colour_map_is_that_of_voc():
    assert _voc_classes.PALETTE[:4] == ((0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0))
    assert _voc_classes.PALETTE[8] == (64, 0, 0)
    assert _voc_classes.PALETTE[15] == (192, 128, 128)
    assert _voc_classes.PALETTE[20] == (0, 64, 128)
    assert _voc_classes.colour_map(256)[255] == (224, 224, 192)
    specs = small_releases.specs("pascal/d3")
    assert (len(specs["semseg"].class_names), len(specs["parts"].class_names)) == (21, 7)
    assert specs["semseg"].class_names[15] == "person"
    assert specs["parts"].class_names[4] == "lower arms"
    assert set(small_releases.specs("pascal/d1")) == {"image", "semseg"}


def sbd(ids, **changes):
    return lambda file: write_sbd(file, ids, **changes)


IDS = ids_of("both", 21, 0)


@pytest.mark.parametrize(
    ("file", "damage", "message"),
    [
        (f"{SBD}/img/both.jpg", truncate, "key 'image'.*does not decode"),
        (f"{SBD}/img/both.jpg", save(np.zeros((9, 8, 4), np.uint8)), None),
        (f"{SBD}/cls/both.mat", truncate, "key 'semseg': expected a MATLAB 5 file"),
        (f"{SBD}/cls/both.mat", lambda f: f.write_text("version https://git-lfs"), "MATLAB 5"),
        (f"{SBD}/cls/both.mat", sbd(IDS + np.uint8(1)), r"0–20 or 255.*found \[21\]"),
        (f"{SBD}/cls/both.mat", sbd(IDS.astype(float)), "8-bit ids .*float64"),
        (f"{SBD}/cls/both.mat", sbd(IDS[:, 1:]), "expected 9×10.*found 9×9"),
        (
            f"{SBD}/cls/both.mat",
            lambda f: scipy.io.savemat(f, {"GTinst": {"Segmentation": IDS}}),
            "expected a variable 'GTcls', found GTinst",
        ),
        (
            f"{SBD}/cls/both.mat",
            lambda f: scipy.io.savemat(f, {"GTcls": {"Boundaries": IDS}}),
            "a field 'Segmentation', found .*'Boundaries'",
        ),
        (f"{SBD}/cls/both.mat", lambda f: scipy.io.savemat(f, {"GTcls": IDS}), "fields none"),
        (f"{VOC}/SegmentationClass/both.png", truncate, "key 'semseg'.*does not decode"),
        (f"{VOC}/SegmentationClass/both.png", save(np.stack([IDS] * 3, -1)), "found mode 'RGB'"),
        (f"{VOC}/SegmentationClass/both.png", save(IDS + np.uint8(1)), r"found \[21\]"),
    ],
)
def test_a_damaged_file_is_named(release, file, damage, message):
    if message is None:
        Image.new("CMYK", (10, 9)).save(release / file)
        message = "RGB or grey image, found mode 'CMYK'"
    else:
        damage(release / file)
    with pytest.raises(DatasetError, match=rf"(?s){file}.*{message}"):
        small_releases.convert("pascal/d1", release)


def test_parts_outside_the_seven_are_refused(release):
    file = release / PARTS / "pascal_person_part_gt" / "sbd_0.png"
    write_image(file, ids_of("sbd_0", 8, 2), palette=True)
    with pytest.raises(DatasetError, match=r"sbd_0.png, key 'parts': .* 0–6 or 255.*found \[7\]"):
        small_releases.convert("pascal/d3", release)


def test_half_a_release_is_refused(release):
    with pytest.raises(DatasetError, match=r"(?s)'voc/train': expected 1464 .*'sbd/val'.* 2857"):
        small_releases.find("pascal/d1", release, partial=False)
    (release / SBD / "cls" / "sbd_0.mat").unlink()
    (release / VOC / "JPEGImages" / "voc_1.jpg").unlink()
    message = "(?s)'train': without 'semseg': sbd_0.*'validation': without 'image': voc_1"
    with pytest.raises(DatasetError, match=message):
        small_releases.find("pascal/d1", release)
    shutil.rmtree(release / SBD)
    with pytest.raises(DatasetError, match=f"without the file .*: {SBD}/train.txt, {SBD}/val.txt"):
        small_releases.find("pascal/d1", release)


def test_listed_examples_without_any_file_are_left_out_of_a_part_only(release, monkeypatch):
    for file in ("img/sbd_2.jpg", "cls/sbd_2.mat"):
        (release / SBD / file).unlink()
    items = small_releases.find("pascal/trainaug", release)["train"]
    assert [item.id for item in items] == ["both", "voc_0", "sbd_1_sbd", "sbd_0_sbd", "sbd_3_sbd"]
    official = {name: len(names) for name, names in LISTS.items()}
    monkeypatch.setattr(pascal, "_OFFICIAL_COUNTS", official)
    with pytest.raises(DatasetError, match=r"(?s)without 'image': sbd_2.*without 'semseg': sbd_2"):
        small_releases.find("pascal/trainaug", release, partial=False)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a list of names, found none"),
        ("a\nb\na\n", "every name once, found 'a' 2 times"),
        ("/JPEGImages/a.jpg /SegmentationPart/a.png", "one name on each line, found '/JPEG"),
        (b"\xff", "line 1 is no such text"),
    ],
)
def test_lists_that_are_none_are_refused(release, text, message):
    file = release / LIST_FILES["sbd/train"]
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DatasetError, match=rf"train.txt: .*{message}"):
        small_releases.find("pascal/d1", release)
