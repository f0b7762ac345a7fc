"""Edges made while reading, and partial labels."""

import json
import os

import numpy as np
import pytest
import toy_dataset
from ml_collections import ConfigDict
from toy_dataset import COUNTS

from input_pipeline import (
    arrays,
    class_edges,
    labelling,
    labels,
    mixture,
    pipeline,
    to_arrays,
    transforms,
)
from input_pipeline.errors import DatasetError, OptionError
from mtl_jax import options
from mtl_jax.configs import branched

CLASSES = labels.classes(("a", "b", "c"), ())
ALL = ConfigDict({"kind": "all", "among": (), "seed": 0, "file": ""})


def partial(kind, **options):
    return ConfigDict({"kind": kind, "among": (), "seed": 0, "file": ""} | options)


@pytest.fixture(scope="module")
def builder(tmp_path_factory):
    return toy_dataset.prepare(tmp_path_factory.mktemp("toy"))


def take(builder, keys, *, count=1, **options):
    stream = pipeline.TrainStream(builder, keys=keys, batch_size=11, seed=3, **options)
    batches = stream.batches()
    return stream, [next(batches) for _ in range(count)]


class TestEdges:
    def test_void_of_a_border_takes_the_nearest_class_and_more_of_it_is_unknown(self):
        ids = np.repeat([0, 0, 0, 255, 255, 1, 1, 1, 255, 255, 255, 255], 1)[None].repeat(5, 0)
        found = labelling.edges_of(ids, CLASSES)
        assert set(np.unique(found[:, :8])) == {0, 1}
        filled = np.array([0, 0, 0, 0, 1, 1, 1, 1])[None].repeat(5, 0)
        np.testing.assert_array_equal(found[:, :7], class_edges.of_classes(filled)[:, :7])
        assert (found[:, 8:10] == 0).all()  # no edge against what is not known
        assert (found[:, 10:] == -1).all()

    def test_nothing_known_is_no_label(self):
        assert (labelling.edges_of(np.full((4, 5), 255), CLASSES) == -1).all()
        assert (labelling.edges_of(np.zeros((4, 5), int), labels.instances()) == -1).all()

    def test_instances_have_edges_against_the_background_and_each_other(self):
        ids = np.zeros((8, 12), np.int32)
        ids[2:6, 2:5], ids[2:6, 5:9] = 7, 300
        found = labelling.edges_of(ids, labels.instances())
        np.testing.assert_array_equal(found, class_edges.of_classes(ids))
        assert found.sum() > 10

    @pytest.mark.parametrize("mode", transforms.MODES)
    def test_no_edge_runs_along_padding(self, mode):
        ids = np.full((12, 12), 3, np.int32)  # one thing that fills the frame
        example = {"it": ids, labelling.FRAME: np.ones((12, 12), np.uint8)}
        specs = {"it": labels.instances(), labelling.FRAME: labelling.FRAME_SPEC}
        augmentation = transforms.Augmentation(mode=mode, crop=(20, 20), flip=1.0, rotate=20.0)
        for seed in range(3):
            found = transforms.augment(example, specs, augmentation, (0, seed))
            edges = labelling.edges_of(found["it"], specs["it"], found[labelling.FRAME])
            np.testing.assert_array_equal(edges, np.where(found["it"] == 3, 0, -1))

    def test_a_stream_makes_them_of_what_the_network_is_shown(self, builder):
        data = labelling.Relabelled(builder, edges={"edge": "semseg"}, partial=ALL)
        augmentation = transforms.Augmentation(crop=(16, 16), scale=(0.5, 2.0), flip=0.5)
        stream, (batch,) = take(data, ["image", "edge"], augmentation=augmentation)
        assert stream.specs["edge"] == labels.edges()
        assert stream.labelled_per_epoch["edge"] == COUNTS["train"]
        assert batch["edge"].dtype == np.float32
        _, (plain,) = take(builder, ["image", "semseg"], augmentation=augmentation)
        np.testing.assert_array_equal(batch["image"], plain["image"])
        padded = 0
        for edge, ids in zip(batch["edge"], plain["semseg"]):
            rows, columns = ((ids != 255).any(axis=axis) for axis in (1, 0))
            shown = np.ix_(rows, columns)  # without what a crop is padded with
            np.testing.assert_array_equal(edge[shown], labelling.edges_of(ids[shown], CLASSES))
            padded += shown[0].size * shown[1].size < ids.size
            elsewhere = np.ones(ids.shape, bool)
            elsewhere[shown] = False
            assert (edge[elsewhere] == -1).all()
        assert 0 < padded < len(plain["semseg"])

    def test_evaluation_has_them_too(self, builder):
        data = labelling.Relabelled(builder, edges={"edge": "instance"}, partial=partial("one"))
        for size, inside in (
            (None, np.s_[:, :]),
            ((24, 34), np.s_[2:22, 3:31]),  # padded
            ((16, 20), np.s_[:, :]),  # cropped
        ):
            stream = pipeline.EvalStream(
                data,
                split="validation",
                keys=["image", "edge", "instance"],
                batch_size=5,
                image_size=size,
            )
            (batch,) = stream.batches()
            for edge, ids in zip(batch["edge"], batch["instance"]):
                expected = np.full(ids.shape, -1.0)
                expected[inside] = labelling.edges_of(ids[inside], labels.instances())
                np.testing.assert_array_equal(edge, expected)

    def test_the_command_line_may_ask_for_them(self):
        config = branched.get_config("streets_scratch")
        asked = ["--config.data.edges.edge=semseg", "--config.tasks.edge.type=edges"]
        options.resolve(config, asked)
        assert dict(config.data.edges) == {"edge": "semseg"}

    @pytest.mark.parametrize(
        ("edges", "message"),
        [
            ({"edge": "depth"}, r"edge='depth': .* the data set has semseg, instance"),
            ({"semseg": "instance"}, "has labels 'semseg' of its own"),
        ],
    )
    def test_impossible_ones_are_refused(self, builder, edges, message):
        with pytest.raises(OptionError, match=message):
            labelling.Relabelled(builder, edges=edges, partial=ALL)


