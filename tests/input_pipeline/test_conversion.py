import collections
import functools
import io
import os
import pathlib
import pickle
import subprocess
import sys
import time

import numpy as np
import pytest
import toy_release
from PIL import Image

from input_pipeline import _progress, conversion, converted, labels
from input_pipeline.errors import DatasetError

job_of = functools.partial(conversion.Job, "toy/1.0.0", specs=toy_release.SPECS)
JOB = job_of(toy_release.Convert())


def decoded(stored):
    """The arrays of what is stored."""
    return {
        key: value if isinstance(value, np.ndarray) else np.array(Image.open(io.BytesIO(value)))
        for key, value in stored.items()
        if key != "id"
    }


def converted_ids(log):
    return sorted(line.split()[0] for line in log.read_text().splitlines())


def test_what_is_stored_is_exact_and_what_is_missing_is_unknown(tmp_path):
    for item in toy_release.write(tmp_path, 3):
        header, stored = conversion.convert_item(JOB, item)
        expected = toy_release.example(int(item.id))
        expected.setdefault("depth", np.zeros(toy_release.SIZE, np.float32))
        assert stored["id"] == item.id
        assert header.size == toy_release.SIZE
        for key, array in decoded(stored).items():
            np.testing.assert_array_equal(array, expected[key])
        # The file's own bytes, so that a JPEG is not encoded a second time.
        assert stored["image"] == item.files["image"].read()
        assert ("depth" in header.counts) == (item.id != "002")


def test_two_processes_do_what_one_does_in_the_order_of_the_items(tmp_path):
    items = toy_release.write(tmp_path, 7)
    waits = toy_release.Convert(trouble=(("000", "wait"), ("003", "print")))
    here = conversion.convert(JOB, items, tmp_path / "here")
    there = conversion.convert(job_of(waits), items, tmp_path / "there", processes=2)
    for item, one, two in zip(items, here, there):
        first, second = converted.read_example(one), converted.read_example(two)
        assert first["id"] == second["id"] == item.id
        for key in first:
            np.testing.assert_array_equal(first[key], second[key])
        assert converted.read_header(one).size == converted.read_header(two).size


def test_processes_share_the_work(tmp_path):
    items = toy_release.write(tmp_path, 8)
    log = tmp_path / "log"
    slow = toy_release.Convert(str(log), tuple((item.id, "wait") for item in items))
    conversion.convert(job_of(slow), items, tmp_path / "work", processes=2)
    by_process = collections.Counter(line.split()[1] for line in log.read_text().splitlines())
    assert len(by_process) == 2
    assert converted_ids(log) == [item.id for item in items]


@pytest.mark.parametrize("processes", [1, 2])
def test_what_is_converted_is_kept_and_what_changed_is_converted_again(tmp_path, processes):
    items = toy_release.write(tmp_path, 6)
    log = tmp_path / "log"
    job = job_of(toy_release.Convert(str(log)))
    broken = tmp_path / "004_semseg.npy"
    contents = broken.read_bytes()
    broken.write_bytes(contents[:-9])
    convert = functools.partial(
        conversion.convert, job, items, tmp_path / "work", processes=processes
    )
    with pytest.raises(DatasetError, match=r"004_semseg.npy, key 'semseg': expected a .npy file"):
        convert()
    assert converted_ids(log) == [item.id for item in items]  # one error does not end the rest
    log.unlink()
    broken.write_bytes(contents)
    first = convert()
    assert converted_ids(log) == ["004"]
    log.unlink()
    assert convert() == first
    assert not log.exists()
    np.save(tmp_path / "002_semseg.npy", np.ones(toy_release.SIZE, np.uint8))
    files = convert()
    assert converted_ids(log) == ["002"]
    assert decoded(converted.read_example(files[2]))["semseg"].all()


def test_other_settings_are_other_results(tmp_path):
    (item,) = toy_release.write(tmp_path, 1)
    jobs = [
        JOB,
        conversion.Job("toy/1.0.1", JOB.convert, JOB.specs),
        conversion.Job("toy/1.0.0", toy_release.Convert("elsewhere"), JOB.specs),
        conversion.Job("toy/1.0.0", JOB.convert, JOB.specs, (3, 4)),
    ]
    other = conversion.Item(item.id, item.files, ("number", 1))
    keys = [job.key(item) for job in jobs] + [JOB.key(other)]
    assert len(set(keys)) == 5


