import numpy as np
import pytest
import scipy.io
from folder_files import put

from input_pipeline import class_edges, datasets, pipeline
from input_pipeline.datasets import DatasetError, pascal_context
from input_pipeline.datasets import _pascal_context_classes as context
from input_pipeline.sources import File
from mtl_jax.metrics import boundaries

SIZE = (12, 16)
IDS = {
    "train": ("2008_000002", "2008_000003", "2008_000007"),
    "val": ("2008_000008", "2008_000015", "2008_000016"),
}
NOBODY, NO_VOC12, NO_NORMALS, GREY = IDS["train"] + IDS["val"][:1]
SKY, WALL = 360, 440  # labels without and with normals


def struct(*rows):
    """A struct array [1, n] of MATLAB."""
    fields = list(rows[0]) if rows else []
    array = np.empty((1, len(rows)), [(name, object) for name in fields])
    for i, row in enumerate(rows):
        for name, value in row.items():
            array[name][0, i] = value
    return array


def mask(rows, columns):
    result = np.zeros(SIZE, np.uint8)
    result[rows, columns] = 1
    return result


def person():
    """A head, a torso that covers part of it, and an upper arm."""
    parts = struct(
        {"part_name": "head", "mask": mask(slice(0, 4), slice(0, 4))},
        {"part_name": "torso", "mask": mask(slice(3, 8), slice(0, 4))},
        {"part_name": "luarm", "mask": mask(slice(8, 9), slice(0, 4))},
    )
    return {
        "class": "person",
        "class_ind": 15,
        "mask": mask(slice(0, 9), slice(0, 4)),
        "parts": parts,
    }


def dog():
    parts = struct({"part_name": "tail", "mask": mask(slice(0, 12), slice(8, 9))})
    return {
        "class": "dog",
        "class_ind": 12,
        "mask": mask(slice(0, 12), slice(8, 12)),
        "parts": parts,
    }


def expected_parts():
    parts = np.zeros(SIZE, np.int32)
    parts[0:4, 0:4] = 1
    parts[3:8, 0:4] = 2
    parts[8, 0:4] = 3
    return parts


def label_map(name):
    labels = np.full(SIZE, SKY, np.uint16)
    labels[6:, 5:] = SKY + 1 if name == NO_NORMALS else WALL
    return labels


def write(root):
    rng = np.random.default_rng(0)
    for split, names in IDS.items():
        put(root / f"ImageSets/Context/{split}.txt", "\n".join(names) + "\n")
        for name in names:
            photo = rng.integers(0, 256, (*SIZE, 3)).astype(np.uint8)
            put(root / f"JPEGImages/{name}.jpg", photo[..., 0] if name == GREY else photo)
            if name != NO_VOC12:
                put(root / f"semseg/VOC12/{name}.png", np.full(SIZE, 7, np.uint8))
            put(root / f"semseg/pascal-context/{name}.png", np.full(SIZE, 9, np.uint8))
            things = (dog(),) if name == NOBODY else (dog(), person())
            (root / "human_parts").mkdir(exist_ok=True)
            annotation = struct({"imname": name, "objects": struct(*things)})
            scipy.io.savemat(root / f"human_parts/{name}.mat", {"anno": annotation})
            (root / "pascal-context/trainval").mkdir(parents=True, exist_ok=True)
            file = root / f"pascal-context/trainval/{name}.mat"
            scipy.io.savemat(file, {"LabelMap": label_map(name)})
            normals = np.full((*SIZE, 3), (128, 0, 128), np.uint8)
            normals[-1] = 127
            put(root / f"normals_distill/{name}.png", normals)
            put(root / f"sal_distill/{name}.png", np.arange(192, dtype=np.uint8).reshape(SIZE))
    return root


def prepare(root, partial=True):
    where = {"data_dir": str(root.parent / "records"), "manual_dir": str(root)}
    return datasets.prepare("pascal_context", partial=partial, **where)


def read(builder, split):
    keys = tuple(builder.label_specs)
    stream = pipeline.EvalStream(builder, split=split, keys=keys, batch_size=1)
    return {
        stream.example_ids(i)[0]: {key: batch[key][0] for key in keys}
        for i, batch in enumerate(stream.batches())
    }


