"""YAML files that nobody would write by mistake, and some that somebody does."""

import os

import pytest

from input_pipeline import labels
from input_pipeline.datasets import DatasetError, _folder_spec

YAML = """
keys:
  image: {files: rgb/*.png}
  lab: %s
splits: %s
"""
CLASSES = "{kind: classes, names: [a, b]}"
SPLITS = "{train: [a], validation: [b]}"


def lists(number, anchors=True):
    """Lists in lists by aliases: 9 to the power of `number` words."""
    first = "&b0 [x, x, x, x, x, x, x, x, x]"
    return ", ".join(
        [first] + [f"&b{i} [{', '.join([f'*b{i - 1}'] * 9)}]" for i in range(1, number)]
    )


@pytest.mark.parametrize(
    ("label", "splits", "message"),
    [
        (f"{{kind: classes, names: [{lists(10)}]}}", SPLITS, "more than 100 aliases, or one"),
        ("[" * 20000 + "]" * 20000, SPLITS, "nested too deeply"),
        ("{kind: classes, names: 1000000000}", SPLITS, "keys.lab.names: expected .* at most 65535"),
        ("{kind: classes, names: 2, ignore: 70000}", SPLITS, "keys.lab.ignore: expected .*65535"),
        (CLASSES, SPLITS + "\nsize: [1000000, 1000000]", "size: expected .*100 million pixels"),
        (f"{{kind: depth, range: [0, {'9' * 400}]}}", SPLITS, "range: expected .*least, greatest"),
        (f"{{kind: depth, range: [0, {'9' * 5000}]}}", SPLITS, "is not YAML"),
        ("{kind: depth, range: [0, 2001-99-99]}", SPLITS, "is not YAML"),
        ("{kind: [depth], range: [0, 1]}", SPLITS, r"kind: expected .*found \['depth'\]"),
        ("{[a]: b}", SPLITS, "a key is no word or number"),
        (f"[{', '.join(['x'] * 9999)}]", SPLITS, r"lab: expected its options.*\.\.\."),
        ("classes", SPLITS, "keys.lab: expected its options, .*found 'classes'"),
        ("[classes]", SPLITS, r"keys.lab: expected its options, .*found \['classes'\]"),
        ("", SPLITS, "keys.lab: expected its options, .*found None"),
        ("{kind: classes, names: [road, road]}", SPLITS, "names: expected .*different class names"),
        ("{kind: instances, instance_classes: [a, a]}", SPLITS, "different class names"),
        ("{kind: classes, names: [a, b], files: lab/**}", SPLITS, r"files: expected .*not \*\*"),
        ("{kind: classes, names: [a, b], files: a/../../*}", SPLITS, "files: expected a path"),
        ("{kind: normals, unknown: [0, 0, 0]}", SPLITS, r"unknown: expected a list of \[x, y, z\]"),
        (CLASSES, "{train: [a], all: [b]}", "splits: expected .*none called 'all'"),
        (CLASSES, "{train: [], validation: [b]}", r"splits: expected .*found \{'train': \[\]\}"),
        (CLASSES, "{unused: [b]}", "splits: expected a split other than 'unused'"),
    ],
)  # fmt: skip
def test_it_is_refused_in_one_line(tmp_path, label, splits, message):
    (tmp_path / "my.yaml").write_text(YAML % (label, splits))
    with pytest.raises(DatasetError, match=rf"(?s)my.yaml.*{message}") as error:
        _folder_spec.read(tmp_path / "my.yaml")
    assert len(str(error.value)) < 1000 + len(str(tmp_path))


def test_files_that_are_no_text_are_refused(tmp_path):
    file = tmp_path / "my.yaml"
    file.write_bytes("keys: straße".encode("latin-1"))
    with pytest.raises(DatasetError, match=r"my\.yaml is not YAML"):
        _folder_spec.read(file)
    file.write_text("# " + "x" * 300_000)
    with pytest.raises(DatasetError, match="expected a description of at most"):
        _folder_spec.read(file)
    file.unlink()
    os.mkfifo(file)  # nobody would ever write into it
    with pytest.raises(DatasetError, match="there is no such file"):
        _folder_spec.read(file)


def test_an_alias_is_fine_where_it_does_not_grow(tmp_path):
    text = YAML % ("&lab {kind: classes, names: [a, b]}\n  other: *lab", SPLITS)
    (tmp_path / "my.yaml").write_text(text)
    assert len(_folder_spec.read(tmp_path / "my.yaml").keys) == 3


def test_names_of_a_spec_differ():
    with pytest.raises(ValueError, match=r"class_names: expected names that differ.*\['road'\]"):
        labels.classes(("road", "road"), ())
    with pytest.raises(ValueError, match="instance_classes: expected names that differ"):
        labels.instances(("car", "car"))
