import dataclasses

import numpy as np
import pytest
import toy_dataset

from input_pipeline import labels
from input_pipeline.errors import DatasetError

SPECS = toy_dataset.SPECS


def changed(key, value, at=(5, 6)):
    """A right array with one wrong value."""
    array = toy_dataset.example("train", 0)[key]
    array[at] = value
    return array


def test_right_examples_pass():
    example = toy_dataset.example("train", 0)
    for key, array in example.items():
        labels.check(array, SPECS[key], "0")
    labels.check(example["semseg"][..., None], SPECS["semseg"], "0")
    labels.check(example["depth"].astype(np.float16), SPECS["depth"], "half precision")


@pytest.mark.parametrize(
    ("key", "array", "message"),
    [
        (
            "semseg",
            changed("semseg", 3),
            r"0–2 or 255.*found \[3\] in 1 of 560.*row 5, col.* 6",
        ),
        ("semseg", changed("semseg", -1), r"found \[-1\]"),
        ("semseg", np.zeros((4, 4, 3), np.uint8), r"\[H, W\], found shape \(4, 4, 3\)"),
        ("semseg", np.zeros((4, 4)), "integer values, found float64"),
        ("image", np.zeros((4, 4), np.uint8), r"\[H, W, 3\], found shape \(4, 4\)"),
        ("image", np.zeros((4, 4, 3), np.uint16), "uint8 values, found uint16"),
        ("depth", changed("depth", np.nan), r"NaN or infinity in 1 of 560, first at \[5, 6\]"),
        ("depth", changed("depth", np.inf), "NaN or infinity"),
        ("depth", changed("depth", -2), r"\[0.5, 80\] m, found -2 to"),
        ("depth", changed("depth", 81), "to 81"),
        ("depth", np.zeros((4, 4), np.float32), "every value is 0.0, which means unknown"),
        ("depth", np.ones((4, 4), np.int32), "floating values, found int32"),
        ("instance", changed("instance", -1), "0 = none, found -1"),
        ("normals", changed("normals", (0, 0, 2)), "length 1 .* to 2"),
        ("normals", changed("normals", np.nan), "NaN or infinity in 3"),
        ("normals", np.zeros((4, 4, 3), np.float32), "means unknown"),
    ],
)
def test_wrong_values_are_named(key, array, message):
    with pytest.raises(DatasetError, match=f"^a.png, key '{key}'.*{message}"):
        labels.check(array, SPECS[key], f"a.png, key {key!r}")


def test_depth_without_a_range_may_be_large_but_not_negative():
    spec = dataclasses.replace(SPECS["depth"], valid_range=None)
    labels.check(changed("depth", 1e4), spec, "")
    with pytest.raises(DatasetError, match="found -2"):
        labels.check(changed("depth", -2), spec, "")


def test_specs_refuse_impossible_fields():
    with pytest.raises(ValueError, match="kind='no word'"):
        labels.LabelSpec("no word", "uint8")
    assert labels.LabelSpec("keypoints", "int32").kind == "keypoints"  # kinds are open
    with pytest.raises(ValueError, match="interpolation='cubic'"):
        labels.LabelSpec("depth", "float32", interpolation="cubic")
    with pytest.raises(ValueError, match="2 colours for 1 class"):
        labels.classes(("road",), ((0, 0, 0), (1, 1, 1)))