@pytest.mark.parametrize("root", ["PASCAL_MT", "PASCALContext", "."])
def test_every_value_is_that_of_the_files(tmp_path, root):
    write(tmp_path / "release" / root)
    builder = prepare(tmp_path / "release")
    found = {**read(builder, "train"), **read(builder, "validation")}
    assert tuple(found) == IDS["train"] + IDS["val"]
    for name, example in found.items():
        # Taken from VOC 2012 where it exists.
        assert (example["semseg"] == (9 if name == NO_VOC12 else 7)).all()
        np.testing.assert_array_equal(example["saliency"].ravel(), np.arange(192) >= 128)
        edges = class_edges.of_classes(label_map(name))
        np.testing.assert_array_equal(example["edge"], edges)
        assert edges.any()
        truth = boundaries.true_edges(label_map(name))
        np.testing.assert_array_equal(example["edge_truth"], truth)
        assert (truth != edges).any()
        # An image without people is unlabelled, not background.
        parts = np.full(SIZE, 255) if name == NOBODY else expected_parts()
        np.testing.assert_array_equal(example["parts"], parts)
        has_normals = np.zeros(SIZE, bool)
        has_normals[6:-1, 5:] = name != NO_NORMALS  # not in the sky, and not where mid-grey
        np.testing.assert_array_equal(example["normals"].any(-1), has_normals)
        length = np.linalg.norm(example["normals"][has_normals], axis=-1)
        np.testing.assert_allclose(length, 1, atol=1e-6)
    grey = found[GREY]["image"]
    assert (grey == grey[..., :1]).all()


def test_a_task_that_an_image_lacks_is_not_counted(tmp_path):
    from input_pipeline import summary

    builder = prepare(write(tmp_path / "release"))
    train = summary.read(builder.data_path)["train"]
    assert {key: found["examples"] for key, found in train.items() if key != "examples"} == {
        "semseg": 3, "parts": 2, "saliency": 3, "edge": 3, "edge_truth": 3, "normals": 2
    }  # fmt: skip


def test_one_object_may_be_in_no_array(tmp_path):
    file = tmp_path / "a.mat"
    scipy.io.savemat(file, {"anno": {"imname": "a", "objects": person() | {"parts": {
        "part_name": "hair", "mask": mask(slice(2, 3), slice(0, 16))
    }}}})  # fmt: skip
    found = pascal_context.read_parts(File(str(file)), SIZE)
    np.testing.assert_array_equal(np.unique(np.nonzero(found)[0]), [2])
    # A person whose parts nobody drew is no annotation.
    scipy.io.savemat(file, {"anno": {"objects": person() | {"parts": np.zeros((0, 0))}}})
    assert pascal_context.read_parts(File(str(file)), SIZE) is None


def test_what_is_wrong_is_named(tmp_path):
    root = write(tmp_path / "release")
    with pytest.raises(DatasetError, match="'train': expected 4998 examples, found 3"):
        prepare(root, partial=False)
    name = IDS["train"][1]
    things = struct({"imname": "a", "objects": struct(person() | {"parts": struct(
        {"part_name": "wing", "mask": mask(0, 0)}
    )})})  # fmt: skip
    scipy.io.savemat(root / f"human_parts/{name}.mat", {"anno": things})
    with pytest.raises(DatasetError, match=rf"{name}.mat, key 'parts': .*found 'wing'"):
        prepare(root)
    labels = label_map(name)
    labels[0, 0] = 460
    scipy.io.savemat(root / f"pascal-context/trainval/{name}.mat", {"LabelMap": labels})
    with pytest.raises(DatasetError, match=rf"{name}.mat, 'LabelMap': expected ids 1–459.*460"):
        prepare(root)
    (root / f"sal_distill/{name}.png").unlink()
    put(root / "ImageSets/Context/val.txt", name + "\n")
    with pytest.raises(DatasetError, match=rf"(?s)in both lists: {name}.*without 'saliency'"):
        prepare(root)


def test_the_table_of_normals():
    assert len(context.LABELS_WITH_NORMALS) == len(set(context.LABELS_WITH_NORMALS)) == 170
    assert SKY not in context.LABELS_WITH_NORMALS
    assert WALL in context.LABELS_WITH_NORMALS
    assert len(context.PART_OF_NAME) == 24
