"""What every weighting promises in training, for each module of `mtl_jax.weightings` found.

The network is tiny and trained by plain SGD, so that an update is −rate · gradient.
"""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from weighting_systems import TASKS, Trainer, batch, gradients, section

from mtl_jax import _discovery, checkpoints, weightings
from mtl_jax.configs import common
from mtl_jax.runs import results, selection, workdir

NAMES = _discovery.names(weightings)
RATE = 0.1
OPTIONS = {"uncertainty": {"form": "kendall", "initial_variance": (0.2, 1.0)}}
ALL_BUT_SEMSEG = ("depth", "parts")


@pytest.fixture(scope="module")
def trainers():
    """One per weighting on one device, compiled once."""
    made = {}

    def get(name: str) -> Trainer:
        if name not in made:
            made[name] = Trainer(section(name, **OPTIONS.get(name, {})))
        return made[name].reset()

    return get


def assert_close(found, expected, rtol=1e-4, atol=1e-6):
    for (path, x), y in zip(
        jax.tree_util.tree_leaves_with_path(found), jax.tree.leaves(expected), strict=True
    ):
        name = jax.tree_util.keystr(path)
        np.testing.assert_allclose(x, y, rtol=rtol, atol=atol, err_msg=name)


def assert_same_bits(found, expected):
    assert_close(found, expected, rtol=0, atol=0)


def flat(tree) -> np.ndarray:
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])


def shared(tree) -> dict:
    return {name: tree[name] for name in tree if name.startswith("encoder")}


def family(name: str) -> str:
    method = weightings.kind(name)
    if method.needs_held_out:
        return "held out"
    if issubclass(method, weightings.GramWeighting):
        return "gram"
    return "gradients" if method.needs_gradients else "losses"


def mechanism(name: str) -> tuple:
    """What a train step does for the method: its family, and the hooks that it has of its own."""
    method = weightings.kind(name)
    hooks = ("init", "total", "combine", "head_weights", "after_step", "end_epoch")
    return family(name), method.linear, *(hook in vars(method) for hook in hooks)


def one_of_each_family(others=pytest.mark.slow) -> list:
    """All methods; the first of its family is not marked, others are as given, or weekly tests.

    They are as given if they are the first by which a train step does something else, and see
    gradients: of all others, whose losses alone are weighed, the step is the first's. No method is
    unmarked that sees held-out examples; test_weightings_held_out is of them.
    """
    seen, found = set(), []
    for name in NAMES:
        often = mechanism(name) not in seen and family(name) != "losses"
        marks = [others if often else pytest.mark.weekly]
        if family(name) not in seen and family(name) != "held out":
            marks = []
        seen |= {family(name), mechanism(name)}
        found.append(pytest.param(name, marks=marks))
    return found


def one_of_each_mechanism(others=pytest.mark.weekly) -> list:
    """All methods; those are marked for which a train step does what it does for another one.

    What each of them makes of losses and gradients is test_weightings_values'.
    """
    first = dict(reversed([(mechanism(name), name) for name in NAMES])).values()
    return [pytest.param(n, marks=() if n in first else others) for n in NAMES]


@pytest.mark.parametrize("unlabelled", [(), ("parts",), ALL_BUT_SEMSEG])
@pytest.mark.parametrize("name", one_of_each_mechanism())
def test_a_step_descends_along_the_weighted_gradients(trainers, name, unlabelled):
    """Against float64 sums of gradients that were taken one task at a time."""
    trainer, data = trainers(name), batch(0, unlabelled)
    method, before = trainer.system.weighting, trainer.params()
    losses, each = gradients(before, data)
    logs = trainer.step(data)
    assert_close(logs["losses"], losses, rtol=1e-5)
    after = trainer.params()["model"]
    step = jax.tree.map(lambda a, b: (np.float64(a) - b) / RATE, before["model"], after)
    weights = {task: float(value) for task, value in logs["weights"].items()}
    if weights:
        expected = sum(weights[task] * flat(shared(each[task])) for task in TASKS)
        size = max(1.0, *(abs(weight) for weight in weights.values()))
        np.testing.assert_allclose(flat(shared(step)), expected, rtol=1e-3, atol=2e-5 * size)
    factors = weights
    if method.needs_gradients:
        known = jnp.array([task not in unlabelled for task in TASKS])
        stacked = method.stack(logs["weights"]) if weights else None
        factors = method.head_weights(
            before["weighting"], stacked, method.stack(logs["losses"]), known
        )
        factors = method.by_task(np.asarray(factors, np.float64))
    for task in TASKS:
        expected = factors[task] * flat(each[task][f"head_{task}"])
        atol = 2e-5 * max(1.0, abs(factors[task]))
        np.testing.assert_allclose(flat(step[f"head_{task}"]), expected, rtol=1e-3, atol=atol)


