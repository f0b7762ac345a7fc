"""TensorFlow comes without what it prints while it is imported, and without Keras."""

import importlib
import logging
import os
import subprocess
import sys

import pytest
from absl import logging as absl_logging

from input_pipeline import quiet_tensorflow

CHATTER = b"""\
WARNING: All log messages before absl::InitializeLog() is called are written to STDERR
I0000 00:00:1795640035.405133   14304 port.cc:153] oneDNN custom operations are on. You may see
I0000 00:00:1795640035.484296   14304 cpu_feature_guard.cc:227] This TensorFlow binary is optimized
To enable the following instructions: AVX2 AVX512F, in other operations, rebuild TensorFlow
"""
REAL = b"E0000 00:00:1795640035.484296   14304 cuda_driver.cc:1] out of memory\nOSError: no file\n"


def test_chatter_is_held_back_and_the_rest_is_not(capfd):
    with quiet_tensorflow._without_chatter():
        os.write(2, CHATTER + REAL)
    assert capfd.readouterr().err.encode() == REAL


def test_what_is_printed_before_an_error_is_shown(capfd):
    def fail():
        with quiet_tensorflow._without_chatter():
            os.write(2, CHATTER + REAL)
            raise ImportError

    with pytest.raises(ImportError):
        fail()
    assert capfd.readouterr().err.encode() == REAL
    os.write(2, b"afterwards\n")
    assert capfd.readouterr().err == "afterwards\n"


def test_warnings_of_tfds_about_itself_are_not_shown(caplog):
    logger = absl_logging.get_absl_logger()
    logger.addHandler(caplog.handler)
    try:
        with caplog.at_level(logging.WARNING, logger.name):
            absl_logging.warning("`FeatureConnector.dtype` is deprecated. Please change your code")
            absl_logging.warning("something else")
    finally:
        logger.removeHandler(caplog.handler)
    assert "something else" in caplog.text
    assert "deprecated" not in caplog.text


def test_the_import_that_is_held_back_can_be_made_afterwards(monkeypatch):
    monkeypatch.setattr(quiet_tensorflow, "_KERAS", "wsgiref.util")
    monkeypatch.delitem(sys.modules, "wsgiref.util", raising=False)
    with quiet_tensorflow._without_keras(), pytest.raises(ImportError):
        importlib.import_module("wsgiref.util")
    assert importlib.import_module("wsgiref.util").shift_path_info
    with quiet_tensorflow._without_keras():  # what is there already stays
        assert importlib.import_module("wsgiref.util").shift_path_info


@pytest.mark.slow
def test_tensorflow_and_clu_come_without_keras(tmp_path):
    program = """
import sys
from pathlib import Path
from input_pipeline.quiet_tensorflow import tf
assert "keras" not in sys.modules
from mtl_jax.runs import event_files
event_files.writer(Path(sys.argv[1])).write_hparams({"seed": 1})
assert "keras" not in sys.modules
from tensorboard.plugins.hparams import api
assert api.KerasCallback
assert tf.keras.optimizers.Adam
"""
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True, timeout=300)
