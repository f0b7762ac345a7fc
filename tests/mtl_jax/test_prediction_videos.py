"""Videos in, videos out: figures of every frame, in step, and never half a file."""

import builtins
import errno
import os
import sys
import tracemalloc
from fractions import Fraction

import numpy as np
import pytest
import toy_videos
from toy_predictions import TASKS, BrightestChannel, maps_of, save

from mtl_jax import prediction
from mtl_jax.prediction import videos

av = pytest.importorskip("av", reason="PyAV, the extra 'video', is not installed")

LATE = 70  # frames after which something is on the disk: the encoder looks ahead


@pytest.mark.parametrize("batch_size", [1, 4])
def test_a_video_gives_figures_and_arrays_of_every_frame(tmp_path, batch_size):
    rate = Fraction(30000, 1001)
    path = toy_videos.write(tmp_path / "drive.mp4", [toy_videos.frame(i) for i in range(10)], rate)
    decoded, times = toy_videos.read(path)
    written = toy_videos.predict(
        tmp_path, [path], figure="both", save_npz=True, batch_size=batch_size
    )
    out = tmp_path / "out"
    assert sorted(written) == sorted(file for file in out.rglob("*") if file.is_file())
    assert sorted(file.name for file in out.iterdir()) == [
        "drive_frames", "drive_overlay.mp4", "drive_side_by_side.mp4",
    ]  # fmt: skip
    for kind in ("overlay", "side_by_side"):
        with videos.VideoReader(out / f"drive_{kind}.mp4") as reader:
            assert reader.rate == rate
            images, its_times = zip(*reader.frames())
        assert its_times == times
        assert images[0].shape[1] == 3 * 120 + 2 * 10
    # The photograph's own picture, enlarged to 120×90, goes through the encoder once more.
    for image, frame in zip(images, decoded, strict=True):
        small = image[30:120, :120][5:-5, 5:-5].astype(int)
        corners = small[0, 0], small[-1, -1], small[0, -1]
        expected = frame[4, 4], frame[-4, -4], frame[4, -4]
        np.testing.assert_allclose(corners, np.array(expected).astype(int), atol=12)
    arrays = sorted((out / "drive_frames").iterdir())
    assert [file.name for file in arrays] == [f"{i:06d}.npz" for i in range(10)]
    for file, frame in zip(arrays, decoded):
        with np.load(file) as found:
            for name, expected in maps_of(frame).items():
                np.testing.assert_array_equal(found[f"{name}/prediction"], expected)


def test_photographs_and_videos_together(tmp_path):
    files = [
        toy_videos.write(tmp_path / "a.mp4", [toy_videos.frame(0)] * 2),
        save(tmp_path / "a.png"),
    ]
    written = toy_videos.predict(tmp_path, files)
    assert sorted(path.name for path in written) == [
        "a_mp4_overlay.mp4", "a_png_depth.png", "a_png_overlay.png", "a_png_semseg.png",
    ]  # fmt: skip


@pytest.mark.slow
def test_memory_does_not_grow_with_the_video(tmp_path, monkeypatch):
    """However long the video, about as many frames are held."""

    class Endless:
        frame_count, missing_count, rate, time_base = 0, 0, Fraction(25), Fraction(1, 25)

        def __init__(self, path):
            self.length = int(path.stem)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def frames(self):
            for i in range(self.length):
                yield np.full((256, 256, 3), i % 200, np.uint8), Fraction(i, 25)

    monkeypatch.setattr(videos, "VideoReader", Endless)
    peaks = []
    for length in (20, 20, 80):  # the first is for what is made once
        tracemalloc.start()
        toy_videos.predict(tmp_path, [tmp_path / f"{length}.mp4"], batch_size=2)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[2] < peaks[1] + 10 * 256 * 256 * 3


# What may go wrong.


def test_without_pyav_one_message_says_what_to_install(tmp_path, monkeypatch):
    path = toy_videos.write(tmp_path / "a.mp4", [toy_videos.frame(0)])
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "av":
            raise ImportError("no av")
        return real(name, *args, **kwargs)

    monkeypatch.delitem(sys.modules, "av")
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(prediction.PredictionError, match=r"a.mp4: videos need PyAV.*\[video\]"):
        toy_videos.predict(tmp_path, [save(tmp_path / "b.png"), path])
    assert not (tmp_path / "out").exists()  # before anything is done


