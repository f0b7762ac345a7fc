"""Frozen parts and frozen BatchNorms: not a bit of them moves, and all else trains."""

import functools

import jax
import jax.numpy as jnp
import mixed_systems
import numpy as np
import pytest
import tiny
from flax import linen as nn

from input_pipeline import labels
from mtl_jax import layers, system
from mtl_jax.configs import branched, common, joint
from mtl_jax.layers import transformer
from mtl_jax.optimizers import freezing


def moved(before, after) -> set[str]:
    """'encoder/conv1/kernel', ...: the arrays that are not the same bits."""
    return {
        jax.tree_util.keystr(path, simple=True, separator="/")
        for (path, a), b in zip(
            jax.tree_util.tree_leaves_with_path(before), jax.tree.leaves(after), strict=True
        )
        if not np.array_equal(a, b)
    }


def after_two_steps(**changes) -> tuple[set[str], set[str]]:
    """The parameters and the running statistics that moved."""
    trainer = mixed_systems.Trainer(mixed_systems.config(**changes))
    before = jax.tree.map(np.asarray, trainer.state)
    for seed in range(2):
        # All images have both labels: with images_per_update, each batch is enough for every group.
        first, second = mixed_systems.batch(seed, 8), mixed_systems.batch(seed, 0)
        trainer.step(first | {"parts": second["parts"]})
    after = trainer.state
    return (
        moved(before.params["model"], after.params["model"]),
        moved(before.batch_stats, after.batch_stats),
    )


ENCODER = {f"encoder/{leaf}" for leaf in ("conv1/kernel", "conv2/kernel", "conv2/bias")}
ENCODER_NORM = {"encoder/bn1/scale", "encoder/bn1/bias"}
HEADS = {
    f"head_{task}/{leaf}"
    for task in ("semseg", "parts")
    for leaf in ("conv1/kernel", "conv2/kernel", "conv2/bias")
}
HEAD_NORMS = {
    f"head_{task}/bn1/{leaf}" for task in ("semseg", "parts") for leaf in ("scale", "bias")
}
# The bias before a BatchNorm has no gradient but rounding errors; decay moves it.
CANCELLED = {f"{block}/conv1/bias" for block in ("encoder", "head_semseg", "head_parts")}


def statistics(*blocks) -> set[str]:
    return {f"{block}/bn1/{leaf}" for block in blocks for leaf in ("mean", "var")}


ALL_STATISTICS = statistics("encoder", "head_semseg", "head_parts")


@pytest.mark.parametrize(
    ("changes", "still", "still_statistics"),
    [
        (
            {"train__freeze": ("encoder",)},
            ENCODER | ENCODER_NORM | {"encoder/conv1/bias"},
            statistics("encoder"),
        ),
        ({"train__freeze_batch_norm": "encoder"}, ENCODER_NORM, statistics("encoder")),
        (
            {"train__freeze": ("parts",), "train__freeze_batch_norm": "all"},
            {path for path in HEADS | HEAD_NORMS | CANCELLED if "head_parts" in path}
            | ENCODER_NORM
            | HEAD_NORMS,
            ALL_STATISTICS,
        ),
        (
            {
                "train__freeze": ("common",),
                "optimizer__images_per_update": {"common": 8, "semseg": 8, "parts": 8},
            },
            ENCODER | ENCODER_NORM | {"encoder/conv1/bias"},
            statistics("encoder"),
        ),
    ],
    ids=["encoder", "encoder's BatchNorm", "a head and all BatchNorms", "asynchronous"],
)
def test_what_is_frozen_keeps_its_bits(changes, still, still_statistics):
    parameters, running = after_two_steps(**changes)
    assert running == ALL_STATISTICS - still_statistics
    everything = ENCODER | ENCODER_NORM | HEADS | HEAD_NORMS | CANCELLED
    assert parameters == everything - still


