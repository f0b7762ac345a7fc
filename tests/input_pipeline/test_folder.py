import pathlib

import folder_files
import numpy as np
import pytest
from PIL import Image

from input_pipeline import conversion, datasets, labels, pipeline
from input_pipeline.datasets import (
    DatasetError,
    _folder_keys,
    _folder_spec,
    _folder_values,
    folder,
)

REPOSITORY = pathlib.Path(__file__).parents[2]
EXAMPLES = REPOSITORY / "docs" / "examples"
YAML = """
keys:
  image: {files: rgb/*.png}
  semseg:
    kind: classes
    files: label/*.png
    names: [road, left, right]
    palette: [[1, 2, 3], [4, 5, 6], [7, 8, 9]]
    ids: {0: ignore, 10: road, 20: left, 30: right}
    flip_swap: [[left, right]]
  depth: {kind: depth, files: z/*.png, divide_by: 1000, range: [0.5, 40], outside_range: unknown}
  heat: {kind: disparity, files: heat/*.png, bits: 8, unknown: [255], offset: 1, range: [1, 255]}
  instance: {kind: instances, files: ids/*.png, bits: 16, instance_classes: [left, right]}
  normals: {kind: normals, files: n/*.npy, axes: [x, -z, y], optional: true, unit_length: true}
splits:
  train: ["a*"]
  validation: [b1]
"""
SIZE = (6, 8)
IDS = ("a1", "a2", "b1")


def arrays(name):
    rng = np.random.default_rng(list(name.encode()))
    return {
        "rgb": rng.integers(0, 256, (*SIZE, 3), np.uint8),
        "label": rng.choice(np.array([0, 10, 20, 30], np.uint8), SIZE),
        "z": rng.integers(0, 65536, SIZE, np.uint16),
        "heat": rng.integers(0, 256, SIZE, np.uint8),
        "ids": rng.integers(0, 65536, SIZE, np.uint16),
        "n": rng.normal(size=(*SIZE, 3)),
    }


@pytest.fixture
def root(tmp_path):
    """A folder of three examples, of which one has no normals, and its YAML."""
    data = tmp_path / "data"
    for name in IDS:
        for key, array in arrays(name).items():
            (data / key).mkdir(parents=True, exist_ok=True)
            if key == "n":
                np.save(data / key / f"{name}.npy", array)
            else:
                Image.fromarray(array).save(data / key / f"{name}.png")
    (data / "n" / "a2.npy").unlink()
    (data / "my.yaml").write_text(YAML)
    return data


def prepare(root, yaml="my.yaml", **kwargs):
    return datasets.load(f"folder/{root}/{yaml}", data_dir=str(root.parent / "records"), **kwargs)


def read(builder, split):
    """{id: arrays}."""
    keys = tuple(builder.label_specs)
    stream = pipeline.EvalStream(builder, split=split, keys=keys, batch_size=1)
    batches = list(stream.batches())
    return {
        stream.example_ids(k)[0]: {n: v[0] for n, v in b.items()} for k, b in enumerate(batches)
    }


def test_every_value_is_what_the_yaml_says(root):
    builder = prepare(root)
    examples = read(builder, "train") | read(builder, "validation")
    assert sorted(read(builder, "train")) == ["a1", "a2"]
    assert sorted(read(builder, "validation")) == ["b1"]
    for name in IDS:
        raw, found = arrays(name), examples[name]
        np.testing.assert_array_equal(found["image"], raw["rgb"])
        classes = {0: 255, 10: 0, 20: 1, 30: 2}
        expected = [classes[value] for value in raw["label"].ravel().tolist()]
        np.testing.assert_array_equal(found["semseg"].ravel(), expected)
        metres = raw["z"] / 1000
        metres = np.where((metres >= 0.5) & (metres <= 40), metres, 0)
        np.testing.assert_array_equal(found["depth"], metres.astype(np.float32))
        np.testing.assert_array_equal(
            found["heat"], np.where(raw["heat"] < 255, raw["heat"] + 1.0, 0)
        )
        np.testing.assert_array_equal(found["instance"], raw["ids"])
        x, y, z = np.moveaxis(raw["n"], -1, 0)
        vectors = np.stack([x, -z, y], -1) / np.sqrt(x**2 + y**2 + z**2)[..., None]
        vectors = np.zeros_like(vectors) if name == "a2" else vectors
        np.testing.assert_allclose(found["normals"], vectors, atol=1e-7)


