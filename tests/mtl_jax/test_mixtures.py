"""Mixtures of experts whose experts are encoders: gates in NumPy, who sees whom, parameters."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import traced
from flax import linen as nn
from golden_networks import fill, uniform

from mtl_jax import architectures, encoders, layers
from mtl_jax.errors import ConfigError
from mtl_jax.heads import gates

CHANNELS = {"semseg": 19, "depth": 1}
RESNET = {"name": "resnet", "replace_stride_with_dilation": "FFT"}
SMALL = {
    "encoder": RESNET | {"width": 8},
    "aspp": {"rates": (1, 2, 3), "channels": 8},
    "decoder": {"skip_channels": 8, "channels": 8},
}


def test_a_gate_sees_all_experts_averaged_over_the_image():
    maps = [uniform(f"map {i}", (2, 3, 4, 5)) for i in range(3)]
    gate, inputs = gates.Gate(), [jnp.float32(x) for x in maps]
    start = gate.init(jax.random.key(0), inputs)
    params = fill(start)["params"]["linear"]
    found = gate.apply({"params": {"linear": jax.tree.map(jnp.float32, params)}}, inputs)
    means = np.concatenate([x.mean((1, 2)) for x in maps], axis=-1)
    e = np.exp(means @ params["kernel"] + params["bias"])
    weights = e / e.sum(-1, keepdims=True)
    np.testing.assert_allclose(found, weights, rtol=1e-5)
    expected = np.einsum("be,ebhwc->bhwc", weights, np.stack(maps))
    np.testing.assert_allclose(gates.mixed(inputs, found), expected, rtol=1e-5, atol=1e-6)


def test_experts_with_the_same_weights_learn_different_things():
    """As those do that start from one published file; equal gates would keep them equal."""
    gate, x = gates.Gate(), jnp.float32(uniform("map", (2, 3, 4, 5)))

    def gradients(seed, target):
        start = jax.jit(gate.init)(jax.random.key(seed), [x, x])

        def loss(maps):
            return jnp.square(gates.mixed(maps, gate.apply(start, maps)) - target).sum()

        return jax.jit(jax.grad(loss))([x, x])

    # Of two tasks, each with a gate of its own; the sum is what an expert learns from.
    tasks = [gradients(seed, uniform(f"target {seed}", x.shape)) for seed in (0, 1)]
    first, second = (np.ravel(sum(of_task[i] for of_task in tasks)) for i in (0, 1))
    cosine = first @ second / np.linalg.norm(first) / np.linalg.norm(second)
    assert cosine < 0.999


def model_and_shapes(name: str, channels=CHANNELS, **options):
    model = architectures.make(name, channels, **options)
    init = functools.partial(model.init, train=False)
    return model, traced.shapes(init, jax.random.key(0), jnp.zeros((1, 64, 64, 3)))


@pytest.mark.parametrize(
    ("name", "experts", "mixing", "parameters"),
    [
        # Gates have E·C·E + E: of 512 channels; of PLE of 64, 128, 256 and 512 for each task, and
        # of the first three for what all have in common.
        ("mmoe", 2, 2 * (2 * 512 * 2 + 2), 33_214_808),
        ("cgc", 3, 2 * (2 * 512 * 2 + 2), 44_391_320),
        (
            "ple",
            3,
            2 * (4 * (64 + 128 + 256 + 512) + 4 * 2) + (9 * (64 + 128 + 256) + 3 * 3),
            44_398_957,
        ),
    ],
)
def test_parameters(name, experts, mixing, parameters):
    """Encoders, two ASPPs, two decoders, and what mixes."""
    decoders = 1_299_315 + 1_294_689
    assert parameters == experts * 11_176_512 + 2 * 4_131_840 + decoders + mixing
    _, shapes = model_and_shapes(name, encoder=RESNET)
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes["params"])) == parameters


@pytest.mark.parametrize(
    ("name", "seen"),
    [
        ("mmoe", {"encoder_expert0", "encoder_expert1"}),
        pytest.param("cgc", {"encoder_semseg_0", "encoder_shared0"}, marks=pytest.mark.slow),
        pytest.param(
            *("ple", {"encoder_semseg", "encoder_shared", "encoder_depth"}), marks=pytest.mark.slow
        ),
    ],
)
def test_which_encoders_a_task_reads(name, seen):
    """In PLE a task's early stages reach another through what is shared."""
    model, shapes = model_and_shapes(name, **SMALL)
    variables = jax.tree.map(np.float32, fill(shapes))
    image = jnp.float32(uniform("image", (2, 32, 32, 3)))

    @jax.jit
    def semseg(params):
        return model.apply(variables | {"params": params}, image, train=False).final["semseg"]

    def reached(params):
        """The encoders with whose parameters the output changes."""
        before = semseg(params)
        changed = {
            module: params | {module: jax.tree.map(lambda x: 1.1 * x, params[module])}
            for module in params
            if module.startswith("encoder")
        }
        return {module for module, other in changed.items() if np.any(semseg(other) != before)}

    params = variables["params"]
    assert reached(params) == seen
    if "gate_semseg" in params:  # PLE's has one for every stage
        linear = params["gate_semseg"]["linear"]
        first = {"kernel": 0 * linear["kernel"], "bias": np.float32([200, 0])}
        assert reached(params | {"gate_semseg": {"linear": first}}) == {min(seen)}