def test_a_frozen_norm_uses_its_running_statistics():
    """One step's losses are those of a network in evaluation, once all BatchNorms are frozen."""
    trainer = mixed_systems.Trainer(mixed_systems.config(train__freeze_batch_norm="all"))
    batch = mixed_systems.batch(0, 4)
    variables = jax.tree.map(np.asarray, trainer.state.variables)
    # Statistics that are not those that everything starts with.
    variables["batch_stats"] = jax.tree.map(
        lambda x: x + np.linspace(0.1, 0.7, x.size, dtype=np.float32), variables["batch_stats"]
    )
    trainer.state = jax.device_put(
        trainer.state.replace(batch_stats=variables["batch_stats"]),
        jax.tree.map(lambda x: x.sharding, trainer.state),
    )
    found = trainer.step(batch)["losses"]
    image = trainer.system.normalize(jnp.asarray(batch["image"]))
    evaluate = jax.jit(functools.partial(trainer.system.model.apply, train=False))
    outputs = jax.tree.map(np.float64, evaluate(variables, image).final)
    for name, value in outputs.items():
        mask = batch[name] != mixed_systems.IGNORE
        logits = value[mask]
        right = np.take_along_axis(logits, batch[name][mask][:, None], axis=1)[:, 0]
        expected = np.mean(np.log(np.exp(logits).sum(1)) - right)
        np.testing.assert_allclose(found[name], expected, rtol=1e-5, err_msg=name)


def test_no_gradient_of_a_frozen_part_is_computed():
    """Not even a zero one by arithmetic: backpropagation ends before the encoder."""
    params = {"encoder": {"kernel": 3.0}, "head_parts": {"kernel": 5.0}}
    frozen = freezing.Freezing(parts=("encoder",), tasks=("parts",))

    def loss(params, freezing=frozen):
        params = freezing.without_gradient(params)
        return jnp.sin(params["encoder"]["kernel"]) * params["head_parts"]["kernel"]

    gradient = jax.grad(loss)(params)
    assert gradient["encoder"]["kernel"] == 0
    np.testing.assert_allclose(gradient["head_parts"]["kernel"], np.sin(3.0), rtol=1e-6)
    trains = functools.partial(loss, freezing=freezing.Freezing())
    assert "cos" in str(jax.make_jaxpr(jax.grad(trains))(params))
    assert "cos" not in str(jax.make_jaxpr(jax.grad(loss))(params))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train__freeze": ("encodr",)}, r"\['encodr'\]; expected some of encoder, common, sem"),
        ({"train__freeze_batch_norm": "heads"}, "freeze_batch_norm='heads'; expected one of ''"),
    ],
)
def test_unknown_parts_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        mixed_systems.build(mixed_systems.config(**changes))


def test_a_part_that_the_network_lacks_is_refused():
    shared = {"model": {"encoder": {"kernel": 1.0}, "decoder": {"kernel": 1.0}}, "weighting": {}}
    message = r"freeze names parts, and .* what can be frozen is common, encoder\.$"
    with pytest.raises(ValueError, match=message):
        freezing.Freezing(parts=("encoder", "parts"), tasks=("semseg", "parts")).mask(shared)


def test_a_run_is_refused_before_it_starts(streets_dir, tmp_path):
    """Joint's tasks share every layer; that is told when the run is put together."""
    config = tiny.config(streets_dir, train__freeze=("encoder", "depth"))
    joint.model(config, common.resnet(18, "FFT", width=8), channels=8, skip=4)
    with pytest.raises(ValueError, match=r"names depth, .* can be frozen is common, encoder\.$"):
        tiny.run(config, tmp_path)


def test_layers_of_a_task_without_labels_stay():
    """Weight decay would bring them to zero, and with them what another run has learned."""
    config = branched.get_config()
    specs = {"semseg": mixed_systems.SPECS["semseg"].as_dict()}
    config.tasks.depth.range = (1.0, 80.0)
    found = system.build(config, specs).freezing
    assert found.unlabelled == ("depth",)
    names = ("encoder", "aspp_depth", "decoder_depth", "decoder_semseg")
    params = {"model": {name: {"kernel": 1.0} for name in names}, "weighting": {}}
    stays = found.mask(params)["model"]
    assert [name for name in names if stays[name]["kernel"]] == ["aspp_depth", "decoder_depth"]
    shared = {"model": {"encoder": {"kernel": 1.0}, "decoder": {"kernel": 1.0}}, "weighting": {}}
    assert not any(jax.tree.leaves(found.mask(shared)))  # nothing is the task's alone
    both = specs | {"depth": labels.depth((1.0, 80.0)).as_dict()}
    assert not system.build(config, both).freezing


