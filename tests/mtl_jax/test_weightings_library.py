"""`mtl_jax.weightings` as a library: the examples of all methods run, without a config or data."""

import doctest
import importlib
import pathlib
import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax import nnx
from test_weightings_training import one_of_each_mechanism

from mtl_jax import _discovery, _options, weightings

METHODS = one_of_each_mechanism(others=pytest.mark.slow)
PRIVATE = ("_base", "_gram", "_reach")
MODULES = [
    *(pytest.param(f"mtl_jax.weightings.{one.values[0]}", marks=one.marks) for one in METHODS),
    *(f"mtl_jax.weightings.{name}" for name in PRIVATE),
]


class Numbers(doctest.OutputChecker):
    """Numbers may differ in what the example does not print, or float32 does not hold."""

    def check_output(self, want, got, optionflags):
        texts = [re.sub(r"\s+|-?[0-9.]+(e-?[0-9]+)?", "", text) for text in (want, got)]
        numbers = [re.findall(r"-?[0-9]+\.?[0-9]*(?:e-?[0-9]+)?", text) for text in (want, got)]
        if texts[0] != texts[1] or len(numbers[0]) != len(numbers[1]):
            return False
        return np.allclose(*[np.array(found, float) for found in numbers], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", ["mtl_jax._options", "mtl_jax.weightings", *MODULES])
def test_the_examples_run(name):
    module = importlib.import_module(name)
    runner = doctest.DocTestRunner(Numbers(), verbose=False)
    known = {"jax": jax, "jnp": jnp, "weightings": weightings}
    for example in doctest.DocTestFinder().find(module, extraglobs=known):
        runner.run(example)
    assert runner.failures == 0
    if not name.rpartition(".")[2].startswith("_"):
        assert runner.tries > 0, "no example"


def test_the_lines_that_docs_start_with_run():
    """A step of gradients with the first block, one of losses with the second."""
    root = pathlib.Path(__file__).resolve().parents[2]
    text = (root / "docs" / "weightings.md").read_text(encoding="utf-8")
    gradients_of, losses_of = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    losses = {
        "semseg_loss": lambda shared, batch: jnp.sum((shared["w"] - batch) ** 2),
        "depth_loss": lambda shared, batch: jnp.sum((3 * shared["w"] + batch) ** 2),
    }
    known = {"jax": jax, "shared": {"w": jnp.array([1.0, -1.0])}, "batch": jnp.array([0.5, 2.0])}
    known |= losses | {"labelled": jnp.ones(2, bool), "key": jax.random.key(1)}
    known["losses"] = jnp.stack([loss(known["shared"], known["batch"]) for loss in losses.values()])
    exec(gradients_of, known)
    assert jax.tree.structure(known["gradient"]) == jax.tree.structure(known["shared"])
    for gradient in known["gradients"]:
        assert jnp.sum(gradient["w"] * known["gradient"]["w"]) > 0
    known["method"] = known["weightings"].make("fixed", ("semseg", "depth"), weights=(0.7, 0.3))
    known["params"], known["state"] = known["method"].init(known["key"])
    exec(losses_of, known)
    np.testing.assert_allclose(known["total"], known["losses"] @ jnp.array([0.7, 0.3]), rtol=1e-6)


def test_it_needs_neither_tensorflow_nor_a_config():
    code = (
        "import sys; from mtl_jax import weightings; weightings.make('fixed', ('a', 'b'));"
        "print([n for n in ('tensorflow', 'configs', 'input_pipeline', 'flax', 'optax')"
        " if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


def test_options_are_checked_without_a_config_too():
    with pytest.raises(ValueError, match=r"DynamicWeightAverage\.temperature=0.*; expected a"):
        weightings.make("dwa", ("a", "b"), temperature=0)
    with pytest.raises(ValueError, match=r"config\.weighting\.temprature is unknown.*temperature"):
        weightings.build({"name": "dwa", "temprature": 2.0}, {"a": None})


@pytest.mark.parametrize("name", _discovery.names(weightings))
def test_every_option_has_a_meaning_and_a_default_that_its_check_accepts(name):
    for option, declaration in weightings.declared(name).items():
        assert declaration.meaning, option
    assert weightings.make(name, ("a", "b")).tasks == ("a", "b")


def test_float32_limits_are_the_checks():
    check = _options.number(above=0)
    assert [bool(check(x)) for x in (1e-300, 1e300, 0, -1, True, "1", float("nan"))] == [True] * 7
    assert not check(1e-6)


def test_reach_is_of_the_graph_and_not_of_one_batch():
    """Through jitted calls, scans and branches; a loss that happens to be flat counts too."""

    def losses(params, x):
        z = jax.jit(lambda w, x: jnp.tanh(w * x))(params["trunk"], x)
        z = jax.lax.scan(lambda z, _: (z * 0.5, None), z, None, length=2)[0]
        flat = jnp.where(x > 1e9, params["late"], 0.0)
        return {"a": jnp.sum(z * params["head_a"]), "b": jnp.sum(z * params["head_b"] + flat)}

    names = ("head_a", "head_b", "late", "trunk", "unused")
    found = weightings.reached(losses, dict.fromkeys(names, 1.0), jnp.ones(3))
    expected = [[True, False], [False, True], [False, True], [True, True], [False, False]]
    np.testing.assert_array_equal(found, expected)


def trunks() -> dict:
    """{framework: (what two tasks share, x ─► features by it)}, all with one kernel [3, 2]."""
    kernel = jnp.array([[1.0, -2.0], [0.5, 1.0], [-1.0, 0.25]])
    linen = nn.Dense(2, use_bias=False)
    graph, state = nnx.split(nnx.Linear(3, 2, use_bias=False, rngs=nnx.Rngs(0)))
    state = jax.tree.map(lambda _: kernel, state)
    return {
        "plain": ([kernel], lambda shared, x: x @ shared[0]),
        "linen": ({"kernel": kernel}, lambda shared, x: linen.apply({"params": shared}, x)),
        "nnx": (state, lambda shared, x: nnx.merge(graph, shared)(x)),
    }


@pytest.mark.parametrize("name", ["pcgrad", "moco"])
def test_parameters_are_those_of_linen_nnx_or_no_framework(name):
    """One step of a method without and of one with gradients in its memory, the same for all."""
    x, labelled, results = jnp.arange(12.0).reshape(4, 3) / 7, jnp.ones(2, bool), {}
    for framework, (shared, features) in trunks().items():

        def loss(shared, task, features=features):
            return jnp.mean((features(shared, x)[:, task] - 3 * task) ** 2)

        losses = jnp.array([loss(shared, task) for task in range(2)])
        gradients = [jax.grad(loss)(shared, task) for task in range(2)]
        gradients[1] = jax.tree.map(lambda g, h: g - 0.3 * h, gradients[1], gradients[0])
        method = weightings.make(name, tasks=("semseg", "depth"))
        params, state = method.init(jax.random.key(0), like=shared)
        found, *_ = method.combine(params, state, gradients, losses, labelled, jax.random.key(1))
        updated = jax.tree.map(lambda p, g: p - 0.1 * g, shared, found)
        assert jax.tree.structure(updated) == jax.tree.structure(shared)
        (results[framework],) = jax.tree.leaves(updated)
    np.testing.assert_allclose(results["linen"], results["plain"], rtol=1e-5)
    np.testing.assert_allclose(results["nnx"], results["plain"], rtol=1e-5)
