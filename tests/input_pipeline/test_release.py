import json
import sys

import numpy as np
import pytest
import toy_release
import toy_release_builder
from PIL import Image

from input_pipeline import (
    _legend,
    conversion,
    datasets,
    palettes,
    pipeline,
    prepare,
    preview,
    summary,
)
from input_pipeline.datasets import DatasetError

KEYS = tuple(toy_release.SPECS)


@pytest.fixture
def toy(monkeypatch):
    """The toy release, as if its module lay in the package."""
    names = datasets.names()
    monkeypatch.setattr(datasets, "names", lambda: [*names, "toy_release"])
    monkeypatch.setitem(sys.modules, "input_pipeline.datasets.toy_release", toy_release_builder)


@pytest.fixture
def prepared(toy, tmp_path):
    root = tmp_path / "release"
    root.mkdir()
    toy_release.write(root, 10)
    return datasets.prepare("toy_release", data_dir=str(tmp_path), manual_dir=str(root))


def test_records_hold_what_the_files_hold(prepared):
    stream = pipeline.EvalStream(prepared, split="train", keys=KEYS, batch_size=7)
    (batch,) = stream.batches()
    assert stream.example_ids(0) == [f"{number:03}" for number in range(7)]
    for number in range(7):
        expected = toy_release.example(number)
        expected.setdefault("depth", np.zeros(toy_release.SIZE, np.float32))
        for key in KEYS:
            np.testing.assert_array_equal(batch[key][number], expected[key])


def test_the_summary_is_that_of_every_pixel_of_the_files(prepared):
    examples = [toy_release.example(number) for number in range(7)]
    found = json.loads((prepared.data_path / summary.FILE).read_text())["train"]
    assert found["examples"] == 7
    ids = np.stack([example["semseg"] for example in examples])
    assert found["semseg"]["ignored"] == (ids == 255).mean()
    assert found["semseg"]["frequency"]["wall"] == (ids == 1).sum() / (ids < 255).sum()
    depth = np.stack([example["depth"] for example in examples if "depth" in example])
    assert found["depth"]["examples"] == len(depth) == 5
    assert found["depth"]["valid"] == (depth > 0).mean()
    known = depth[depth > 0].astype(np.float64)
    for name, value in (
        ("mean", known.mean()),
        ("stddev", known.std()),
        ("least", known.min()),
        ("greatest", known.max()),
    ):
        assert found["depth"][name] == pytest.approx(value, rel=1e-12)
    normals = np.stack([example["normals"] for example in examples])
    assert found["normals"] == {"examples": 7, "valid": (normals != 0).any(-1).mean()}
    number = [len(np.unique(e["instance"][e["instance"] > 0])) for e in examples]
    assert found["instance"]["per_example"] == np.mean(number)


def test_statistics_of_the_specs_come_from_the_records(prepared):
    found = summary.read(prepared.data_path)
    spec = prepared.label_specs["depth"]
    assert (spec.mean, spec.stddev) == (found["train"]["depth"]["mean"], pytest.approx(14, abs=2))
    assert prepared.specs["depth"].mean is None


def test_a_summary_is_read_from_the_records_where_none_lies_beside_them(prepared):
    stored = summary.read(prepared.data_path)
    (prepared.data_path / summary.FILE).unlink()
    counted = prepare.summarize(prepared)
    # Records of examples without depth hold unknown depth, which is all the difference.
    assert counted["validation"]["depth"].pop("valid") < stored["validation"]["depth"].pop("valid")
    for split in ("train", "validation"):
        for key in ("semseg", "instance", "normals"):
            assert counted[split][key] == stored[split][key]
        for name in ("mean", "stddev", "least", "greatest"):
            assert counted[split]["depth"][name] == pytest.approx(stored[split]["depth"][name])


def test_the_summary_as_text(prepared):
    text = summary.text(summary.read(prepared.data_path), prepared.label_specs)
    assert "train: 7 examples" in text
    assert "valid, in 5 examples" in text
    assert "least" in text
    assert " m\n" in text


def test_a_preparation_that_failed_goes_on_where_it_stopped(toy, tmp_path, monkeypatch):
    root, log = tmp_path / "release", tmp_path / "log"
    root.mkdir()
    toy_release.write(root, 10)
    monkeypatch.setattr(toy_release_builder.Builder, "convert", toy_release.Convert(str(log)))
    contents = (root / "008_semseg.npy").read_bytes()
    (root / "008_semseg.npy").write_bytes(contents[:-3])

    def load():
        return datasets.load("toy_release", data_dir=str(tmp_path), manual_dir=str(root))

    with pytest.raises(DatasetError, match=r"008_semseg\.npy"):
        load()
    assert not list(tmp_path.rglob("*array_record*"))
    assert not list(tmp_path.rglob(summary.FILE))
    assert len(log.read_text().splitlines()) == 10
    log.unlink()
    (root / "008_semseg.npy").write_bytes(contents)
    builder = load()
    assert [line.split()[0] for line in log.read_text().splitlines()] == ["008"]
    assert not list(tmp_path.rglob(".converting*"))
    assert builder.info.splits["validation"].num_examples == 3


def test_images_of_another_size_are_refused_where_one_size_is_asked_for(toy, tmp_path, monkeypatch):
    root = tmp_path / "release"
    root.mkdir()
    for item in toy_release.write(root, 9)[8:]:
        for key, file in item.files.items():
            if key != "image":
                np.save(file.path, np.load(file.path)[:4])
        image = Image.open(item.files["image"].path)
        image.crop((0, 0, 8, 4)).save(item.files["image"].path)
    monkeypatch.setattr(toy_release_builder.Builder, "one_size", True)
    with pytest.raises(DatasetError, match=r"008\.png: expected 6×8 .*before it, found 4×8"):
        datasets.prepare("toy_release", data_dir=str(tmp_path), manual_dir=str(root))


