"""The examples of the documentation on real files, where somebody has them."""

import io
import os
import pathlib

import numpy as np
import pytest
from PIL import Image

from input_pipeline import conversion, labels
from input_pipeline.datasets import folder

EXAMPLES = pathlib.Path(__file__).parents[2] / "docs" / "examples"
REAL = pathlib.Path(
    os.environ.get("MTL_JAX_TEST_DATA", pathlib.Path(__file__).parents[3] / "shared" / "data")
)


def real(name):
    if not (REAL / name).is_dir():
        pytest.skip(f"{REAL / name} is absent; MTL_JAX_TEST_DATA names the folder with {name}/")
    return REAL / name


def convert_real(name, directory):
    config = folder.builder_config(str(EXAMPLES / f"{name}.yaml"))
    return folder.Builder(config=config, data_dir=directory)


def test_real_potholes(tmp_path):
    source = real("potholes")
    builder = convert_real("potholes", tmp_path)
    items = builder.find(source)
    assert {split: len(of_split) for split, of_split in items.items()} == {
        "train": 54,
        "validation": 13,
    }
    for item in (*items["train"][::27], items["validation"][5]):
        example = builder.convert(item)
        raw = np.asarray(Image.open(source / "disp" / f"{item.id}.png"))
        np.testing.assert_allclose(example["depth"], raw / 65535, rtol=1e-6)
        holes = example["semseg"] == 1
        known = example["depth"] > 0
        # Potholes lie below the road.
        assert np.median(example["depth"][holes & known]) < np.median(
            example["depth"][~holes & known]
        )


def test_real_tabletop(tmp_path):
    source = real("tabletop")
    builder = convert_real("tabletop", tmp_path)
    items = builder.find(source)
    assert {split: len(of_split) for split, of_split in items.items()} == {
        "train": 45,
        "validation": 62,
    }
    item = items["train"][7]
    example = builder.convert(item)
    for key, array in example.items():
        if key != "image":
            labels.check(array, builder.specs[key], key)
    raw = {
        key: np.asarray(Image.open(source / key / f"{item.id}.png")).astype(np.int64)
        for key in ("depth", "instance", "semseg", "normals")
    }
    np.testing.assert_allclose(example["depth"] * 1000, raw["depth"], atol=1e-3)
    np.testing.assert_array_equal(example["instance"], raw["instance"])
    np.testing.assert_array_equal(example["semseg"], raw["semseg"])
    # Every instance is an object.
    assert set(np.unique(example["semseg"][example["instance"] > 0])) <= {1, 255}
    unknown = (raw["normals"] == 0).all(-1)
    np.testing.assert_array_equal((example["normals"] == 0).all(-1), unknown)
    vectors = raw["normals"][~unknown] / 127.5 - 1
    vectors /= np.linalg.norm(vectors, axis=-1, keepdims=True)
    np.testing.assert_allclose(example["normals"][~unknown], vectors, atol=1e-6)
    assert (example["normals"][~unknown][:, 2] < 0).mean() > 0.95  # towards the camera


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("rgbd_omniverse", {"image", "semseg", "depth", "normals"}),
        ("rgbd_arc2017", {"image", "semseg", "depth", "instance"}),
        ("rgbd_gmrpd", {"image", "semseg", "depth"}),
    ],
)
def test_real_frames_with_depth(name, keys, tmp_path):
    source = real("rgbd")
    builder = convert_real(name, tmp_path)
    items = builder.find(source)
    job = conversion.Job("", builder.convert, builder.specs, builder.size)
    header, stored = conversion.convert_item(job, items["validation"][0])
    assert stored.keys() == keys | {"id"}
    counts = header.counts
    if name == "rgbd_omniverse":
        floor = np.asarray(Image.open(io.BytesIO(stored["semseg"]))) == 1
        # The floor faces up, which in images is minus y.
        np.testing.assert_allclose(
            np.median(stored["normals"][floor], axis=0), [0, -1, 0], atol=0.01
        )
    if name == "rgbd_arc2017":
        assert counts["instance"]["instances"] == 8
        assert counts["depth"]["greatest"] <= 2
    if name == "rgbd_gmrpd":
        assert header.size == (360, 640)