class Branches(nn.Module):
    """An encoder with BatchNorm and dropout, a BatchNorm for both tasks, and one for each."""

    channels: tuple = ()

    @nn.compact
    def __call__(self, x, *, train):
        x = Normalised(name="encoder")(x, train=train)
        x = layers.BatchNorm(name="shared")(x, train=train)
        return [Normalised(name=f"head_{task}")(x, train=train) for task in ("depth", "parts")]


class Normalised(nn.Module):
    @nn.compact
    def __call__(self, x, *, train):
        x = layers.BatchNorm(name="bn")(x, train=train)
        return nn.Dropout(0.5, deterministic=not train)(x)


@pytest.mark.parametrize(
    ("freeze", "unlabelled", "still"),
    [
        ((), (), set()),
        (("encoder",), (), {"encoder"}),
        (("common",), (), {"encoder", "shared"}),
        (("encoder", "parts"), (), {"encoder", "head_parts"}),
        ((), ("depth",), {"head_depth"}),
    ],
)
def test_what_is_frozen_computes_in_training_what_it_does_in_evaluation(freeze, unlabelled, still):
    """BatchNorms that normalise by the batch follow it; of a frozen encoder nothing is dropped."""
    config = common.base().train
    config.freeze = freeze
    model, x = Branches(), 3 + np.random.default_rng(0).random((4, 8, 8, 3), np.float32)
    variables = jax.jit(functools.partial(model.init, train=False))(jax.random.key(0), x)
    frozen = freezing.build(config, model, ("depth", "parts"), unlabelled)
    with frozen.as_frozen():
        train = functools.partial(
            model.apply,
            train=True,
            rngs={"dropout": jax.random.key(0)},
            mutable=["batch_stats"],
            capture_intermediates=lambda module, _: module.name == "encoder",
        )
        _, seen = jax.jit(train)(variables, x)
    paths = moved(variables["batch_stats"], seen["batch_stats"])
    everything = {"encoder", "shared", "head_depth", "head_parts"}
    assert {path.split("/")[0] for path in paths} == everything - still
    features = seen["intermediates"]["encoder"]["__call__"][0]
    if "encoder" in still:  # statistics that everything starts with change nothing
        np.testing.assert_allclose(features, x, rtol=1e-4)
    else:
        assert (np.asarray(features) == 0).mean() > 0.4


class Transformer(nn.Module):
    """A layer with a low-rank update and a residual branch that may be dropped."""

    updates: transformer.LowRank
    channels: tuple = ()

    @nn.compact
    def __call__(self, image, *, train):
        y = Encoder(self.updates, name="encoder")(image, train=train)
        return transformer.Linear(2, name="head")(y)


class Encoder(nn.Module):
    updates: transformer.LowRank

    @nn.compact
    def __call__(self, x, *, train):
        y = transformer.Linear(3, updates=self.updates, name="qkv")(x)
        return x + transformer.DropPath(0.5, name="drop_path1")(y, train=train)


@pytest.mark.parametrize(
    ("rank", "freeze"), [(0, ("encoder",)), (2, ("encoder",)), (2, ("common",)), (0, ())]
)
def test_of_a_frozen_encoder_low_rank_updates_are_trained_and_paths_are_dropped_with_them(
    rank, freeze
):
    config = common.base().train
    config.freeze = freeze
    model, x = Transformer(transformer.LowRank(rank)), np.ones((64, 8, 8, 3), np.float32)
    variables = jax.jit(functools.partial(model.init, train=False))(jax.random.key(0), x[:1])
    frozen = freezing.build(config, model, ())
    trained = {
        path[-1].key
        for path, still in jax.tree_util.tree_leaves_with_path(
            frozen.mask({"model": variables["params"]})["model"]["encoder"]
        )
        if not still
    }
    adapted = rank and freeze != ("common",)
    assert trained == (set() if freeze else {"kernel", "bias"}) | (
        {"lora_a", "lora_b"} if adapted else set()
    )
    with frozen.as_frozen():
        train = functools.partial(model.apply, train=True, rngs={"dropout": jax.random.key(0)})
        found = jax.jit(train)(variables, x)
    evaluate = jax.jit(functools.partial(model.apply, train=False))
    dropped = not np.allclose(found, evaluate(variables, x))
    assert dropped == (bool(adapted) or not freeze)
