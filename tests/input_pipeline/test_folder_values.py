"""What files of a folder may hold: each of these was once taken for something else, silently."""

import io

import folder_files
import numpy as np
import pytest
from folder_files import SIZE
from PIL import Image

from input_pipeline import _images
from input_pipeline.datasets import DatasetError, _folder_keys, _folder_values, folder
from mtl_jax.prediction.inputs import read_image


def convert(root, **options):
    """The arrays of the first training example of a folder, without writing records."""
    builder, items = found(folder_files.write(root, **options))
    return builder.convert(items["train"][0])


def found(yaml):
    builder = folder.Builder(config=folder.builder_config(str(yaml)), data_dir=yaml.parent)
    return builder, builder.find(yaml.parent)


def decode(raw, kind, **options):
    spec = _folder_keys.read("my.yaml", "lab", {"kind": kind, **options})
    return _folder_values.decode(np.asarray(raw), spec, "file")


@pytest.mark.parametrize("orientation", range(10))  # 0 and 9 mean nothing
@pytest.mark.parametrize("ending", [".jpg", ".png"])
def test_photographs_are_turned_as_in_prediction(tmp_path, orientation, ending):
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = tmp_path / f"photo{ending}"
    folder_files.put(file, folder_files.photograph(), exif=exif)
    photo = _images.read_photo(file)
    np.testing.assert_array_equal(photo.pixels, read_image(file))
    # What a decoder that knows no EXIF makes of the record.
    stored = np.asarray(Image.open(io.BytesIO(photo.contents)))
    np.testing.assert_array_equal(stored, photo.pixels)
    assert (photo.contents == file.read_bytes()) == (orientation not in range(2, 9))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK"])
