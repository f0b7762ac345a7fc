"""Finding users' files, naming what is made of them, reading photographs."""

import os
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from toy_predictions import photograph, save

from mtl_jax import prediction
from mtl_jax.serving import run_saved_model

RNG = np.random.default_rng(0)


# Finding files.


def test_folders_globs_lists_and_names_with_brackets(tmp_path):
    for name in ("b.png", "a.jpg", "C.JPEG", "x [1].png", "in/d.png"):
        save(tmp_path / name)
    (tmp_path / "e.MP4").touch()
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / "album.jpg").mkdir()

    def names(patterns):
        return [str(f.relative_to(tmp_path)) for f in prediction.expand_inputs(patterns)]

    assert names(str(tmp_path)) == ["C.JPEG", "a.jpg", "b.png", "e.MP4", "x [1].png"]
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
        ("notes.txt", r"expected files named .jpg, .jpeg, .png, .mp4, .*, found .*notes.txt"),
        ("*", r"expected files named .* found .*notes.txt"),
        ("empty", r"empty: this folder holds no .jpg, .jpeg, .png, .mp4, .* file"),
    ],
)
def test_inputs_that_cannot_be_meant(tmp_path, pattern, message):
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / "empty").mkdir()
    with pytest.raises(prediction.PredictionError, match=message):
        prediction.expand_inputs([str(tmp_path / pattern)] if pattern else "")


def test_a_file_that_is_not_there_is_told_before_the_others_are_predicted(tmp_path):
    save(tmp_path / "1.png")
    with pytest.raises(prediction.PredictionError, match=r"99\.png: no such file or folder"):
        prediction.expand_inputs(f"{tmp_path}/*.png,{tmp_path}/99.png")


def test_names_that_look_like_something_else(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("~photo.png", "a, b.png", "c,d.png", "e.png"):
        save(tmp_path / name)

    def names(patterns):
        return [str(file) for file in prediction.expand_inputs(patterns)]

    assert names("~photo.png") == ["~photo.png"]
    assert names("a, b.png") == ["a, b.png"]
    assert names("e.png,a, b.png, c,d.png,~photo.png") == [
        "e.png",
        "a, b.png",
        "c,d.png",
        "~photo.png",
    ]
    assert names("*.png,c,d.png") == ["a, b.png", "c,d.png", "e.png", "~photo.png"]
    assert names(["a, b.png", "e.png"]) == ["a, b.png", "e.png"]
    with pytest.raises(prediction.PredictionError, match=r"--input=b.png: no such file"):
        names("e.png,b.png")


def test_hidden_files_of_a_folder_are_not_meant(tmp_path):
    save(tmp_path / "a.jpg")
    (tmp_path / "._a.jpg").write_bytes(b"\0\5\26\7\0\2\0\0Mac OS X")
    assert prediction.expand_inputs(str(tmp_path)) == [tmp_path / "a.jpg"]
    assert prediction.expand_inputs(f"{tmp_path}/._a.jpg") == [tmp_path / "._a.jpg"]


def test_links_in_circles_are_files_that_cannot_be_read(tmp_path):
    (tmp_path / "a.png").symlink_to("b.png")
    (tmp_path / "b.png").symlink_to("a.png")
    files = prediction.expand_inputs(str(tmp_path))
    assert [file.name for file in files] == ["a.png", "b.png"]
    with pytest.raises(prediction.PredictionError, match=r"a.png: cannot be read .Too many levels"):
        prediction.read_image(files[0])


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
    path = save(tmp_path / "turned.png", np.ascontiguousarray(stored), exif=exif)
    np.testing.assert_array_equal(prediction.read_image(path), upright)


def odd_exif(tag, kind, value):
    """Orientation 6 and one number that is none."""
    entries = struct.pack("<HHII", 0x0112, 3, 1, 6) + struct.pack("<HHII", tag, kind, 1, 38)
    return b"Exif\0\0II*\0" + struct.pack("<IH", 8, 2) + entries + struct.pack("<I", 0) + value


@pytest.mark.parametrize(
    ("tag", "kind", "value"),
    [(0x011A, 10, struct.pack("<ii", -1, 0)), (0x011A, 5, b"\xff" * 8), (0x8769, 2, b"no IFD")],
)
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_other_numbers_of_the_exif_do_not_matter(tmp_path, tag, kind, value):
    image = photograph(8, 12)
    plain, odd = save(tmp_path / "a.jpg", image), tmp_path / "odd.jpg"
    save(odd, image, exif=odd_exif(tag, kind, value))
    expected = np.rot90(prediction.read_image(plain), -1)
    np.testing.assert_array_equal(prediction.read_image(odd), expected)
    np.testing.assert_array_equal(run_saved_model.read_image(odd), expected)


@pytest.mark.parametrize("read", [prediction.read_image, run_saved_model.read_image])
def test_what_is_no_file_is_not_opened(tmp_path, read):
    os.mkfifo(tmp_path / "a.png")
    (tmp_path / "b.png").symlink_to("/dev/zero")
    for name, what in (("a", "a FIFO"), ("b", "a (FIFO or a )?device")):
        with pytest.raises(ValueError, match=f"{name}.png: expected a file, found .*{what}"):
            read(tmp_path / f"{name}.png")


def test_grey_palette_alpha_and_cmyk_become_rgb(tmp_path):
    grey = RNG.integers(0, 256, (5, 6)).astype(np.uint8)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    Image.fromarray(photograph(5, 6)).quantize(16).save(tmp_path / "palette.png")
    Image.fromarray(grey).convert("1").save(tmp_path / "bits.png")
    rgba = np.dstack([photograph(5, 6), np.full((5, 6), 255, np.uint8)])
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
        save(path, photograph(64, 64))
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    else:
        path.write_bytes(b"hello" if damage.startswith("text") else b"")
    with pytest.raises(prediction.PredictionError, match=f"{damage}: does not decode"):
        prediction.read_image(path)


def test_16_bit_grey_and_other_formats_are_refused(tmp_path):
    path = save(tmp_path / "depth.png", np.full((4, 4), 40000, np.uint16))
    with pytest.raises(prediction.PredictionError, match="8 bits per channel, found mode 'I;16"):
        prediction.read_image(path)
    path = save(tmp_path / "bitmap.jpg", format="BMP")
    with pytest.raises(prediction.PredictionError, match=r"bitmap\.jpg: does not decode"):
        prediction.read_image(path)


# Naming results.


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


def test_names_too_long_for_a_file_end_in_a_checksum():
    files = [Path(f"/in/{'路' * 83}{i}.png") for i in range(3)]
    names = prediction.output_names(files, suffixes=["_" * 40, "_"])
    assert len(set(names)) == 3
    for name in names:
        assert name.startswith("路" * 60)
        assert 205 < len(name.encode()) <= 215
    assert prediction.output_names([Path("/in/x.png")], suffixes=["_" * 250]) == ["x"]


def test_no_two_outputs_have_one_name():
    """A name with a task's may be another name with another task's."""
    files, tasks = [Path("/in/x.png"), Path("/in/x_car.png")], ("semseg", "car_semseg", "Semseg")
    suffixes = [f"_{task}.png" for task in tasks]
    assert prediction.output_names(files, suffixes=suffixes) == ["x_png", "x_car_png"]
    assert prediction.output_names(files, suffixes=suffixes[::2]) == ["x", "x_car"]
