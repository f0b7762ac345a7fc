import collections
import itertools

import numpy as np
import pytest
import toy_dataset

from input_pipeline import _philox, mixture, pipeline, records, transforms
from input_pipeline.errors import DatasetError
from input_pipeline.transforms import Augmentation

KEYS = ("image", "semseg", "depth", "instance", "normals")
UNKNOWN = {"semseg": 255, "depth": 0, "instance": 0, "normals": 0}


@pytest.fixture(scope="module")
def builder(tmp_path_factory):
    return toy_dataset.prepare(tmp_path_factory.mktemp("same"))


@pytest.fixture(scope="module")
def other_sizes(tmp_path_factory):
    return toy_dataset.prepare(tmp_path_factory.mktemp("mixed"), "mixed")


def classes_and_geometry(builder, *, proportions=(1.0, 1.0), splits=({}, {})):
    """The toy data set twice, with different labels kept."""
    return mixture.Mixture(
        [
            mixture.Source("classes", builder, proportions[0], {"semseg": "semseg"}, splits[0]),
            mixture.Source(
                "geometry",
                builder,
                proportions[1],
                {"depth": "depth", "normals": "normals"},
                splits[1],
            ),
        ]
    )


def train(mixed, **options):
    defaults = {"keys": KEYS, "batch_size": 4, "seed": 7}
    return pipeline.TrainStream(mixed, **(defaults | options))


def take(stream, number, start=0):
    return list(itertools.islice(stream.batches(start), number))


def sources_and_indices(names):
    """'classes/train-3' ─► ('classes', 3)."""
    return [(name.partition("/")[0], int(name.rpartition("-")[2])) for name in names]


def assert_example(batch, row, source, expected):
    kept = {"classes": ("semseg",), "geometry": ("depth", "normals")}[source]
    for key in set(batch) - {"valid"}:
        value = (
            expected[key] if key in (*kept, "image") else np.full_like(expected[key], UNKNOWN[key])
        )
        np.testing.assert_array_equal(batch[key][row], value, err_msg=f"{source}, {key}")


def test_a_batch_has_all_keys_and_what_an_example_lacks_is_unknown(builder):
    stream = train(classes_and_geometry(builder))
    assert stream.missing == ("instance",)
    seen = set()
    for step, batch in enumerate(take(stream, 3)):
        assert {key: (value.dtype.name, value.shape) for key, value in batch.items()} == {
            "image": ("uint8", (4, 20, 28, 3)),
            "semseg": ("int32", (4, 20, 28)),
            "depth": ("float32", (4, 20, 28)),
            "normals": ("float32", (4, 20, 28, 3)),
            "valid": ("bool", (4,)),
        }
        for row, (source, index) in enumerate(sources_and_indices(stream.example_ids(step))):
            assert_example(batch, row, source, toy_dataset.example("train", index))
            seen.add(source)
    assert seen == {"classes", "geometry"}
    assert stream.shapes == {key: batch[key].shape[1:] for key in stream.specs}


def test_what_is_unknown_stays_so_through_augmentation(builder):
    augmentation = Augmentation(crop=(16, 24), scale=(0.5, 2), flip=0.5, rotate=10)
    stream = train(classes_and_geometry(builder), augmentation=augmentation)
    for step, batch in enumerate(take(stream, 3)):
        for row, (source, _) in enumerate(sources_and_indices(stream.example_ids(step))):
            assert (batch["semseg"][row] == 255).all() == (source == "geometry")
            assert (batch["depth"][row] == 0).all() == (source == "classes")


@pytest.mark.parametrize(
    ("proportions", "shares"), [((1, 1), (11, 11)), ((3, 1), (17, 5)), ((0.2, 0.8), (4, 18))]
)
def test_every_epoch_has_the_given_proportions(builder, proportions, shares):
    stream = train(classes_and_geometry(builder, proportions=proportions), batch_size=1)
    assert stream.num_examples == stream.steps_per_epoch == 22
    shares = dict(zip(("classes", "geometry"), shares))
    visits = collections.defaultdict(list)
    for epoch in range(4):
        drawn = [sources_and_indices(stream.example_ids(22 * epoch + k))[0] for k in range(22)]
        assert collections.Counter(source for source, _ in drawn) == shares
        for source, index in drawn:
            visits[source].append(index)
    for source, indices in visits.items():
        for start in range(0, len(indices) - 10, 11):  # all of them before any of them again
            assert sorted(indices[start : start + 11]) == list(range(11)), source
    orders = {tuple(indices[:11]) for indices in visits.values()}
    assert len(orders) == 2  # each data set has its own
    assert stream.labelled_per_epoch == {
        "image": 22,
        "semseg": shares["classes"],
        "depth": shares["geometry"],
        "normals": shares["geometry"],
    }