@pytest.mark.parametrize("name", one_of_each_mechanism())
def test_an_unlabelled_task_moves_nothing_of_its_own(trainers, name):
    trainer = trainers(name)
    for seed in (0, 1):  # away from a start that might be special, to the start of an epoch
        trainer.step(batch(seed))
    before, memory = trainer.params(), jax.device_get(trainer.state.weighting)
    logs = trainer.step(batch(2, ("depth",)))
    after = trainer.params()
    assert_same_bits(after["model"]["head_depth"], before["model"]["head_depth"])
    for quantity, values in after["weighting"].items():
        assert values["depth"] == before["weighting"][quantity]["depth"]
        assert values["parts"] != before["weighting"][quantity]["parts"]
    assert np.all(flat(after["model"]["head_parts"]) != flat(before["model"]["head_parts"]))
    assert all(np.isfinite(value) for value in jax.tree.leaves(logs))
    assert_same_bits(of_depth(jax.device_get(trainer.state.weighting)), of_depth(memory))


def of_depth(memory) -> list:
    """What a method remembers of one task: by its name, its place among K, its row and column."""
    index, found = TASKS.index("depth"), []
    for path, leaf in jax.tree_util.tree_leaves_with_path(memory):
        if "depth" in jax.tree_util.keystr(path):
            found.append(leaf)
        elif np.shape(leaf) in ((3,), (3, 3)) and "semseg" not in jax.tree_util.keystr(path):
            found += [leaf[index], leaf.T[index]]
    return found


@pytest.mark.parametrize("name", one_of_each_mechanism())
def test_a_batch_without_any_label_changes_nothing(trainers, name):
    trainer = trainers(name)
    before = trainer.params()
    logs = trainer.step(batch(0, TASKS))
    assert logs["total"] == 0
    assert logs["gradient_norm"] == 0
    assert all(np.isfinite(value) for value in jax.tree.leaves(logs))
    assert_same_bits(trainer.params(), before)
    trainer.step(batch(0, TASKS))  # and with it a whole epoch
    logs = trainer.step(batch(1))
    assert all(np.isfinite(value) for value in jax.tree.leaves(logs))
    assert np.any(flat(trainer.params()) != flat(before))


def some_steps(trainer, change=lambda data: data) -> list:
    """Logs of five steps, two epochs and a half, some of them partly labelled."""
    missing = [(), ("parts",), ALL_BUT_SEMSEG, (), ()]
    return [trainer.step(change(batch(seed, lost))) for seed, lost in enumerate(missing)]


@pytest.mark.parametrize("name", one_of_each_family())
def test_devices_and_micro_batches_change_nothing(trainers, name):
    """Four devices and two micro-batches, of which neither has as many labels as the other."""
    one = trainers(name)
    many = Trainer(section(name, **OPTIONS.get(name, {})), devices=4, accumulate=2)
    found, expected = some_steps(many), some_steps(one)
    assert_close(found, expected, rtol=5e-4, atol=1e-5)
    assert_close(many.state, one.state, rtol=5e-4, atol=1e-5)
    ragged = batch(1, TASKS)
    ragged["depth"][0] = 5.0
    found, expected = many.reset().step(ragged), one.reset().step(ragged)
    assert_close(found["losses"], expected["losses"])
    # Half of it, where the mean is taken over the micro-batches without a label too.
    assert_close(found["gradient_norm"], expected["gradient_norm"])
    assert_close(many.params(), one.params())


@pytest.mark.weekly
@pytest.mark.parametrize("name", [found for found in one_of_each_family() if not found.marks])
def test_eight_devices_equal_one(trainers, name):
    """Of all methods four devices do, above."""
    one = trainers(name)
    eight = Trainer(section(name, **OPTIONS.get(name, {})), devices=8)
    assert_close(some_steps(eight), some_steps(one), rtol=5e-4, atol=1e-5)
    assert_close(eight.state, one.state, rtol=5e-4, atol=1e-5)


