"""What public versions of the methods do wrong, and these are not to."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from mtl_jax import training, weightings
from mtl_jax.configs import common
from mtl_jax.errors import ConfigError
from mtl_jax.runs import workdir
from mtl_jax.train_state import TrainState

J = np.array([[-4.0, 1.0, 1.0], [6.0, 1.0, 1.0]])
NAMES = weightings.names()
LOSS_METHODS = [name for name in NAMES if not weightings.kind(name).needs_gradients]


def solved(name: str, rows: np.ndarray, losses=None, **options):
    """Weights and state after one step."""
    tasks = tuple(f"task{k}" for k in range(len(rows)))
    method = weightings.make(name, tasks, **options)
    params, state = method.init(jax.random.key(0))
    losses = jnp.ones(len(rows)) if losses is None else jnp.float32(losses)
    gram = jnp.float32(rows @ rows.T)
    known = jnp.ones(len(rows), bool)

    weights, found = jax.device_get(_solve(method, params, state, gram, losses, known))
    return np.float64(weights), found


def _solve_each(name: str, rows: np.ndarray, **options):
    """`solved` for each of many [trials, K, D] at once."""
    method = weightings.make(name, tuple("abcdefgh"[: rows.shape[1]]), **options)
    params, state = method.init(jax.random.key(0))
    known = jnp.ones(rows.shape[1], bool)

    def solve(gram):
        return _solve(method, params, state, gram, jnp.ones(rows.shape[1]), known)

    return jax.device_get(jax.jit(jax.vmap(solve))(jnp.float32(rows @ rows.transpose(0, 2, 1))))


@functools.partial(jax.jit, static_argnums=0)
def _solve(method, params, state, gram, losses, known):
    weights, _, state = method.solve(params, state, gram, losses, known, jax.random.key(1))
    return weights, method.diagnostics(state)


@pytest.mark.parametrize("name", LOSS_METHODS)
def test_logged_weights_are_the_derivatives_by_the_losses(name):
    method = weightings.make(name, ("a", "b", "c"))
    params, state = method.init(jax.random.key(0))
    labelled, key = jnp.array([True, True, False]), jax.random.key(3)

    @jax.jit
    @functools.partial(jax.grad, has_aux=True)
    def total(losses):
        return method.total(params, state, losses, labelled, key)

    gradient, weights = total(jnp.array([1.2, 0.3, 0.0]))
    np.testing.assert_allclose(gradient, weights, rtol=1e-5)
    if name == "famo":  # whose losses of 0 and less are taken for the least one, and counted
        gradient, weights = total(jnp.array([-0.2, 0.3, 0.0]))
        np.testing.assert_allclose(gradient, weights, rtol=1e-5)


@pytest.mark.parametrize("name", LOSS_METHODS)
def test_linear_are_those_whose_weights_do_not_depend_on_the_losses(name):
    method = weightings.make(name, ("a", "b", "c"))
    params, state = method.init(jax.random.key(0))
    known, key = jnp.ones(3, bool), jax.random.key(3)

    @jax.jit
    @functools.partial(jax.grad, has_aux=True)
    def slopes(losses):
        return method.total(params, state, losses, known, key)

    found = [slopes(jnp.array(losses))[0] for losses in ([1.2, 0.3, 0.7], [0.4, 2.0, 0.1])]
    assert np.array_equal(*found) == method.linear


@pytest.mark.parametrize(
    ("name", "power", "options"),
    [
        ("cagrad", 0, {}),
        ("upgrad", 0, {}),
        pytest.param("fairgrad", 1, {"alpha": 1.0}, marks=pytest.mark.weekly),
        pytest.param("imtl_g", 0, {}, marks=pytest.mark.weekly),
    ],
)
def test_gradients_of_1e_4_have_the_weights_of_gradients_of_1(name, power, options):
    """No absolute epsilon: elsewhere CAGrad returns 0 there, and UPGrad the mean."""
    small, _ = solved(name, 1e-4 * J, **options)
    large, _ = solved(name, J, **options)
    np.testing.assert_allclose(small, large * 1e4**power, rtol=1e-4)


def test_nash_solves_its_equation_for_lengths_10000_apart():
    rows = np.array([[1.0, 0.3, -0.2], [-20.0, 90.0, 10.0], [3e3, 2e3, -9e3]])
    weights, found = solved("nash_mtl", rows, max_norm=0.0)
    np.testing.assert_allclose(rows @ rows.T @ weights * weights, 1.0, atol=1e-3)
    assert found["unconverged"] == 0


def test_imtl_g_does_not_turn_the_step_against_all_tasks():
    rows = np.array([[10.0, 0, 0], [6.0, 8, 0], [0.6, 0.38, 0.1]])
    weights, found = solved("imtl_g", rows)
    assert np.max(rows @ (weights @ rows)) > 0
    assert found["guarded"] == 1
    assert solved("imtl_g", J)[1]["guarded"] == 0


def test_a_short_gradient_keeps_its_task_in_aligned_mtl():
    """1e-4 of the longest, which an eigendecomposition of M in float32 cannot tell from 0."""
    rows = np.array([[1e-4, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.5]])
    weights, found = solved("aligned_mtl", rows)
    assert found["rank"] == 3
    np.testing.assert_allclose(weights * np.diag(rows), 1e-4, rtol=1e-3)


@pytest.mark.slow
def test_a_single_task_has_a_weight_of_one():
    for name in NAMES:
        if issubclass(weightings.kind(name), weightings.GramWeighting):
            # CAGrad's own scale is 1 only so.
            options = {"rescale": 2} if "rescale" in weightings.declared(name) else {}
            weights, _ = solved(name, np.array([[1.0, 0.0]]), **options)
            np.testing.assert_allclose(weights, 1.0, rtol=1e-5, err_msg=name)


def test_a_converged_task_does_not_stop_the_others():
    weights, _ = solved("mgda", np.array([[2.0, 0.0], [0.0, 1.0], [0.0, 0.0]]))
    np.testing.assert_allclose(weights, [0.2, 0.8, 0.0], atol=1e-5)


def test_ascents_are_counted():
    """MGDA applied to scaled losses descends for all; three conflicting tasks of PCGrad may not."""
    assert solved("mgda", J)[1]["ascents"] == 0
    rows = np.array([[1.0, 0.0], [-0.9, 0.3], [-0.9, -0.3]])
    weights, found = solved("pcgrad", rows)
    assert found["ascents"] == int(np.min(rows @ (weights @ rows)) < 0)


def test_log_losses_make_units_irrelevant():
    rows, losses = J, np.array([2.0, 0.5])
    first, _ = solved("fairgrad", rows, losses, log_losses=True)
    units = np.array([1000.0, 0.01])
    second, _ = solved("fairgrad", rows * units[:, None], losses * units, log_losses=True)
    np.testing.assert_allclose(second * units, first, rtol=1e-4)


def test_what_has_not_converged_is_said_aloud(tmp_path, capsys):
    config = common.base()
    config.weighting.name = "nash_mtl"
    directory = workdir.Workdir(tmp_path)
    directory.create()
    log, _, writer = tiny.step_log_of(config, directory)
    scalar = np.float32(1.0)
    for step, count in ((1, 0.0), (2, 1.0), (3, 1.0)):
        logs = {"losses": {"a": scalar}, "weights": {"a": scalar}, "learned": {}, "total": scalar}
        logs |= {"gradient_norm": scalar, "learning_rate": scalar, "updates": {}}
        log.add(
            range(step, step + 1), logs | {"diagnostics": {"residual": 0.5, "unconverged": count}}
        )
        log.flush()
        said = capsys.readouterr()
        assert ("no solution" in said.out + said.err) == (step == 2)
    assert writer.scalars[3]["train/weighting/unconverged"] == 1.0


def test_what_has_no_label_is_left_out_whatever_its_row_says():
    rows = np.array([[1.0, 0.0], [0.0, 2.0], [np.nan, 5.0]])
    method = weightings.make("mgda", ("a", "b", "c"))
    params, state = method.init(jax.random.key(0))
    gram, labelled = jnp.float32(rows @ rows.T), jnp.array([True, True, False])
    weights, *_ = method.solve(params, state, gram, jnp.ones(3), labelled, jax.random.key(1))
    np.testing.assert_allclose(weights, [0.8, 0.2, 0.0], atol=1e-5)


def test_a_method_without_a_solver_has_converged_in_every_step():
    """Its residual is a plain 0.0, whose comparison is a Python bool: ~True is −2."""
    method = weightings.make("pcgrad", tasks=("a", "b"))
    params, state = method.init(jax.random.key(0))
    gram = jnp.array([[18.0, -22.0], [-22.0, 38.0]])
    labelled, key = jnp.array([True, True]), jax.random.key(1)
    _, _, state = method.solve(params, state, gram, jnp.ones(2), labelled, key)
    assert int(state["record"]["unconverged"]) == 0


def test_weighted_heads_where_most_weights_are_0():
    """Of no weight but one the median is 0, and 0 times no cap is NaN."""
    known, one = jnp.ones(3, bool), jnp.array([5.0, 0.0, 0.0])
    for name in ("mgda", "nash_mtl"):
        method = weightings.make(name, ("a", "b", "c"), heads="weighted")
        np.testing.assert_array_equal(method.head_weights({}, one, jnp.ones(3), known), one)
    capped = method.head_weights({}, jnp.array([1.0, 2.0, 900.0]), jnp.ones(3), known)
    np.testing.assert_array_equal(capped, [1.0, 2.0, 20.0])
    nothing = method.head_weights({}, jnp.zeros(3), jnp.ones(3), known)
    np.testing.assert_array_equal(nothing, 0.0)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in NAMES if name not in LOSS_METHODS])
def test_what_is_not_finite_is_seen(name):
    """Neither masked nor replaced, in a gradient: the step is not finite, and the run stops."""
    method = weightings.make(name, ("a", "b", "c"))
    rows = [jnp.float32(row) for row in ([1.0, -0.5], [float("nan"), 1.0], [-1.0, 0.3])]
    params, state = method.init(jax.random.key(0), like=rows[0])
    losses, known = jnp.array([1.0, 2.0, 0.5]), jnp.ones(3, bool)
    combine = jax.jit(method.combine)
    gradient, *_ = combine(params, state, rows, losses, known, jax.random.key(1))
    assert not np.all(np.isfinite(gradient))


def test_gradvac_of_gradients_that_cancel():
    """Nothing is left of the first two but rounding, which has no length and no direction."""
    method = weightings.make("gradvac", ("a", "b", "c"))
    gram = jnp.array([[1.0, -1.0 - 2e-7, 0.3], [-1.0 - 2e-7, 1.0, -0.3], [0.3, -0.3, 1.0]])
    _, start = method.init(jax.random.key(0))

    @jax.jit
    @jax.vmap
    def solve(key):
        weights, _, state = method.solve({}, start, gram, jnp.ones(3), jnp.ones(3, bool), key)
        return weights, state["method"]["goals"]

    weights, goals = solve(jax.random.split(jax.random.key(1), 8))
    assert np.all(np.isfinite(weights))
    # Of the first task: half of the cosines, and nothing yet of what it met with nothing left.
    np.testing.assert_allclose(goals[:, 0, 1], -0.5, atol=1e-5)
    assert np.all((goals[:, 0, 2] == 0) | np.isclose(goals[:, 0, 2], 0.15, atol=1e-5))


def test_cagrad_is_optimal_where_two_of_three_gradients_nearly_cancel():
    """Weak duality: g_w · g₀ + c |g₀| |g_w| is at least min g_k · d, and is that only there."""
    random = np.random.default_rng(0)
    method = weightings.make("cagrad", ("a", "b", "c"), rescale=0)
    _, start = method.init(jax.random.key(0))

    @jax.jit
    @jax.vmap
    def solve(gram):
        known = jnp.ones(3, bool)
        weights, _, state = method.solve({}, start, gram, jnp.ones(3), known, jax.random.key(1))
        return weights, state["record"]["unconverged"]

    rows = random.normal(size=(20, 3, 40))
    rows[:, 1] = 0.1 * rows[:, 1] - rows[:, 0]
    weights, unconverged = solve(jnp.float32(rows @ rows.transpose(0, 2, 1)))
    assert not np.any(unconverged)
    for each, found in zip(rows, np.float64(weights), strict=True):
        mean, step = each.mean(0), found @ each
        radius = 0.4 * np.linalg.norm(mean)
        worst = (found - 1 / 3) / np.sum(found - 1 / 3)
        bound = worst @ each @ mean + radius * np.linalg.norm(worst @ each)
        assert np.linalg.norm(step - mean) <= radius * 1.001
        assert np.min(each @ step) >= bound - 1e-3 * np.linalg.norm(mean) ** 2


def test_cagrad_makes_no_step_where_the_solver_fails():
    """Beside the mean gradient two are exactly opposed: the best combination has no direction."""
    random = np.random.default_rng(0)
    rows = random.normal(size=(100, 4, 8)).astype(np.float32)
    rows[:, 3] = -rows[:, 0]
    weights, found = _solve_each("cagrad", rows, rescale=0)
    failed = found["unconverged"] == 1
    assert 0 < np.sum(failed) < 20
    np.testing.assert_array_equal(weights[failed], 0.0)


def test_cagrad_makes_no_step_where_the_mean_gradient_is_but_rounding():
    rows = np.array([[1.0, 2.0], [-3.0, 1.0], [2.0 + 1e-5, -3.0]])
    weights, found = solved("cagrad", rows)
    np.testing.assert_array_equal(weights, 0.0)
    assert found["unconverged"] == 0


@pytest.mark.parametrize(
    "options", [{"log_losses": True, "normalize_gradients": "unit"}, {"normalize": "loss"}], ids=str
)
def test_a_loss_below_0_has_no_logarithm_and_no_scale(options):
    assert np.all(np.isfinite(solved("mgda", J, [0.5, 2.0], **options)[0]))
    assert np.isnan(solved("mgda", J, [-0.5, 2.0], **options)[0]).any()


def test_losses_of_1e_30_do_not_underflow_as_each_others_factor():
    tiny_losses = np.array([1e-30, 2e-30])
    weights, _ = solved("pcgrad", 1e-15 * J, tiny_losses, log_losses=True)
    expected, _ = solved("pcgrad", J / np.array([[1.0], [2.0]]))
    np.testing.assert_allclose(weights * tiny_losses, expected, rtol=1e-4)


def test_shares_of_go4align_do_not_underflow():
    method = weightings.make("go4align", ("a", "b"), step_size=100.0)
    shares = method.after_step(
        jnp.array([0.5, 0.5]), jnp.array([2.0, 2.01]), None, jnp.ones(2, bool)
    )
    np.testing.assert_allclose(shares, [1 / (1 + np.exp(-1.0)), 1 / (1 + np.exp(1.0))], rtol=1e-3)


def test_imtl_has_no_logarithms_beside_its_own_scales():
    with pytest.raises(ConfigError, match=r"IMTL\.log_losses=True; expected False, as .* scale"):
        weightings.make("imtl", ("a", "b"), log_losses=True)


def test_a_weighting_that_is_not_finite_is_none_to_go_on_from():
    """What was recorded of a solver is: of a task of no weight a residual may be infinite."""
    memory = {"method": {"logits": jnp.array([0.0, jnp.nan])}, "weights": jnp.ones(2)}
    memory["record"] = {"residual": jnp.float32(jnp.inf), "ascents": jnp.int32(0)}
    state = TrainState(
        step=jnp.int32(3),
        params={"model": {"w": jnp.ones(2)}, "weighting": {}},
        batch_stats={},
        opt_state=(),
        weighting=memory,
        epoch_losses={},
    )
    assert training.not_finite(state) == ["weighting/method/logits"]
