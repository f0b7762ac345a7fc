import io
import os
import pickle
import struct
import zipfile
import zlib

import numpy as np
import pytest
from PIL import Image

from input_pipeline import _images, checks, sources
from input_pipeline.errors import DatasetError


@pytest.fixture
def tree(tmp_path):
    """a/1.txt and b/1.txt unpacked; a/1.txt, a/2.txt and a hidden file in an archive."""
    for name in ("a/1.txt", "b/1.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"unpacked {name}")
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for name in ("a/1.txt", "a/2.txt", "a/._2.txt", "a/deep/3.txt"):
            archive.writestr(name, f"packed {name}")
        archive.mkdir("empty")
    return sources.Tree(tmp_path, ["all.zip", "absent.zip"])


def test_what_is_unpacked_goes_before_an_archive(tree):
    found = tree.glob("a/*.txt")
    assert list(found) == ["a/1.txt", "a/2.txt"]
    assert found["a/1.txt"].read() == b"unpacked a/1.txt"
    assert found["a/2.txt"].read() == b"packed a/2.txt"
    assert str(found["a/2.txt"]) == f"{tree.root}/all.zip/a/2.txt"
    assert found["a/2.txt"].name == "2.txt"
    assert pickle.loads(pickle.dumps(found["a/2.txt"])).open().read(6) == b"packed"
    assert tree.file("a/2.txt") == found["a/2.txt"]
    assert tree.file("a/3.txt") is None


def test_a_star_stands_for_part_of_one_name(tree):
    assert list(tree.stems("a/*.txt")) == ["1", "2"]
    assert list(tree.glob("a/*/*.txt")) == ["a/deep/3.txt"]
    assert tree.glob("A/*.txt") == {}
    assert tree.glob("a/1?txt") == {}
    (tree.root / "a/[1].txt").write_text("")
    assert list(tree.glob("a/[1].*")) == ["a/[1].txt"]


def test_two_files_of_one_name_are_refused(tree):
    with pytest.raises(DatasetError, match=r"b/1.txt and \S+a/1.txt: two files of one name, '1'"):
        tree.stems("*/*.txt")


def test_endings_are_told_apart_in_any_case(tmp_path):
    for name in ("1.PNG", "2.jpg", "3.txt", "4"):
        (tmp_path / name).write_text("")
    assert list(sources.Tree(tmp_path).stems("*", suffixes=(".png", ".jpg"))) == ["1", "2"]


def test_a_stamp_changes_with_the_contents(tree):
    packed, unpacked = tree.file("a/2.txt"), tree.file("a/1.txt")
    before = packed.stamp(), unpacked.stamp()
    assert before[0][0] == len("packed a/2.txt")
    (tree.root / "a/1.txt").write_text("Unpacked a/1.txt")
    os.utime(tree.root / "a/1.txt", ns=(0, 0))
    archive = tree.root / "all.zip"
    with zipfile.ZipFile(archive, "w") as changed:
        changed.writestr("a/2.txt", "Packed a/2.txt")
    os.utime(archive, ns=(0, 0))
    assert packed.stamp() != before[0]
    assert unpacked.stamp() != before[1]
    assert packed.read() == b"Packed a/2.txt"


def test_what_cannot_be_read_is_named(tree):
    archive = tree.root / "all.zip"
    contents = archive.read_bytes()
    damaged = contents.replace(b"packed a/2.txt", b"packed b/2.txt", 1)
    archive.write_bytes(damaged)
    os.utime(archive, ns=(0, 0))
    with pytest.raises(DatasetError, match=r"all.zip/a/2.txt: .*Bad CRC-32.*Copy it again"):
        tree.file("a/2.txt").read()
    archive.write_bytes(contents[:50])
    with pytest.raises(DatasetError, match=r"all.zip is not a zip archive.*Download it again"):
        sources.Tree(tree.root, ["all.zip"])
    with pytest.raises(DatasetError, match=r"gone.png: the file cannot be read \(FileNotFound"):
        sources.File("gone.png").read()
    with pytest.raises(DatasetError, match=r"gone.png: there is no such file"):
        sources.File("gone.png").stamp()
    with pytest.raises(DatasetError, match="is not a folder"):
        sources.Tree(tree.root / "gone")


def test_any_change_of_an_archive_is_one_message(tmp_path):
    file, rng, refused = tmp_path / "all.zip", np.random.default_rng(0), 0
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA):
        with zipfile.ZipFile(file, "w", method) as archive:
            for name in ("a/1.txt", "a/ä.txt"):
                archive.writestr(name, b"packed " * 9)
        whole = file.read_bytes()
        for attempt in range(300):
            changed = bytearray(whole)
            for place in rng.integers(0, len(whole), 2):
                changed[place] = rng.integers(256)
            file.write_bytes(changed)
            os.utime(file, (attempt, attempt))
            try:
                for found in sources.Tree(tmp_path, ["all.zip"]).glob("a/*.txt").values():
                    found.read()
            except DatasetError:
                refused += 1
    assert refused > 300