def test_photographs_of_any_8_bits_are_seen_as_in_prediction(tmp_path, mode):
    picture = Image.fromarray(folder_files.photograph())
    if "A" in mode:
        picture.putalpha(Image.fromarray(folder_files.photograph()[..., 0]))
    file = tmp_path / ("a.jpg" if mode == "CMYK" else "a.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.convert(mode).save(file, exif=exif)
    with Image.open(file) as written:
        assert written.mode == mode
    photo = _images.read_as_seen(file)
    np.testing.assert_array_equal(photo.pixels, read_image(file))
    stored = np.asarray(Image.open(io.BytesIO(photo.contents)))
    np.testing.assert_array_equal(stored, photo.pixels)


def test_photographs_of_16_bits_and_files_that_are_no_image_are_refused(tmp_path):
    folder_files.put(tmp_path / "a.png", np.zeros(SIZE, np.uint16))
    with pytest.raises(DatasetError, match=r"8 bits per channel, found .*Convert it to that\."):
        _images.read_as_seen(tmp_path / "a.png")
    (tmp_path / "b.png").write_text("a note")
    with pytest.raises(DatasetError, match=r"is no image\.") as error:
        _images.read_as_seen(tmp_path / "b.png")
    assert "0x" not in str(error.value)


def test_a_photograph_with_alpha_is_converted(tmp_path):
    yaml = folder_files.write(tmp_path)
    picture = Image.fromarray(folder_files.photograph())
    picture.putalpha(255)
    picture.save(tmp_path / "rgb/t0.png")
    builder, items = found(yaml)
    image = builder.convert(items["train"][0])["image"]
    np.testing.assert_array_equal(image.pixels, folder_files.photograph())


def test_a_label_with_an_orientation_is_refused(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 3
    folder_files.put(tmp_path / "a.png", np.zeros(SIZE, np.uint8), exif=exif)
    with pytest.raises(DatasetError, match=r"EXIF orientation 3\. Save it upright"):
        _images.read_ids(tmp_path / "a.png", key="lab")


@pytest.mark.parametrize("format", ["JPEG", "WEBP"])
def test_labels_in_formats_that_change_values_are_refused(tmp_path, format):
    for read, value in (
        (_images.read_ids, np.zeros(SIZE, np.uint8)),
        (_images.read_colours, folder_files.photograph()),
    ):
        Image.fromarray(value).save(tmp_path / "a.jpg", format)
        # Pillow reads WebP as colours always, which is refused before it comes to that.
        with pytest.raises(DatasetError, match=f"found (mode 'RGB' .*)?.*{format}"):
            read(tmp_path / "a.jpg", key="lab")


@pytest.mark.parametrize("format", ["PNG", "JPEG"])
def test_a_photograph_without_its_end_is_refused(tmp_path, format):
    buffer = io.BytesIO()
    Image.fromarray(folder_files.photograph((24, 40))).save(buffer, format)
    whole = buffer.getvalue()
    (tmp_path / "a").write_bytes(whole + b"what a camera adds")
    assert _images.read_photo(tmp_path / "a").pixels.shape == (24, 40, 3)
    for cut in (1, 2, 12) if format == "PNG" else (1, 2):
        (tmp_path / "a").write_bytes(whole[:-cut])
        with pytest.raises(DatasetError, match=r"not decode"):
            _images.read_photo(tmp_path / "a")


def test_a_png_with_a_wrong_checksum_is_refused(tmp_path):
    contents = bytearray(_images.png(folder_files.photograph()))
    contents[-1] ^= 1
    (tmp_path / "a.png").write_bytes(contents)
    with pytest.raises(DatasetError, match="last bytes are missing or damaged"):
        _images.read_photo(tmp_path / "a.png")


def test_photographs_may_be_arrays(tmp_path):
    image = convert(tmp_path, image=".npy")["image"]
    np.testing.assert_array_equal(image.pixels, folder_files.photograph())
    folder_files.put(tmp_path / "rgb/t0.npy", np.zeros((*SIZE, 3), np.float32))
    builder, items = found(tmp_path / "data.yaml")
    with pytest.raises(DatasetError, match=r"t0.npy, key 'image': expected uint8 values"):
        builder.convert(items["train"][0])


@pytest.mark.parametrize(
    ("label", "accepted"),
    [
        ("names: [road, pothole]", False),
        ("names: [road, pothole], ids: {0: road, 255: pothole}", True),
        ("names: [road, pothole], ignore: 255", True),
        ("names: [road]", True),  # there is no class that 255 could be
    ],
)
def test_masks_of_0_and_255_are_refused_unless_the_yaml_says_what_255_is(tmp_path, label, accepted):
    mask = np.zeros(SIZE, np.uint8)
    mask[:2] = 255
    yaml = folder_files.write(
        tmp_path / "data", f"{{kind: classes, files: lab/*, {label}}}", value=mask
    )
    if accepted:
        seen = folder_files.read(folder_files.prepare(yaml))["t0"]["lab"]
        assert set(seen[:2].ravel()) == {1 if "255: pothole" in label else 255}
    else:
        with pytest.raises(DatasetError, match=r"'ids: {0: road, 255: pothole}'.*'ignore: 255'"):
            folder_files.prepare(yaml)


def test_colours_that_are_no_direction_are_unknown_or_refused():
    eight_bits = {"divide_by": 127.5, "offset": -1, "unit_length": True}
    up, grey, black, white = [128, 128, 0], [128] * 3, [0] * 3, [255] * 3
    seen = decode(np.array([[up, grey, [127] * 3, black]], np.uint8), "normals", **eight_bits)
    np.testing.assert_allclose(seen[0, 0], [0, 0, -1], atol=0.01)
    assert not seen[0, 1:].any()
    with pytest.raises(DatasetError, match=r"1\.73 at row 0, column 1.*\[255, 255, 255\].*unknown"):
        decode(np.array([[up, white]], np.uint8), "normals", **eight_bits)
    seen = decode(np.array([[up, white]], np.uint8), "normals", **eight_bits, unknown=[white])
    assert not seen[0, 1].any()
    # Arrays have vectors of any length, and NaN if the YAML says so.
    seen = decode([[[0, 0, 9.0], [0, 0.02, 0]]], "normals", unit_length=True)
    np.testing.assert_array_equal(seen, [[[0, 0, 1], [0, 1, 0]]])
    nan = [[[0, 0, 1.0], [np.nan] * 3]]
    with pytest.raises(DatasetError, match=r"'unknown: \[\[.nan, .nan, .nan\]\]' for lab"):
        decode(nan, "normals")
    np.testing.assert_array_equal(
        decode(nan, "normals", unknown=[[np.nan] * 3]), [[[0, 0, 1], [0, 0, 0]]]
    )


@pytest.mark.parametrize(
    "options",
    [{"unknown": [0, float("nan"), float("inf")]}, {"outside_range": "unknown"}],
)
def test_depth_that_was_not_measured_may_be_no_number(options):
    seen = decode([[1.5, np.nan, np.inf, 0]], "depth", range=[1, 2], **options)
    np.testing.assert_array_equal(seen, [[1.5, 0, 0, 0]])
    with pytest.raises(DatasetError, match=r"NaN or infinity.*'unknown: \[0, .nan\]'"):
        decode([[1.5, np.nan]], "depth", range=[1, 2])


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_decimals_are_those_of_the_file(dtype):
    raw = np.array([[0.1, 1.5, -9999]], dtype)
    seen = decode(raw, "depth", range=[1, 2], unknown=[0, 0.1, -9999])
    np.testing.assert_array_equal(seen, [[0, 1.5, 0]])
    seen = decode(np.array([[[0.1] * 3, [0, 0, 1]]], dtype), "normals", unknown=[[0.1] * 3])
    np.testing.assert_array_equal(seen, [[[0, 0, 0], [0, 0, 1]]])


def test_bounds_of_a_range_are_in_it():
    raw = np.float32([[0.7, 0.8, 1.1, np.nextafter(np.float32(1.1), np.float32(2))]])
    assert float(raw[0, 0]) < 0.7  # in float64, and 1.1 is greater
    assert float(raw[0, 2]) > 1.1
    seen = decode(raw, "depth", range=[0.7, 1.1], outside_range="unknown")
    np.testing.assert_array_equal(seen, [[*raw[0, :3], 0]])


@pytest.mark.parametrize(("value", "message"), [(1e300, "found NaN or inf"), (1e-60, "found 0")])
def test_what_records_cannot_hold_is_refused(value, message):
    with pytest.raises(DatasetError, match=message):
        decode([[1.5, value]], "depth", range=[1, 2])


def test_void_may_be_negative():
    raw = [[-1, 0, 1]]
    for options in ({"ignore": -1}, {"ids": {-1: "ignore", 0: "a", 1: "b"}}):
        seen = decode(raw, "classes", names=["a", "b"], **options)
        np.testing.assert_array_equal(seen, [[255, 0, 1]])
    with pytest.raises(DatasetError, match=r"found -1 in 1 of 3.*say 'ignore: -1' for lab"):
        decode(raw, "classes", names=["a", "b"])
    np.testing.assert_array_equal(decode(raw, "instances", ids={-1: 0}), [[0, 0, 1]])
    with pytest.raises(DatasetError, match=r"say 'ids: \{-1: 0\}' for lab"):
        decode(raw, "instances")


def test_more_classes_than_255_leave_an_id_for_what_is_ignored():
    spec = _folder_keys.read("my.yaml", "lab", {"kind": "classes", "names": 300}).label
    assert spec.ignore == 65535
    assert len(spec.palette) == 300
