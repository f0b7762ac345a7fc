"""Streets as a data set: the same bits everywhere, labels that fit together, exact records."""

import hashlib
import pathlib
import pickle
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from array_record.python.array_record_data_source import ArrayRecordDataSource
from PIL import Image

from input_pipeline.datasets import _cityscapes_classes as cityscapes
from input_pipeline.datasets import streets
from input_pipeline.streets import classes, labels, render, scene, workers
from input_pipeline.streets.rng import Random

ROOT = pathlib.Path(__file__).resolve().parents[2]
GOLDEN_IMAGE = pathlib.Path(__file__).parent / "golden" / "streets_train_3.png"
KEYS = ("semseg", "depth", "instance", "parts", "normals")
COUNT = 12

# SHA-256 of the arrays of (split, index, height, width), seed 0, little endian. They change only
# with a new VERSION of the data set.
GOLDEN = {
    (0, 3, 64, 128): {
        "semseg": "3ea433427bc4e9ae",
        "depth": "4a6f87709a8c9923",
        "instance": "499dbe43aa8648b3",
        "parts": "9f1dcbc35c350d60",
        "normals": "b0539dba79502c3f",
    },
    (1, 0, 64, 128): {
        "semseg": "e58eae8122b0cfcb",
        "depth": "2516e0f5a817b571",
        "instance": "142649a431f1c8b2",
        "parts": "7ad52a8c06c49ee6",
        "normals": "45a1553ea112f950",
    },
    (2, 5, 64, 128): {
        "semseg": "e8d15a9ff47ced8a",
        "depth": "9b4907d3b9e0962d",
        "instance": "1ea1be03ab046ea8",
        "parts": "7ff0e73057143ef9",
        "normals": "29ff51fbea31b83d",
    },
    (0, 3, 128, 256): {
        "semseg": "82f3eaba96f91443",
        "depth": "136dbf9ffed16292",
        "instance": "e43a5580c77f45c9",
        "parts": "c35020473aed1b46",
        "normals": "063340318cfde57b",
    },
    (1, 7, 128, 256): {
        "semseg": "37904a63c3fe21d1",
        "depth": "0fe01b840af57ca2",
        "instance": "ebfc3fbf53098857",
        "parts": "af45d387e580f364",
        "normals": "741d38270c1ccafc",
    },
}


@pytest.fixture(scope="module")
def drawn():
    return [render.example(0, 0, k, 64, 128) for k in range(COUNT)]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    config = streets.StreetsConfig(height=64, width=128, train=5, validation=2, test=2)
    builder = streets.Builder(config=config, data_dir=tmp_path_factory.mktemp("streets"))
    builder.download_and_prepare(file_format="array_record")
    return builder


def _digest(array):
    data = np.ascontiguousarray(array.astype(array.dtype.newbyteorder("<"), copy=False))
    return hashlib.sha256(data.tobytes()).hexdigest()[:16]


@pytest.mark.parametrize("case", GOLDEN)
def test_labels_have_their_golden_checksums(case):
    example = render.example(0, *case)
    found = {key: _digest(example[key]) for key in KEYS}
    assert found == GOLDEN[case]


def test_image_is_the_golden_one_within_one_grey_level():
    image = render.example(0, 0, 3, 64, 128)["image"].astype(int)
    golden = np.asarray(Image.open(GOLDEN_IMAGE)).astype(int)
    assert np.abs(image - golden).max() <= 1


def test_random_numbers_are_those_of_the_raw_stream():
    bits = np.random.PCG64(np.random.SeedSequence((3, 1, 4)))
    raw = [int(value) >> 11 for value in bits.random_raw(512)]
    random = Random(3, 1, 4)
    assert random.uniform(2.0, 4.0) == 2.0 + 2.0 * (raw[-1] * 2.0**-53)
    assert random.integer(10) == int(10 * (raw[-2] * 2.0**-53))
    drawn = [Random(3, k).choice("abc", (1, 0, 3)) for k in range(200)]
    assert set(drawn) == {"a", "c"}
    assert 0.6 < drawn.count("c") / 200 < 0.9