def test_the_specs_are_what_the_yaml_says(root):
    specs = prepare(root).label_specs
    assert list(specs) == ["image", "semseg", "depth", "heat", "instance", "normals"]
    semseg = specs["semseg"]
    assert (semseg.class_names, semseg.ignore) == (("road", "left", "right"), 255)
    assert (semseg.palette[2], semseg.flip_swap) == ((7, 8, 9), ((1, 2),))
    assert (specs["depth"].unit, specs["depth"].zoom_power) == ("m", -1)
    assert specs["depth"].valid_range == (0.5, 40.0)
    known = np.concatenate([arrays(name)["z"].ravel() / 1000 for name in ("a1", "a2")])
    known = known[(known >= 0.5) & (known <= 40)]
    assert specs["depth"].mean == pytest.approx(known.mean(), rel=1e-6)
    assert (specs["heat"].kind, specs["heat"].zoom_power) == ("disparity", 1)
    assert specs["instance"].instance_classes == ("left", "right")
    assert specs["normals"].flip_negate == (0,)


def test_everything_is_resized_if_the_yaml_says_so(root):
    (root / "small.yaml").write_text(YAML + "size: [3, 4]\n")
    (found,) = read(prepare(root, "small.yaml"), "validation").values()
    raw = arrays("b1")
    resized = Image.fromarray(raw["rgb"]).resize((4, 3), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(found["image"], np.asarray(resized))
    np.testing.assert_array_equal(found["instance"], raw["ids"][1::2, 1::2])
    heat = raw["heat"][1::2, 1::2]
    np.testing.assert_array_equal(found["heat"], np.where(heat < 255, heat + 1.0, 0))


def test_another_yaml_is_another_data_set(root):
    before = prepare(root)
    (root / "my.yaml").write_text(YAML.replace("1000", "2000"))
    after = prepare(root)
    assert before.data_dir != after.data_dir
    assert read(after, "validation")["b1"]["depth"].max() <= 65.535 / 2


def test_the_yaml_may_lie_elsewhere_and_name_the_folder(root, tmp_path):
    (tmp_path / "else.yaml").write_text(YAML)
    with pytest.raises(
        DatasetError, match=r"no files for.*'image' \(rgb/\*\.png\)(.|\n)*--manual_dir"
    ):
        prepare(tmp_path, "else.yaml")
    assert prepare(tmp_path, "else.yaml", manual_dir=str(root)).is_prepared()
    (tmp_path / "named.yaml").write_text("manual_dir: data\n" + YAML)
    assert prepare(tmp_path, "named.yaml").is_prepared()


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("lba/*.png", r"'lab' \(lba/\*\.png\): .*data has no folder 'lba'\. Did you mean 'lab'\?"),
        ("lab/*.jpg", r"'lab' \(lab/\*\.jpg\): .*data/lab has t0\.png, v0\.png"),
        ("none/*.png", r"'lab' \(none/\*\.png\): .*data/none is empty"),
    ],
)
def test_a_pattern_that_fits_nothing_is_compared_with_what_is_there(tmp_path, pattern, message):
    label = folder_files.CLASSES.replace("lab/*", pattern)
    yaml = folder_files.write(tmp_path / "data", label)
    (tmp_path / "data/none").mkdir()
    with pytest.raises(DatasetError, match=rf"{message}\nMend `files` in the YAML"):
        folder_files.prepare(yaml)


def test_a_folder_without_validation_is_told_so_before_it_is_converted(tmp_path, capsys):
    yaml = folder_files.write(tmp_path / "data", splits='{train: ["*"]}')
    folder_files.prepare(yaml)
    said = capsys.readouterr().err
    assert "data.yaml has no split 'validation'" in said
    assert said.index("no split 'validation'") < said.index("Preparing")


def test_arrays_of_npz_files(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8)
    depth = np.full((*SIZE, 1), 2.5, np.float32)
    for name in ("1", "2"):
        np.savez(tmp_path / f"frame{name}.npz", rgb=image, z=depth)
    (tmp_path / "all.yaml").write_text(
        """
        keys:
          image: {files: frame*.npz, array: rgb}
          depth: {kind: depth, files: frame*.npz, array: z, range: [1, 10]}
        splits: {train: train.txt, unused: ["2"]}
        """
    )
    (tmp_path / "train.txt").write_text("1\n")
    found = read(prepare(tmp_path, "all.yaml"), "train")
    assert list(found) == ["1"]
    np.testing.assert_array_equal(found["1"]["image"], image)
    np.testing.assert_array_equal(found["1"]["depth"], depth[..., 0])


