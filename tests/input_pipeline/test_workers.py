"""Batches of other processes: those of one, and nothing is left of the others afterwards."""

import gc
import itertools
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import toy_dataset
import toy_streams
from conftest import TINY

from input_pipeline import cores, from_config, to_arrays, workers
from input_pipeline.errors import DatasetError, OptionError
from mtl_jax import options
from mtl_jax.configs import common
from mtl_jax.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]
KEYS = tuple(toy_dataset.SPECS)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """What names a data set of plain arrays."""
    builder = toy_dataset.prepare(tmp_path_factory.mktemp("records"))
    folder = tmp_path_factory.mktemp("arrays") / "toy"
    to_arrays.prepared(builder, folder)
    return f"arrays:{folder}"


def configured(dataset, **changes):
    config = common.base()
    config.seed, config.train.batch_size = 3, 2
    config.data.dataset, config.data.held_out = dataset, 0.4
    config.data.augment.update(crop=(16, 24), scale=(0.5, 2.0), flip=0.5, rotate=10.0)
    config.data.update(changes)
    return config


def opened(config, stream="train_stream", keys=KEYS, **process):
    return getattr(from_config, stream)(from_config.load(config.data), config, keys, **process)


def toy(kind="", number=2, class_name="Toy"):
    arguments = (kind,) if kind else ()
    return workers.Stream(toy_streams.Toy(), number, f"toy_streams:{class_name}", arguments)


def assert_same(left, right):
    assert left.keys() == right.keys()
    for key in left:
        assert left[key].dtype == right[key].dtype
        np.testing.assert_array_equal(left[key], right[key], err_msg=key)


def is_there(pid):
    """Also as a zombie."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize(
    ("stream", "number", "start", "process"),
    [
        ("train_stream", 2, 0, {}),
        ("train_stream", 3, 4, {"process_index": 1, "process_count": 2}),
        pytest.param("held_out_stream", 2, 1, {}, marks=pytest.mark.slow),
    ],
)
def test_batches_are_those_of_one_process(data, stream, number, start, process):
    """Over the ends of epochs: there are three batches in one, two of what is held out."""
    alone = opened(configured(data), stream, **process)
    shared = opened(configured(data, workers=number), stream, **process)
    batches = shared.batches(start)
    pairs = itertools.islice(zip(alone.batches(start), batches, strict=True), 8)
    assert [assert_same(ours, theirs) for theirs, ours in pairs] == [None] * 8
    assert len(set(batches.pids)) == number
    batches.close()
    assert shared.example_ids(5) == alone.example_ids(5)
    assert (shared.shapes, shared.specs) == (alone.shapes, alone.specs)
    assert (shared.digest(), shared.local_slice) == (alone.digest(), alone.local_slice)


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/proc/self/maps"), reason="needs Linux's /proc")
def test_a_worker_loads_what_it_needs(data, streets_dir):
    """Records, too, give the same batches; for them TensorFlow is loaded, and JAX for nothing."""
    records = configured(TINY, data_dir=streets_dir, edges={"edge": "semseg"})
    keys, loaded = ("image", "depth", "edge"), {}
    expected = list(itertools.islice(opened(records, keys=keys).batches(8), 5))
    for config, own in ((records, keys), (configured(data), KEYS)):
        config.data.workers = 1  # loading TensorFlow takes seconds
        batches = opened(config, keys=own).batches(8)
        found = list(itertools.islice(batches, 5))
        if config is records:
            for ours, theirs in zip(found, expected, strict=True):
                assert_same(ours, theirs)
        libraries = "".join(Path(f"/proc/{pid}/maps").read_text() for pid in batches.pids)
        batches.close()
        names = ("/jaxlib/", "/tensorflow/", "/numpy/")
        loaded[config.data.dataset] = [name for name in names if name in libraries]
    assert loaded == {TINY: ["/tensorflow/", "/numpy/"], data: ["/numpy/"]}


def test_no_worker_can_load_jax():
    """TensorFlow would, where it finds it."""
    with pytest.raises(RuntimeError, match=r"import of jax halted"):
        next(toy("loads JAX", number=1).batches())


@pytest.mark.parametrize("in_memory", [True, False])
def test_sizes_may_change_and_what_was_given_stays(monkeypatch, in_memory):
    """A slot that is written again is not the memory of an earlier batch."""
    if not in_memory:
        monkeypatch.delattr(os, "memfd_create", raising=False)
    stream = toy("prints")
    assert stream.steps_per_epoch == 5
    batches = stream.batches(2)
    for step, found in enumerate(list(itertools.islice(batches, 13)), 2):
        assert_same(found, toy_streams.batch(step))
    batches.close()


@pytest.mark.parametrize(
    ("kind", "error", "message"),
    [
        ("data", DatasetError, "^record 3 does not decode$"),
        ("option", OptionError, r"^config\.data\.x=3; expected 4\.$"),
        (
            "may write little",
            OptionError,
            r"^A batch of .* MiB .*: File too large\. .*ulimit -f.*data\.workers=0\)\.$",
        ),
        ("defect", RuntimeError, r"(?s)^Process 0 of the 2 .* failed:\nTraceback.*toy_streams\.py"),
    ],
)
def test_an_error_comes_where_its_batch_would(kind, error, message):
    batches = toy(kind).batches(1)
    for step in (1, 2):
        assert_same(next(batches), toy_streams.batch(step))
    with pytest.raises(error, match=message):
        next(batches)
    assert not any(map(is_there, batches.pids))
    assert list(batches) == []


def test_a_worker_that_dies_is_said_to_have():
    batches = toy().batches()
    next(batches)
    os.kill(batches.pids[1], signal.SIGKILL)
    expected = r"Process 1 of the 2 that make batches ended by signal 9 \(Killed\)\..* memory"
    with pytest.raises(DatasetError, match=rf"{expected}.*config\.data\.workers=0"):
        list(batches)  # there may be one or two that it had made
    assert not any(map(is_there, batches.pids))


def test_a_worker_that_cannot_start_is_said_to_have_ended(monkeypatch):
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    batches = toy(number=1).batches()
    with pytest.raises(DatasetError, match=r"Process 0 of the 1 .* ended with status 1\."):
        next(batches)


def test_more_than_the_system_starts_are_refused(monkeypatch):
    def fail():
        if len(given) == 4:
            raise OSError(24, "Too many open files")
        given.append(make())
        return given[-1]

    make, given = workers._file_in_memory, []
    monkeypatch.setattr(workers, "_file_in_memory", fail)
    message = r"workers=9: the system starts no more than 2 .* \(Too many open files\)"
    with pytest.raises(OptionError, match=message):
        toy(number=9).batches()
    assert all(file.closed for file in given)


def test_workers_leave_signals_to_this_process():
    """Which come to all of them, and may come before a worker is ready for anything."""
    batches = toy().batches()
    for _ in range(2):
        for pid in batches.pids:
            os.kill(pid, signal.SIGINT)
            os.kill(pid, signal.SIGTERM)
            os.kill(pid, signal.SIGHUP)
        found = [next(batches) for _ in range(6)]
    assert_same(found[-1], toy_streams.batch(11))
    batches.close()
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == set()


@pytest.mark.parametrize("kind", ["", "sleeps"])
def test_workers_end_with_their_iterator(kind):
    """Whatever they are doing."""
    stream = toy(kind)
    batches = stream.batches()
    next(batches)
    pids = batches.pids
    assert all(map(is_there, pids))
    batches.close()
    assert not any(map(is_there, pids))
    assert list(batches) == []
    batches = stream.batches()
    pids = batches.pids
    del batches
    gc.collect()
    assert not any(map(is_there, pids))


_PROGRAM = """
import os, signal, sys
sys.path.insert(0, 'tests/input_pipeline')
from input_pipeline import workers

