"""Fetching published weights by a name: what is asked of the hub, what is checked, what is said."""

import dataclasses
import hashlib
import sys
import types
from pathlib import Path

import numpy as np
import published_networks as networks
import pytest
import test_safetensors_files as safetensors
from test_pretrained import joint_config, load, save

from mtl_jax.encoders import resnet
from mtl_jax.weights import published
from mtl_jax.weights.load import PretrainedError


class Hub:
    """A hub of one file, and its cache: blobs named by checksum, snapshots that link to them."""

    def __init__(self, root: Path, monkeypatch, arrays, *, blob: str | None = None):
        self.asked: list[tuple] = []
        content = safetensors.save(root / "upload", arrays).read_bytes()
        self.sha256 = hashlib.sha256(content).hexdigest()
        self.blob = root / "blobs" / (blob or self.sha256)
        self.blob.parent.mkdir()
        self.blob.write_bytes(content)
        self.path = root / "snapshots" / "model.safetensors"
        self.path.parent.mkdir()
        self.path.symlink_to(self.blob)
        module = types.ModuleType("huggingface_hub")
        module.hf_hub_download = self.download
        monkeypatch.setitem(sys.modules, "huggingface_hub", module)
        ours = dataclasses.replace(resnet.PUBLISHED, options={"width": 8})  # this hub's networks
        monkeypatch.setattr(resnet, "PUBLISHED", ours)

    def download(self, repo, file, *, revision):
        self.asked.append((repo, file, revision))
        return str(self.path)


@pytest.fixture
def arrays():
    return networks.arrays(networks.resnet(18, 8))


def test_fetches_a_name_and_checks_what_the_hub_told(tmp_path, monkeypatch, arrays):
    hub = Hub(tmp_path, monkeypatch, arrays)
    found, said = load(joint_config(), "timm/resnet18.a1_in1k")
    assert hub.asked == [("timm/resnet18.a1_in1k", "model.safetensors", None)]
    kernel = found["params/encoder/conv1/kernel"]
    np.testing.assert_array_equal(kernel, np.einsum("oihw->hwio", arrays["conv1.weight"]))
    assert "checksum" not in said
    hub.blob.write_bytes(hub.blob.read_bytes()[:-1] + b"?")
    with pytest.raises(PretrainedError, match=f"expected {hub.sha256[:16]}; delete the file"):
        load(joint_config(), "timm/resnet18.a1_in1k")


@pytest.mark.parametrize("name", ["resnet18", "timm/resnet18.tv_in1k"])
def test_checks_a_known_checksum_of_a_known_revision(tmp_path, monkeypatch, arrays, name):
    hub = Hub(tmp_path, monkeypatch, arrays)
    with pytest.raises(PretrainedError, match="expected 694f673df6520a31"):
        load(joint_config(), name)
    source = published.sources()["resnet18"]
    assert hub.asked == [("timm/resnet18.tv_in1k", "model.safetensors", source.revision)]
    good = dataclasses.replace(source, sha256=hub.sha256)
    monkeypatch.setitem(published.sources(), "resnet18", good)
    load(joint_config(), "resnet18")


def test_says_when_there_is_no_checksum(tmp_path, monkeypatch, arrays):
    Hub(tmp_path, monkeypatch, arrays, blob="model.safetensors")
    _, said = load(joint_config(), "timm/resnet18.a1_in1k")
    assert "tells no checksum" in said


def test_offline_says_which_file_to_put_where(tmp_path, monkeypatch, arrays):
    def offline(*_, **__):
        raise FileNotFoundError("no such file in the cache, and no\nnetwork")

    Hub(tmp_path, monkeypatch, arrays).download = None
    sys.modules["huggingface_hub"].hf_hub_download = offline
    with pytest.raises(PretrainedError) as error:
        load(joint_config(), "resnet18")
    message = str(error.value)
    assert "FileNotFoundError: no such file in the cache, and no network" in message
    assert (
        "Put https://download.pytorch.org/models/resnet18-f37072fd.pth or model.safeten" in message
    )
    assert "https://huggingface.co/timm/resnet18.tv_in1k on this machine" in message
    assert "set config.model.pretrained to the path of that file" in message


def test_nothing_is_fetched_for_another_width(tmp_path, monkeypatch, arrays):
    hub = Hub(tmp_path, monkeypatch, arrays)
    with pytest.raises(PretrainedError, match=r"encoder\.width=4: set .*encoder\.width=8\."):
        load(joint_config(width=4), "resnet18")
    assert not hub.asked


def test_says_that_the_hubs_package_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(PretrainedError, match=r"mtl-jax\[hub\].*resnet18-f37072fd"):
        published.fetch("resnet18", print)


def test_an_existing_path_goes_before_a_name(tmp_path, monkeypatch, arrays):
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "a.pth", arrays).rename(tmp_path / "resnet18")
    load(joint_config(), "resnet18")
    (tmp_path / "resnet18").unlink()
    (tmp_path / "resnet18").mkdir()
    with pytest.raises(ValueError, match="no checkpoint in"):
        load(joint_config(), "resnet18")
