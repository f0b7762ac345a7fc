"""Released folders that are damaged, or made to do harm, are refused in one line."""

import json
import re
import shutil

import numpy as np
import pytest
import releases
import toy_network as toy

import mtl_jax
from mtl_jax.errors import UsageError
from mtl_jax.hub import release
from mtl_jax.weights import safetensors_files

toy_network = toy.in_every_run()
run, written = releases.run, releases.written


@pytest.fixture
def folder(written, tmp_path):
    return shutil.copytree(written, tmp_path / "copy")


def changed(folder, name, change):
    """Writes a changed file, and the digest of it, as whoever means harm would."""
    path = folder / name
    if name.endswith(".json"):
        found = json.loads(path.read_text())
        change(found)
        path.write_text(json.dumps(found))
    else:
        change(path)
    if name != release.MANIFEST:
        digest = release.sha256(path)
        changed(folder, release.MANIFEST, lambda it: it["sha256"].update({name: digest}))


def refused(folder) -> str:
    with pytest.raises(UsageError) as caught:
        mtl_jax.load(folder)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 800
    return message


def _weights(change):
    def rewrite(path):
        arrays = {name: np.array(array) for name, array in safetensors_files.read(path).items()}
        change(arrays)
        safetensors_files.write(path, arrays)

    return rewrite


def _rename(arrays):
    arrays["params/../../etc"] = arrays.pop("params/encoder/conv1/bias")


def _header_of_a_huge_tensor(path):
    header = {
        "params/encoder/conv1/bias": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 4]}
    }
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"1234")


HOSTILE = {
    "another format": (release.MANIFEST, lambda m: m.update(format=9), "this version reads 1"),
    "no step": (release.MANIFEST, lambda m: m.update(step="7"), "'step' is '7'"),
    "a task that is none": (
        release.MANIFEST,
        lambda m: m.update(learned_tasks=["../../x"]),
        "learned task '../../x' is not in config.json",
    ),
    "a task that leads out": (
        release.CONFIG,
        lambda c: c["tasks"].update({"a/x": {"type": "segmentation"}}),
        "letters, digits",
    ),
    "a wide network": (
        release.CONFIG,
        lambda c: c["model"]["encoder"].update(width=(1 << 16) + 1),
        "config.model.encoder.width is 65537, more than",
    ),
    "a network of less than nothing": (
        release.CONFIG,
        lambda c: c["model"]["encoder"].update(width=-(10**9)),
        "config.model.encoder.width is -1000000000, more than",
    ),
    "a long list": (
        release.CONFIG,
        lambda c: c["model"].update(image_mean=[0.5] * 99),
        "image_mean has 99 entries",
    ),
    "no such encoder": (
        release.CONFIG,
        lambda c: c["model"]["encoder"].update(name="os.system"),
        "no such module",
    ),
    "an unknown option": (release.CONFIG, lambda c: c["model"].update(run="rm"), "run"),
    "other classes": (
        release.LABELS,
        lambda labels: labels["semseg"].update(class_names=releases.NAMES[:2]),
        r"is float32 \[3\], but float32 \[2\] in the network",
    ),
    "a name that ends lines": (
        release.LABELS,
        lambda labels: labels["semseg"].update(class_names=["a\x1b[2J", *releases.NAMES[1:]]),
        "cannot be shown",
    ),
    "labels of another kind": (
        release.LABELS,
        lambda labels: labels["semseg"].update(kind="depth"),
        "semseg",
    ),
    "a colour that is none": (
        release.LABELS,
        lambda labels: labels["semseg"].update(palette=[[1, 2, 999]] * 3),
        "colour that is none",
    ),
    "an empty range": (
        release.LABELS,
        lambda labels: labels["depth"].update(valid_range=[9, 1]),
        "range 9 to 1",
    ),
    "metrics that are none": (release.METRICS, lambda m: m.update(metrics=[1]), "expected metrics"),
    "an array that leads out": (release.WEIGHTS, _weights(_rename), "such a array|no such array"),
    "a huge tensor": (release.WEIGHTS, _header_of_a_huge_tensor, "does not fit"),
    "no tensors": (release.WEIGHTS, lambda path: path.write_bytes(b"pickle"), "safetensors"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_folder_is_refused_in_one_line(folder, what):
    name, change, expected = HOSTILE[what]
    changed(folder, name, change)
    message = refused(folder)
    assert re.search(expected, message), message


def test_links_that_lead_out_are_not_followed(folder, tmp_path):
    secret = tmp_path / "secret.json"
    secret.write_text("{}")
    (folder / release.LABELS).unlink()
    (folder / release.LABELS).symlink_to(secret)
    assert "leads out of its folder" in refused(folder)


@pytest.mark.parametrize("name", [n for n in release.READ if n != release.MANIFEST])
def test_every_file_has_the_digest_on_record(folder, name):
    changed(folder, release.MANIFEST, lambda it: it["sha256"].update({name: "0" * 64}))
    message = refused(folder)
    assert name in message
    assert "SHA-256 differs" in message


def test_damaged_and_absent_files_are_named(folder):
    with (folder / release.WEIGHTS).open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x7f")
    assert "SHA-256 differs" in refused(folder)
    (folder / release.WEIGHTS).unlink()
    assert "model.safetensors is not there" in refused(folder)
    with (folder / release.CONFIG).open("wb") as file:
        file.truncate(9 << 20)
    assert "larger than the 8 MiB" in refused(folder)
