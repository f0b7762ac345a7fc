import json
import os
import shutil
import zipfile

import numpy as np
import pytest
from PIL import Image

from input_pipeline import conversion, datasets, pipeline, sources
from input_pipeline.datasets import DatasetError, cityscapes

CAMERA = {
    "extrinsic": {"baseline": 0.209313, "pitch": 0.038, "roll": 0.0, "x": 1.7, "y": 0.1, "z": 1.22},
    "intrinsic": {"fx": 2262.52, "fy": 2265.3017905988554, "u0": 1096.98, "v0": 513.137},
}
FRAMES = {
    "train": ("aachen_000000_000019", "bochum_000000_000313"),
    "val": ("lindau_000000_000019",),
}
# Ids of the classes 0 ... 18, from the paper's table.
TRAIN_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)


def blocks(values, dtype):
    """An array of 1024×2048 with the values in blocks of 8×8: any size that we make shows them."""
    small = np.resize(np.asarray(values, dtype), (128, 256, *np.shape(values[0])))
    return small.repeat(8, axis=0).repeat(8, axis=1)


def arrays(seed):
    """The contents of a frame's files, every id and every kind of disparity among them."""
    rng = np.random.default_rng(seed)
    ids = rng.permutation(np.resize(np.arange(34), 1000))
    single = np.isin(ids, (24, 26)) & (rng.random(ids.size) < 0.7)
    return {
        "leftImg8bit": blocks(rng.integers(0, 256, (1000, 3)), np.uint8),
        "labelIds": blocks(ids, np.uint8),
        "instanceIds": blocks(np.where(single, ids * 1000 + seed, ids), np.uint16),
        "disparity": blocks([0, 1, 2, 257, 405, 406, 4097, 32257, 20001], np.uint16),
        "camera": {**CAMERA, "extrinsic": {**CAMERA["extrinsic"], "baseline": 0.2 + seed / 100}},
    }


def write_frame(root, split, frame, contents):
    for name, array in contents.items():
        kind = "gtFine" if name.endswith("Ids") else name
        folder = root / kind / split / frame.partition("_")[0]
        folder.mkdir(parents=True, exist_ok=True)
        if name == "camera":
            (folder / f"{frame}_camera.json").write_text(json.dumps(array))
        else:
            suffix = f"gtFine_{name}" if kind == "gtFine" else kind
            Image.fromarray(array).save(folder / f"{frame}_{suffix}.png", compress_level=1)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    root = tmp_path_factory.mktemp("release")
    frames = [(split, frame) for split, of_split in FRAMES.items() for frame in of_split]
    for seed, (split, frame) in enumerate(frames):
        write_frame(root, split, frame, arrays(seed))
    return root


@pytest.fixture
def release(written, tmp_path):
    """Three frames in the official layout, which a test may change."""
    root = tmp_path / "release"
    shutil.copytree(written, root, copy_function=os.link)
    return root


def prepare(root, name, directory):
    return datasets.prepare(name, data_dir=str(directory), manual_dir=str(root), partial=True)


def batch_of(builder, split):
    keys = tuple(builder.label_specs)
    (batch,) = pipeline.EvalStream(builder, split=split, keys=keys, batch_size=2).batches()
    return batch


def expected_depth(raw, baseline):
    """In plain numbers, one pixel after the other."""
    result = []
    for p in raw.ravel().tolist():
        metres = baseline * 2262.52 / ((p - 1) / 256) if p > 1 else np.inf
        result.append(metres if metres <= 300 else 0.0)
    return np.reshape(result, raw.shape).astype(np.float32)


