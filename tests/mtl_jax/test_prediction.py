"""Predicting on users' files: what is found, how it is read, what is written."""

import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from mtl_jax import prediction, tasks

RNG = np.random.default_rng(0)
TASKS = tasks.build(
    {
        "semseg": {"type": "segmentation"},
        "depth": {"type": "depth", "normalization": "none", "range": (0.5, 100.0)},
    },
    {
        "semseg": {
            "kind": "classes",
            "class_names": ("red", "green", "blue"),
            "palette": ((255, 0, 0), (0, 255, 0), (0, 0, 255)),
            "ignore": 255,
        }
    },
)
PADDED_SHAPES = []


@jax.jit
def _brightest_channel(image):
    """A network that sees one pixel: its brightest channel is its class, red is its depth."""
    PADDED_SHAPES.append(image.shape)
    image = image.astype(jnp.float32)
    return {"semseg": image, "depth": image[..., :1] / 4}


def _photograph(height, width):
    return RNG.integers(0, 256, (height, width, 3)).astype(np.uint8)


def _save(path, image=None, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(_photograph(8, 9) if image is None else image).save(path, **options)
    return path


def _read(path):
    with Image.open(path) as image:
        return np.array(image)


# Finding files.


def test_folders_globs_lists_and_names_with_brackets(tmp_path):
    for name in ("b.png", "a.jpg", "C.JPEG", "x [1].png", "in/d.png"):
        _save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no picture")

    def names(patterns):
        return [str(f.relative_to(tmp_path)) for f in prediction.expand_inputs(patterns)]

    assert names(str(tmp_path)) == ["C.JPEG", "a.jpg", "b.png", "x [1].png"]
    assert names(f"{tmp_path}/*.jpg") == ["a.jpg"]
    assert names(f"{tmp_path}/**/*.png") == ["b.png", "in/d.png", "x [1].png"]
    assert names(f"{tmp_path}/x [1].png") == ["x [1].png"]
    assert names(f"{tmp_path}/b.png,{tmp_path}/a.jpg, {tmp_path}/b.png") == ["b.png", "a.jpg"]
    assert names([f"{tmp_path}/in", f"{tmp_path}/*.jpg"]) == ["in/d.png", "a.jpg"]


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("", "names no file"),
        ("nothing.jpg", "nothing.jpg: no such file or folder, and no file matches"),
        ("*.tif", r"\*.tif: no such file or folder"),
        ("notes.txt", r"expected files named .jpg, .jpeg, .png, found .*notes.txt"),
        ("*", r"expected files named .* found .*notes.txt"),
        ("empty", r"empty: this folder holds no .jpg, .jpeg, .png file"),
    ],
)
def test_inputs_that_cannot_be_meant(tmp_path, pattern, message):
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / "empty").mkdir()
    with pytest.raises(prediction.PredictionError, match=message):
        prediction.expand_inputs([str(tmp_path / pattern)] if pattern else "")


# Reading.


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_respected(tmp_path, orientation):
    upright = np.zeros((16, 24, 3), np.uint8)
    upright[:8, :8] = (250, 10, 10)  # the top left corner
    # How a camera in that orientation stores it, i.e. the inverse of what a viewer must do.
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = _save(tmp_path / "turned.png", np.ascontiguousarray(stored), exif=exif)
    np.testing.assert_array_equal(prediction.read_image(path), upright)


def test_grey_palette_alpha_and_cmyk_become_rgb(tmp_path):
    grey = RNG.integers(0, 256, (5, 6)).astype(np.uint8)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    Image.fromarray(_photograph(5, 6)).quantize(16).save(tmp_path / "palette.png")
    Image.fromarray(grey).convert("1").save(tmp_path / "bits.png")
    rgba = np.dstack([_photograph(5, 6), np.full((5, 6), 255, np.uint8)])
    rgba[0, 0] = (200, 100, 50, 0)
    Image.fromarray(rgba).save(tmp_path / "alpha.png")
    Image.new("CMYK", (6, 5), (0, 255, 255, 0)).save(tmp_path / "print.jpg")

    found = {path.stem: prediction.read_image(path) for path in tmp_path.iterdir()}
    assert all(image.shape == (5, 6, 3) for image in found.values())
    assert all(image.dtype == np.uint8 for image in found.values())
    np.testing.assert_array_equal(found["grey"], grey[..., None].repeat(3, -1))
    assert set(np.unique(found["bits"])) <= {0, 255}
    np.testing.assert_array_equal(found["alpha"][0, 0], 0)  # transparent: black, not its colour
    np.testing.assert_array_equal(found["alpha"][1:], rgba[1:, :, :3])
    assert found["print"][0, 0, 0] > 200 > 50 > found["print"][0, 0, 1]