def png(array, **options):
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, format="png", **options)
    return stream.getvalue()


def test_all_16_bits_are_read_as_they_are(tmp_path):
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    (tmp_path / "16.png").write_bytes(png(values))
    read = _images.read_uint16(tmp_path / "16.png", key="depth")
    assert read.dtype == np.uint16
    np.testing.assert_array_equal(read, values)
    (tmp_path / "8.png").write_bytes(png(values.astype(np.uint8)))
    with pytest.raises(DatasetError, match=r"8.png, key 'depth': .*16-bit.*found mode 'L'"):
        _images.read_uint16(tmp_path / "8.png", key="depth")
    with pytest.raises(DatasetError, match=r"16.png, key 'x': .*8-bit ids.*found mode 'I;16'"):
        _images.read_ids(tmp_path / "16.png", key="x")


def test_palette_pngs_are_read_as_indices(tmp_path):
    ids = np.arange(256, dtype=np.uint8).reshape(16, 16)
    picture = Image.fromarray(ids)
    picture.putpalette(np.random.default_rng(0).integers(0, 256, 768).astype(np.uint8).tobytes())
    picture.save(tmp_path / "p.png")
    with Image.open(tmp_path / "p.png") as written:
        assert written.mode == "P"
    np.testing.assert_array_equal(_images.read_ids(tmp_path / "p.png", key="semseg"), ids)


def raw_png(bits, colour, rows, width):
    """A PNG of any number of bits, which Pillow does not write."""

    def chunk(kind, contents):
        checksum = struct.pack(">I", zlib.crc32(kind + contents))
        return struct.pack(">I", len(contents)) + kind + contents + checksum

    header = struct.pack(">IIBBBBB", width, len(rows), bits, colour, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + row for row in rows))
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", data), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def test_other_numbers_of_bits_are_refused_where_pillow_would_change_the_values(tmp_path):
    (tmp_path / "grey4.png").write_bytes(raw_png(4, 0, [b"\x01\x23"] * 2, 4))
    assert np.asarray(Image.open(tmp_path / "grey4.png")).max() == 3 * 17  # the trap
    with pytest.raises(DatasetError, match=r"grey4.png, key 'x': .*mode 'L' .*PNG of 4 bits"):
        _images.read_ids(tmp_path / "grey4.png", key="x")
    (tmp_path / "rgb16.png").write_bytes(raw_png(16, 2, [bytes(range(12))], 2))
    assert np.asarray(Image.open(tmp_path / "rgb16.png")).dtype == np.uint8  # the trap
    with pytest.raises(DatasetError, match=r"rgb16.png, key 'image': .*PNG of 16 bits"):
        _images.read_photo(tmp_path / "rgb16.png")
    Image.fromarray(np.full((2, 2), 70000, np.int32)).save(tmp_path / "32.tif")
    with pytest.raises(DatasetError, match=r"32.tif, key 'x': .*found mode 'I'"):
        _images.read_uint16(tmp_path / "32.tif", key="x")


