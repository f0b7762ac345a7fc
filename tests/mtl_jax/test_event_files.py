"""TensorBoard's files: by clu beside TensorFlow, and without it in the file at once."""

import importlib
import io
import logging
import math
import struct
import sys
import types

import numpy as np
import pytest
from clu import metric_writers
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
    writer = event_files.EventFile(tmp_path)
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
    writer = event_files.EventFile(tmp_path)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(writer._file, "write_event", full)
    with pytest.raises(OSError, match="No space"):
        writer.write_scalars(1, {"train/loss": 0.5})


@pytest.mark.parametrize("process", [0, 1])
@pytest.mark.parametrize("tensorflow", [True, False])
def test_who_writes(process, tensorflow, tmp_path, monkeypatch):
    if tensorflow:
        from input_pipeline import quiet_tensorflow  # noqa: F401 (TensorFlow, loaded as runs do)
    else:
        monkeypatch.delitem(sys.modules, "tensorflow", raising=False)
    monkeypatch.setattr("jax.process_index", lambda: process)
    writer = event_files.writer(tmp_path)
    assert isinstance(writer, event_files.EventFile) != tensorflow
    if tensorflow:
        assert isinstance(writer, metric_writers.AsyncMultiWriter)
    writer.write_scalars(1, {"train/loss": 0.5})
    writer.flush()
    if process:
        assert not list(tmp_path.iterdir())
    else:
        assert events_in(tmp_path)[-1].step == 1


def test_clu_is_imported_without_keras_and_tensorboard_is_whole_again(monkeypatch):
    package = importlib.import_module("tensorboard.plugins.hparams")
    for name in ("api", "_keras"):
        monkeypatch.delitem(sys.modules, f"{package.__name__}.{name}", raising=False)
        monkeypatch.delattr(package, name, raising=False)
    with event_files._without_keras():
        table = importlib.import_module(f"{package.__name__}.api")
        assert table.KerasCallback is None
        assert table.HParam
    for name in ("api", "_keras"):
        assert f"{package.__name__}.{name}" not in sys.modules
        assert not hasattr(package, name)


def test_a_table_of_runs_that_is_there_is_left_alone(monkeypatch):
    table = types.ModuleType("tensorboard.plugins.hparams.api")
    monkeypatch.setitem(sys.modules, table.__name__, table)
    with event_files._without_keras():
        pass
    assert sys.modules[table.__name__] is table
