"""Released folders: what is in them, that they predict bit for bit as the run, and hostile ones."""

import importlib
import json
import re
import shutil
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import run_main
import tiny
import toy_network as toy
import yaml

import mtl_jax
from mtl_jax import hub, system
from mtl_jax.configs import branched
from mtl_jax.errors import UsageError
from mtl_jax.hub import card, release, remote
from mtl_jax.runs import learned, workdir
from mtl_jax.weights import safetensors_files

toy_network = toy.in_every_run()
NAMES = ["road", "a <b>|c", "sky"]
SPECS = {
    "image": {"kind": "image"},
    "semseg": {
        "kind": "classes",
        "class_names": NAMES,
        "palette": [[9, 9, 9], [255, 0, 0], [0, 2, 3]],
    },
    "depth": {
        "kind": "depth",
        "unit": "m",
        "valid_range": [1.0, 100.0],
        "mean": 20.0,
        "stddev": 10.0,
        "invalid": 0.0,
    },
}
METRICS = {"semseg/miou": 0.5, "semseg/iou/road": 0.25, "depth/rel": 0.125, "loss": 1.0}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The work directory of a run of the toy network, one of two seeds'."""
    parent = workdir.Workdir(tmp_path_factory.mktemp("runs") / "streets_run")
    directory = parent.seed(3)
    directory.create()
    config = branched.get_config("streets_scratch")
    config.data.data_dir, config.model.pretrained = "/home/me/data", "/home/me/runs/first"
    config.seed = 3
    directory.claim(config)
    directory.claim_labels(SPECS)
    config = directory.complete_config()
    parts = system.build(config, directory.read_label_specs())
    directory.claim_learned_tasks(learned.decide(parts.tasks, SPECS, config.model))
    variables = parts.init(jax.random.key(5), (8, 8))
    variables = jax.tree.map(
        lambda x: x + 0.3 * jnp.sin(jnp.arange(x.size).reshape(x.shape)), variables
    )
    tiny.save_best(directory, variables)
    entry = {"step": 7, "metrics": METRICS}
    results = {"finished": True, "split": "validation", "best": entry, "last": entry}
    results |= {"command": "python /home/me/main.py", "machine": "mine", "steps": 7}
    workdir.write_json(directory.results, results)
    workdir.write_json(directory.evaluation("test", "best"), entry | {"split": "test"})
    over = {"step": [7, 7], "metrics": METRICS, "std": dict.fromkeys(METRICS, 0.0625)}
    workdir.write_json(parent.results, {"finished": True, "seeds": [3, 4], "best": over})
    return directory.path