def test_the_command_is_named_with_source_and_licence(toy, tmp_path):
    message = r"(?s)prepare --dataset=toy_release --manual_dir=.*Draw it yourself. Licence: yours."
    with pytest.raises(DatasetError, match=message):
        datasets.load("toy_release", data_dir=str(tmp_path))


def test_every_release_says_where_it_is_and_under_which_licence(tmp_path):
    for name in datasets.names():
        if name in ("streets", "folder"):
            continue
        _, builder = datasets._builder(name, str(tmp_path))
        instructions = builder.MANUAL_DOWNLOAD_INSTRUCTIONS
        assert "icence" in instructions, name
        assert "manual_dir" in instructions, name


def test_the_preview_shows_every_label(prepared):
    drawn = preview.sheet(prepared, count=2)
    height, width = toy_release.SIZE
    row = height + 16 + 4  # a title above, a gap below
    legend = _legend.draw(toy_release.SPECS, 0)
    assert drawn.shape == (2 * row + legend.shape[0], legend.shape[1], 3)
    np.testing.assert_array_equal(drawn[2 * row :], legend)
    first = toy_release.example(0)
    pictures = drawn[16 : 16 + height, : len(KEYS) * width]
    pictures = pictures.reshape(height, len(KEYS), width, 3).swapaxes(0, 1)
    by_key = dict(zip(KEYS, pictures))
    np.testing.assert_array_equal(by_key["image"], first["image"])
    # Ids lie over the photograph, which shows through in greys; what is ignored is hatched.
    hatched = _legend.hatched(toy_release.SIZE)
    ids = first["semseg"]
    grey = np.asarray(Image.fromarray(first["image"]).convert("L"), np.float32)
    softer = (grey[..., None] + 128) / 2
    expected = 0.4 * softer + 0.6 * np.array([255, 0, 0])
    np.testing.assert_allclose(by_key["semseg"][ids == 1], expected[ids == 1], atol=1)
    np.testing.assert_array_equal(by_key["semseg"][ids == 255], hatched[ids == 255])
    # Unknown depth is hatched, near is bright; where there is no instance is the photograph.
    depth = first["depth"]
    np.testing.assert_array_equal(by_key["depth"][depth == 0], hatched[depth == 0])
    none = first["instance"] == 0
    np.testing.assert_array_equal(by_key["instance"][none], first["image"][none])
    near, far = (np.unravel_index(index, depth.shape) for index in nearest_and_farthest(depth))
    assert by_key["depth"][near].sum() > by_key["depth"][far].sum() > 0
    known = (first["normals"] != 0).any(-1)
    np.testing.assert_array_equal(by_key["normals"][~known], hatched[~known])
    # Red is right, green is up, blue is towards the camera.
    colours = (first["normals"][known] * [1, -1, -1] + 1) * 127.5
    mixed = 0.4 * softer[known] + 0.6 * np.rint(colours)
    np.testing.assert_allclose(by_key["normals"][known], mixed, atol=1)
    # Where the legend is wider than the rows there is paper.
    assert (drawn[: 2 * row, len(KEYS) * width :] == 255).all()


def test_the_legend_shows_the_colours_of_labels_over_a_photograph():
    spec = conversion.LabelSpec(
        kind="classes", dtype="int32", class_names=("a",), palette=((250, 0, 10),)
    )
    image = np.full((1, 1, 3), (70, 168, 92), np.uint8)  # its brightness is 130
    (shown,) = preview.picture(np.zeros((1, 1), np.int32), spec, image, (0, 0)).reshape(-1, 3)
    legend = _legend.draw({"semseg": spec}, 0).reshape(-1, 3).astype(int)
    assert np.abs(legend - shown).max(-1).min() <= 1


def nearest_and_farthest(depth):
    return np.where(depth > 0, depth, np.inf).argmin(), depth.argmax()


def test_the_preview_of_offsets_and_unlabelled_maps():
    spec = conversion.LabelSpec(kind="offsets", dtype="float32", channels=2)
    image = np.full((2, 2, 3), 200, np.uint8)
    value = np.zeros((2, 2, 2), np.float32)
    value[0, 0] = 3, -3
    shown = preview.picture(value, spec, image, (0, 0))
    np.testing.assert_array_equal(shown[1], _legend.hatched((2, 2))[1])
    np.testing.assert_array_equal(
        shown[0, 0], np.rint([0.4 * 164 + 0.6 * 255, 0.4 * 164, 0.4 * 164])
    )


def test_the_legend_has_every_class_in_its_colour_and_no_label_hatched():
    spec = conversion.LabelSpec(
        kind="classes",
        dtype="int32",
        class_names=tuple(f"class {c}" for c in range(70)),
        palette=palettes.default(70),
    )
    drawn = _legend.draw({"semseg": spec, "depth": toy_release.SPECS["depth"]}, 400)
    assert drawn.shape[1] == 400
    colours = {tuple(colour) for colour in drawn.reshape(-1, 3).tolist()}
    swatches = np.rint(0.4 * 128 + 0.6 * np.array(palettes.default(60)))  # the rest is counted
    assert colours >= set(map(tuple, swatches.astype(int).tolist()))
    assert colours >= {(110, 110, 110), (160, 160, 160)}
