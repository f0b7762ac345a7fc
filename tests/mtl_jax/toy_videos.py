"""Small films for tests, and what reads, writes and predicts on them."""

from fractions import Fraction

import numpy as np
from toy_predictions import TASKS, BrightestChannel

from mtl_jax import prediction
from mtl_jax.prediction import videos

SMALL = {"figure_width": 120}


def frame(i, height=48, width=64):
    """Large areas of plain colours, which survive the encoding; the frame's number in the blue."""
    image = np.zeros((height, width, 3), np.uint8)
    image[: height // 2, : width // 2] = (220, 40, 40)
    image[height // 2 :, width // 2 :] = (40, 220, 40)
    image[..., 2] += np.uint8(8 * i % 200)
    return image


def write(path, frames, rate=Fraction(25), times=None):
    with videos.VideoWriter(path, rate, Fraction(1, 1000 * rate.numerator)) as writer:
        for i, frame in enumerate(frames):
            writer.write(frame, i / rate if times is None else times[i])
    return path


def read(path):
    """All images, and all times."""
    with videos.VideoReader(path) as reader:
        images, times = zip(*reader.frames())
    return images, times


def predict(tmp_path, files, **options):
    settings = prediction.Settings(**SMALL | options)
    return prediction.predict_files(
        BrightestChannel(), TASKS, files, tmp_path / "out", settings, report=lambda text: None
    )