@pytest.mark.parametrize("damage", ["truncated.jpg", "truncated.png", "text.jpg", "empty.png"])
def test_file_that_does_not_decode_is_named(tmp_path, damage):
    path = tmp_path / damage
    if damage.startswith("truncated"):
        _save(path, _photograph(64, 64))
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    else:
        path.write_bytes(b"hello" if damage.startswith("text") else b"")
    with pytest.raises(prediction.PredictionError, match=f"{damage}: does not decode"):
        prediction.read_image(path)


def test_16_bit_grey_and_other_formats_are_refused(tmp_path):
    path = _save(tmp_path / "depth.png", np.full((4, 4), 40000, np.uint16))
    with pytest.raises(prediction.PredictionError, match="8 bits per channel, found mode 'I;16"):
        prediction.read_image(path)
    path = _save(tmp_path / "bitmap.jpg", format="BMP")
    with pytest.raises(prediction.PredictionError, match=r"bitmap\.jpg: does not decode"):
        prediction.read_image(path)


# Writing.


def test_files_hold_each_pixels_prediction_at_the_photographs_size(tmp_path):
    images = {"odd": _photograph(37, 51), "whole": _photograph(64, 32), "tiny": _photograph(1, 3)}
    files = [_save(tmp_path / f"{name}.png", image) for name, image in images.items()]
    PADDED_SHAPES.clear()
    written = prediction.predict_files(_brightest_channel, TASKS, files, tmp_path / "out")
    assert PADDED_SHAPES == [(1, 64, 64, 3), (1, 64, 32, 3), (1, 32, 32, 3)]
    assert sorted(written) == sorted((tmp_path / "out").iterdir())
    assert sorted(path.name for path in written) == sorted(
        f"{name}_{kind}.png" for name in images for kind in ("semseg", "depth", "overlay")
    )
    for name, image in images.items():
        np.testing.assert_array_equal(_read(tmp_path / f"out/{name}_semseg.png"), image.argmax(-1))
        millimetres = np.clip(image[..., 0].astype(np.int64) * 250, 500, 65535)
        np.testing.assert_array_equal(_read(tmp_path / f"out/{name}_depth.png"), millimetres)
        assert _read(tmp_path / f"out/{name}_overlay.png").shape[-1] == 3


def test_padding_repeats_the_border():
    image = _photograph(3, 5)
    padded = prediction._pad(image, 4)
    assert padded.shape == (4, 8, 3)
    np.testing.assert_array_equal(padded[:3, :5], image)
    np.testing.assert_array_equal(padded[3, :5], image[2])
    np.testing.assert_array_equal(padded[:3, 5:], image[:, 4:].repeat(3, 1))


def test_large_photographs_are_predicted_small_and_written_whole(tmp_path):
    blocks = RNG.choice([0, 200], (10, 20, 3)).astype(np.uint8)
    blocks[..., 1] = 100  # no ties
    image = blocks.repeat(8, 0).repeat(8, 1)
    PADDED_SHAPES.clear()
    prediction.predict_files(
        _brightest_channel,
        TASKS,
        [_save(tmp_path / "large.png", image)],
        tmp_path / "out",
        max_size=80,
    )
    assert PADDED_SHAPES == [(1, 64, 96, 3)]
    labels = _read(tmp_path / "out/large_semseg.png")
    assert labels.shape == (80, 160)
    # Bilinear shrinking mixes only at the blocks' borders.
    np.testing.assert_array_equal(labels[4::8, 4::8], blocks.argmax(-1))