@pytest.mark.parametrize("name", one_of_each_family(others=pytest.mark.weekly))
def test_bfloat16_weighs_in_float32(trainers, name):
    low = Trainer(section(name, **OPTIONS.get(name, {})), dtype=jnp.bfloat16)
    found, expected = some_steps(low), some_steps(trainers(name))
    assert {leaf.dtype for leaf in jax.tree.leaves(found)} == {np.dtype(np.float32)}
    kinds = {leaf.dtype for leaf in jax.tree.leaves((low.params(), low.state.weighting))}
    assert kinds <= {np.dtype(np.float32), np.dtype(np.int32)}
    for k, (a, b) in enumerate(zip(found, expected, strict=True)):
        assert_close(a["losses"], b["losses"], rtol=0.03)
        if not low.system.weighting.needs_gradients or k == 0:
            assert_close(a["weights"], b["weights"], rtol=0.05)


@pytest.mark.parametrize("name", one_of_each_mechanism())
def test_a_checkpoint_in_the_middle_changes_no_bit(trainers, name, tmp_path):
    trainer = trainers(name)
    whole = [trainer.step(batch(seed)) for seed in range(5)]
    end = trainer.params()
    trainer.reset()
    for seed in range(3):
        trainer.step(batch(seed))
    with checkpoints.Checkpoints(tmp_path) as store:
        store.save_latest(trainer.state, {})
        store.wait()
        like = trainer.reset().state
        trainer.state, _ = store.restore_latest(like, report=pytest.fail)
    assert_same_bits([trainer.step(batch(seed)) for seed in (3, 4)], whole[3:])
    assert_same_bits(trainer.params(), end)


def test_a_checkpoint_of_a_version_that_remembered_nothing_goes_on(trainers, tmp_path):
    trainer = trainers("pcgrad")
    trainer.step(batch(0))
    old = dataclasses.replace(trainer.state, weighting={})
    with checkpoints.Checkpoints(tmp_path) as store:
        store.save_latest(old, {})
        store.wait()
        like = trainer.reset().state
        found, _ = store.restore_latest(like, report=pytest.fail)
    assert_same_bits(found.params, old.params)
    assert_same_bits(found.weighting, like.weighting)


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({}, marks=pytest.mark.slow),
        pytest.param({"log_losses": True}, marks=pytest.mark.slow),
        {"heads": "weighted"},
    ],
    ids=str,
)
def test_between_two_solutions_the_last_weights_are_used(options):
    """`update_every`: one step solves, two weight the losses; also in two micro-batches."""
    trainer = Trainer(section("mgda", update_every=3, **options))
    logs = []
    for seed in range(4):
        before = trainer.params()["model"]
        _, each = gradients(trainer.params(), batch(seed))
        logs.append(trainer.step(batch(seed)))
        step = jax.tree.map(
            lambda a, b: (np.float64(a) - b) / RATE, before, trainer.params()["model"]
        )
        weights = {task: float(logs[-1]["weights"][task]) for task in TASKS}
        expected = sum(weights[task] * flat(shared(each[task])) for task in TASKS)
        np.testing.assert_allclose(flat(shared(step)), expected, rtol=1e-3, atol=2e-5)
        for task in TASKS:
            factor = weights[task] if options.get("heads") == "weighted" else 1.0
            expected = factor * flat(each[task][f"head_{task}"])
            np.testing.assert_allclose(flat(step[f"head_{task}"]), expected, rtol=1e-3, atol=2e-5)
    kept = [
        [
            log["weights"][task] * (log["losses"][task] if options.get("log_losses") else 1.0)
            for task in TASKS
        ]
        for log in logs
    ]
    np.testing.assert_allclose(kept[1:3], [kept[0]] * 2, rtol=1e-5)
    assert np.abs(np.subtract(kept[3], kept[0])).max() > 1e-4


@pytest.mark.parametrize("representation", [pytest.param(False, marks=pytest.mark.slow), True])
def test_max_norm_shortens_the_step_between_solutions_too(representation):
    """That of the parameters, also where the solution is of the gradients at the features."""
    options = {"update_every": 2, "representation": representation}
    trainer = Trainer(section("nash_mtl", max_norm=0.01, **options))
    for seed in range(2):
        before = trainer.params()["model"]
        trainer.step(batch(seed))
        step = jax.tree.map(lambda a, b: (a - b) / RATE, before, trainer.params()["model"])
        np.testing.assert_allclose(np.linalg.norm(flat(shared(step))), 0.01, rtol=1e-3)


