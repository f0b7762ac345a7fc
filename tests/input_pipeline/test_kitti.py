import shutil
import zipfile

import numpy as np
import pytest
import small_releases
from small_releases import read_image, save, truncate, write_image

from input_pipeline.datasets import DatasetError, kitti

FRAMES = ("000000", "000159", "000160")
SIZE = (12, 14)
FLOW = "data_scene_flow/training"
SEMANTICS = "data_semantics/training"
CALIBRATION = "data_scene_flow_calib/training/calib_cam_to_cam"
# The first frame's official calibration, shortened to what matters and what surrounds it.
CAMERA = """calib_time: 09-Jan-2012 13:57:47
corner_dist: 9.950000e-02
P_rect_00: 7.215377e+02 0 6.095593e+02 0 0 7.215377e+02 1.728540e+02 0 0 0 1 0
P_rect_02: 7.215377e+02 0 6.095593e+02 4.485728e+01 0 7.215377e+02 1.728540e+02 2.163791e-01 \
0 0 1 2.745884e-03
P_rect_03: 7.215377e+02 0 6.095593e+02 -3.395242e+02 0 7.215377e+02 1.728540e+02 2.199936e+00 \
0 0 1 2.729905e-03
"""
PRODUCT = 44.85728 + 339.5242


@pytest.fixture
def release(tmp_path):
    """The official layout; the frames differ in size, as they do."""
    rng = np.random.default_rng(0)
    root = tmp_path / "kitti"
    (root / CALIBRATION).mkdir(parents=True)
    for number, frame in enumerate(FRAMES):
        size = (SIZE[0], SIZE[1] + number)
        ids = (rng.permutation(size[0] * size[1]).reshape(size) % 34).astype(np.uint8)
        numbers = rng.integers(0, 4, size)
        disparity = rng.integers(400, 65536, size)
        disparity[0, :4] = 0, 1, 300, 65535
        image = rng.integers(0, 256, (*size, 3)).astype(np.uint8)
        write_image(root / FLOW / "image_2" / f"{frame}_10.png", image)
        write_image(root / FLOW / "image_2" / f"{frame}_11.png", image)
        write_image(root / FLOW / "disp_occ_0" / f"{frame}_10.png", disparity.astype(np.uint16))
        write_image(root / SEMANTICS / "image_2" / f"{frame}_10.png", image)
        write_image(root / SEMANTICS / "semantic" / f"{frame}_10.png", ids)
        instance = (ids.astype(np.uint16) * 256 + numbers).astype(np.uint16)
        write_image(root / SEMANTICS / "instance" / f"{frame}_10.png", instance)
        (root / CALIBRATION / f"{frame}.txt").write_text(CAMERA)
    return root


def check_records(examples, release):
    assert list(examples["train"]) == ["000000", "000159"]
    assert list(examples["validation"]) == ["000160"]
    train_id_of_id = {7: 0, 8: 1, 11: 2, 12: 3, 13: 4, 17: 5, 19: 6, 20: 7, 21: 8, 22: 9, 23: 10}
    train_id_of_id |= {24: 11, 25: 12, 26: 13, 27: 14, 28: 15, 31: 16, 32: 17, 33: 18}
    for frame, example in (examples["train"] | examples["validation"]).items():
        png = f"{frame}_10.png"
        image = read_image(release / FLOW / "image_2" / png)
        np.testing.assert_array_equal(example["image"], image)
        ids = read_image(release / SEMANTICS / "semantic" / png)
        expected = np.vectorize(lambda i: train_id_of_id.get(i, 255))(ids)
        np.testing.assert_array_equal(example["semseg"], expected)

        raw = read_image(release / FLOW / "disp_occ_0" / png).astype(np.float64)
        np.testing.assert_array_equal(example["disparity"], raw / 256)
        disparity = np.maximum(raw, 1) / 256
        metres = np.where((raw == 0) | (PRODUCT / disparity > 300), 0, PRODUCT / disparity)
        np.testing.assert_allclose(example["depth"], metres, rtol=1e-6)
        assert (example["depth"][0, :3] == 0).all()
        assert example["depth"][0, 3] > 1.5

        instance = read_image(release / SEMANTICS / "instance" / png)
        counts = np.isin(ids, [24, 25, 26, 27, 28, 31, 32, 33]) & (instance % 256 > 0)
        np.testing.assert_array_equal(example["instance"], np.where(counts, instance, 0))
        assert example["instance"].max() > 255


def test_records_hold_the_values_of_the_files(release):
    check_records(small_releases.prepared("kitti", release), release)


def test_what_is_unpacked_into_one_folder_is_found(release):
    together = release.parent / "together"
    for part in ("data_scene_flow", "data_semantics", "data_scene_flow_calib"):
        shutil.copytree(release / part, together, dirs_exist_ok=True)
    assert [i.id for i in small_releases.find("kitti", together)["train"]] == ["000000", "000159"]
    small_releases.convert("kitti", together)


