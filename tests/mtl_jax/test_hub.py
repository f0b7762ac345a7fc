"""Released folders: what is in them, that they predict bit for bit as the run, and the hub."""

import importlib
import json
import shutil
import sys
import types

import numpy as np
import pytest
import releases
import toy_network as toy
import yaml

import mtl_jax
from input_pipeline import arrays
from mtl_jax import _discovery, hub, tasks
from mtl_jax.errors import UsageError
from mtl_jax.hub import card, release, remote
from mtl_jax.runs import workdir

toy_network = toy.in_every_run()
run, written = releases.run, releases.written


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
    assert config["weighting"]["baselines"] == ["semseg", "depth"]
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


def test_no_option_keeps_a_folder():
    places = {name: f"../secret/{name}" for name in ("semseg", "depth")}
    source = {"dataset": "folder/../secret/rooms.yml", "manual_dir": "../secret/raw"}
    config = {
        "data": {
            "dataset": "arrays:../secret/streets",
            "mixture": {"rooms": source, "streets": {"dataset": "streets/256x512"}},
            "data_dir": "../secret/data",
            "manual_dir": "../secret/raw",
            "labels": {"kind": "file", "file": "../secret/labels.json"},
        },
        "model": {
            "pretrained": "../secret/first",
            "pretrained_heads": places,
            "single_task": places,
            "of_a_part_of_ones_own": {"tables": ["/home/secret/table", "~/secret"]},
        },
        "weighting": {"baselines": tuple(places.values())},
        "eval": {"scores": {"ids": "../secret/ids.txt"}, "selection": "depth/rel"},
    }
    found = release.without_paths(config)
    assert "secret/" not in json.dumps(found)
    assert found["data"]["mixture"]["rooms"] == {"dataset": "folder/rooms.yml", "manual_dir": ""}
    assert found["data"]["mixture"]["streets"] == {"dataset": "streets/256x512"}
    assert found["data"]["labels"]["file"] == "labels.json"
    assert found["model"]["single_task"] == {"semseg": "semseg", "depth": "depth"}
    assert found["eval"] == {"scores": {"ids": "ids.txt"}, "selection": "depth/rel"}


def test_arrays_are_called_after_their_data_set(tmp_path):
    def facts(dataset):
        found = release.without_paths({"name": "run", "data": {"dataset": dataset}, "model": {}})
        return card.Facts(found, {}, {}, ["depth"])

    file = tmp_path / "streets" / arrays.FILE
    dataset = f"{arrays.PREFIX}{file.parent}"
    unknown = facts(dataset)
    assert unknown.config["data"]["dataset"] == "arrays:./streets"
    assert card.licence(unknown) == "other"  # a folder may have any name
    assert "on streets." in card._title(unknown)
    file.parent.mkdir()
    file.write_text(json.dumps({"dataset": "camvid/480x360/1.0.0"}))
    assert facts(dataset).config["data"]["dataset"] == "arrays:camvid/480x360"
    assert "on camvid." in card._title(facts(dataset))
    assert card.DATA_LICENCES["camvid"][0] in card._data(facts(dataset))
    file.write_text(json.dumps({"dataset": "streets/256x512"}))
    assert card.licence(facts(dataset)) == "apache-2.0"


def test_a_folder_of_ones_own_is_called_as_its_yaml():
    config = {"name": "run", "data": {"dataset": "folder/streets.yaml"}, "model": {}}
    facts = card.Facts(config, {}, {}, ["depth"])
    assert "Trained with mtl_jax on streets." in card._title(facts)
    assert "`streets`: not known to this project" in card._data(facts)
    assert card.licence(facts) == "other"


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


def test_the_card_knows_every_type_of_task():
    types = set(_discovery.names(tasks))
    assert set(card._KINDS) == set(card._READING) == types


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
