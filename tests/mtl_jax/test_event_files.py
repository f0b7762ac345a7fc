"""What is written for TensorBoard is in the file at once."""

import io
import logging
import math
import struct

import numpy as np
import pytest
from PIL import Image
from tensorboardX.proto.event_pb2 import Event

from mtl_jax.runs import event_files


def events_in(directory):
    """Of the only file: records of a length, its checksum, as many bytes, theirs."""
    (file,) = directory.glob("events.out.tfevents.*")
    data, found = file.read_bytes(), []
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        found.append(Event.FromString(data[12 : 12 + length]))
        data = data[16 + length :]
    return found


def test_all_is_in_the_file_at_once(tmp_path, caplog):
    picture = np.arange(2 * 3 * 4 * 3, dtype=np.uint8).reshape(2, 3, 4, 3)
    writer = event_files.writer(tmp_path)
    writer.write_hparams({"seed": 3, "data.augment.crop": "(32, 64)"})
    with caplog.at_level(logging.WARNING):
        writer.write_scalars(7, {"train/loss": 0.5, "miou": np.float32(math.nan)})
    writer.write_images(8, {"example": picture})
    _, *about, scalars, first, second = events_in(tmp_path)
    assert not caplog.records
    assert any(b"data.augment.crop" in event.SerializeToString() for event in about)
    assert (scalars.step, first.step, second.step) == (7, 8, 8)
    loss, miou = scalars.summary.value
    assert (loss.tag, loss.simple_value, miou.tag) == ("train/loss", 0.5, "miou")
    assert math.isnan(miou.simple_value)
    for event, tag, expected in zip((first, second), ("example", "example/1"), picture):
        (value,) = event.summary.value
        assert value.tag == tag
        shown = Image.open(io.BytesIO(value.image.encoded_image_string))
        np.testing.assert_array_equal(shown, expected)


def test_what_cannot_be_written_is_an_error(tmp_path, monkeypatch):
    writer = event_files.writer(tmp_path)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(writer._file, "write_event", full)
    with pytest.raises(OSError, match="No space"):
        writer.write_scalars(1, {"train/loss": 0.5})


def test_other_processes_write_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("jax.process_index", lambda: 1)
    writer = event_files.writer(tmp_path)
    writer.write_scalars(1, {"train/loss": 0.5})
    writer.flush()
    assert not list(tmp_path.iterdir())
