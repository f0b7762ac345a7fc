"""`nyuv2/hub_288x384` on parquet files of a few rows of nested lists, as on the hub."""

from unittest import mock

import numpy as np
import pytest

from input_pipeline import checks, conversion, datasets, labels, sources
from input_pipeline.datasets import DatasetError, _nyuv2_hub

pyarrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

SIZE = (4, 6)


def row(number):
    """The columns of a row, channels first."""
    rng = np.random.default_rng(number)
    normal = rng.normal(size=(3, *SIZE)).astype(np.float32)
    normal /= np.linalg.norm(normal, axis=0)
    normal[:, 0] = 0
    return {
        "image": rng.integers(0, 256, (3, *SIZE)).astype(np.float32) / np.float32(255),
        "segmentation": rng.integers(-1, 13, SIZE),
        "depth": rng.uniform(0.5, 9, (1, *SIZE)).astype(np.float32),
        "normal": normal,
        "noise": rng.uniform(size=(1, *SIZE)).astype(np.float32),
    }


def write(root, shards=(("train", 0, 2), ("train", 1, 1), ("val", 0, 1)), drop=()):
    """Files of {split}-{number}: rows follow one another; a row group for each row."""
    (root / "data").mkdir(parents=True, exist_ok=True)
    counts = {"train": 0, "val": 100}
    for split, number, rows in shards:
        columns = {name: [] for name in row(0) if name not in drop}
        for _ in range(rows):
            for name in columns:
                columns[name].append(row(counts[split])[name].tolist())
            counts[split] += 1
        table = pyarrow.table(columns)
        for index, name in enumerate(table.column_names):  # as in the release: float32
            if name != "segmentation":
                kind = table.column(index).type
                single = pyarrow.float32()
                while hasattr(kind, "value_type"):
                    kind, single = kind.value_type, pyarrow.list_(single)
                table = table.set_column(index, name, table.column(index).cast(single))
        of = {"train": 2, "val": 1}[split]
        parquet.write_table(
            table, root / f"data/{split}-{number:05d}-of-{of:05d}.parquet", row_group_size=1
        )


def find(root, partial=True):
    problems = checks.Problems(root)
    items = _nyuv2_hub.find(sources.Tree(root), problems, partial=partial)
    problems.raise_if_any()
    return items


def test_every_value_is_that_of_the_row(tmp_path):
    write(tmp_path)
    items = find(tmp_path, partial=False)
    assert [item.id for item in items["train"]] == ["train_0000", "train_0001", "train_0002"]
    assert [item.id for item in items["validation"]] == ["validation_0000"]
    for number, item in [*enumerate(items["train"]), (100, items["validation"][0])]:
        found, raw = _nyuv2_hub.Convert(SIZE)(item), row(number)
        np.testing.assert_array_equal(
            found["image"], np.rint(np.moveaxis(raw["image"], 0, -1) * 255)
        )
        ids = raw["segmentation"]
        np.testing.assert_array_equal(found["semseg"], np.where(ids < 0, 255, ids))
        np.testing.assert_array_equal(found["depth"], raw["depth"][0])
        np.testing.assert_allclose(found["normals"], np.moveaxis(raw["normal"], 0, -1), atol=1e-6)
        assert sorted(found) == ["depth", "image", "normals", "semseg"]  # no noise
        labels.check(found["normals"], labels.normals(), "normals")


def test_the_configuration_is_one_of_nyuv2(tmp_path):
    write(tmp_path)
    _, builder = datasets._builder("nyuv2/hub_288x384", str(tmp_path))
    assert builder.size == (288, 384)
    assert list(builder.label_specs) == ["image", "semseg", "depth", "normals"]
    items = builder.find(tmp_path, partial=True)
    with pytest.raises(DatasetError, match=r"expected 1 arrays of \[3, 288, 384\], found 72"):
        builder.convert(items["train"][0])
    job = conversion.Job("nyuv2", builder.convert, builder.specs)
    assert len({job.key(item) for item in items["train"]}) == 3
    with pytest.raises(DatasetError, match="expected 795 examples, found 3"):
        builder.find(tmp_path)


def test_what_is_missing_or_damaged_is_named(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match=r"no files.*data/train-\*\.parquet"):
        find(tmp_path / "empty")
    write(tmp_path / "a", shards=(("train", 1, 1), ("val", 0, 1)))
    with pytest.raises(DatasetError, match=r"without the file: data/train-00000-of-00002\.parquet"):
        find(tmp_path / "a", partial=False)
    assert len(find(tmp_path / "a")["train"]) == 1
    write(tmp_path / "b", drop=("normal",))
    with pytest.raises(DatasetError, match=r"expected the columns image.*normal, found image"):
        find(tmp_path / "b")
    (item,) = find(tmp_path / "a")["train"]
    error = pyarrow.lib.ArrowNotImplementedError("an encoding")  # neither OSError nor ValueError
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parquet.ParquetFile, "read_row_group", mock.Mock(side_effect=error))
        with pytest.raises(DatasetError, match=r"row group 0: it cannot be read \(an encoding\)"):
            _nyuv2_hub.Convert(SIZE)(item)
    file = tmp_path / "a/data/val-00000-of-00001.parquet"
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(DatasetError, match=r"val-00000.*expected a parquet file"):
        find(tmp_path / "a")