def _cut_off(path):
    """Half of the packets that the file holds after its header, which comes first.

    Half a packet may decode or not, as its bytes, which depend on the number of cores, have it.
    """
    with av.open(str(path)) as container:
        positions = sorted(packet.pos for packet in container.demux(video=0) if packet.size)
    path.write_bytes(path.read_bytes()[: positions[len(positions) // 2]])
    return path


@pytest.mark.parametrize("contents", [b"hello", b""])
def test_a_video_that_does_not_decode_is_named_and_leaves_nothing(tmp_path, contents):
    bad = tmp_path / "a.mp4"
    bad.write_bytes(contents)
    good = toy_videos.write(tmp_path / "b.mp4", [toy_videos.frame(0)])
    with pytest.raises(prediction.PredictionError, match=r"1 of 2 files (.|\n)*a.mp4: ") as caught:
        toy_videos.predict(tmp_path, [bad, good])
    assert "b.mp4" not in str(caught.value)
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["b_overlay.mp4"]


def test_a_video_that_stops_decoding_leaves_nothing(tmp_path, monkeypatch):
    path = toy_videos.write(tmp_path / "a.mp4", [toy_videos.frame(i) for i in range(80)])
    real = videos.upright

    def fails_later(image, matrix):
        calls.append(matrix)
        if len(calls) > LATE:
            raise av.error.InvalidDataError(1, "bad picture")
        return real(image, matrix)

    calls = []
    monkeypatch.setattr(videos, "upright", fails_later)
    with pytest.raises(prediction.PredictionError, match=r"a.mp4: does not .* beyond frame 70 "):
        toy_videos.predict(tmp_path, [path])
    assert list((tmp_path / "out").iterdir()) == []


def test_frames_that_are_missing_are_said(tmp_path):
    path = _cut_off(toy_videos.write(tmp_path / "a.mp4", [toy_videos.frame(i) for i in range(50)]))
    found, said = len(toy_videos.read(path)[0]), []
    assert 1 < found < 50
    settings = prediction.Settings(**toy_videos.SMALL)
    prediction.predict_files(
        BrightestChannel(), TASKS, [path], tmp_path / "out", settings, report=said.append
    )
    assert f"a.mp4: its last {50 - found} of 50 frames are missing" in said[1]
    assert len(toy_videos.read(tmp_path / "out" / "a_overlay.mp4")[0]) == found


@pytest.mark.parametrize(
    ("name", "codec", "sound"),
    [("a.mkv", "libx264", False), ("a.webm", "libvpx-vp9", False), ("a.mkv", "libx264", True)],
)
def test_a_length_in_the_header_tells_of_missing_frames(tmp_path, name, codec, sound):
    """Sound that lasts longer than the pictures tells nothing about them."""
    path = tmp_path / name
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, 25, options={"g": "5"})
        stream.width, stream.height = 64, 48
        if sound:
            audio = container.add_stream("aac", rate=8000)
            silence = np.zeros((1, 5 * 8000), np.float32)
            samples = av.AudioFrame.from_ndarray(silence, format="fltp", layout="mono")
            samples.rate = 8000
            encoded = [*audio.encode(samples), *audio.encode()]
        for i in range(60):
            frame = av.VideoFrame.from_ndarray(toy_videos.frame(i), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
        if sound:
            container.mux(encoded)
    for share, missing in ((1, False), (2 / 3, True)):
        path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
        with videos.VideoReader(path) as reader:
            assert (reader.frame_count, reader.missing_count) == (60, 0)
            count = len(list(reader.frames()))
            # Some frames before the end may not decode either, as they need later ones.
            assert abs(60 - count - reader.missing_count) <= 5
            assert (reader.missing_count > 0) == missing


def test_a_name_that_is_as_long_as_can_be(tmp_path):
    path = toy_videos.write(tmp_path / f"{'路' * 83}.mp4", [toy_videos.frame(0)] * 2)
    (written,) = toy_videos.predict(tmp_path, [path])
    assert written.name.startswith("路" * 60)
    assert written.name.endswith("_overlay.mp4")
    assert len(toy_videos.read(written)[0]) == 2


def test_a_fifo_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.mp4")
    good = toy_videos.write(tmp_path / "b.mp4", [toy_videos.frame(0)])
    with pytest.raises(prediction.PredictionError, match=r"a.mp4: expected a file, found a FIFO"):
        toy_videos.predict(tmp_path, [tmp_path / "a.mp4", good])
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["b_overlay.mp4"]


def test_a_full_disk_is_an_error_of_the_system(tmp_path, monkeypatch):
    def full(self, height, width):
        raise av.FFmpegError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(videos.VideoWriter, "_open", full)
    with pytest.raises(OSError, match=r"No space left .*a.mp4") as caught:
        toy_videos.write(tmp_path / "a.mp4", [toy_videos.frame(0)])
    assert caught.value.errno == errno.ENOSPC
    assert list(tmp_path.iterdir()) == []


def test_sound_alone_is_no_video(tmp_path):
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(
            np.zeros((1, 8000), np.float32), format="fltp", layout="mono"
        )
        frame.rate = 8000
        for packet in [*stream.encode(frame), *stream.encode()]:
            container.mux(packet)
    with pytest.raises(prediction.PredictionError, match=r"a.mp4: expected a video, found no pic"):
        videos.VideoReader(path)


@pytest.mark.parametrize(
    ("error", "said"),
    [(KeyboardInterrupt, ["Interrupted. 70 files are complete: "]), (RuntimeError, [])],
)
def test_an_interrupted_run_leaves_no_video(tmp_path, monkeypatch, error, said):
    path = toy_videos.write(tmp_path / "a.mp4", [toy_videos.frame(i) for i in range(80)])
    written = []

    def fails_later(self, picture, time):
        if len(written) == LATE:
            raise error
        written.append(time)
        write(self, picture, time)

    write = videos.VideoWriter.write
    monkeypatch.setattr(videos.VideoWriter, "write", fails_later)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a_overlay.mp4").write_bytes(b"old")
    settings, reports = prediction.Settings(save_npz=True, **toy_videos.SMALL), []
    with pytest.raises(error):
        prediction.predict_files(
            BrightestChannel(), TASKS, [path], tmp_path / "out", settings, report=reports.append
        )
    assert [text[: text.index(str(tmp_path))] for text in reports] == said
    names = {file.name for file in (tmp_path / "out").rglob("*")}
    assert names == {"a_overlay.mp4", "a_frames", *(f"{i:06d}.npz" for i in range(LATE))}
    assert (tmp_path / "out" / "a_overlay.mp4").read_bytes() == b"old"