@pytest.mark.slow
def test_a_worker_draws_the_same_bits(drawn):
    received = list(workers.examples(0, 0, 3, 64, 128, processes=2))
    assert len(received) == 3
    for index, example in enumerate(received):
        again = workers.encoded(0, 0, index, 64, 128)
        assert pickle.dumps(example["image"]) == pickle.dumps(again["image"])
        for key in ("depth", "instance", "normals"):
            np.testing.assert_array_equal(example[key], again[key])
            np.testing.assert_array_equal(example[key], drawn[index][key].astype(again[key].dtype))


def test_a_failing_worker_is_reported():
    with pytest.raises(RuntimeError, match=r"Drawing example 0 of 2 .* status 1"):
        list(workers.examples(0, 0, 2, 64, -1, processes=1))


def test_workers_import_neither_tensorflow_nor_jax():
    code = (
        "import sys, input_pipeline.streets.workers;"
        "assert not {'tensorflow', 'jax', 'scipy', 'matplotlib'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_stopping_early_ends_the_workers():
    generator = workers.examples(0, 0, 50, 32, 64, processes=2)
    next(generator)
    children = generator.gi_frame.f_locals["children"]
    generator.close()
    assert all(child.poll() is not None for child in children)


def test_a_scene_is_the_same_at_every_resolution():
    """Centres of a third of the pixels' size coincide with centres of the larger pixels."""
    small = render.example(0, 2, 4, 40, 80)
    large = render.example(0, 2, 4, 120, 240)
    both = (small["depth"] > 0) & (large["depth"][1::3, 1::3] > 0)
    assert both.mean() > 0.5
    np.testing.assert_allclose(small["depth"][both], large["depth"][1::3, 1::3][both], rtol=1e-6)
    np.testing.assert_array_equal(small["instance"], large["instance"][1::3, 1::3])


def test_splits_seeds_and_indices_differ():
    images = [
        render.example(*key, 16, 32)["image"]
        for key in ((0, 0, 0), (0, 0, 1), (0, 1, 0), (0, 2, 0), (1, 0, 0))
    ]
    for a in range(len(images)):
        for b in range(a):
            assert np.abs(images[a].astype(int) - images[b]).mean() > 5


def test_labels_lie_in_their_tables_and_ranges(drawn):
    for example in drawn:
        assert set(np.unique(example["semseg"])) <= {*range(19), classes.IGNORE}
        assert set(np.unique(example["parts"])) <= {*range(7), classes.IGNORE}
        depth = example["depth"][example["depth"] != 0]
        assert depth.min() >= labels.NEAREST
        assert depth.max() <= labels.FARTHEST
        assert not example["depth"][example["semseg"] == classes.SKY].any()
        assert np.isfinite(example["normals"]).all()


def test_every_instance_belongs_to_one_class(drawn):
    allowed = {cityscapes.NAMES.index(name) for name in cityscapes.INSTANCE_CLASSES}
    found = set()
    for example in drawn:
        semseg, instance = example["semseg"], example["instance"]
        for number in np.unique(instance[instance > 0]):
            kinds = set(np.unique(semseg[instance == number])) - {classes.IGNORE}
            assert len(kinds) <= 1
            found |= kinds
        stuff = ~np.isin(semseg, [*allowed, classes.IGNORE])
        assert not instance[stuff].any()
        things = np.isin(semseg, list(allowed))
        assert (instance[things] > 0).all()
    assert found <= allowed
    assert {classes.PERSON, classes.CAR, classes.RIDER, classes.BICYCLE} <= found


def test_parts_lie_on_people_and_on_all_of_them(drawn):
    seen = set()
    for example in drawn:
        people = np.isin(example["semseg"], (classes.PERSON, classes.RIDER))
        named = (example["parts"] > 0) & (example["parts"] != classes.IGNORE)
        unsure = example["semseg"] == classes.IGNORE
        assert not (named & ~people & ~unsure).any()
        assert (example["parts"][people] > 0).all()
        seen |= set(np.unique(example["parts"]))
    assert seen >= set(range(7))


def test_unknown_pixels_are_few(drawn):
    """Beside the bonnet, which is at the bottom and has neither depth nor normals."""
    shares = []
    for index, example in enumerate(drawn):
        unknown = example["semseg"] == classes.IGNORE
        if scene.random_scene(Random(0, 0, index)).bonnet is not None:
            assert unknown[-1, 64]
            unknown &= example["normals"].any(-1) | (example["depth"] > 0)
        shares.append(unknown.mean())
    assert max(shares) < 0.06
    assert sum(shares) > 0


@pytest.mark.slow
def test_the_classes_vary():
    """Over 40 scenes, every class but trains occurs; none of the frequent ones is everywhere."""
    occurring = np.zeros(19, int)
    for index in range(40):
        occurring[np.unique(render.example(0, 0, index, 48, 96)["semseg"]).clip(0, 18)] += 1
    missing = [cityscapes.NAMES[k] for k in range(19) if occurring[k] == 0]
    assert missing in ([], ["train"])


def test_records_read_back_exactly(tiny):
    assert tiny.info.full_name == "streets/64x128_train5_validation2_test2/1.0.0"
    assert {name: split.num_examples for name, split in tiny.info.splits.items()} == {
        "train": 5,
        "validation": 2,
        "test": 2,
    }
    specs = tiny.label_specs
    assert {"id", *specs} == set(tiny.info.features)
    for number, split in enumerate(("train", "validation", "test")):
        source = ArrayRecordDataSource(tiny.info.splits[split].file_instructions)
        for index, record in enumerate(source.__getitems__(range(len(source)))):
            record = tiny.info.features.deserialize_example(record)
            assert record["id"].numpy().decode() == f"{split}_{index:06d}"
            expected = render.example(0, number, index, 64, 128)
            for key, spec in specs.items():
                value = tf.cast(record[key], spec.dtype).numpy()
                value = value[..., 0] if value.ndim == 3 and not spec.channels else value
                wanted = expected[key]
                if key in ("depth", "normals"):
                    wanted = wanted.astype(np.float16)
                np.testing.assert_array_equal(value, wanted.astype(spec.dtype), err_msg=key)


def test_half_precision_keeps_depth_and_validity(drawn):
    for example in drawn:
        stored = example["depth"].astype(np.float16).astype(np.float32)
        np.testing.assert_allclose(stored, example["depth"], rtol=2**-11)
        assert stored.max() <= labels.FARTHEST


@pytest.mark.weekly
def test_depth_statistics_are_those_of_the_training_split():
    depth = np.concatenate(
        [render.example(0, 0, k, 32, 64)["depth"].ravel() for k in range(120)]
    ).astype(np.float64)
    depth = depth[depth > 0]
    spec = streets.Builder.label_specs.fget(None)["depth"]
    assert spec.mean == pytest.approx(depth.mean(), rel=0.12)
    assert spec.stddev == pytest.approx(depth.std(), rel=0.12)


def test_configurations_are_named_after_what_differs():
    assert streets.StreetsConfig().name == "128x256"
    assert streets.StreetsConfig(height=96, width=192, seed=3).name == "96x192_seed3"
    names = [config.name for config in streets.Builder.BUILDER_CONFIGS]
    assert names == ["128x256", "256x512", "64x128", "96x192_small", "64x128_tiny"]
    with pytest.raises(ValueError, match=r"StreetsConfig.height=0; expected at least 1"):
        streets.StreetsConfig(height=0)
    with pytest.raises(ValueError, match=r"StreetsConfig.seed=-1"):
        streets.StreetsConfig(seed=-1)


def test_cityscapes_table():
    assert [row.id for row in cityscapes.CLASSES] == list(range(34))
    assert [row.train_id for row in cityscapes.TRAIN_CLASSES] == list(range(19))
    ids = [7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33]
    assert [row.id for row in cityscapes.TRAIN_CLASSES] == ids
    of_class = dict(zip(cityscapes.NAMES, cityscapes.CATEGORY_OF_TRAIN_ID))
    expected = {"road": 0, "fence": 1, "pole": 2, "terrain": 3, "sky": 4, "rider": 5, "bus": 6}
    assert expected.items() <= of_class.items()
    assert cityscapes.CATEGORY_OF_ID[9] == 0  # parking counts as flat, though no class
    assert cityscapes.CATEGORY_OF_ID[1] == cityscapes.IGNORE
    assert len(set(cityscapes.PALETTE)) == 19
