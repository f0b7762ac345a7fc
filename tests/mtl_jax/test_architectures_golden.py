"""Whole networks against an independent PyTorch construction in float64: golden/README.md.

Ours are computed in float64 as well. In float32 a ReLU's input or two pixels of a pooling window
can lie within rounding of each other, and which way they fall, hence a gradient, would depend on
the machine: by up to a third in these networks. float32's own rounding is tested against float64
in test_gradients_float64.py.
"""

import golden_networks as golden
import jax
import jax.numpy as jnp
import numpy as np
import plain
import pytest
import traced

from mtl_jax import architectures

# The records have eight digits, and constants inside a network, such as BatchNorm's epsilon and
# the weights of an interpolation, are rounded to float32.
TOLERANCE = 1e-6
# A gradient that is this share of the largest one is what is left where large ones cancel.
LEAST = 1e-5


def program(name: str):
    """What `program_of` gives for a network of golden/."""
    reference = golden.load(name)
    return program_of(*model_and_image(reference), reference["training"]["shape"])


def model_and_image(reference: dict):
    """The network of a file of golden/, and the image."""
    model = architectures.build(golden.config(reference), golden.CHANNELS)
    size = tuple(reference["config"]["size"])
    return model, 1.7 * golden.uniform(reference["config"]["image"], (4, *size, 3))


def program_of(model, image, shape):
    """A function, variables and image; `shape` is that of all outputs side by side.

    The function: (variables, image) ─► gradients, (evaluation output, training output, new
    statistics).
    """
    cotangent = golden.uniform("cotangent", tuple(shape))
    evaluate, variables, like = evaluation_of(model, image)

    def train(variables, image):
        predictions, new = model.apply(variables, image, train=True, mutable=["batch_stats"])
        return concatenated(predictions), new.get("batch_stats", {})

    train = plain.in_precision(train, plain.FLOAT64, variables, like)

    def loss(params, batch_stats, image):
        outputs = train({"params": params, "batch_stats": batch_stats}, image)
        return (outputs[0] * cotangent).mean(), outputs

    def both(variables, image):
        gradient = jax.grad(loss, has_aux=True)
        gradients, outputs = gradient(variables["params"], variables["batch_stats"], image)
        return gradients, (evaluate(variables, image), *outputs)

    return in_float64(both), golden.fill(variables), image


def concatenated(predictions):
    """All outputs side by side."""
    every = (predictions.final, *predictions.auxiliary)
    return jnp.concatenate([x[task] for x in every for task in golden.CHANNELS], axis=-1)


def evaluation_of(model, image):
    """((variables, image) ─► all outputs, in float64; the shapes of variables and image)."""
    like = jax.ShapeDtypeStruct(image.shape, jnp.float32)
    variables = traced.shapes(lambda x: model.init(jax.random.key(0), x, train=False), like)
    variables = {"batch_stats": {}, **variables}

    def evaluate(variables, image):
        return concatenated(model.apply(variables, image, train=False))

    return plain.in_precision(evaluate, plain.FLOAT64, variables, like), variables, like


def in_float64(function):
    """`function`, compiled; with NumPy arrays."""
    # Most of the time here is compilation, and what is compiled runs once.
    compiled = jax.jit(function, compiler_options={"xla_backend_optimization_level": 0})

    def compute(*args):
        with jax.enable_x64(True):
            return jax.tree.map(np.asarray, compiled(*args))

    return compute


def assert_as_recorded(reference: dict, gradients, outputs) -> None:
    """Everything that the file of a golden network holds."""
    assert sum(g.size for g in jax.tree.leaves(gradients)) == reference["parameters"]
    evaluated, trained, statistics = outputs
    assert_summary(evaluated, reference["evaluation"], "evaluation")
    assert_summary(trained, reference["training"], "training")

    statistics, expected = golden.flat(statistics), reference["running_statistics"]
    assert statistics.keys() == expected.keys()
    for path, (mean, last) in expected.items():
        found = statistics[path].mean(), statistics[path][-1]
        np.testing.assert_allclose(found, (mean, last), TOLERANCE, TOLERANCE, err_msg=path)

    gradients, expected = golden.flat(gradients), reference["gradients"]
    largest = max(norm for norm, _ in expected.values())
    for path in gradients.keys() - expected.keys():  # a bias that BatchNorm or a softmax cancels
        assert path.endswith("bias") or path in reference.get("unread", ())
        assert np.linalg.norm(gradients[path]) < TOLERANCE * largest, path
    assert expected.keys() <= gradients.keys()
    for path, (norm, last) in expected.items():
        found = np.linalg.norm(gradients[path]), gradients[path].reshape(-1)[-1]
        atol = TOLERANCE * max(norm, LEAST * largest)
        np.testing.assert_allclose(found, (norm, last), 0, atol, err_msg=path)


def assert_summary(found, expected, which: str) -> None:
    """`TOLERANCE` is relative to the output's standard deviation."""
    assert list(found.shape) == expected["shape"]
    flat = found.reshape(-1)
    samples = flat[np.linspace(0, flat.size - 1, 24).astype(int)]
    found = [flat.mean(), flat.std(), *samples]
    recorded = [expected["mean"], expected["std"], *expected["samples"]]
    atol = TOLERANCE * expected["std"]
    np.testing.assert_allclose(found, recorded, rtol=0, atol=atol, err_msg=which)


def marked_as_they_say():
    """The names of all golden networks; those that take long have their mark, slow or weekly."""
    marks = {name: golden.load(name).get("mark") for name in golden.names()}
    return [
        pytest.param(name, marks=getattr(pytest.mark, mark) if mark else ())
        for name, mark in marks.items()
    ]


@pytest.mark.parametrize("name", marked_as_they_say())
def test_golden(name):
    compute, variables, image = program(name)
    assert_as_recorded(golden.load(name), *compute(variables, image))


@pytest.mark.parametrize(
    "name",
    [
        *("distillation_b", "mtan", "stacked_unet_8"),
        *(
            pytest.param(n, marks=pytest.mark.slow)
            for n in ("cross_stitch", "joint_bottleneck_se", "mtan_resnet", "nddr", "pad_net")
        ),
    ],
)
def test_evaluation(name):
    """Of those whose gradients take long, the outputs alone."""
    reference = golden.load(name)
    model, image = model_and_image(reference)
    evaluate, variables, _ = evaluation_of(model, image)
    found = in_float64(evaluate)(golden.fill(variables), image)
    assert_summary(found, reference["evaluation"], "evaluation")


@pytest.mark.weekly
@pytest.mark.parametrize("name", ["mtan", "mtan_resnet", "stacked_unet_8"])
def test_rounding_moves_nothing(name):
    """Not even a million times what float64 rounds, in parameters, statistics and image.

    Of all networks these have gradients that such a change moves most.
    """
    compute, variables, image = program(name)
    for seed in range(2):
        found = compute(*golden.perturbed((variables, image), 1e-9, seed))
        assert_as_recorded(golden.load(name), *found)