def test_dwa_sees_the_epochs_mean_losses(trainers):
    logs = some_steps(trainers("dwa"))
    losses = [{task: np.float64(log["losses"][task]) for task in TASKS} for log in logs]
    for log in logs[:4]:
        np.testing.assert_allclose([log["weights"][task] for task in TASKS], 1.0, rtol=1e-6)
    # Epoch 0 is steps 0 and 1, epoch 1 steps 2 and 3; batch 1 lacks parts, batch 2 all but semseg.
    ratios = np.array(
        [
            (losses[2]["semseg"] + losses[3]["semseg"])
            / (losses[0]["semseg"] + losses[1]["semseg"]),
            losses[3]["depth"] / ((losses[0]["depth"] + losses[1]["depth"]) / 2),
            losses[3]["parts"] / losses[0]["parts"],
        ]
    )
    expected = 3 * np.exp(ratios / 2) / np.exp(ratios / 2).sum()
    np.testing.assert_allclose([logs[4]["weights"][task] for task in TASKS], expected, rtol=1e-5)


def test_dwa_over_an_epoch_without_a_label_of_a_task(trainers):
    trainer = trainers("dwa")
    logs = [trainer.step(batch(seed, ("parts",) if seed in (2, 3) else ())) for seed in range(5)]
    sums = [
        [logs[k]["losses"][task] + np.float64(logs[k + 1]["losses"][task]) for task in TASKS]
        for k in (0, 2)
    ]
    ratios = np.divide(sums[1], sums[0])
    ratios[TASKS.index("parts")] = 1.0
    expected = 3 * np.exp(ratios / 2) / np.exp(ratios / 2).sum()
    np.testing.assert_allclose([logs[4]["weights"][task] for task in TASKS], expected, rtol=1e-5)
    kept = trainer.state.weighting["losses"]["parts"]
    np.testing.assert_allclose(kept, sums[0][TASKS.index("parts")] / 2, rtol=1e-5)


def test_rlw_draws_anew_at_each_step(trainers):
    trainer = trainers("rlw")
    weights = [trainer.step(batch(0))["weights"]["depth"] for _ in range(4)]
    assert len(set(map(float, weights))) == 4


def test_learned_variances_have_a_rate_of_their_own_and_no_decay():
    trainer = Trainer(
        section("uncertainty", form="repo", initial_variance=(0.2, 1.0)),
        weight_decay=0.5,
        weighting_scale=10.0,
    )
    before = trainer.params()["weighting"]["log_variance"]
    losses, _ = gradients(trainer.params(), batch(0))
    trainer.step(batch(0))
    for task, after in trainer.params()["weighting"]["log_variance"].items():
        s = np.float64(before[task])
        expected = s - 10 * RATE * (1 - 0.5 * np.exp(-s) * losses[task])
        np.testing.assert_allclose(after, expected, rtol=1e-5)


def test_weights_and_learned_values_reach_the_writer_and_results(trainers, tmp_path):
    config = common.base()
    directory = workdir.Workdir(tmp_path)
    directory.create()
    log, found, writer = tiny.step_log_of(config, directory)
    logs = some_steps(trainers("uncertainty"))
    for step in (1, 2):
        log.add(range(step, step + 1), logs[step - 1])
    log.flush()
    scalars = writer.scalars[2]
    again = results.Results(
        directory,
        config,
        selection.Selection("loss", "min", {}),
        info=json.loads(json.dumps(found.info())),
    )
    for written in (found.write(final=True), again.write(final=True)):
        assert set(written["weighting"]) == {"weight", "log_variance"}
        for task in TASKS:
            expected = float(logs[1]["weights"][task])
            assert scalars[f"train/weight/{task}"] == written["weighting"]["weight"][task]
            assert written["weighting"]["weight"][task] == expected
            expected = float(logs[1]["learned"]["log_variance"][task])
            assert scalars[f"train/log_variance/{task}"] == expected
            assert written["weighting"]["log_variance"][task] == expected
    assert json.loads(directory.results.read_text())["weighting"] == written["weighting"]


def test_unknown_weighting_names_the_nearest():
    with pytest.raises(ValueError, match=r"config\.weighting\.name='dwaa'.*mean 'dwa'.*pcgrad"):
        weightings.build(section("dwaa"), {})