def triangle(image, axis, factor=8):
    """Bilinear resizing whose triangle is as wide as two result pixels, in float64."""
    image = np.moveaxis(np.asarray(image, np.float64), axis, 0)
    centres = (np.arange(len(image) // factor) + 0.5) * factor
    distance = np.abs(np.arange(len(image)) + 0.5 - centres[:, None]) / factor
    weights = np.maximum(1 - distance, 0)
    weights /= weights.sum(axis=1, keepdims=True)
    return np.moveaxis(np.tensordot(weights, image, 1), 0, axis)


def test_every_pixel_of_labels_depth_and_instances_is_that_of_the_files(written, tmp_path):
    builder = prepare(written, "cityscapes/128x256", tmp_path)
    batch = batch_of(builder, "train")
    train_ids = {number: row for row, number in enumerate(TRAIN_IDS)}
    for row in range(2):
        contents = arrays(row)
        small = {key: value[4::8, 4::8] for key, value in contents.items() if key != "camera"}
        # Pillow rounds twice, along each axis.
        shrunk = triangle(triangle(contents["leftImg8bit"], 0), 1)
        np.testing.assert_allclose(batch["image"][row], shrunk, atol=1.01)
        semseg = [train_ids.get(i, 255) for i in small["labelIds"].ravel().tolist()]
        np.testing.assert_array_equal(batch["semseg"][row].ravel(), semseg)
        raw = small["instanceIds"]
        np.testing.assert_array_equal(batch["instance"][row], np.where(raw < 1000, 0, raw))
        depth = expected_depth(small["disparity"], 0.2 + row / 100)
        np.testing.assert_array_equal(batch["depth"][row], depth)
    specs = builder.label_specs
    known = batch["depth"][batch["depth"] > 0].astype(np.float64)
    assert specs["depth"].mean == pytest.approx(known.mean())
    assert specs["depth"].stddev == pytest.approx(known.std())
    assert len(specs["semseg"].class_names) == 19
    assert "train" in specs["instance"].instance_classes
    assert "caravan" not in specs["instance"].instance_classes


def test_archives_give_what_folders_give(written, tmp_path):
    root = tmp_path / "archives"
    root.mkdir()
    for kind in ("leftImg8bit", "gtFine", "disparity"):
        with zipfile.ZipFile(root / f"{kind}_trainvaltest.zip", "w") as archive:
            archive.writestr("README", "what the release has besides")
            for file in sorted((written / kind).rglob("*.png")):
                archive.write(file, file.relative_to(written))
    before = {file: file.stat().st_mtime_ns for file in root.iterdir()}
    builder = prepare(root, "cityscapes/mtan_128x256", tmp_path / "records")
    batch = batch_of(builder, "validation")
    contents = arrays(2)
    categories = [255] * 7 + [0] * 4 + [1] * 6 + [2] * 4 + [3, 3, 4, 5, 5] + [6] * 8
    small = {key: contents[key][4::8, 4::8] for key in ("labelIds", "disparity")}
    np.testing.assert_array_equal(batch["semseg"][0], np.array(categories)[small["labelIds"]])
    np.testing.assert_array_equal(
        batch["depth"][0], (small["disparity"] / 65535).astype(np.float32)
    )
    specs = builder.label_specs
    assert specs["semseg"].class_names == (
        "flat", "construction", "object", "nature", "sky", "human", "vehicle"
    )  # fmt: skip
    assert specs["depth"].kind == "inverse_depth"
    assert {file: file.stat().st_mtime_ns for file in root.iterdir()} == before


def test_ids_and_disparity_in_pixels_of_the_stored_size(written, tmp_path):
    builder = prepare(written, "cityscapes/ids_256x512", tmp_path)
    batch = batch_of(builder, "validation")
    contents = arrays(2)
    np.testing.assert_array_equal(batch["semseg"][0], contents["labelIds"][2::4, 2::4])
    raw = contents["disparity"][2::4, 2::4].astype(np.float64)
    expected = np.where(raw > 0, (raw - 1) / (256 * 4), 0)  # 2048 / 512 = 4
    np.testing.assert_allclose(batch["depth"][0], expected, rtol=1e-7)
    spec = builder.label_specs["depth"]
    assert (spec.kind, spec.unit, spec.zoom_power) == ("disparity", "px", 1)
    assert spec.valid_range == (0.0, 31.5)
    assert len(builder.label_specs["semseg"].class_names) == 34


def test_disparities_of_0_and_1_are_unknown_and_nothing_is_divided_by_0():
    raw = np.array([[0, 1, 257, 405, 406, 32257, 65535]], np.uint16)
    camera = cityscapes.Camera(baseline=0.209313, fx=2262.52)
    with np.errstate(all="raise"):
        depth = cityscapes.metric_depth(raw, camera)
    # 473.575 / d: one pixel of disparity is 473.6 m and 404 / 256 are 300.09 m, both too far.
    np.testing.assert_allclose(depth, [[0, 0, 0, 0, 299.346, 3.75853, 1.84996]], rtol=1e-5)
    assert depth.dtype == np.float32
    np.testing.assert_array_equal(
        cityscapes.disparity(raw), np.float32([[0, 0, 1, 404 / 256, 405 / 256, 126, 65534 / 256]])
    )
    np.testing.assert_allclose(cityscapes.disparity(raw, 256)[0, 5], 15.75)
    inverse = cityscapes.inverse_depth(raw)[0, [0, 1, 5]]
    np.testing.assert_allclose(inverse, [0, 1 / 65535, 0.49221], rtol=1e-6)


def test_a_licence_plate_never_becomes_an_id_by_wrapping_around():
    for mapping in (cityscapes._CLASSES[name].of_id for name in ("classes", "categories")):
        assert len(mapping) == 34
        assert min(mapping) == 0  # no −1 that a byte would make 255, or 254 of −2
    ids = np.array([[0, 33, 255]], np.uint8)  # −1 as an unsigned byte
    with pytest.raises(
        DatasetError, match=r"x.png: expected label ids 0–33, found \[255\] in 1 of 3"
    ):
        cityscapes.lookup(ids, cityscapes._CLASSES["classes"].of_id, "x.png")


def test_every_combination_has_a_name():
    configs = {c.name: (c.classes, c.depth, c.size) for c in cityscapes.Builder.BUILDER_CONFIGS}
    assert len(configs) == len(set(configs.values())) == 36
    assert configs["512x1024"] == ("classes", "metric", (512, 1024))
    assert configs["mtan_128x256"] == ("categories", "inverse", (128, 256))
    assert configs["ids_256x512"] == ("ids", "disparity", (256, 512))
    assert configs["ids_metric_1024x2048"] == ("ids", "metric", (1024, 2048))


def overwrite(file, contents):
    file.unlink()  # a hard link to the file of every other test
    file.write_bytes(contents)


def save(array):
    def change(file):
        file.unlink()
        Image.fromarray(array).save(file)

    return change


def camera(**changes):
    def change(file):
        overwrite(file, json.dumps({**CAMERA, **changes}).encode())

    return change


def truncate(file):
    overwrite(file, file.read_bytes()[:-2000])


AACHEN = "train/aachen/aachen_000000_000019"


@pytest.mark.parametrize(
    ("file", "damage", "message"),
    [
        (f"leftImg8bit/{AACHEN}_leftImg8bit.png", truncate, "'image': .* does not decode"),
        (
            f"disparity/{AACHEN}_disparity.png",
            save(np.zeros((1024, 2048), np.uint8)),
            "key 'depth': expected one channel of 16 bits .*, found mode 'L'",
        ),
        (
            f"gtFine/{AACHEN}_gtFine_instanceIds.png",
            save(np.zeros((1024, 2048), np.uint8)),
            "key 'instance': expected one channel of 16 bits .*, found mode 'L'",
        ),
        (
            f"gtFine/{AACHEN}_gtFine_instanceIds.png",
            save(np.full((1024, 2048), 34000, np.uint16)),
            r"key 'instance': expected class ids 0–33.* found \[34000\]",
        ),
        (
            f"gtFine/{AACHEN}_gtFine_labelIds.png",
            save(np.full((1024, 2048), 34, np.uint8)),
            r"key 'semseg': expected label ids 0–33, found \[34\] in 2097152 of",
        ),
        (
            f"gtFine/{AACHEN}_gtFine_labelIds.png",
            save(np.zeros((512, 1024), np.uint8)),
            "key 'semseg': expected 1024×2048 .* found 512×1024",
        ),
        (
            f"disparity/{AACHEN}_disparity.png",
            save(np.ones((1024, 2048), np.uint16)),
            "key 'depth': every value is 0.0, which means unknown",
        ),
        (f"camera/{AACHEN}_camera.json", camera(intrinsic={}), "intrinsic.fx .*KeyError: 'fx'"),
        (
            f"camera/{AACHEN}_camera.json",
            camera(extrinsic={"baseline": 0}),
            "expected a camera file with positive numbers.*baseline=0",
        ),
        (f"camera/{AACHEN}_camera.json", lambda f: overwrite(f, b"{"), "JSONDecodeError"),
    ],
)
def test_a_damaged_file_is_named(release, tmp_path, file, damage, message):
    damage(release / file)
    builder = cityscapes.Builder(config="128x256", data_dir=tmp_path)
    item = builder.find(release, partial=True)["train"][0]
    job = conversion.Job("test", builder.convert, builder.specs, builder.size)
    with pytest.raises(DatasetError, match=rf"(?s){file}.*{message}"):
        conversion.convert_item(job, item)


def find(root, config="128x256", **kwargs):
    return cityscapes.Builder(config=config, data_dir=root).find(root, **kwargs)


def test_frames_without_all_of_their_files_are_named_at_once(release):
    (release / f"camera/{AACHEN}_camera.json").unlink()
    (release / "disparity/val/lindau/lindau_000000_000019_disparity.png").unlink()
    message = (
        r"split 'train': without 'camera': aachen_000000_000019\n"
        r"  split 'validation': without 'depth': lindau_000000_000019"
    )
    with pytest.raises(DatasetError, match=message):
        find(release, partial=True)
    # Without metric depth no camera is needed.
    with pytest.raises(DatasetError, match="without 'depth'") as error:
        find(release, "ids_128x256", partial=True)
    assert "camera" not in str(error.value)


def test_half_a_release_is_refused_with_the_official_numbers(release):
    with pytest.raises(DatasetError) as error:
        find(release)
    assert "split 'train': expected 2975 examples, found 2 (--partial accepts fewer)" in str(
        error.value
    )
    assert "split 'validation': expected 500 examples, found 1" in str(error.value)
    shutil.rmtree(release / "leftImg8bit" / "val")
    for kind in ("gtFine", "disparity", "camera"):
        shutil.rmtree(release / kind / "val")
    with pytest.raises(DatasetError, match="split 'validation': expected 500 examples, found 0"):
        find(release, partial=True)


def test_what_was_not_downloaded_is_named_with_where_to_get_it(release):
    shutil.rmtree(release / "disparity")
    shutil.rmtree(release / "camera")
    with pytest.raises(DatasetError) as error:
        find(release, partial=True)
    message = str(error.value)
    assert "disparity_trainvaltest.zip or its folder disparity/" in message
    assert "camera_trainvaltest.zip or its folder camera/" in message
    assert "gtFine_trainvaltest.zip or its folder" not in message
    assert "cityscapes-dataset.com" in message
    assert "non-commercial" in message


def test_a_damaged_archive_is_named(tmp_path):
    (tmp_path / "gtFine_trainvaltest.zip").write_bytes(b"PK half a download")
    with pytest.raises(DatasetError, match=r"gtFine_trainvaltest\.zip is not a zip archive"):
        sources.Tree(tmp_path, ["gtFine_trainvaltest.zip"])
