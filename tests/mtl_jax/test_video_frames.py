"""What is read of a video: every frame, upright, at its time; and what is written is read again."""

import struct
from fractions import Fraction

import numpy as np
import pytest
import toy_videos

from mtl_jax import prediction
from mtl_jax.prediction import videos

av = pytest.importorskip("av", reason="PyAV, the extra 'video', is not installed")


@pytest.mark.parametrize("rate", [Fraction(25), Fraction(30000, 1001), Fraction(10)])
@pytest.mark.parametrize("size", [(48, 64), (47, 33)])
def test_written_frames_are_read_again(tmp_path, rate, size):
    frames = [toy_videos.frame(i, *size) for i in range(12)]
    path = toy_videos.write(tmp_path / "a.mp4", frames, rate)
    with videos.VideoReader(path) as reader:
        assert reader.rate == rate
        assert reader.frame_count == 12
    images, times = toy_videos.read(path)
    assert list(times) == [i / rate for i in range(12)]
    for image, frame in zip(images, frames, strict=True):
        assert image.shape == (size[0] + size[0] % 2, size[1] + size[1] % 2, 3)
        difference = np.abs(image[: size[0], : size[1]].astype(int) - frame)
        assert np.median(difference) <= 3


def test_a_title_need_not_be_utf8(tmp_path):
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        container.metadata["title"] = "a title"
        stream = container.add_stream("libx264", rate=5)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        frames = [av.VideoFrame.from_ndarray(toy_videos.frame(i), format="rgb24") for i in range(3)]
        for frame in (*frames, None):
            for packet in stream.encode(frame):
                container.mux(packet)
    content = path.read_bytes()
    assert b"a title" in content
    path.write_bytes(content.replace(b"a title", b"\xe9 title"))
    assert len(toy_videos.read(path)[0]) == 3


def test_a_last_odd_row_and_column_are_repeated(tmp_path):
    grey = np.full((47, 33, 3), 200, np.uint8)
    for image in toy_videos.read(toy_videos.write(tmp_path / "a.mp4", [grey] * 2))[0]:
        assert np.abs(image.astype(int) - 200).max() <= 6


def test_frames_of_the_same_time_follow_each_other(tmp_path):
    times = [Fraction(n, 25) for n in (0, 1, 1, 2)]
    found = toy_videos.read(
        toy_videos.write(tmp_path / "a.mp4", [toy_videos.frame(i) for i in range(4)], times=times)
    )[1]
    assert len(found) == 4
    assert np.all(np.diff(found) > 0)


def test_times_of_a_variable_frame_rate_are_kept(tmp_path):
    """They count from the first frame, whenever that is."""
    times = tuple(Fraction(n, 30) for n in (0, 1, 4, 5, 11, 12))
    later = [time + 2 for time in times]
    path = toy_videos.write(
        tmp_path / "a.mp4", [toy_videos.frame(i) for i in range(6)], Fraction(30), later
    )
    assert toy_videos.read(path)[1] == times
    toy_videos.predict(tmp_path, [path])
    assert toy_videos.read(tmp_path / "out" / "a_overlay.mp4")[1] == times


def _turned(path, matrix):
    """The same file with another display matrix, as telephones write it."""
    data = bytearray(path.read_bytes())
    header = data.index(b"tkhd") + 4
    assert data[header] == 0  # version 0: 40 bytes before the matrix
    data[header + 40 : header + 76] = struct.pack(">9i", *(int(x * 65536) for x in matrix))
    turned = path.with_name("turned.mp4")
    turned.write_bytes(data)
    return turned


@pytest.mark.parametrize(
    ("matrix", "turn"),
    # ISO/IEC 14496-12: (x, y) goes to (a·x + c·y, b·x + d·y), of a b u c d v tx ty w; y is down.
    [
        ((1, 0, 0, 0, 1, 0, 0, 0, 0.25), lambda image: image),
        # A quarter turn clockwise: what was up, is to the right.
        ((0, 1, 0, -1, 0, 0, 48, 0, 0.25), lambda image: image[::-1].transpose(1, 0, 2)),
        ((-1, 0, 0, 0, -1, 0, 64, 48, 0.25), lambda image: image[::-1, ::-1]),
        ((0, -1, 0, 1, 0, 0, 0, 64, 0.25), lambda image: image[:, ::-1].transpose(1, 0, 2)),
        # Mirrored, as the front cameras of telephones store it.
        ((-1, 0, 0, 0, 1, 0, 64, 0, 0.25), lambda image: image[:, ::-1]),
        ((1, 0, 0, 0, -1, 0, 0, 48, 0.25), lambda image: image[::-1]),
        ((0, 1, 0, 1, 0, 0, 0, 0, 0.25), lambda image: image.transpose(1, 0, 2)),
        ((0, -1, 0, -1, 0, 0, 48, 64, 0.25), lambda image: image[::-1, ::-1].transpose(1, 0, 2)),
    ],
    ids=[
        "upright",
        "clockwise",
        "upside down",
        "anticlockwise",
        "left-right",
        "top-bottom",
        "transposed",
        "transversed",
    ],
)
def test_frames_are_turned_as_players_turn_them(tmp_path, matrix, turn):
    frame = toy_videos.frame(0)
    frame[:24, 32:] = (40, 40, 220)  # four different corners
    path = _turned(toy_videos.write(tmp_path / "a.mp4", [frame] * 3), matrix)
    images, _ = toy_videos.read(path)
    for image in images:
        assert image.shape == turn(frame).shape
        assert np.median(np.abs(image.astype(int) - turn(frame))) <= 3


def _raw(path, height):
    """The bare stream of H.264, without a container."""
    with av.open(str(path), "w", format="h264") as container:
        stream = container.add_stream("libx264", 25)
        stream.width, stream.height = 64, height
        for i in range(3):
            frame = av.VideoFrame.from_ndarray(toy_videos.frame(i, height), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path.read_bytes()


def test_frames_of_two_sizes_are_an_error_with_the_sizes(tmp_path):
    path = tmp_path / "a.mp4"
    path.write_bytes(_raw(tmp_path / "first", 48) + _raw(tmp_path / "second", 64))
    with pytest.raises(prediction.PredictionError, match=r"64×64 at frame 3 after 64×48"):
        toy_videos.read(path)