def test_one_bad_file_is_reported_after_all_others_are_written(tmp_path):
    files = [_save(tmp_path / "a.png"), tmp_path / "b.jpg", _save(tmp_path / "c.png")]
    files[1].write_bytes(b"no picture")
    said = []
    with pytest.raises(prediction.PredictionError, match=r"1 of 3 images .*\n.*b.jpg: does not"):
        prediction.predict_files(
            _brightest_channel, TASKS, files, tmp_path / "out", report=said.append
        )
    assert said[0].startswith("Predicted on 2 of 3 images")
    assert {path.name[0] for path in (tmp_path / "out").iterdir()} == {"a", "c"}


def test_what_a_file_cannot_hold_is_said(tmp_path):
    bright = np.full((4, 4, 3), 255, np.uint8)  # 255 / 4 = 63.75 m
    far = TASKS | {"depth": tasks.build({"depth": _far()}, {})["depth"]}
    files = [_save(tmp_path / f"{name}.png", bright) for name in "ab"]
    said = []
    prediction.predict_files(_brightest_channel, far, files, tmp_path / "o", report=said.append)
    assert said[1].startswith("a_depth.png: 16 of 16 pixels are farther than 65.535 m")
    assert said[1].endswith("Likewise 1 more files.")


def _far():
    return {"type": "depth", "normalization": "minmax", "range": (1.0, 300.0)}


def test_an_error_of_the_network_names_the_photograph(tmp_path):
    def broken(image):
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory") as caught:
        prediction.predict_files(broken, TASKS, [_save(tmp_path / "a.png")], tmp_path / "out")
    assert "a.png" in caught.value.__notes__[0]
    assert list((tmp_path / "out").iterdir()) == []


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    path.write_bytes(b"old")

    def full(*_):
        raise OSError("no space left")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="no space left"):
        prediction._write(path, b"new")
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]
    assert path.read_bytes() == b"old"


def test_output_folders_that_cannot_be_used(tmp_path):
    files = [_save(tmp_path / "a.png")]
    with pytest.raises(prediction.PredictionError, match=r"holds the input a.png"):
        prediction.predict_files(_brightest_channel, TASKS, files, tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(prediction.PredictionError, match=r"--output=.*file/out cannot be written"):
        prediction.predict_files(_brightest_channel, TASKS, files, tmp_path / "file" / "out")


@pytest.mark.parametrize(
    ("files", "names"),
    [
        ([], []),
        (["/p/a.jpg", "/q/b.jpg"], ["a", "b"]),
        (["/p/a.jpg", "/q/a.jpg", "/q/b.jpg"], ["p_a", "q_a", "q_b"]),
        (["/p/a.jpg", "/p/a.png"], ["a_jpg", "a_png"]),
        (["/p/A.jpg", "/p/a.jpg"], ["000000_A_jpg", "000001_a_jpg"]),
        (["/p/q/a.jpg", "/p/q_a.jpg", "/r/a.jpg"], None),
    ],
)
def test_output_names_never_clash(files, names):
    found = prediction.output_names([Path(file) for file in files])
    assert len({name.casefold() for name in found}) == len(files)
    if names is not None:
        assert found == names


# Validation pictures.


def test_validation_panels_show_input_targets_and_predictions():
    image = np.stack([_photograph(8, 10)] * 3)
    labels = np.full((3, 8, 10), 255, np.int32)
    labels[0] = 1
    batch = {"image": image, "semseg": labels, "valid": np.array([True, True, False])}
    outputs = {
        "semseg": {"semseg": np.zeros((3, 8, 10), np.int32)},
        "depth": {"depth": np.full((3, 8, 10), 9, np.float32)},
    }
    panels = prediction.validation_panels(batch, outputs, TASKS)
    assert list(panels) == ["example_0", "example_1"]  # the third is padding
    width = [panel.shape[1] for panel in panels.values()]
    # The second example has no label; neither has a depth label.
    assert width == [4 * 10 + 3 * 4, 3 * 10 + 2 * 4]
    first = panels["example_0"][-8:]
    np.testing.assert_array_equal(first[:, :10], image[0])
    assert np.all(first[:, 14:24] == (0, 255, 0))
    assert np.all(first[:, 28:38] == (255, 0, 0))
    assert list(prediction.validation_panels(batch, outputs, TASKS, count=1)) == ["example_0"]
