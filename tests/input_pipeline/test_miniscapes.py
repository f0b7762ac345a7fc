import shutil

import numpy as np
import pytest
import small_releases
from small_releases import read_image, save, truncate, write_image

from input_pipeline.datasets import DatasetError, miniscapes

SIZE = (16, 20)
FOLDERS = {"train": ("train", 11), "validation": ("val", 2)}


@pytest.fixture
def release(tmp_path):
    """Eleven frames, so that 10 and 2 sort differently as names and as numbers."""
    rng = np.random.default_rng(0)
    root = tmp_path / "miniscapes"
    for folder, count in FOLDERS.values():
        for number in range(count):
            codes = rng.permutation(320).reshape(SIZE) % 256
            ids = rng.permutation(320).reshape(SIZE) % 20
            ids = np.where(ids == 19, 255, ids)
            image = np.repeat(rng.integers(0, 256, (*SIZE, 1)), 3, axis=2)  # grey noise
            write_image(root / folder / "rgb" / f"{number}.jpg", image.astype(np.uint8))
            write_image(root / folder / "depth" / f"{number}.png", codes.astype(np.uint8))
            write_image(
                root / folder / "semseg" / f"{number}.png",
                ids.astype(np.uint8),
                palette=number % 2 == 0,
            )
    write_image(root / "test" / "rgb" / "0.jpg", np.zeros((*SIZE, 3), np.uint8))
    return root


def test_records_hold_metres_and_ids(release):
    examples = small_releases.prepared("miniscapes", release)
    assert set(examples) == {"train", "validation"}  # test has no labels
    for split, (folder, count) in FOLDERS.items():
        assert list(examples[split]) == [str(number) for number in range(count)]
        for name, example in examples[split].items():
            codes = read_image(release / folder / "depth" / f"{name}.png").astype(np.float64)
            inverse = (1 / 4 - 1 / 300) * (codes - 1) / 254 + 1 / 300
            metres = np.where(codes == 0, 0, 1 / inverse)
            np.testing.assert_allclose(example["depth"], metres, rtol=1e-6)
            assert (example["depth"] == 0).any()
            ids = read_image(release / folder / "semseg" / f"{name}.png")
            np.testing.assert_array_equal(example["semseg"], ids)
            photo = read_image(release / folder / "rgb" / f"{name}.jpg").astype(int)
            assert np.abs(example["image"] - photo).max() <= 2  # two JPEG decoders
            assert example["semseg"].shape == SIZE


@pytest.mark.parametrize(("code", "metres"), [(1, 300), (2, 232.3171), (128, 7.8947), (255, 4)])
def test_depth_codes_of_the_course(code, metres):
    np.testing.assert_allclose(miniscapes.depth_of_codes()[code], metres, rtol=1e-5)


def test_depth_codes_are_whole_steps_of_inverse_depth():
    depth = miniscapes.depth_of_codes()
    assert depth.shape == (256,)
    assert depth.dtype == np.float32
    assert depth[0] == 0
    # The encoding, which truncates; half a step keeps the rounding of float32 away from it.
    codes = 1 + 254 * (1 / depth[1:].astype(np.float64) - 1 / 300) / (1 / 4 - 1 / 300)
    np.testing.assert_array_equal(np.floor(codes + 0.5), np.arange(1, 256))
    np.testing.assert_allclose(codes, np.arange(1, 256), atol=1e-3)


def test_depth_neither_zooms_nor_gets_its_own_statistics():
    spec = small_releases.specs("miniscapes")["depth"]
    assert small_releases.magnified_twice("miniscapes", "depth", 20) == 20
    assert (spec.mean, spec.stddev, spec.valid_range) == (27.0727, 29.1264, (4, 300))


GREY = np.full(SIZE, 3, np.uint8)


@pytest.mark.parametrize(
    ("file", "damage", "message"),
    [
        ("train/rgb/3.jpg", truncate, "key 'image'.*does not decode"),
        ("train/rgb/3.jpg", save(GREY), "expected an 8-bit RGB image, found mode 'L'"),
        ("val/semseg/1.png", truncate, "key 'semseg'.*does not decode"),
        ("val/semseg/1.png", save(GREY + np.uint8(16)), r"0–18 or 255 .*found \[19\]"),
        ("val/semseg/1.png", save(np.stack([GREY] * 3, -1)), "found mode 'RGB'"),
        ("val/semseg/1.png", save(GREY[:, 1:]), "expected 16×20.*found 16×19"),
        ("val/depth/0.png", save(GREY.astype(np.uint16)), "'depth'.*8-bit.*found mode 'I;16'"),
        ("val/depth/0.png", save(GREY * 0), "key 'depth': every value is 0"),
    ],
)
def test_a_damaged_file_is_named(release, file, damage, message):
    damage(release / file)
    with pytest.raises(DatasetError, match=rf"(?s){file}.*{message}"):
        small_releases.convert("miniscapes", release)


def test_half_a_release_is_refused(release):
    with pytest.raises(DatasetError, match="'train': expected 20000 examples, found 11"):
        small_releases.find("miniscapes", release, partial=False)
    (release / "val" / "semseg" / "1.png").unlink()
    with pytest.raises(DatasetError, match="split 'validation': without 'semseg': 1"):
        small_releases.find("miniscapes", release)
    shutil.rmtree(release / "val")
    with pytest.raises(DatasetError, match=r"no files in .*: val/rgb, val/semseg, val/depth"):
        small_releases.find("miniscapes", release)