def test_photographs_are_kept_as_the_bytes_that_every_decoder_knows(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (4, 6, 3), np.uint8)
    for name in ("a.png", "a.jpg", "a.webp"):
        Image.fromarray(pixels).save(tmp_path / name)
        photo = _images.read_photo(tmp_path / name)
        np.testing.assert_array_equal(photo.pixels, np.asarray(Image.open(tmp_path / name)))
        assert (photo.contents == (tmp_path / name).read_bytes()) == (name != "a.webp")
        stored = np.asarray(Image.open(io.BytesIO(photo.contents)))
        np.testing.assert_array_equal(stored, photo.pixels)


def test_nearest_resizing_is_that_of_pillow_for_any_type():
    rng = np.random.default_rng(0)
    # From odd to even sizes no centre falls on a border, where Pillow's sums of floats may err.
    for size in ((4, 10), (8, 16), (10, 28), (17, 31), (40, 34)):
        values = rng.permutation(17 * 31).reshape(17, 31).astype(np.int32)
        expected = np.asarray(Image.fromarray(values).resize(size[::-1], Image.Resampling.NEAREST))
        for dtype in (np.uint16, np.float32):
            resized = _images.resize_nearest(values.astype(dtype), size)
            np.testing.assert_array_equal(resized, expected.astype(dtype))
        vectors = np.stack([values, -values], axis=-1)
        np.testing.assert_array_equal(_images.resize_nearest(vectors, size)[..., 1], -expected)


def test_arrays_of_files_and_what_is_none(tmp_path):
    array = np.arange(6.0).reshape(2, 3)
    np.save(tmp_path / "a.npy", array)
    np.savez(tmp_path / "a.npz", depth=array, image=array)
    np.testing.assert_array_equal(_images.read_npy(tmp_path / "a.npy", key="d"), array)
    np.testing.assert_array_equal(
        _images.read_npz(tmp_path / "a.npz", key="d", array="depth"), array
    )
    with pytest.raises(DatasetError, match=r"a.npz, key 'd': .*array 'x', found depth, image"):
        _images.read_npz(tmp_path / "a.npz", key="d", array="x")
    np.save(tmp_path / "o.npy", np.array([{}]), allow_pickle=True)
    for name in ("o.npy", "a.npz"):
        with pytest.raises(DatasetError, match=rf"{name}, key 'd': expected a .npy file"):
            _images.read_npy(tmp_path / name, key="d")
    (tmp_path / "half.npz").write_bytes((tmp_path / "a.npz").read_bytes()[:-40])
    for name in ("half.npz", "a.npy"):
        with pytest.raises(DatasetError, match=rf"{name}, key 'd': expected a .npz file"):
            _images.read_npz(tmp_path / name, key="d", array="depth")


def test_problems_are_named_by_kind_up_to_ten_of_each():
    problems = checks.Problems("/release")
    problems.raise_if_any()
    problems.add("no label")
    assert not problems
    problems.add("no label", *map(str, range(12)))
    problems.add("no camera", "a")
    with pytest.raises(DatasetError) as error:
        problems.raise_if_any("Copy them.")
    assert str(error.value).splitlines() == [
        "/release:",
        "  no label (12 of them): 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, ...",
        "  no camera: a",
        "Copy them.",
    ]


@pytest.mark.parametrize(
    ("found", "partial", "message"),
    [
        (10, False, None),
        (9, True, None),
        (9, False, "expected 10 examples, found 9 (--partial accepts fewer)"),
        (11, False, "expected 10 examples, found 11"),
        (11, True, "expected 10 examples, found 11"),
        (0, True, "expected 10 examples, found 0"),
    ],
)
def test_counts_are_the_official_ones_or_fewer_where_that_is_allowed(found, partial, message):
    problems = checks.Problems("/release")
    checks.counts(problems, {"train": range(found)}, {"train": 10}, partial=partial)
    if message is None:
        assert not problems
    else:
        with pytest.raises(DatasetError) as error:
            problems.raise_if_any()
        assert str(error.value).endswith(f"split 'train': {message}")