def test_data_sets_are_mixed_within_batches(builder):
    stream = train(classes_and_geometry(builder), batch_size=11)
    kinds = [source for source, _ in sources_and_indices(stream.example_ids(0))]
    assert len(list(itertools.groupby(kinds))) > 3


def test_the_order_is_fixed_for_all_time(builder):
    stream = train(classes_and_geometry(builder), batch_size=8)
    found = [(source[0], index) for source, index in sources_and_indices(stream.example_ids(0))]
    assert found == list(zip("cgcccgcc", (7, 2, 5, 9, 8, 0, 6, 10)))


def test_orders_and_augmentations_draw_from_different_numbers(builder, monkeypatch):
    """Of one key, (seed, number), each has a counter of its own."""
    philox, counters = np.random.Philox, []

    def recording(**options):
        bits = philox(**options)
        counters.append(tuple(bits.state["state"]["counter"].tolist()))
        return bits

    raw = _philox.raw

    def recording_raw(key, counter, count):
        counters.append(tuple(counter >> shift & 2**64 - 1 for shift in (0, 64, 128, 192)))
        return raw(key, counter, count)

    stream = train(classes_and_geometry(builder))
    monkeypatch.setattr(np.random, "Philox", recording)
    monkeypatch.setattr(_philox, "raw", recording_raw)
    stream.example_ids(0)
    of_orders = set(counters)
    assert len(of_orders) == len(counters) == 3  # which data set is next, and the order of each
    counters.clear()
    transforms.augment(toy_dataset.example("train", 0), toy_dataset.SPECS, Augmentation(), (7, 0))
    assert len(counters) == 1
    assert counters[0] not in of_orders


def test_seeking_gives_the_batches_of_an_uninterrupted_run_across_epochs(builder):
    mixed = classes_and_geometry(builder, proportions=(2, 1))
    augmentation = Augmentation(crop=(16, 24), scale=(0.5, 2), flip=0.5)
    batches = take(train(mixed, augmentation=augmentation), 8)
    for offset, batch in enumerate(take(train(mixed, augmentation=augmentation), 5, 3)):
        for key, value in batch.items():
            np.testing.assert_array_equal(value, batches[3 + offset][key], err_msg=key)


def test_processes_read_slices_of_the_global_batch(builder):
    mixed = classes_and_geometry(builder)
    whole = take(train(mixed), 3)
    parts = [take(train(mixed, process_index=index, process_count=2), 3) for index in range(2)]
    for step, batch in enumerate(whole):
        for key, value in batch.items():
            joined = np.concatenate([part[step][key] for part in parts])
            np.testing.assert_array_equal(joined, value, err_msg=key)


def test_images_of_all_sizes_train_with_a_crop(builder, other_sizes):
    mixed = mixture.Mixture(
        [mixture.Source("one", builder), mixture.Source("other", other_sizes, proportion=2.0)]
    )
    stream = train(mixed, augmentation=Augmentation(crop=(16, 24)))
    assert take(stream, 1)[0]["normals"].shape == (4, 16, 24, 3)
    assert stream.labelled_per_epoch == dict.fromkeys(KEYS, 22)
    assert stream.digest() != train(builder, augmentation=Augmentation(crop=(16, 24))).digest()


def test_a_label_can_be_renamed(builder):
    mixed = mixture.Mixture(
        [
            mixture.Source("one", builder, labels={"semseg": "semseg"}),
            mixture.Source("two", builder, labels={"ground": "semseg"}),
        ]
    )
    stream = train(mixed, keys=("image", "semseg", "ground"))
    assert mixed.label_specs["ground"] == mixed.label_specs["semseg"]
    (batch,) = take(stream, 1)
    for row, (source, index) in enumerate(sources_and_indices(stream.example_ids(0))):
        expected = toy_dataset.example("train", index)["semseg"]
        kept, other = ("semseg", "ground") if source == "one" else ("ground", "semseg")
        np.testing.assert_array_equal(batch[kept][row], expected)
        assert (batch[other][row] == 255).all()


