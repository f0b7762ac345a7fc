"""What tasks hand to each other in PAD-Net and MTI-Net, against NumPy in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from golden_networks import fill, uniform
from test_top_down import enlarged

from mtl_jax import architectures
from mtl_jax.errors import ConfigError
from mtl_jax.heads import refinement

TASKS = ("semseg", "depth", "normals")
SIZE, WIDTH = (3, 4), 8


def maps() -> dict[str, np.ndarray]:
    return {task: uniform(f"map {task}", (2, *SIZE, WIDTH)) for task in TASKS}


def filled(module, *args, **kwargs):
    shapes = jax.eval_shape(lambda: module.init(jax.random.key(0), *args, **kwargs))
    return fill(shapes)


def conv(x, kernel):
    """A convolution with a centred kernel [k, k, in, out]."""
    reach = len(kernel) // 2
    padded = np.pad(x, ((0, 0), (reach, reach), (reach, reach), (0, 0)))
    height, width = x.shape[1:3]
    return sum(
        padded[:, i : i + height, j : j + width] @ kernel[i, j]
        for i in range(len(kernel))
        for j in range(len(kernel))
    )


def norm(x, params, stats):
    return (x - stats["mean"]) / np.sqrt(stats["var"] + 1e-5) * params["scale"] + params["bias"]


def residual(x, params, stats):
    """A basic block in evaluation, with a projection where it has one."""
    y = x
    for unit in ("unit1", "unit2"):
        y = norm(conv(y, params[unit]["conv"]["kernel"]), params[unit]["bn"], stats[unit]["bn"])
        y = np.maximum(y, 0) if unit == "unit1" else y
    if "downsample" in params:
        p, s = params["downsample"], stats["downsample"]
        x = norm(conv(x, p["conv"]["kernel"]), p["bn"], s["bn"])
    return np.maximum(x + y, 0)


def softmax(x, axis):
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


@pytest.mark.parametrize("groups", refinement.GROUPS)
def test_propagation(groups):
    """Channel 5 of task 1 competes with its neighbours 3 and 4, or with channels 5 of the tasks."""
    module = refinement.Propagation(groups, se_reduction=4)
    given = maps()
    inputs = {task: jnp.float32(x) for task, x in given.items()}  # in this order
    variables = filled(module, inputs, train=False)
    # Not as an argument, whose keys would be sorted.
    found = jax.jit(lambda variables: module.apply(variables, inputs, train=False))(variables)

    params, stats = variables["params"], variables["batch_stats"]
    x = np.concatenate(list(given.values()), axis=-1)
    hidden = x
    for block in ("block0", "block1"):
        hidden = residual(hidden, params["hidden"][block], stats["hidden"][block])
    scores = conv(hidden, params["weights"]["kernel"]) + params["weights"]["bias"]
    shape = (*x.shape[:3], -1, 3) if groups == "released" else (*x.shape[:3], 3, WIDTH)
    axis = -1 if groups == "released" else -2
    weights = softmax(scores.reshape(shape), axis).reshape(x.shape)
    shared = residual(weights * x, params["reduce"], stats["reduce"])
    for task in TASKS:
        p = params[f"se_{task}"]
        hidden = shared.mean((1, 2)) @ p["reduce"]["kernel"] + p["reduce"]["bias"]
        gate = np.maximum(hidden, 0) @ p["expand"]["kernel"] + p["expand"]["bias"]
        expected = given[task] + shared / (1 + np.exp(-gate))[:, None, None]
        np.testing.assert_allclose(found[task], expected, rtol=2e-5, atol=2e-5)


class Distillation(nn.Module):
    targets: tuple[str, ...]

    @nn.compact
    def __call__(self, features):
        return refinement.distil(features, self.targets, "distil", jnp.float32)


def test_each_target_receives_from_all_others():
    module, given = Distillation(("semseg", "normals")), maps()
    inputs = {task: jnp.float32(x) for task, x in given.items()}  # in this order
    params = filled(module, inputs)["params"]
    assert len(params) == 4  # two targets, two sources each
    found = module.apply({"params": params}, inputs)
    assert list(found) == ["semseg", "normals"]
    for target in found:
        expected = given[target]
        for source in set(TASKS) - {target}:
            p = params[f"distil_{source}_to_{target}"]
            gate = conv(given[source], p["gate"]["kernel"])
            value = conv(given[source], p["value"]["kernel"])
            expected = expected + value / (1 + np.exp(-gate))
        np.testing.assert_allclose(found[target], expected, rtol=2e-5, atol=2e-5)


def test_a_task_that_is_predicted_once_has_its_first_prediction_as_the_final_one():
    size = (6, 8)
    final = {"semseg": np.float32(uniform("final", (2, *SIZE, 4)))}
    first = [
        {
            task: np.float32(uniform(f"{scale} {task}", (2, *of_scale, 4)))
            for task in ("semseg", "depth")
        }
        for scale, of_scale in ((4, SIZE), (8, (2, 2)))
    ]
    found, auxiliary = refinement.at_size(final, first, size)
    assert list(found) == ["semseg", "depth"]
    expected = [final["semseg"], first[0]["depth"], first[0]["semseg"], *first[1].values()]
    names = [list(x) for x in (found, *auxiliary)]
    assert names == [["semseg", "depth"], ["semseg"], ["semseg", "depth"]]
    resized = [map_ for maps_ in (found, *auxiliary) for map_ in maps_.values()]
    for x, y in zip(resized, expected, strict=True):
        np.testing.assert_allclose(x, enlarged(y, size), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("auxiliary", [("edges",), TASKS])
@pytest.mark.parametrize("name", ["pad_net", "mti_net"])
def test_auxiliary_tasks_are_some_of_the_tasks(name, auxiliary):
    with pytest.raises(ConfigError, match=r"expected some of the tasks, not all: semseg, depth, n"):
        architectures.make(name, dict.fromkeys(TASKS, 1), auxiliary=auxiliary)
