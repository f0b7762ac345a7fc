"""The script of an exported network: its reading, fitting and writing, without a network.

test_saved_model.py runs it on one.
"""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mtl_jax import prediction, tasks
from mtl_jax.serving import run_saved_model

RNG = np.random.default_rng(0)
SPECS = {
    "disparity": {"kind": "disparity", "unit": "px", "valid_range": (0.0, 9.0)},
}
TASKS = tasks.build(
    {
        "semseg": {"type": "segmentation", "num_classes": 7},
        "depth": {"type": "depth", "normalization": "none", "range": (0.0, 300.0)},
        "disparity": {"type": "depth", "normalization": "minmax"},
        "normals": {"type": "normals"},
        "offsets": {"type": "instances"},
        "instance": {"type": "instances", "semantics": "semseg", "classes": (1, 3)},
    },
    SPECS,
)
NORMALS = RNG.normal(size=(5, 6, 3)).astype(np.float32)
NORMALS /= np.linalg.norm(NORMALS, axis=-1, keepdims=True)
NORMALS[0, 0] = 0.0
VALUES = {
    "semseg": RNG.integers(0, 7, (5, 6)).astype(np.int32),
    # Halves of millimetres, which round to even, and more than 16 bits of them hold.
    "depth": np.float32([[0.0, 0.0005, 0.0015, 12.3456], [65.535, 65.536, 80.0, 299.0]]),
    "disparity": RNG.uniform(0, 9, (5, 6)).astype(np.float32),
    "normals": NORMALS,
    "offsets": RNG.normal(size=(5, 6, 2)).astype(np.float32),
    "instance": RNG.integers(0, 60000, (5, 6)).astype(np.int32),
}


@pytest.mark.parametrize("name", TASKS)
def test_files_hold_what_those_of_predict_do(name):
    """PNG files the same pixels in the same mode, however they are compressed; others each byte."""
    expected, suffix, _ = TASKS[name].encode(VALUES[name])
    found, its_suffix = run_saved_model.encode(VALUES[name], TASKS[name].describe())
    assert its_suffix == suffix
    if suffix != ".png":
        assert found == expected
        return
    found, expected = (Image.open(io.BytesIO(contents)) for contents in (found, expected))
    assert (found.mode, found.getpalette()) == (expected.mode, expected.getpalette())
    np.testing.assert_array_equal(np.asarray(found), np.asarray(expected))


def test_every_form_of_file_is_explained():
    for task in TASKS.values():
        assert f"\n  {task.describe()['file']} " in run_saved_model.__doc__


def test_the_script_reads_photographs_as_predict_does(tmp_path):
    rng = np.random.default_rng(2)
    pixels = rng.integers(0, 256, (16, 24, 3)).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(tmp_path / "turned.jpg", exif=exif)
    Image.fromarray(pixels[..., 0]).save(tmp_path / "grey.png")
    Image.fromarray(pixels).quantize(16).save(tmp_path / "palette.png")
    Image.fromarray(np.dstack([pixels, pixels[..., :1]])).save(tmp_path / "alpha.png")
    Image.new("CMYK", (6, 5), (0, 255, 255, 0)).save(tmp_path / "print.jpg")
    for path in tmp_path.iterdir():
        found = run_saved_model.read_image(path)
        np.testing.assert_array_equal(found, prediction.read_image(path))
    assert run_saved_model.read_image(tmp_path / "turned.jpg").shape == (24, 16, 3)


