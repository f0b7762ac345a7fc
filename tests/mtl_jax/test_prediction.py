"""Predicting on users' photographs: what is written, and what happens if something goes wrong."""

import contextlib
import dataclasses
import os
import threading
import time

import jax.numpy as jnp
import numpy as np
import pytest
from toy_predictions import TASKS, BrightestChannel, maps_of, photograph, read, save

from mtl_jax import _files, prediction, tasks
from mtl_jax.configs import common
from mtl_jax.prediction import predictor

RNG = np.random.default_rng(1)


def test_files_hold_each_pixels_prediction_at_the_photographs_size(tmp_path):
    images = {"odd": photograph(37, 51), "whole": photograph(64, 32), "tiny": photograph(1, 3)}
    files = [save(tmp_path / f"{name}.png", image) for name, image in images.items()]
    network = BrightestChannel()
    written = prediction.predict_files(network, TASKS, files, tmp_path / "out")
    assert network.shapes == [(1, 64, 64, 3), (1, 64, 32, 3), (1, 32, 32, 3)]
    assert sorted(written) == sorted((tmp_path / "out").iterdir())
    assert sorted(path.name for path in written) == sorted(
        f"{name}_{kind}.png" for name in images for kind in ("semseg", "depth", "overlay")
    )
    for name, image in images.items():
        np.testing.assert_array_equal(read(tmp_path / f"out/{name}_semseg.png"), image.argmax(-1))
        millimetres = np.clip(image[..., 0].astype(np.int64) * 250, 500, 65535)
        np.testing.assert_array_equal(read(tmp_path / f"out/{name}_depth.png"), millimetres)
        assert read(tmp_path / f"out/{name}_overlay.png").shape[-1] == 3


def test_large_photographs_are_predicted_small_and_written_whole(tmp_path):
    blocks = RNG.choice([0, 200], (10, 20, 3)).astype(np.uint8)
    blocks[..., 1] = 100  # no ties
    image = blocks.repeat(8, 0).repeat(8, 1)
    network = BrightestChannel()
    files = [save(tmp_path / "large.png", image)]
    settings = prediction.Settings(max_size=80)
    prediction.predict_files(network, TASKS, files, tmp_path / "out", settings)
    assert network.shapes == [(1, 64, 96, 3)]
    labels = read(tmp_path / "out/large_semseg.png")
    assert labels.shape == (80, 160)
    # Bilinear shrinking mixes only at the blocks' borders.
    np.testing.assert_array_equal(labels[4::8, 4::8], blocks.argmax(-1))


def test_one_bad_file_is_reported_after_all_others_are_written(tmp_path):
    files = [save(tmp_path / "a.png"), tmp_path / "b.jpg", save(tmp_path / "c.png")]
    files[1].write_bytes(b"no picture")
    said = []
    with pytest.raises(prediction.PredictionError, match=r"1 of 3 files .*\n.*b.jpg: does not"):
        prediction.predict_files(
            BrightestChannel(), TASKS, files, tmp_path / "out", report=said.append
        )
    assert said[0].startswith("Predicted on 2 of 3 files")
    assert {path.name[0] for path in (tmp_path / "out").iterdir()} == {"a", "c"}


def test_what_a_file_cannot_hold_is_said(tmp_path):
    bright = np.full((4, 4, 3), 255, np.uint8)  # 255 / 4 = 63.75 m
    far = TASKS | {"depth": tasks.build({"depth": _far()}, {})["depth"]}
    files = [save(tmp_path / f"{name}.png", bright) for name in "ab"]
    said = []
    prediction.predict_files(BrightestChannel(), far, files, tmp_path / "o", report=said.append)
    assert said[1].startswith("a_depth.png: 16 of 16 pixels are farther than 65.535 m")
    assert said[1].endswith("Likewise 1 more files.")


def _far():
    return {"type": "depth", "normalization": "minmax", "range": (1.0, 300.0)}


def test_an_error_of_the_network_names_thephotograph(tmp_path):
    def broken(image):
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory") as caught:
        prediction.predict_files(broken, TASKS, [save(tmp_path / "a.png")], tmp_path / "out")
    assert "a.png" in caught.value.__notes__[0]
    assert list((tmp_path / "out").iterdir()) == []


def test_an_error_in_writing_names_the_photograph(tmp_path):
    def nan(image):
        return {"semseg": image, "depth": np.full((*image.shape[:3], 1), np.nan, np.float32)}

    with pytest.raises(ValueError, match=r"1024 NaN|72 NaN") as caught:
        prediction.predict_files(nan, TASKS, [save(tmp_path / "a.png")], tmp_path / "out")
    assert "a.png" in caught.value.__notes__[0]


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    path.write_bytes(b"old")

    def full(*_):
        raise OSError("no space left")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="no space left"):
        _files.write(path, b"new", durable=False)
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]
    assert path.read_bytes() == b"old"