def test_archives_are_read_as_they_are(release):
    packed = release.parent / "packed"
    packed.mkdir()
    for part in ("data_scene_flow", "data_semantics", "data_scene_flow_calib"):
        with zipfile.ZipFile(packed / f"{part}.zip", "w") as archive:
            for file in sorted((release / part).rglob("*.*")):
                archive.write(file, file.relative_to(release / part))
    check_records(small_releases.prepared("kitti", packed), release)


def test_disparity_of_zero_and_of_almost_zero():
    raw = np.array([0, 1, 328, 329, 256, 65535], np.uint16)
    disparity = kitti.disparity_of_raw(raw)
    assert disparity.tolist() == [0, 1 / 256, 328 / 256, 329 / 256, 1, 65535 / 256]
    with np.errstate(all="raise"):
        depth = kitti.depth_of_disparity(disparity, 385.0)
    # 385 / 300 px is 300 m: one step of 1/256 px nearer is known, what is beyond is not.
    np.testing.assert_allclose(depth, [0, 0, 0, 385 * 256 / 329, 0, 385 * 256 / 65535], rtol=1e-6)


def test_things_without_a_number_and_numbered_stuff_are_no_instances():
    raw = np.array([26 * 256, 26 * 256 + 1, 11 * 256 + 1, 29 * 256 + 1, 24 * 256 + 255], np.uint16)
    assert kitti.instances(raw).tolist() == [0, 6657, 0, 0, 6399]


def test_what_the_arrays_mean():
    specs = small_releases.specs("kitti")
    assert (specs["disparity"].kind, specs["disparity"].unit) == ("disparity", "px")
    assert small_releases.magnified_twice("kitti", "disparity", 20) == 40
    assert small_releases.magnified_twice("kitti", "depth", 20) == 10
    assert len(specs["instance"].instance_classes) == 8


def write_camera(text):
    return lambda file: file.write_text(text)


IDS = np.full(SIZE, 7, np.uint8)


@pytest.mark.parametrize(
    ("file", "damage", "message"),
    [
        (f"{FLOW}/image_2/000000_10.png", truncate, "key 'image'.*does not decode"),
        (f"{FLOW}/disp_occ_0/000000_10.png", save(IDS), "one channel of 16 bits .*found mode 'L'"),
        (f"{FLOW}/disp_occ_0/000000_10.png", save(IDS.astype(np.uint16) * 0), "every value is 0"),
        (
            f"{FLOW}/disp_occ_0/000000_10.png",
            save(np.full((12, 13), 4000, np.uint16)),
            "expected 12×14.*found 12×13",
        ),
        (f"{SEMANTICS}/semantic/000000_10.png", save(IDS.astype(np.uint16)), "found mode 'I;16'"),
        (f"{SEMANTICS}/semantic/000000_10.png", save(IDS + np.uint8(27)), r"0–33 .*found \[34\]"),
        (f"{SEMANTICS}/instance/000000_10.png", save(IDS), "16 bits .*found mode 'L'"),
        (
            f"{SEMANTICS}/instance/000000_10.png",
            save(np.full(SIZE, 7 * 1000, np.uint16)),
            r"expected id · 256 \+ number",
        ),
        (f"{CALIBRATION}/000000.txt", write_camera("x: 1\n"), "and P_rect_03, found neither"),
        (f"{CALIBRATION}/000000.txt", write_camera(CAMERA.split("P_rect_03")[0]), "P_rect_02"),
        (f"{CALIBRATION}/000000.txt", write_camera("P_rect_02: 1 2 3\n"), "expected 12 numbers"),
        (
            f"{CALIBRATION}/000000.txt",
            write_camera(CAMERA.replace("-3.395242e+02", "3.395242e+02")),
            "between 100 and 1000 .*found -294.667",
        ),
    ],
)
def test_a_damaged_file_is_named(release, file, damage, message):
    damage(release / file)
    with pytest.raises(DatasetError, match=rf"{file}.*{message}"):
        small_releases.convert("kitti", release)


def test_half_a_release_is_refused(release):
    with pytest.raises(DatasetError, match="'train': expected 160 examples, found 2"):
        small_releases.find("kitti", release, partial=False)
    (release / CALIBRATION / "000159.txt").unlink()
    with pytest.raises(DatasetError, match="without 'camera': 000159"):
        small_releases.find("kitti", release)
    shutil.rmtree(release / "data_semantics")
    with pytest.raises(DatasetError, match=r"no files .*: data_semantics/training/semantic/\*_10"):
        small_releases.find("kitti", release)
    with pytest.raises(DatasetError, match=r"without 'semseg' \(3 of them\): 000000, 000159"):
        small_releases.find("kitti", release)