@pytest.fixture(scope="module")
def written(run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("released") / "streets"
    run_main.call("release", f"--workdir={run}", f"--output={folder}", "--name=me/streets")
    return folder


@pytest.fixture
def folder(written, tmp_path):
    return shutil.copytree(written, tmp_path / "copy")


def image():
    return np.random.default_rng(0).integers(0, 256, (9, 14, 3), np.uint8)


def assert_same_predictions(model, expected):
    maps, others = model.predict(image()), expected.predict(image())
    assert maps.keys() == others.keys() == {"semseg", "depth"}
    for name, value in maps.items():
        np.testing.assert_array_equal(value, others[name])
    assert len(np.unique(maps["semseg"])) > 1


def test_a_release_predicts_as_the_run_does(run, written, tmp_path):
    assert sorted(path.name for path in written.iterdir()) == sorted([*release.READ, release.CARD])
    loaded = mtl_jax.load(written, batch_size=2)
    assert (loaded.step, loaded.settings.batch_size) == (7, 2)
    assert_same_predictions(loaded, mtl_jax.load(run, batch_size=2))
    again = loaded.save(tmp_path / "again")
    for path in written.iterdir():
        assert (again / path.name).read_bytes() == path.read_bytes()
    mtl_jax.load(run).save(tmp_path / "from_python", name="me/streets")
    for path in written.iterdir():
        assert (tmp_path / "from_python" / path.name).read_bytes() == path.read_bytes()


def test_nothing_of_this_machine_is_in_it(written):
    for path in written.iterdir():
        assert b"/home/me" not in path.read_bytes(), path
    config = json.loads((written / release.CONFIG).read_text())
    assert config["data"]["data_dir"] == ""
    assert config["model"]["pretrained"] == "first"
    assert "machine" not in json.loads((written / release.METRICS).read_text())


def test_a_data_set_of_ones_own_keeps_the_name_of_its_file_alone():
    config = {
        "data": {"dataset": "folder//home/me/rooms.yaml", "mixture": {}},
        "pretrained": "resnet18",
    }
    found = release.without_paths(config)
    assert found["data"]["dataset"] == "folder/rooms.yaml"
    assert found["pretrained"] == "resnet18"
    for once_or_again in ("runs/resnet18", "./resnet18"):  # a run is not the published weights
        assert release.without_paths({"pretrained": once_or_again})["pretrained"] == "./resnet18"
    model = {"pretrained_heads": {"depth": "/home/me/d.pth"}, "single_task": {"a": "/home/me/a"}}
    expected = {"pretrained_heads": {"depth": "d.pth"}, "single_task": {"a": "a"}}
    assert release.without_paths(model) == expected


def test_the_card(written):
    _, head, body = (written / release.CARD).read_text().split("---\n", 2)
    about = yaml.safe_load(head)
    assert about["license"] == "other"  # as nothing is known of the run that it started from
    assert about["library_name"] == "mtl_jax"
    assert about["pipeline_tag"] in ("image-segmentation", "depth-estimation")
    assert 'mtl_jax.load("me/streets")' in body
    assert "road, a &lt;b&gt;\\|c, sky" in body  # a name is no markup
    assert "1 to 100 m" in body
    assert "| metric | this network (seed 3, step 7) | mean ± deviation over seeds 3, 4 |" in body
    assert "| semseg/miou | 0.5 | 0.5000 ± 0.0625 |" in body
    assert "iou/road" not in body
    assert "Evaluated as `test_best`" in body
    assert "drawn by this project" in body
    assert "started from the weights `first`, whose data and licence are not known" in body
    assert "Of depth, `rel` is an error as a fraction" in body
    assert "Intended use" in body


def test_licences_are_those_of_the_data_and_of_the_start():
    def facts(dataset, licence="", **model):
        config = {"data": {"dataset": dataset}, "model": model}
        return card.Facts(config, {}, {}, [], licence=licence)

    assert card.licence(facts("streets/256x512")) == "apache-2.0"
    assert card.licence(facts("camvid")) == "other"
    assert card.licence(facts("folder/rooms.yaml")) == "other"
    assert card.licence(facts("camvid", "cc-by-nc-4.0")) == "cc-by-nc-4.0"
    assert card.licence(facts("streets", pretrained="efficientnet_lite0")) == "apache-2.0"
    assert card.licence(facts("streets", pretrained="run_on_camvid")) == "other"
    assert card.licence(facts("streets", pretrained="timm/resnet50.a1_in1k")) == "other"
    assert card.licence(facts("streets", pretrained_heads={"depth": "head.pth"})) == "other"
    assert card.licence(facts("streets", single_task={"depth": "run"})) == "other"


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
        lambda labels: labels["semseg"].update(class_names=NAMES[:2]),
        r"is float32 \[3\], but float32 \[2\] in the network",
    ),
    "a name that ends lines": (
        release.LABELS,
        lambda labels: labels["semseg"].update(class_names=["a\x1b[2J", *NAMES[1:]]),
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


def test_what_a_release_cannot_do_is_said(written, run, tmp_path):
    with pytest.raises(UsageError, match="one checkpoint, of step 7"):
        mtl_jax.load(written, checkpoint="latest")
    with pytest.raises(UsageError, match=r"edit its README\.md"):
        mtl_jax.load(written).save(tmp_path / "x", licence="mit")
    with pytest.raises(UsageError, match="not an empty folder"):
        mtl_jax.load(run).save(written)
    with pytest.raises(UsageError, match="release needs --output"):
        mtl_jax.commands.release.run(workdir.Workdir(run).complete_config(), run)


# The hub.


class Stand:
    """In place of huggingface_hub: repositories are folders below `root`."""

    def __init__(self, root):
        self.root, self.calls = root, []

    def snapshot_download(self, name, *, revision, allow_patterns):
        self.calls.append((name, revision, tuple(allow_patterns)))
        if not (self.root / name).is_dir():
            raise FileNotFoundError(f"404: {name}\nsecond line")
        return str(self.root / name)

    def create_repo(self, name, *, private, exist_ok, repo_type):
        self.calls.append((name, private))
        assert (exist_ok, repo_type) == (True, "model")
        (self.root / name).mkdir(parents=True)

    def upload_folder(self, *, repo_id, folder_path, repo_type, commit_message):
        self.calls.append(commit_message)
        shutil.copytree(folder_path, self.root / repo_id, dirs_exist_ok=True)
        return f"https://hub/{repo_id}/commit/1"


@pytest.fixture
def stand(tmp_path, monkeypatch):
    found = Stand(tmp_path / "hub")
    module = types.SimpleNamespace(HfApi=lambda: found, snapshot_download=found.snapshot_download)
    monkeypatch.setitem(sys.modules, "huggingface_hub", module)
    monkeypatch.chdir(tmp_path)
    return found


def test_to_the_hub_and_back(stand, run):
    model = mtl_jax.load(run)
    assert model.push_to_hub("me/streets", message="First") == "https://hub/me/streets/commit/1"
    assert stand.calls == [("me/streets", True), "First"]
    assert_same_predictions(mtl_jax.load("me/streets", revision="v1"), model)
    assert stand.calls[-1] == ("me/streets", "v1", release.READ)
    assert_same_predictions(mtl_jax.load("hub:me/streets"), model)


def test_what_fails_on_the_hub_is_one_line(stand, run, monkeypatch):
    with pytest.raises(
        UsageError, match=r"me/other is not in the hub's cache.*404: me/other second"
    ):
        mtl_jax.load("me/other")
    with pytest.raises(UsageError, match="expected '<owner>/<name>'"):
        mtl_jax.load(run).push_to_hub("../x")
    monkeypatch.setattr(stand, "create_repo", lambda *_, **__: 1 / 0)
    with pytest.raises(UsageError, match=r"cannot be put on the hub .ZeroDivisionError.*hf auth"):
        mtl_jax.load(run).push_to_hub("me/streets")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UsageError, match=r"pip install 'mtl-jax\[hub\]'"):
        mtl_jax.load("me/streets")


