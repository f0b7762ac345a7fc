"""Pictures of a report: which ones, what is said of them; that they and charts are small."""

import base64
import io
import re
import xml.etree.ElementTree as ET

import finished_runs
import numpy as np
import pytest
from PIL import Image

from mtl_jax.reporting import __main__ as command
from mtl_jax.reporting import charts, document, pictures
from mtl_jax.runs.workdir import Workdir


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return Workdir(finished_runs.run(tmp_path_factory.mktemp("runs") / "both"))


def test_the_worst_images_are_named(directory):
    blocks = pictures.of("both", directory, count=2)
    assert all(isinstance(block, document.Picture) for block in blocks)
    titles = [block.title for block in blocks]
    assert titles[0] == "Example 0 of the last evaluation"
    assert titles[1] == "Lowest semseg/miou of 4 images: 0.1000 (median 0.3500), id_1"
    assert titles[4].startswith("Second highest depth/si_log_rmse of 5 images: 40.00")
    assert len(titles) == 5


def test_pictures_that_a_killed_run_has_left_out_or_torn(tmp_path):
    directory = Workdir(finished_runs.run(tmp_path / "killed"))
    (directory.predictions / "worst_semseg_0.png").unlink()
    (directory.predictions / "example_0.png").write_bytes(finished_runs.png()[:45])
    torn = bytearray(finished_runs.png())
    torn[8:12] = b"\0\0\0\5"  # of which Pillow raises a ValueError
    (directory.predictions / "worst_depth_1.png").write_bytes(torn)
    blocks = pictures.of("killed", directory)
    texts = [block.text for block in blocks if isinstance(block, document.Text)]
    assert len(blocks) == 5
    assert texts[1] == (
        "worst_semseg_0.png cannot be shown (No such file or directory). Lowest semseg/miou of 4 "
        "images: 0.1000 (median 0.3500), id_1."
    )
    assert [text.partition(" cannot")[0] for text in texts] == [
        "example_0.png",
        "worst_semseg_0.png",
        "worst_depth_1.png",
    ]
    assert str(tmp_path) not in "".join(texts)


def test_what_is_not_shown_is_said(directory):
    remark, *blocks = pictures.of("both", directory, count=1)
    assert remark.text == (
        "Shown are at most 1 each of 2 worst images by semseg/miou, 2 worst images by "
        "depth/si_log_rmse."
    )
    assert [block.name for block in blocks] == [
        "both_example_0",
        "both_worst_semseg_0",
        "both_worst_depth_0",
    ]


def test_none_can_be_asked_for(directory, tmp_path):
    assert command.main([str(directory.path), f"--output={tmp_path}", "--pictures=0"]) == 0
    assert not list((tmp_path / document.PICTURES).iterdir())
    assert "Shown are at most 0 each of 1 examples" in (tmp_path / "report.md").read_text()


def test_examples_are_in_the_order_of_their_numbers(tmp_path):
    directory = Workdir(tmp_path)
    directory.predictions.mkdir()
    for i in (10, 2, 1):
        (directory.predictions / f"example_{i}.png").write_bytes(finished_runs.png())
    names = [block.name for block in pictures.of("run", directory, count=3)]
    assert names == ["run_example_1", "run_example_2", "run_example_10"]


def test_pictures_are_small_and_true(tmp_path):
    file = tmp_path / "wide.png"
    wide = np.zeros((100, 2400, 3), np.uint8)
    wide[:, 1200:] = (200, 30, 60)
    Image.fromarray(wide).save(file)
    with Image.open(io.BytesIO(pictures.jpeg(file))) as made:
        assert (made.format, made.size) == ("JPEG", (1600, 67))
        found = np.asarray(made, np.int32)
    assert np.abs(found[:, :790]).max() <= 2
    assert np.abs(found[:, 803:] - (200, 30, 60)).max() <= 12


def test_colours_do_not_bleed_into_each_other(tmp_path):
    """The border lies within a pair of columns, whose colours half the resolution would mix."""
    picture = np.zeros((64, 64, 3), np.uint8)
    picture[:, 33:] = (200, 30, 60)
    Image.fromarray(picture).save(tmp_path / "a.png")
    with Image.open(io.BytesIO(pictures.jpeg(tmp_path / "a.png"))) as made:
        assert np.abs(np.asarray(made, np.int32) - picture).max() <= 15


def test_charts_are_compact_and_keep_their_text():
    line = charts.Line("a > b & 0.123456", [1, 2, 3], [0.12345678, 0.2, 0.3])
    svg = charts.lines([line], x_label="rotate(-0.123456 ;: M 1 z)", log_x=True)
    texts = ["".join(element.itertext()) for element in ET.fromstring(svg).iter()]
    assert "a > b & 0.123456" in texts
    assert "rotate(-0.123456 ;: M 1 z)" in texts
    tags = "".join(re.findall(r"<[^>]*>", svg))
    assert not re.search(r"\d\.\d{3}", tags)
    assert "\n" not in svg.rstrip()
    (style,) = re.findall(r"\.(s\w+)\{[^}]*stroke-width:1.6", svg)
    line, _ = re.findall(rf'<path d="([^"]*)"[^>]*class="{style}"', svg)  # and its legend
    points = np.array([[float(v) for v in point.split()] for point in re.split("[ML]", line)[1:]])
    assert points.shape == (3, 2)
    # y grows downwards; equal differences in x would be a linear axis.
    assert np.all(np.diff(points[:, 1]) < 0)
    ratio = np.diff(points[:, 0])[1] / np.diff(points[:, 0])[0]
    assert ratio == pytest.approx(np.log(3 / 2) / np.log(2), abs=1e-3)


def test_published_marks_have_the_colour_of_their_line():
    content = [
        charts.Line("sgd", [1, 2], [0.1, 0.2]),
        charts.Line("sgd, published", [1, 2], [0.2, 0.3], hollow=True, beside="sgd"),
        charts.Line("adam", [1, 2], [0.3, 0.4]),
        charts.Line("adam, published", [1, 3], [0.2, 0.3], hollow=True, beside="adam"),
    ]
    svg = charts.lines(content, x_label="rate")
    used = {colour for colour in charts.COLOURS if colour in svg}
    assert used == set(charts.COLOURS[:2])


def test_the_picture_of_a_confusion_matrix_is_not_blurred():
    svg = charts.confusion(np.array([[3, 1], [0, 4]]), ["road", "car"])
    (image,) = re.findall(r"<image [^>]*>", svg)
    data = re.search(r'base64,\s*([^"]*)"', image)[1]
    with Image.open(io.BytesIO(base64.b64decode(data))) as picture:
        alpha = np.asarray(picture.convert("RGBA"), np.float64)[..., 3] / 255
    np.testing.assert_allclose(alpha, [[0.75, 0.25], [0, 1]], atol=1 / 255)
    assert "pixelated" in svg


def test_a_run_has_the_same_colour_in_all_curves():
    lines = [charts.Line(name, [1, 2], [0.1, 0.2]) for name in ("a", "b", "c")]
    order = ["a", "b", "c"]
    svg = charts.lines(lines[2:], x_label="epoch", order=order)
    assert charts.COLOURS[2] in svg
    assert charts.COLOURS[0] not in svg