def a_function(item):
    """A converter that is no instance."""
    return toy_release.Convert()(item)


def test_the_name_of_a_result_is_the_same_in_the_next_run(tmp_path):
    item = conversion.Item("7", {}, ("number", 1))
    code = (
        "import test_conversion as t, toy_release\n"
        "from input_pipeline import conversion\n"
        "item = conversion.Item('7', {}, ('number', 1))\n"
        "print(t.job_of(t.a_function).key(item), t.JOB.key(item))"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    output = subprocess.check_output([sys.executable, "-c", code], env=environment, text=True)
    assert output.split() == [job_of(a_function).key(item), JOB.key(item)]
    with pytest.raises(TypeError, match="an address in memory"):
        job_of(functools.partial(a_function)).key(item)


def test_a_killed_conversion_goes_on_where_it_stopped(tmp_path):
    items = toy_release.write(tmp_path, 12)
    work = tmp_path / "work"
    slow = toy_release.Convert("", tuple((item.id, "wait") for item in items))
    pickled = tmp_path / "job"
    pickled.write_bytes(pickle.dumps((job_of(slow), items)))
    code = (
        "import pathlib, pickle\n"
        "from input_pipeline import conversion\n"
        f"job, items = pickle.loads(pathlib.Path({str(pickled)!r}).read_bytes())\n"
        f"conversion.convert(job, items, {str(work)!r}, processes=2)"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    process = subprocess.Popen([sys.executable, "-c", code], env=environment)
    while process.poll() is None and len(results(work)) < 4:
        time.sleep(0.01)
    process.kill()
    process.wait()
    kept = results(work)
    assert 4 <= len(kept) < 12
    files = conversion.convert(job_of(slow), items, work)
    assert [converted.read_example(file)["id"] for file in files] == [item.id for item in items]
    assert results(work).items() >= kept.items()


def results(work):
    """{file: when it was written}."""
    return {file: file.stat().st_mtime_ns for file in work.glob("*") if not file.suffix}


def test_half_a_result_has_no_name(tmp_path, monkeypatch):
    items = toy_release.write(tmp_path, 2)
    monkeypatch.setattr(conversion.os, "fsync", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        conversion.convert(JOB, items, tmp_path / "work")
    monkeypatch.undo()
    assert not list((tmp_path / "work").iterdir())
    for file in conversion.convert(JOB, items, tmp_path / "work"):
        converted.read_example(file)


def test_ten_errors_are_named_and_then_it_ends(tmp_path):
    items = toy_release.write(tmp_path, 14)
    for item in items[1:]:
        np.save(tmp_path / f"{item.id}_semseg.npy", np.full(toy_release.SIZE, 9, np.uint8))
    with pytest.raises(DatasetError) as error:
        conversion.convert(JOB, items, tmp_path / "work")
    lines = str(error.value).splitlines()
    assert len(lines) == 10
    for number, line in enumerate(lines, start=1):
        assert f"{number:03}_semseg.npy, key 'semseg': expected class ids 0–1 or 255" in line


def test_a_defect_is_told_with_its_traceback(tmp_path):
    items = toy_release.write(tmp_path, 2)
    job = job_of(toy_release.Convert(trouble=(("001", "bug"),)))
    with pytest.raises(ZeroDivisionError):
        conversion.convert(job, items, tmp_path / "work")
    with pytest.raises(RuntimeError, match=r"(?s)'001' failed:.*toy_release.py.*as bugs go"):
        conversion.convert(job, items, tmp_path / "work", processes=2)


def test_a_process_that_ends_is_told_with_its_status(tmp_path):
    items = toy_release.write(tmp_path, 2)
    job = job_of(toy_release.Convert(trouble=(("001", "crash"),)))
    with pytest.raises(RuntimeError, match=r"status 7 while it was at '001'.*is kept"):
        conversion.convert(job, items, tmp_path / "work", processes=2)


def test_arrays_of_another_size_are_refused(tmp_path):
    (item,) = toy_release.write(tmp_path, 1)
    np.save(tmp_path / "000_semseg.npy", np.zeros((6, 9), np.uint8))
    message = r"000_semseg.npy, key 'semseg': expected 6×8 .* size of \S+000.png, found 6×9"
    with pytest.raises(DatasetError, match=message):
        conversion.convert_item(JOB, item)
    with pytest.raises(DatasetError, match=r"000.png, key 'image': expected 3×4 .* found 6×8"):
        conversion.convert_item(job_of(JOB.convert, size=(3, 4)), item)


def test_values_that_no_record_can_hold_are_refused(tmp_path):
    (item,) = toy_release.write(tmp_path, 1)
    np.save(tmp_path / "000_instance.npy", np.full(toy_release.SIZE, 70000, np.int32))
    with pytest.raises(DatasetError, match=r"000_instance.npy.*ids up to 65535.*found 70000"):
        conversion.convert_item(JOB, item)


def test_the_release_is_not_altered(tmp_path):
    root = tmp_path / "release"
    root.mkdir()
    items = toy_release.write(root, 3)
    before = {f: (f.stat().st_mtime_ns, f.read_bytes()) for f in root.iterdir()}
    conversion.convert(JOB, items, tmp_path / "work")
    assert {f: (f.stat().st_mtime_ns, f.read_bytes()) for f in root.iterdir()} == before


def test_a_folder_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    items = toy_release.write(tmp_path, 1)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(conversion.os, "replace", full)
    with pytest.raises(DatasetError, match=r"work cannot be written \(No space left"):
        conversion.convert(JOB, items, tmp_path / "work")
    assert not list((tmp_path / "work").iterdir())


def test_a_process_that_is_ended_leaves_nothing(tmp_path):
    (item,) = toy_release.write(tmp_path, 1)
    child, target = conversion._Child(JOB), str(tmp_path / "it")
    process = child._process
    assert child.convert(item, target) is None
    half = pathlib.Path(conversion._temporary(target, process.pid))
    half.touch()
    child.stop()
    assert not half.exists()
    assert process.stdin.closed
    assert process.stdout.closed
    assert process.returncode < 0
    assert pathlib.Path(target).exists()


def test_ids_are_stored_in_as_few_bytes_as_hold_all_of_them():
    spec = toy_release.SPECS["semseg"]
    assert conversion.id_dtype(spec) == np.uint8
    many = labels.LabelSpec(kind="classes", dtype="int32", ignore=900)
    assert conversion.id_dtype(many) == np.uint16
    assert conversion.id_dtype(toy_release.SPECS["instance"]) == np.uint16


class Code:
    """What runs when somebody unpickles it."""

    def __reduce__(self):
        return pytest.fail, ("code from a file has run",)


@pytest.mark.parametrize(
    "contents",
    [pickle.dumps(Code()) * 2, b"", b"PK\x03\x04 no archive", "half", "flipped"],
    ids=["pickle", "empty", "zip", "half", "flipped"],
)
def test_a_result_that_was_damaged_or_replaced_is_made_again(tmp_path, contents):
    items = toy_release.write(tmp_path, 2)
    first, _ = conversion.convert(JOB, items, tmp_path / "work")
    whole = pathlib.Path(first).read_bytes()
    if contents == "half":
        contents = whole[: len(whole) // 2]
    elif contents == "flipped":
        contents = bytearray(whole)
        contents[len(whole) // 3] ^= 1
    pathlib.Path(first).write_bytes(contents)
    with pytest.raises(DatasetError, match="the converted example is damaged"):
        (converted.read_header(first), converted.read_example(first))
    conversion.convert(JOB, items, tmp_path / "work")
    np.testing.assert_array_equal(
        decoded(converted.read_example(first))["semseg"], toy_release.example(0)["semseg"]
    )


def test_a_log_gets_few_lines_of_progress(capsys):
    with _progress.bar(range(2000), desc="drawing") as bar:
        for _ in bar:
            pass
    assert capsys.readouterr().err.count("drawing") <= 2  # the first and the last