def test_output_folders_that_cannot_be_used(tmp_path):
    files = [save(tmp_path / "a.png")]
    with pytest.raises(prediction.PredictionError, match=r"holds the input a.png"):
        prediction.predict_files(BrightestChannel(), TASKS, files, tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(prediction.PredictionError, match=r"--output=.*file/out cannot be written"):
        prediction.predict_files(BrightestChannel(), TASKS, files, tmp_path / "file" / "out")


def test_npz_files_hold_what_evaluate_saves(tmp_path):
    image = photograph(9, 7)
    files = [save(tmp_path / "a.png", image)]
    settings = prediction.Settings(save_npz=True)
    prediction.predict_files(BrightestChannel(), TASKS, files, tmp_path / "out", settings)
    with np.load(tmp_path / "out/a.npz") as arrays:
        assert sorted(arrays) == ["depth/prediction", "semseg/prediction"]
        for name, expected in maps_of(image).items():
            np.testing.assert_array_equal(arrays[f"{name}/prediction"], expected)


@pytest.mark.parametrize(
    ("figure", "kinds"),
    [
        ("overlay", ["overlay"]),
        ("side_by_side", ["side_by_side"]),
        ("both", ["overlay", "side_by_side"]),
    ],
)
def test_figures_are_those_asked_for(tmp_path, figure, kinds):
    files = [save(tmp_path / "a.png")]
    settings = prediction.Settings(figure=figure, figure_width=120)
    written = prediction.predict_files(BrightestChannel(), TASKS, files, tmp_path / "out", settings)
    names = ["a_semseg.png", "a_depth.png", *(f"a_{kind}.png" for kind in kinds)]
    assert [path.name for path in written] == names


def test_no_file_is_written_for_two_photographs(tmp_path):
    """'x' + '_car_semseg' and 'x_car' + '_semseg' are one name."""
    files = [save(tmp_path / f"{name}.png") for name in ("x", "x_car")]
    names = ("semseg", "car_semseg")
    both = {name: dataclasses.replace(TASKS["semseg"], name=name) for name in names}

    def network(image):
        return dict.fromkeys(both, jnp.float32(image))

    written = prediction.predict_files(network, both, files, tmp_path / "out")
    assert len(written) == len(set(written)) == 2 * 3


@pytest.mark.parametrize("kind", ["overlay", "side_by_side"])
def test_a_task_must_not_be_called_like_a_figure(tmp_path, kind):
    files = [save(tmp_path / "a.png")]
    with pytest.raises(prediction.PredictionError, match=f"{kind}' would overwrite the figures"):
        prediction.predict_files(lambda image: {}, {kind: None}, files, tmp_path / "out")


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("max_size", -1, "pixels, or 0"),
        ("batch_size", 0, "1 or more"),
        ("tile", 100, "a multiple of 32"),
        ("tile", -32, "a multiple of 32"),
        ("tile_overlap", -1, "0 or more"),
        ("tile_overlap", 64, "0 or more pixels, and fewer than config.predict.tile=64"),
        ("figure", "none", "one of overlay, side_by_side, both"),
        ("figure_width", 20, "120 pixels or more"),
    ],
)
def test_settings_that_are_impossible(key, value, expected):
    options = {"tile": 64, "tile_overlap": 16} | {key: value}
    with pytest.raises(ValueError, match=rf"config.predict.{key}={value!r}; expected {expected}"):
        prediction.Settings(**options)


def test_settings_are_the_configs_defaults():
    assert prediction.Settings(**common.base().predict) == prediction.Settings()


# Doing several things at once.


def test_threads_change_nothing_about_what_is_written(tmp_path):
    """Photographs of several sizes, some of which cannot be read, in several batches."""
    files = [save(tmp_path / f"in/{i:02d}.png", photograph(8 + i % 3 * 30, 9)) for i in range(12)]
    for i in (3, 7):
        files[i].write_bytes(b"no picture")
    found = {}
    for threads in (1, 3):
        out = tmp_path / str(threads)
        settings = prediction.Settings(figure="both", figure_width=120, batch_size=2, save_npz=True)
        said = []
        with pytest.raises(prediction.PredictionError) as caught:
            prediction.predict_files(
                BrightestChannel(), TASKS, files, out, settings, report=said.append, threads=threads
            )
        contents = {file.name: file.read_bytes() for file in sorted(out.iterdir())}
        found[threads] = contents, str(caught.value), said[0].removesuffix(str(out))
    assert len(found[1][0]) == 10 * 5
    assert found[3] == found[1]


def test_in_order_keeps_the_order_and_works_on_a_few():
    drawn, lock = [], threading.Lock()

    def numbers():
        for i in range(30):
            drawn.append(i)
            yield i

    def slow_if_even(i):
        with lock if i % 2 else contextlib.nullcontext():
            return i * i

    for done, value in enumerate(predictor.in_order(slow_if_even, numbers(), 3)):
        assert value == done * done
        assert len(drawn) <= done + 1 + 3
    assert done == 29


def test_in_order_raises_when_it_is_the_turn_of_the_error():
    stream = predictor.in_order(lambda x: 1 // x, [1, 1, 0, 1], 2)
    assert [next(stream), next(stream)] == [1, 1]
    with pytest.raises(ZeroDivisionError):
        next(stream)


def test_ahead_keeps_order_and_goes_no_farther_than_asked_for():
    made = []

    def numbers():
        for i in range(20):
            made.append(i)
            yield i

    stream = predictor.ahead(numbers(), 3)
    for i, number in enumerate(stream):
        assert number == i
        assert len(made) <= i + 1 + 3
    assert made == list(range(20))


def test_ahead_passes_errors_on_after_what_came_before():
    def broken():
        yield 1
        raise ValueError("broken")

    stream = predictor.ahead(broken(), 2)
    assert next(stream) == 1
    with pytest.raises(ValueError, match="broken"):
        next(stream)


def test_ahead_stops_when_it_is_closed():
    made = []

    def endless():
        while True:
            made.append(0)
            yield 0

    stream = predictor.ahead(endless(), 2)
    next(stream)
    stream.close()
    count = len(made)
    assert count <= 3
    time.sleep(0.02)
    assert len(made) == count