def test_evaluation_gives_each_data_set_once_in_order(builder):
    splits = {"validation": "validation[:2]"}
    stream = pipeline.EvalStream(
        classes_and_geometry(builder, splits=(splits, {})),
        split="validation",
        keys=KEYS,
        batch_size=4,
    )
    batches = list(stream.batches())
    assert (stream.num_examples, stream.num_batches, len(batches)) == (7, 2, 2)
    ids = stream.example_ids(0) + stream.example_ids(1)
    expected = [f"classes/validation-{i}" for i in range(2)]
    expected += [f"geometry/validation-{i}" for i in range(5)]
    assert ids == [*expected, ""]
    for position, (source, index) in enumerate(sources_and_indices(expected)):
        batch, row = batches[position // 4], position % 4
        assert_example(batch, row, source, toy_dataset.example("validation", index))
    np.testing.assert_array_equal(batches[1]["valid"], [True, True, True, False])


def test_a_key_that_means_two_things_is_refused(builder, tmp_path):
    class Other(toy_dataset.Builder):
        label_specs = toy_dataset.SPECS | {
            "depth": toy_dataset.labels.depth((0.5, 120.0), mean=3.0)
        }

    other = Other(config="same", data_dir=tmp_path)
    with pytest.raises(DatasetError, match=r"'depth' .*'one' .*'two': its valid_range, mean diff"):
        mixture.Mixture([mixture.Source("one", builder), mixture.Source("two", other)])
    renamed = mixture.Source("two", other, labels={"far": "depth"})
    specs = mixture.Mixture([mixture.Source("one", builder), renamed]).label_specs
    assert specs["far"].valid_range == (0.5, 120.0)


def test_a_record_that_does_not_decode_is_named_with_its_data_set(builder, monkeypatch):
    stream = train(classes_and_geometry(builder))
    original = records.Records.read

    def damaged(self, indices):
        return [record.replace(b"\x89PNG", b"\x89BAD") for record in original(self, indices)]

    monkeypatch.setattr(records.Records, "read", damaged)
    with pytest.raises(DatasetError, match=r"batch 0, one of the examples .*classes/train-\d"):
        take(stream, 1)


def test_impossible_mixtures_are_refused(builder):
    with pytest.raises(DatasetError, match="at least one data set"):
        mixture.Mixture([])
    with pytest.raises(ValueError, match=r"'a' has proportion=0"):
        mixture.Source("a", builder, 0)
    with pytest.raises(DatasetError, match=r"'a' is to keep the labels \['part'\].*'semseg'"):
        mixture.Source("a", builder, labels={"parts": "part"})
    with pytest.raises(ValueError, match=r"'classes' has proportion=0\.001, .* 22 examples"):
        train(classes_and_geometry(builder, proportions=(0.001, 1)))
    with pytest.raises(DatasetError, match=r"asked for the keys \['image'\].*at least one"):
        train(classes_and_geometry(builder), keys=("image", "depth"))
    with pytest.raises(ValueError, match=r"config\.data\.mixture\.a has share; known are dataset"):
        mixture.load({"a": {"dataset": "streets", "share": 1}}, data_dir="", manual_dir="")


def test_a_config_names_prepared_data_sets(streets_dir):
    half = {"dataset": "streets/64x128_tiny", "labels": {"parts": "parts"}}
    config = {
        "parts": half | {"splits": {"train": "train[:50%]"}},
        "depth": half | {"labels": {"depth": "depth"}, "proportion": 3},
    }
    mixed = mixture.load(config, data_dir=streets_dir, manual_dir="")
    stream = train(mixed, keys=("image", "parts", "depth"))
    assert stream.num_examples == 12 + 24
    assert stream.labelled_per_epoch == {"image": 36, "parts": 9, "depth": 27}
    (batch,) = take(stream, 1)
    assert batch["depth"].shape == (4, 64, 128)