class TestDraws:
    def test_one_label_is_drawn_in_equal_parts(self):
        used = labelling.one_label(np.ones((4998, 5), bool), seed=0)
        assert (used.sum(axis=1) == 1).all()
        assert sorted(used.sum(axis=0).tolist()) == [999, 999, 1000, 1000, 1000]
        assert (used == labelling.one_label(np.ones((4998, 5), bool), seed=0)).all()
        assert (used != labelling.one_label(np.ones((4998, 5), bool), seed=1)).any()
        assert used[:100].any(axis=0).all()  # in no order of the records

    def test_a_rare_label_is_given_where_it_is(self):
        has = np.ones((300, 3), bool)
        has[60:, 1] = False
        used = labelling.one_label(has, seed=0)
        assert not (used & ~has).any()
        assert used.sum(axis=0).tolist() == [120, 60, 120]

    def test_random_labels_are_never_all_and_every_number_is_as_frequent(self):
        has = np.ones((4998, 5), bool)
        has[1694:, 1] = False
        used = labelling.random_labels(has, seed=0)
        assert not (used & ~has).any()
        numbers = np.bincount(used.sum(axis=1))
        # Of five 1 to 4 are as frequent, of four 1 to 3: expected 1525, 1525, 1525, 424.
        assert np.abs(numbers[1:4] - (1694 / 4 + 3304 / 3)).max() < 100
        assert abs(numbers[4] - 1694 / 4) < 60
        assert np.abs(used[:, [0, 2, 3, 4]].sum(axis=0) - 2480).max() < 120

    def test_an_image_with_one_label_keeps_it(self):
        has = np.array([[True, False, False], [False, False, False]])
        assert (labelling.random_labels(has, 0) == has).all()
        assert (labelling.one_label(has, 0) == has).all()


KEYS = ["image", "semseg", "depth", "instance", "normals"]


def shown(batch):
    """Which labels the examples of a batch have: {key: [B] bool}."""
    unknown = {"semseg": 255, "depth": 0, "instance": 0, "normals": 0}
    return {
        key: (batch[key] != value).reshape(len(batch[key]), -1).any(axis=1)
        for key, value in unknown.items()
    }


