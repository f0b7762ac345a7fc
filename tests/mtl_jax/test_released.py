"""Released multi-task files: every name and layout, by tables of the released networks themselves.

`golden_decoders/released_names.json` has, for each network of `golden_decoders`, {name in the
released network: [our path, shape there]}; with that mapping its outputs are the recorded ones.
"""

import functools
import importlib
import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import test_invpt
import test_size_bound
import traced

from mtl_jax.weights import released
from mtl_jax.weights.published import PretrainedError

TABLES = json.loads(
    (pathlib.Path(__file__).parent / "golden_decoders" / "released_names.json").read_text()
)
TASKS = ("semseg", "depth")


@functools.cache
def wanted(name: str) -> dict[str, jax.ShapeDtypeStruct]:
    if name == "invpt":
        network, image = test_invpt.model(), test_invpt.image()
    else:
        network, image = test_size_bound.model(name), test_size_bound.image()
    init = functools.partial(network.init, train=False)
    shapes = traced.shapes(init, jax.random.key(0), jnp.float32(image))
    leaves = jax.tree_util.tree_leaves_with_path(shapes)
    return {jax.tree_util.keystr(p, simple=True, separator="/"): leaf for p, leaf in leaves}


def file_of(name: str) -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    return {
        f"module.{key}": random.standard_normal(shape).astype(np.float32)
        for key, (_, shape) in TABLES[name].items()
    }


def read(name: str, found, tasks=TASKS):
    said = []
    module = importlib.import_module(f"mtl_jax.architectures.{name}")
    return released.arrays(wanted(name), found, module, tasks, said.append), said


@pytest.mark.parametrize("name", TABLES)
def test_every_array_is_found(name):
    file = file_of(name)
    found, said = read(name, file)
    assert found.keys() == wanted(name).keys()
    assert "batch counters" in said[0]
    by_path = {path.split("/", 1)[1]: array for path, array in found.items()}
    for key, (path, _) in TABLES[name].items():
        if not path:
            continue
        array = file[f"module.{key}"]
        if path.endswith("kernel"):
            # Outputs come first there, but for a transposed convolution.
            out, inputs = (1, 0) if path.startswith("skip_8/") else (0, 1)
            array = np.moveaxis(array, (inputs, out), (-2, -1))
        np.testing.assert_array_equal(by_path[path].ravel(), array.ravel(), err_msg=key)


def test_what_mlores_authors_do_not_read_is_left_over():
    """ViT-B's file has 8,198,410 parameters, and five heads, that nothing reads."""
    width, tasks = 640, 5
    extra = {"backbone.classify_route_1.bias": (tasks,), "backbone.classify_route_2.bias": (tasks,)}
    for place in (1, 2):
        extra[f"backbone.classify_route_{place}.weight"] = (tasks, width // 2, 1, 1)
    for task in range(tasks):
        extra[f"backbone.q_fuse.{task}.weight"] = (width, 4 * width, 1, 1)
        extra[f"backbone.q_fuse.{task}.bias"] = (width,)
    unread = sum(int(np.prod(shape)) for shape in extra.values())
    assert unread == 8_198_410
    # The authors' network without those heads; ours is counted in test_size_bound.
    assert test_size_bound.MLORE_VIT_B + unread == 267_330_816
    names = {f"module.{name}" for name in extra} | {"module.aux_heads.semseg.mt_proj.1.running_var"}
    found, said = read("mlore", file_of("mlore") | dict.fromkeys(names, np.zeros(1)))
    assert found.keys() == wanted("mlore").keys()
    assert f"{len(names)} of the file are not used, nor by its authors: " in said[-1]
    with pytest.raises(PretrainedError, match=r"15 arrays differ:\n.*: in the file only"):
        read("task_prompter", file_of("task_prompter") | dict.fromkeys(names, np.zeros(1)))


def test_what_does_not_fit_is_named():
    file = file_of("task_prompter")
    network = wanted("task_prompter")
    other = {path.replace("_depth", "_parts"): leaf for path, leaf in network.items()}
    module = importlib.import_module("mtl_jax.architectures.task_prompter")
    with pytest.raises(PretrainedError, match=r"heads\.parts\.mt_proj\.1\.runn.*found nothing"):
        released.arrays(other, file, module, ("semseg", "parts"), print)
    file["module.heads.sal.linear_pred.bias"] = np.zeros(2)
    with pytest.raises(PretrainedError, match=r"heads\.sal\.linear_pred\.bias: in the file only"):
        read("task_prompter", file)
    del file["module.heads.sal.linear_pred.bias"]
    file["module.backbone.norm.weight"] = np.zeros(31)
    with pytest.raises(PretrainedError, match=r"norm\.weight: for \(32,\), found float64 \(31,\)"):
        read("task_prompter", file)


def test_arrays_that_are_no_numbers_are_named():
    name = next(iter(TABLES))
    file = file_of(name)
    some = next(key for key, array in file.items() if array.ndim == 4)
    with pytest.raises(PretrainedError, match=r"found <U1 \("):
        read(name, file | {some: np.full(file[some].shape, "x")})