def find(root):
    config = folder.builder_config(str(root / "my.yaml"))
    builder = folder.Builder(config=config, data_dir=root.parent / "records")
    return builder, builder.find(root)


def save(array):
    return lambda file: Image.fromarray(array).save(file)


@pytest.mark.parametrize(
    ("file", "damage", "message"),
    [
        ("rgb/a1.png", save(np.zeros(SIZE, np.uint16)), "'image': expected .*mode 'I;16'"),
        ("rgb/a1.png", lambda f: f.write_bytes(f.read_bytes()[:-40]), "'image': .*not decode"),
        ("z/a1.png", save(np.ones(SIZE, np.uint8)), "'depth': expected one channel of 16 bits"),
        ("heat/a1.png", save(np.ones(SIZE, np.uint16)), "'heat': expected one channel of 8-bit"),
        (
            "label/a1.png",
            save(np.full(SIZE, 7, np.uint8)),
            r"'semseg': .*\[0, 10, 20, 30\].*\[7\] in 48",
        ),
        ("label/a1.png", save(np.zeros((6, 9), np.uint8)), "'semseg': expected 6×8.*found 6×9"),
        ("n/a1.npy", lambda f: np.save(f, np.full((6, 8, 3), np.nan)), "'normals': .*NaN"),
        ("n/a1.npy", lambda f: np.save(f, np.zeros((6, 8))), "'normals': expected vectors"),
        ("n/a1.npy", lambda f: f.write_bytes(b"no array"), "'normals': expected a .npy file"),
    ],
)
def test_a_damaged_file_is_named(root, file, damage, message):
    damage(root / file)
    builder, items = find(root)
    with pytest.raises(DatasetError, match=rf"(?s){file}, key {message}"):
        conversion.convert_item(
            conversion.Job("", builder.convert, builder.specs), items["train"][0]
        )


def decode(raw, **options):
    values = {"kind": "depth", "range": [1, 10], **options}
    return _folder_values.decode(
        np.asarray(raw), _folder_keys.read("my.yaml", "depth", values), "z.png"
    )


def test_values_outside_the_range_are_refused_unless_they_count_as_unknown():
    spec = _folder_keys.read("my.yaml", "depth", {"kind": "depth", "range": [1, 10]})
    for raw in ([[0, 5, 11]], [[0.0, 5.0, 0.5]], [[np.nan, 5.0, 5.0]]):
        with pytest.raises(DatasetError, match=r"z\.png"):
            labels.check(_folder_values.decode(np.asarray(raw), spec, "z.png"), spec.label, "z.png")
    found = decode([[0, 5, 11]], outside_range="unknown")
    np.testing.assert_array_equal(found, np.float32([[0, 5, 0]]))
    with pytest.raises(DatasetError, match=r"found 0 where .*unknown, \[65535\]"):
        decode([[0, 5, 65535]], unknown=[65535], range=[0, 10])