class TestPartialLabels:
    def test_an_image_has_the_same_one_label_in_every_epoch(self, builder):
        data = labelling.Relabelled(builder, edges={}, partial=partial("one"))
        stream, batches = take(data, KEYS, count=2)
        seen = []
        for step, batch in enumerate(batches):
            found = shown(batch)
            assert (sum(found.values()) == 1).all()
            by_id = {
                n: [key for key in found if found[key][i]]
                for i, n in enumerate(stream.example_ids(step))
            }
            seen.append(by_id)
        assert seen[0] == seen[1]
        counts = [stream.labelled_per_epoch[key] for key in KEYS[1:]]
        assert sorted(counts) == [2, 3, 3, 3]
        assert stream.labelled_per_epoch["image"] == 11

    def test_a_task_alone_sees_the_labels_that_it_shares_images_with(self, builder):
        few = partial("one", among=tuple(KEYS[1:]))
        data = labelling.Relabelled(builder, edges={}, partial=few)
        alone, (batch,) = take(data, ["image", "depth"])
        together, (every,) = take(data, KEYS)
        assert alone.labelled_per_epoch["depth"] == together.labelled_per_epoch["depth"] < 4
        np.testing.assert_array_equal(batch["depth"], every["depth"])

    def test_edges_stay_where_the_classes_they_are_made_of_are_hidden(self, builder, tmp_path):
        stream = pipeline.TrainStream(builder, keys=KEYS, batch_size=11, seed=0)
        names = stream.example_ids(0)
        file = tmp_path / "labels.json"
        file.write_text(json.dumps({name: ["edge"] for name in names[:4]}))
        data = labelling.Relabelled(
            builder, edges={"edge": "semseg"}, partial=partial("file", file=str(file))
        )
        stream, (batch,) = take(data, ["image", "semseg", "edge"])
        assert (batch["semseg"] == 255).all()
        assert sum((edge != -1).any() for edge in batch["edge"]) == 4
        assert stream.labelled_per_epoch["edge"] == 4
        assert stream.labelled_per_epoch["semseg"] == 0

    def test_a_table_of_zeros_and_ones_is_in_the_order_of_records(self, builder, tmp_path):
        table = np.zeros((11, 2), int)
        table[3] = 1, 0
        np.save(tmp_path / "labels.npy", table)
        few = partial("file", file=str(tmp_path / "labels.npy"), among=("semseg", "depth"))
        data = labelling.Relabelled(builder, edges={}, partial=few)
        _, (batch,) = take(data, ["image", "semseg", "depth"])
        index = np.flatnonzero((batch["semseg"] != 255).any(axis=(1, 2)))
        plain = pipeline.TrainStream(builder, keys=KEYS, batch_size=11, seed=3)
        assert plain._order(0)[index].tolist() == [3]
        assert (batch["depth"] == 0).all()

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("{", "expected JSON"),
            ('{"nobody": ["semseg"]}', "found the ids \\['nobody'\\]"),
            ('{"toy": ["x"]}', "found the ids \\['toy'\\]"),
            ('{"toy": "x"}', "the labels of 'toy' are 'x'"),
            ('{"toy": [["x"]]}', "the labels of 'toy' are"),
            ('{"toy": {"x": 1}}', "the labels of 'toy' are"),
            ("[]", "holds no object"),
            ("[" * 200_000, "expected JSON"),
            ("\udcff", "expected JSON"),
        ],
    )
    def test_a_file_that_is_wrong_is_refused(self, builder, text, message, tmp_path):
        file = tmp_path / "labels.json"
        file.write_text(text, errors="surrogateescape")
        data = labelling.Relabelled(builder, edges={}, partial=partial("file", file=str(file)))
        with pytest.raises(DatasetError, match=message):
            take(data, KEYS)

    def test_a_table_that_is_wrong_is_refused(self, builder, tmp_path):
        file = tmp_path / "labels.npy"
        data = labelling.Relabelled(builder, edges={}, partial=partial("file", file=str(file)))
        np.save(file, np.ones((11, 4)))
        whole = file.read_bytes()
        for contents in (b"", whole[:9], whole[:200], b"PK\x03\x04" + whole):
            file.write_bytes(contents)
            with pytest.raises(DatasetError, match="expected JSON"):
                take(data, KEYS)
        for table in (np.ones((11, 4), "U1"), np.full((11, 4), 2), np.float32(1), np.ones((4, 11))):
            np.save(file, table)
            with pytest.raises(DatasetError, match="expected 0 and 1 of shape"):
                take(data, KEYS)
        file.unlink()
        os.mkfifo(file)
        with pytest.raises(DatasetError, match="it is no file"):
            take(data, KEYS)

    def test_arrays_and_mixtures_are_divided_as_records_are(self, builder, tmp_path):
        mixed = mixture.Mixture([mixture.Source("toy", builder)])
        written = to_arrays.prepared(builder, tmp_path / "arrays")
        found = {}
        for name, base in {"records": builder, "arrays": written, "mixture": mixed}.items():
            data = labelling.Relabelled(base, edges={"edge": "semseg"}, partial=partial("one"))
            records = pipeline.TrainStream(
                data, keys=["image", "edge", "depth"], batch_size=11, seed=3
            )._records
            found[name] = records.used
            assert sum(column.astype(int) for column in records.used.values()).tolist() == [1] * 11
        for key, used in found["records"].items():
            np.testing.assert_array_equal(found["arrays"][key], used)
            np.testing.assert_array_equal(found["mixture"][key], used)
        # An image without a label of a kind is not chosen for it.
        file = tmp_path / "arrays" / "train" / "depth.npy"
        stored = np.load(file)
        stored[:10] = toy_dataset.SPECS["depth"].unknown
        np.save(file, stored)
        data = labelling.Relabelled(
            arrays.Arrays(tmp_path / "arrays"), edges={}, partial=partial("one")
        )
        few = pipeline.TrainStream(data, keys=["image", "semseg", "depth"], batch_size=11, seed=3)
        assert not few._records.used["depth"][:10].any()

    def test_a_label_that_there_is_not_is_refused(self, builder):
        few = partial("one", among=("semseg", "parts"))
        data = labelling.Relabelled(builder, edges={}, partial=few)
        with pytest.raises(OptionError, match="has no parts"):
            take(data, KEYS)
