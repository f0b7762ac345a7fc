"""Fixtures: a run of the toy network, and its release."""

import jax
import jax.numpy as jnp
import pytest
import run_main
import tiny

from mtl_jax import system
from mtl_jax.configs import branched
from mtl_jax.runs import files, learned, workdir

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
    config.data.manual_dir, config.data.labels.file = "/home/me/raw", "/home/me/labels.json"
    config.eval.scores.ids = "/home/me/ids.txt"
    config.weighting = {"name": "pivrg", "baselines": ("/home/me/semseg", "/home/me/depth")}
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
    files.write_json(directory.results, results)
    files.write_json(directory.evaluation("test", "best"), entry | {"split": "test"})
    over = {"step": [7, 7], "metrics": METRICS, "std": dict.fromkeys(METRICS, 0.0625)}
    files.write_json(parent.results, {"finished": True, "seeds": [3, 4], "best": over})
    return directory.path


@pytest.fixture(scope="module")
def written(run, tmp_path_factory):
    """The folder of its release."""
    folder = tmp_path_factory.mktemp("released") / "streets"
    run_main.call("release", f"--workdir={run}", f"--output={folder}", "--name=me/streets")
    return folder