def test_examples_without_a_file_or_a_split_are_named(root):
    (root / "heat" / "a2.png").unlink()
    with pytest.raises(DatasetError, match="without 'heat': a2"):
        find(root)
    (root / "heat" / "a2.png").write_bytes((root / "heat" / "a1.png").read_bytes())
    (root / "n" / "c9.npy").write_bytes(b"")
    with pytest.raises(DatasetError, match="'normals' without 'image': c9"):
        find(root)
    (root / "n" / "c9.npy").unlink()
    for splits, message in (
        ('{train: ["a*"], validation: [b2]}', "split 'validation': no example fits: b2"),
        ('{train: ["a*"]}', r"in no split \(list them under 'unused'.*: b1"),
        ('{train: ["*"], validation: [b1]}', "in several splits .*: b1"),
        ("{train: all.txt}", "all.txt: there is no such list"),
    ):
        (root / "my.yaml").write_text(YAML[: YAML.index("splits")] + f"splits: {splits}\n")
        with pytest.raises(DatasetError, match=message):
            find(root)
    (root / "my.yaml").write_text(
        YAML[: YAML.index("splits")] + 'splits: {train: ["*"], validation: [b1]}\noverlap: true\n'
    )
    assert [len(items) for items in find(root)[1].values()] == [3, 1]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("divide_by", "divideby", "keys.depth.divideby is not known. Did you mean 'divide_by'"),
        ("kind: depth", "kind: deph", "keys.depth.kind: expected one of classes, .*found 'deph'"),
        ("range: [0.5, 40]", "range: [40, 0.5]", r"keys.depth.range: expected \[least, greatest\]"),
        (", range: [0.5, 40]", "", r"keys.depth.range: expected \[least, greatest\].*found None"),
        (
            "names: [road",
            "names: [no",
            r"names: expected a list of different .* \(in quotes",
        ),
        ("[7, 8, 9]", "[7, 8, 900]", "keys.semseg.palette: expected .* 3 classes"),
        ("30: right", "30: wrong", "keys.semseg.ids: expected .*ignore, road, left, right"),
        ("[[left, right]]", "[[left, up]]", "keys.semseg.flip_swap: expected pairs of class names"),
        ("bits: 8", "bits: 12", "keys.heat.bits: expected 8 or 16, found 12"),
        ("[x, -z, y]", "[x, -z, x]", "keys.normals.axes: expected which axis"),
        ("optional: true", "optional: 1", "keys.normals.optional: expected true or false, found 1"),
        (
            "heat/*.png",
            "heat/*/*.png",
            r"keys.heat.files: expected as many \* as .*rgb/\*.png, found",
        ),
        ("heat/*.png", "heat/*.npz", "keys.heat.array: expected a name for .npz"),
        ("  image: {files: rgb/*.png}\n", "", "keys: expected 'image' and at least one label"),
        ("  heat:", "  valid:", "keys.'valid': expected a name of letters, other than"),
        ('["a*"]', "a", "splits: expected for each split, .*a list of patterns"),
        ("splits:", "splitz:", "splitz is not known. Did you mean 'splits'"),
        ("keys:", "keys: [", "is not YAML"),
        ("  heat:", "  depth:", "'depth' is there twice.*line 12"),
        ("30: right", "20: right", "20 is there twice"),
    ],
)
def test_a_wrong_yaml_is_answered_with_the_place(tmp_path, old, new, message):
    assert old in YAML
    (tmp_path / "my.yaml").write_text(YAML.replace(old, new, 1))
    with pytest.raises(DatasetError, match=rf"(?s)my.yaml.*{message}"):
        _folder_spec.read(tmp_path / "my.yaml")


def test_a_yaml_that_is_missing_is_named(tmp_path):
    with pytest.raises(DatasetError, match=r"none.yaml: there is no such file.*docs/datasets.md"):
        datasets.load(f"folder/{tmp_path}/none.yaml", data_dir=str(tmp_path))
    (tmp_path / "rooms.yaml").write_text(YAML)
    message = rf"{tmp_path} is a folder; expected the YAML .*'folder/{tmp_path}/rooms\.yaml'\."
    with pytest.raises(DatasetError, match=message):
        datasets.load(f"folder/{tmp_path}", data_dir=str(tmp_path))
    with pytest.raises(DatasetError, match="needs the path of a YAML file"):
        datasets.load("folder", data_dir=str(tmp_path))


def test_the_examples_of_the_documentation_are_right():
    files = sorted(EXAMPLES.glob("*.yaml"))
    assert [file.stem for file in files] == [
        "potholes", "rgbd_arc2017", "rgbd_gmrpd", "rgbd_omniverse", "tabletop"
    ]  # fmt: skip
    for file in files:
        assert _folder_spec.read(file).description
    text = (EXAMPLES / "potholes.yaml").read_text()
    assert "relative" in text
    (depth,) = (
        key for key in _folder_spec.read(EXAMPLES / "potholes.yaml").keys if key.key == "depth"
    )
    assert (depth.label.kind, depth.label.unit, depth.label.zoom_power) == (
        "disparity",
        "relative",
        0,
    )


def test_the_documentation_has_every_option():
    text = (REPOSITORY / "docs" / "datasets.md").read_text()
    for option in _folder_keys._OPTIONS:
        assert f"`{option}" in text, option
