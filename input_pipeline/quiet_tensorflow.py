"""TensorFlow and TFDS, imported without the lines that they print meanwhile.

TensorFlow writes them in C++ before any setting of its logs is read (2.21 ignores
TF_CPP_MIN_LOG_LEVEL for them). One of them, that results may differ slightly, is about operations
that the input pipeline has none of. Whatever else is printed, or raised, is shown.

Nor is Keras imported, which takes a third of the time; `tf.keras` is where somebody asks for it.
"""

import contextlib
import logging
import os
import re
import sys
import tempfile
from collections.abc import Iterator

import absl.logging

_CHATTER = re.compile(
    rb"WARNING: All log messages before absl::InitializeLog"
    rb"|[IW]\d{4} .*(oneDNN custom operations|TensorFlow binary is optimized|computation_placer"
    rb"|cuda_\w+\.cc|Unable to register cu|Could not find cuda drivers)"
    rb"|To enable the following instructions"
)

# TensorFlow's last import, if it can be; it only makes Keras' own classes known to SavedModels.
_KERAS = "keras.src.optimizers"


@contextlib.contextmanager
def _without_chatter() -> Iterator[None]:
    """Holds back what is written to standard error, and passes on what is no chatter."""
    try:
        before = os.dup(2)
    except OSError:  # closed: there is nothing to hold back
        yield
        return
    with tempfile.TemporaryFile() as held:
        sys.stderr.flush()
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(before, 2)
            os.close(before)
            held.seek(0)
            for line in held:
                if not _CHATTER.match(line):
                    os.write(2, line)


@contextlib.contextmanager
def _without_keras() -> Iterator[None]:
    """Meanwhile that import fails at once, which TensorFlow takes for Keras not being installed."""
    if _KERAS in sys.modules:
        yield
        return
    sys.modules[_KERAS] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[_KERAS]


def _is_for_us(record: logging.LogRecord) -> bool:
    """TFDS warns of what it does itself."""
    return ".dtype` is deprecated" not in str(record.msg)


os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # what comes later, when operations run
with _without_chatter(), _without_keras():
    import tensorflow as tf
    import tensorflow_datasets as tfds

absl.logging.get_absl_logger().addFilter(_is_for_us)
with contextlib.suppress(RuntimeError):  # somebody uses TensorFlow already, as they see fit
    tf.config.set_visible_devices([], "GPU")  # all of its memory is JAX's

__all__ = ["tf", "tfds"]