def test_a_mistyped_run_is_not_looked_for_on_the_hub(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    assert remote.repository("runs/branched_strets") is None
    assert remote.repository("someone/streets") == "someone/streets"
    assert remote.repository("hub:runs/streets") == "runs/streets"
    for path in ("streets", "a/b/c", "/a/b", "../b", "a/..", "a/b\n", "~/b"):
        assert remote.repository(path) is None, path
    with pytest.raises(UsageError, match="expected hub:<owner>/<name>"):
        remote.repository("hub:a/../b")


def test_the_hubs_own_cache_without_a_network(written, tmp_path, monkeypatch):
    """The real package, offline: its snapshots are links to blobs beside them."""
    huggingface_hub = pytest.importorskip("huggingface_hub")
    cache = tmp_path / "cache" / "models--me--streets"
    snapshot = cache / "snapshots" / ("0" * 40)
    for made in (cache / "blobs", cache / "refs", snapshot):
        made.mkdir(parents=True)
    (cache / "refs" / "main").write_text("0" * 40)
    for path in written.iterdir():
        blob = cache / "blobs" / release.sha256(path)
        shutil.copy(path, blob)
        (snapshot / path.name).symlink_to(f"../../blobs/{blob.name}")
    constants = importlib.import_module("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    download = huggingface_hub.snapshot_download
    monkeypatch.setattr(
        huggingface_hub,
        "snapshot_download",
        lambda *args, **more: download(*args, cache_dir=tmp_path / "cache", **more),
    )
    monkeypatch.chdir(tmp_path)
    assert hub.download("me/streets") == snapshot
    assert_same_predictions(mtl_jax.load("me/streets"), mtl_jax.load(written))
    with pytest.raises(UsageError, match="me/absent is not in the hub's cache"):
        mtl_jax.load("me/absent")