batches = workers.Stream(None, 2, "toy_streams:Toy", ({kind!r},)).batches()
next(batches)
print(*batches.pids, flush=True)
{end}
"""


@pytest.mark.parametrize(
    ("end", "status", "said"),
    [
        ("", 0, ""),
        pytest.param("sys.exit(3)", 3, "", marks=pytest.mark.slow),
        pytest.param("raise ValueError('no')", 1, "ValueError: no", marks=pytest.mark.slow),
        ("os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL, ""),
    ],
)
def test_workers_end_with_the_program(end, status, said):
    """Which leaves its batches open."""
    program = _PROGRAM.format(kind="sleeps" if "KILL" in end else "", end=end)
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        timeout=30,  # sooner than a worker that sleeps would notice by itself
        capture_output=True,  # to the end of all that may write there, as the workers may
        text=True,
        check=False,
    )
    assert done.returncode == status
    assert done.stderr.rpartition("\n")[0].endswith(said) if said else not done.stderr
    assert len(done.stdout.split()) == 2


@pytest.mark.parametrize("number", [1, 2])
def test_workers_share_the_cores(monkeypatch, number):
    there = cores.available()
    monkeypatch.setattr(cores, "available", lambda: 3)
    batches = toy(number=number, class_name="Threads").batches()
    share = 3 // number
    assert next(batches)["threads"].tolist() == [min(share, there), share, share]
    batches.close()


def test_impossible_numbers_are_refused(data):
    with pytest.raises(OptionError, match=r"workers=2 processes .*resident=True the data lie"):
        opened(configured(data, workers=2, resident=True))
    for number in (-1, 1.5, True):
        config = common.base()
        with config.ignore_type():
            config.data.workers = number
        with pytest.raises(ConfigError, match=rf"config\.data\.workers={number}; .* from 0"):
            options.fill(config)