class AloneBranch(nn.Module):
    """A task's end of a network, by itself."""

    of: nn.Module
    task: str

    @nn.compact
    def __call__(self, pyramid, size):
        outputs = self.of.channels[self.task]
        x, _ = self.of.branch(pyramid, outputs, task=self.task, train=False)
        return layers.resize_bilinear(x, size)


def mixed(params, maps):
    """Maps weighted by a gate's parameters, in NumPy; and the weights."""
    means = np.concatenate([np.mean(x, (1, 2)) for x in maps], axis=-1)
    e = np.exp(means @ params["linear"]["kernel"] + params["linear"]["bias"])
    weights = e / e.sum(-1, keepdims=True)
    return np.einsum("be,ebhwc->bhwc", weights, np.stack(maps)), weights


def pyramids_of_mixtures(name: str, params, encode, image) -> dict:
    """{task: what its branch reads}; `encode(encoder, method, ...)` computes a part of one."""
    if name != "ple":
        found = {}
        for task in CHANNELS:
            seen = ("expert0", "expert1") if name == "mmoe" else (f"{task}_0", "shared0")
            each = [encode(which, "__call__", image, train=False) for which in seen]
            _, weights = mixed(params[f"gate_{task}"], [pyramid.last for pyramid in each])
            mix = functools.partial(np.einsum, "be,ebhwc->bhwc", weights)
            found[task] = jax.tree.map(lambda *maps, mix=mix: mix(np.stack(maps)), *each)
        return found
    names, stages = (*CHANNELS, "shared"), {task: [] for task in CHANNELS}
    stems = {n: encode(n, "stem", image, train=False) for n in names}
    maps = {n: encode(n, "pooled", stems[n]) for n in names}
    for number in (1, 2, 3, 4):
        after = [encode(n, "stage", number, maps[n], train=False)[1] for n in names]
        for task, x in zip(CHANNELS, after, strict=False):
            maps[task], _ = mixed(params[f"gate{number}_{task}"], [x, after[-1]])
            stages[task].append(maps[task])
        if number < 4:
            maps["shared"], _ = mixed(params[f"mixture{number}"], after)
    return {t: encode(t, "pyramid", image, stems[t], stages[t]) for t in CHANNELS}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("mmoe", marks=pytest.mark.weekly),
        pytest.param("cgc", marks=pytest.mark.slow),
        pytest.param("ple", marks=pytest.mark.weekly),
    ],
)
def test_outputs_are_those_of_mixtures_in_numpy(name):
    """Between encoders and branches, which are recorded as parts of other networks."""
    model, shapes = model_and_shapes(name, **SMALL)
    variables = jax.tree.map(np.float32, fill(shapes))
    image = np.float32(uniform("image", (2, 64, 64, 3)))
    encoder = encoders.make(**SMALL["encoder"])

    def encode(which, method, *given, **options):
        own = {kind: tree[f"encoder_{which}"] for kind, tree in variables.items()}
        return encoder.apply(own, *given, **options, method=method)

    found = jax.jit(functools.partial(model.apply, train=False))(variables, image).final
    expected = pyramids_of_mixtures(name, variables["params"], encode, image)
    for task, pyramid in expected.items():
        alone = AloneBranch(model, task).apply(variables, pyramid, (64, 64))
        scale = np.std(alone)
        np.testing.assert_allclose(found[task], alone, rtol=0, atol=1e-3 * scale, err_msg=task)


def test_a_task_may_not_be_called_like_what_is_shared():
    with pytest.raises(ConfigError, match="'ple' has an encoder of that name"):
        architectures.make("ple", {"shared": 1, "depth": 1})