@pytest.mark.parametrize("shape", [(8, 12), (5, 12), (8, 7), (16, 24), (80, 24), (16, 240), (9, 7)])
def test_every_photograph_fits(shape):
    image = np.random.default_rng(3).integers(0, 256, (*shape, 3)).astype(np.uint8)
    framed, (height, width) = run_saved_model.fit(image, (8, 12))
    assert framed.shape == (8, 12, 3)
    if shape[0] <= 8 and shape[1] <= 12:
        assert (height, width) == shape
        np.testing.assert_array_equal(framed[:height, :width], image)
    else:
        assert height == 8 or width == 12
        assert abs(height / shape[0] - width / shape[1]) < 0.5 / min(shape) + 0.1
    pads = ((0, 8 - height), (0, 12 - width), (0, 0))
    np.testing.assert_array_equal(framed, np.pad(framed[:height, :width], pads, mode="edge"))
    enlarged = run_saved_model.enlarge(framed[:height, :width], shape)
    assert enlarged.shape == image.shape


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        (b"no photograph", "x.png: does not decode as JPEG or PNG"),
        ("deep", "x.png: expected a photograph of 8 bits per channel, found mode 'I;16'"),
    ],
)
def test_photographs_that_cannot_be_used(contents, message, tmp_path):
    if contents == "deep":
        buffer = io.BytesIO()
        Image.fromarray(np.full((4, 4), 40000, np.uint16)).save(buffer, format="PNG")
        contents = buffer.getvalue()
    (tmp_path / "x.png").write_bytes(contents)
    with pytest.raises(run_saved_model.InputError, match=message):
        run_saved_model.read_image(tmp_path / "x.png")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a/x.jpg", "--output=file/out"], "--output=file/out cannot be written"),
        (["a/x.jpg"], "required: --output"),
        (["--output=out"], "required: photographs"),
    ],
)
def test_arguments_that_cannot_be_used(arguments, message, tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("")
    (tmp_path / "metadata.json").write_text('{"input": {"shape": ["batch", 8, 12, 3]}, "maps": {}}')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(run_saved_model, "HERE", tmp_path)
    with pytest.raises(SystemExit, match="2"):
        run_saved_model.main(arguments)
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "files",
    [
        ["a/x.jpg", "b/y.jpg"],
        ["a/x.jpg", "b/x.jpg"],
        ["x.jpg", "x.png"],
        ["a/X.jpg", "b/x.jpg"],
        ["x.jpg", "x_car.jpg"],
        ["a/b.jpg", "a_b.jpg"],
        ["a/b.jpg", "a_b_jpg"],
    ],
)
def test_no_two_photographs_share_a_file(files):
    """Names are those that predict gives them."""
    files = [Path(file) for file in files]
    names = run_saved_model.output_names(files, ["depth", "car_depth", "Depth"])
    assert names == prediction.output_names(files, suffixes=["_depth", "_car_depth"])
    outputs = {f"{name}_{task}".lower() for name in names for task in ("depth", "car_depth")}
    assert len(outputs) == 2 * len(files)


def test_photographs_of_one_name_and_one_that_is_given_twice(tmp_path, monkeypatch):
    metadata = {"input": {"shape": ["batch", 8, 12, 3]}, "maps": {"it": {"file": "npy"}}}
    (tmp_path / "metadata.json").write_text(json.dumps(metadata))
    monkeypatch.setattr(run_saved_model, "HERE", tmp_path)
    monkeypatch.setattr(run_saved_model, "load", lambda _: lambda x: {"it": x[..., 0]})
    paths = [tmp_path / folder / "x.png" for folder in "ab"]
    for value, path in enumerate(paths):
        path.parent.mkdir()
        Image.fromarray(np.full((4, 4), value, np.uint8)).save(path)
    out = tmp_path / "out"
    assert not run_saved_model.main([f"--output={out}", *map(str, [*paths, paths[0]])])
    assert {file.name: np.load(file).max() for file in out.iterdir()} == {
        "a_x_it.npy": 0,
        "b_x_it.npy": 1,
    }


def test_outputs_have_the_photographs_size():
    """A network that repeats its image, on a photograph of each size."""
    for shape in ((8, 12), (5, 7), (24, 20)):
        image = RNG.integers(0, 256, (*shape, 3)).astype(np.uint8)
        found = run_saved_model.predict(lambda x: {"it": x[..., 0]}, image, (8, 12))["it"]
        assert found.shape == shape
        if shape[0] <= 8:
            np.testing.assert_array_equal(found, image[..., 0])
