"""Every weighting's numbers against closed forms, golden values and float64 NumPy."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from weighting_systems import all_tasks, section

from mtl_jax import weightings
from mtl_jax.configs import mtan, uncertainty
from mtl_jax.errors import ConfigError
from mtl_jax.weightings import pcgrad

TASKS = ("semseg", "depth", "parts")
KEY = jax.random.key(0)


def build(name: str, names=TASKS, **options):
    return weightings.build(section(name, **options), {n: all_tasks()[n] for n in names})


def per_task(values, dtype=jnp.float32) -> dict:
    return {task: jnp.asarray(value, dtype) for task, value in zip(TASKS, values, strict=True)}


def numbers(tree: dict) -> np.ndarray:
    return np.array([tree[task] for task in TASKS], np.float64)


def combined(weighting, losses, labelled=(True,) * 3, params=None, state=None, key=KEY):
    """Total, weights, gradient by the losses, gradient by the parameters."""
    start = weighting.init(jax.random.key(1))
    params, state = params or start[0], state or start[1]

    def total(params, losses):
        return weighting.total(params, state, losses, jnp.array(labelled, bool), key)

    (value, weights), gradients = jax.jit(jax.value_and_grad(total, argnums=(0, 1), has_aux=True))(
        params, jnp.array(losses, jnp.float32)
    )
    weights, by_loss = (np.asarray(x, np.float64) for x in (weights, gradients[1]))
    return float(value), weights, by_loss, gradients[0]


def test_fixed_is_the_weighted_sum():
    losses = [1.5, 0.25, 3.0]
    total, weights, gradient, _ = combined(build("fixed"), losses)
    np.testing.assert_array_equal(weights, 1.0)
    assert total == sum(losses)
    given = {"semseg": 0.7, "depth": 0.3, "parts": 0.0}
    total, weights, gradient, _ = combined(build("fixed", weights=given), losses)
    np.testing.assert_allclose(total, 0.7 * 1.5 + 0.3 * 0.25, rtol=1e-6)
    np.testing.assert_allclose(gradient, [0.7, 0.3, 0.0], rtol=1e-6)
    np.testing.assert_allclose(weights, gradient)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"semseg": 1.0}, r"names the tasks \['semseg'\].*'depth', 'parts', 'semseg'"),
        ({"semseg": float("inf"), "depth": 1.0, "parts": 1.0}, "each weight a number"),
        (
            {"semseg": 1.0, "depth": -1.0, "parts": 0.0},
            r"weights=.*'depth': -1.0.*each weight a number of at least 0",
        ),
    ],
)
def test_fixed_refuses(given, message):
    with pytest.raises(ValueError, match=message):
        build("fixed", weights=given)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"a": 1.0}, r"Fixed\.weights names the tasks \['a'\], but tasks has \['a', 'b'\]"),
        ({"a": 1.0, "b": 1.0, "c": 1.0}, r"names the tasks \['a', 'b', 'c'\], but tasks has"),
        ((1.0,), r"Fixed\.weights=\(1\.0,\); expected 2 weights, one for each of a, b, or none"),
        ((1.0, 2.0, 3.0), "expected 2 weights"),
    ],
)
def test_fixed_refuses_weights_of_other_tasks_without_a_config_too(given, message):
    with pytest.raises(ConfigError, match=message):
        weightings.make("fixed", ("a", "b"), weights=given)


def test_uncertainty_refuses_classifications_that_are_no_tasks():
    with pytest.raises(ConfigError, match="names semsegg; the tasks are semseg, depth"):
        weightings.make("uncertainty", ("semseg", "depth"), classification=("semsegg",))


# Dynamic weight average.


def after_epochs(weighting, epochs, labelled=None):
    """The weights in force after epochs of such mean losses."""
    state = weighting.init(KEY)[1]
    for k, losses in enumerate(epochs):
        known = labelled[k] if labelled else (True,) * len(losses)
        state = jax.jit(weighting.end_epoch)(
            state, jnp.array(losses, jnp.float32), jnp.array(known, bool)
        )
    return np.array([state["weights"][n] for n in weighting.tasks], np.float64)


def test_dwa_golden_value_of_report_c():
    weighting = build("dwa", names=("semseg", "depth"))
    found = after_epochs(weighting, [(0.50, 0.031), (0.40, 0.030)])
    np.testing.assert_allclose(found, [0.95809, 1.04191], atol=5e-6)


def test_dwa_is_one_for_two_epochs():
    weighting = build("dwa")
    for epochs in ([], [(3.0, 0.1, 7.0)]):
        np.testing.assert_allclose(after_epochs(weighting, epochs), 1.0, rtol=1e-6)


@pytest.mark.parametrize("temperature", [0.5, 2.0, 20.0])
def test_dwa_is_the_formula_over_the_last_two_epochs(temperature):
    random = np.random.default_rng(0)
    epochs = random.uniform(0.1, 5.0, (5, 3)).astype(np.float32)
    ratios = np.exp(np.float64(epochs[-1]) / epochs[-2] / temperature)
    found = after_epochs(build("dwa", temperature=temperature), epochs)
    np.testing.assert_allclose(found, 3 * ratios / ratios.sum(), rtol=1e-5)


def test_dwa_without_labels_of_a_task():
    """It counts as standing still, and is compared with the last epoch that had a label."""
    weighting = build("dwa")
    epochs = [(4.0, 2.0, 0.0), (2.0, 0.0, 0.0), (1.0, 1.0, 0.0)]
    labelled = [(True, True, False), (True, False, False), (True, True, False)]
    for count, ratios in ((1, (1, 1, 1)), (2, (0.5, 1, 1)), (3, (0.5, 0.5, 1))):
        expected = 3 * np.exp(np.divide(ratios, 2.0)) / np.exp(np.divide(ratios, 2.0)).sum()
        found = after_epochs(weighting, epochs[:count], labelled)
        np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_dwa_weighs_with_its_state():
    weighting = build("dwa")
    state = {"weights": per_task([0.5, 1.0, 1.5]), "losses": per_task([1.0, 1.0, 1.0])}
    total, weights, gradient, _ = combined(weighting, [1.0, 2.0, 4.0], state=state)
    assert total == 0.5 + 2.0 + 6.0
    np.testing.assert_array_equal(weights, gradient)


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan"), float("inf"), 1e-300])
def test_dwa_refuses_a_temperature_that_is_none(temperature):
    with pytest.raises(ValueError, match=r"config\.weighting\.temperature="):
        build("dwa", temperature=temperature)


# Homoscedastic uncertainty.

VARIANCES = np.array([0.5, 0.8, 0.3])


def learned(variances=VARIANCES):
    return {"log_variance": per_task(np.log(variances))}


@pytest.mark.parametrize(("form", "expected"), [("repo", 1.6214), ("gaussian", 2.6815)])
def test_uncertainty_golden_value_of_report_e(form, expected):
    total, *_ = combined(build("uncertainty", form=form), [1.2, 3.0, 0.4], params=learned())
    np.testing.assert_allclose(total, expected, atol=5e-5)


@pytest.mark.parametrize("form", ["repo", "gaussian", "kendall"])
def test_uncertainty_is_the_formula_and_so_are_its_gradients(form):
    losses = np.array([1.2, 3.0, 0.4])
    # semseg and parts are classifications, depth is a regression.
    factor = np.array([1.0, 0.5, 1.0]) if form == "kendall" else np.full(3, 0.5)
    slope = 1.0 if form == "repo" else 0.5
    found = combined(build("uncertainty", form=form), losses, params=learned())
    total, weights, by_loss, by_params = found
    expected = np.sum(factor / VARIANCES * losses + slope * np.log(VARIANCES))
    np.testing.assert_allclose(total, expected, rtol=1e-6)
    np.testing.assert_allclose(weights, factor / VARIANCES, rtol=1e-6)
    np.testing.assert_allclose(by_loss, factor / VARIANCES, rtol=1e-6)
    expected = slope - factor / VARIANCES * losses
    np.testing.assert_allclose(numbers(by_params["log_variance"]), expected, rtol=1e-5)


@pytest.mark.parametrize(("form", "share"), [("repo", 0.5), ("gaussian", 1.0), ("kendall", 2.0)])
def test_uncertainty_is_least_at_its_closed_form(form, share):
    """σ² = L / 2, L, and 2 L for a classification."""
    losses = np.array([1.2, 3.0, 0.4])
    weighting = build("uncertainty", form=form)
    *_, by_params = combined(weighting, losses, params=learned(share * losses))
    gradient = numbers(by_params["log_variance"])
    np.testing.assert_allclose(gradient[[0, 2]], 0.0, atol=1e-6)


def test_uncertainty_of_an_unlabelled_task_does_not_move():
    weighting = build("uncertainty", form="repo")
    labelled = (True, False, True)
    found = combined(weighting, [1.2, 0.0, 0.4], labelled, params=learned())
    total, _, by_loss, by_params = found
    expected = 0.5 * 1.2 / 0.5 + np.log(0.5) + 0.5 * 0.4 / 0.3 + np.log(0.3)
    np.testing.assert_allclose(total, expected, rtol=1e-5)
    assert by_loss[1] == 0
    assert by_params["log_variance"]["depth"] == 0


@pytest.mark.parametrize(
    ("initial", "low", "high"), [((0.2, 1.0), 0.2, 1.0), (0.6, 0.6, 0.6), ((2.0, 2.0), 2.0, 2.0)]
)
def test_uncertainty_starts_where_it_is_told(initial, low, high):
    config = section("uncertainty")
    with config.ignore_type():
        config.initial_variance = initial
    weighting = weightings.build(config, all_tasks())
    draws = [numbers(weighting.init(jax.random.key(k))[0]["log_variance"]) for k in range(30)]
    variances = np.exp(np.ravel(draws))
    assert np.all(variances >= low * (1 - 1e-6))
    assert np.all(variances <= high * (1 + 1e-6))
    if low < high:
        np.testing.assert_allclose(variances.mean(), 0.6, atol=0.1)
        np.testing.assert_allclose(variances.std(), 0.8 / np.sqrt(12), atol=0.05)


def test_uncertainty_refuses():
    with pytest.raises(ValueError, match=r"weighting\.form='kendal'.*repo, gaussian, kendall"):
        build("uncertainty", form="kendal")
    # The last ones are numbers in float64, and 0 or infinite in float32.
    for initial in ((0.0, 1.0), (1.0, float("inf")), (0.1, 0.2, 0.3), (1e-300,), (1.0, 1e300)):
        with pytest.raises(ValueError, match=r"config\.weighting\.initial_variance="):
            build("uncertainty", initial_variance=initial)


def test_protocols_of_reports_c_and_e():
    config = mtan.get_config("cityscapes_dwa")
    assert weightings.build(config.weighting, config.tasks).temperature == 2
    assert mtan.get_config("cityscapes").weighting.name == "fixed"
    config = uncertainty.get_config("cityscapes")
    built = weightings.build(config.weighting, config.tasks)
    assert built.form == "repo"
    assert built.initial_variance == (0.2, 1.0)
    # Beside the 71,620,197 parameters of the network.
    assert len(jax.tree.leaves(built.init(KEY)[0])) == 3


# Random loss weighting.


def test_rlw_is_softmax_of_standard_normals():
    weighting = build("rlw")
    draw = jax.vmap(
        lambda key: weighting.total({}, {}, jnp.array([1.0, 2, 4]), jnp.ones(3, bool), key)
    )
    totals, weights = draw(jax.random.split(KEY, 4000))
    weights = np.asarray(weights, np.float64)
    np.testing.assert_allclose(weights.sum(1), 1.0, rtol=1e-6)
    np.testing.assert_allclose(weights @ [1, 2, 4], totals, rtol=1e-5)
    logits = np.log(weights)
    # A difference of two independent standard normals has variance 2.
    for i, j in itertools.combinations(range(3), 2):
        difference = logits[:, i] - logits[:, j]
        np.testing.assert_allclose(difference.mean(), 0.0, atol=0.1)
        np.testing.assert_allclose(difference.std(), np.sqrt(2), atol=0.1)


def test_rlw_is_shared_among_the_labelled():
    weighting = build("rlw")
    _, whole, *_ = combined(weighting, [1, 1, 1])
    _, partly, *_ = combined(weighting, [1, 0, 1], (True, False, True))
    np.testing.assert_allclose(partly, whole * [1, 0, 1] / (whole[0] + whole[2]), rtol=1e-6)
    _, alone, *_ = combined(weighting, [0, 2, 0], (False, True, False))
    np.testing.assert_array_equal(alone, [0, 1, 0])


# Geometric loss.


def test_geometric_is_the_root_of_the_product():
    losses = np.array([1.2, 3.0, 0.4])
    total, weights, gradient, _ = combined(build("geometric"), losses)
    expected = np.prod(losses) ** (1 / 3)
    np.testing.assert_allclose(total, expected, rtol=1e-6)
    np.testing.assert_allclose(gradient, expected / 3 / losses, rtol=1e-6)
    np.testing.assert_allclose(weights, gradient, rtol=1e-6)


def test_geometric_over_labelled_tasks_only():
    losses = np.array([1.2, 0.0, 0.4])
    expected = np.sqrt(1.2 * 0.4)
    for labelled in ((True, False, True), (True, True, True)):  # a loss of 0 is left out too
        total, _, gradient, _ = combined(build("geometric"), losses, labelled)
        np.testing.assert_allclose(total, expected, rtol=1e-6)
        np.testing.assert_allclose(gradient, [expected / 2 / 1.2, 0, expected / 2 / 0.4], rtol=1e-6)


def test_geometric_of_many_small_losses_does_not_underflow():
    total, *_ = combined(build("geometric"), [1e-30, 1e-20, 1e-25])
    np.testing.assert_allclose(total, 1e-25, rtol=1e-4)


def test_geometric_of_a_negative_loss_is_not_hidden():
    assert np.isnan(combined(build("geometric"), [1.0, -1.0, 1.0])[0])


# PCGrad.


def surgery(gradients: np.ndarray, orders) -> np.ndarray:
    """Algorithm 1 of Yu et al. in float64, with the others met in the given orders."""
    results = []
    for i, order in enumerate(orders):
        g = gradients[i].copy()
        for j in order:
            square = gradients[j] @ gradients[j]
            if j != i and square > 0 and g @ gradients[j] < 0:
                g -= (g @ gradients[j]) / square * gradients[j]
        results.append(g)
    return np.sum(results, 0)


PCGRAD = build("pcgrad")
combine = jax.jit(PCGRAD.combine)


def as_tree(vector: np.ndarray) -> dict:
    return {"a": jnp.float32(vector[:4].reshape(2, 2)), "b": {"c": jnp.float32(vector[4:])}}


def pcgrad_of(gradients: np.ndarray, key=KEY) -> tuple[np.ndarray, np.ndarray]:
    """Result and weights."""
    trees = [as_tree(g) for g in gradients]
    found, weights, learned, _ = combine(
        *PCGRAD.init(KEY), trees, jnp.ones(3), jnp.ones(3, bool), key
    )
    assert learned == {}
    flat = np.concatenate([np.ravel(found["a"]), np.ravel(found["b"]["c"])])
    return flat.astype(np.float64), np.asarray(weights, np.float64)


def test_pcgrad_is_the_algorithm_in_some_order_and_all_orders_occur():
    random = np.random.default_rng(5)
    gradients = random.normal(size=(3, 7))
    gradients -= gradients.mean(0)  # then all of them conflict
    candidates = {}
    for orders in itertools.product([(0, 1, 2), (2, 1, 0)], repeat=3):
        candidates[orders] = surgery(gradients, orders)
    met = set()
    for k in range(40):
        found, weights = pcgrad_of(gradients, jax.random.key(k))
        near = [o for o, c in candidates.items() if np.allclose(found, c, rtol=1e-4, atol=1e-5)]
        assert len(near) == 1
        met.add(near[0])
        np.testing.assert_allclose(found, weights @ gradients, rtol=1e-4, atol=1e-5)
    assert met == set(candidates)


def test_pcgrad_of_two_tasks_in_closed_form():
    """With two tasks there is no order: each loses its share along the other."""
    gradients = np.array([[1.0, 0, 1, 0, 0, 0, 0], [-2.0, 1, 0, 0, 0, 0, 0], np.zeros(7)])
    overlap, first, second = -2.0, 2.0, 5.0
    expected = gradients[0] * (1 - overlap / first) + gradients[1] * (1 - overlap / second)
    found, weights = pcgrad_of(gradients)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(weights[:2], [1 - overlap / first, 1 - overlap / second], rtol=1e-6)


def test_pcgrad_without_conflict_is_the_sum():
    gradients = np.abs(np.random.default_rng(0).normal(size=(3, 7)))
    found, weights = pcgrad_of(gradients)
    np.testing.assert_allclose(found, gradients.sum(0), rtol=1e-6)
    np.testing.assert_array_equal(weights, 1.0)


def test_pcgrad_of_no_gradient_at_all():
    found, weights = pcgrad_of(np.zeros((3, 7)))
    np.testing.assert_array_equal(found, 0.0)
    np.testing.assert_array_equal(weights, 1.0)


def test_pcgrad_leaves_no_conflict_with_a_single_other_task():
    random = np.random.default_rng(1)
    for k in range(5):
        a, b = random.normal(size=(2, 50))
        products = jnp.float32([[a @ a, a @ b], [b @ a, b @ b]])
        orders = jax.random.permutation(jax.random.key(k), jnp.array([[0, 1], [0, 1]]), axis=1)
        c = np.asarray(pcgrad.projected_sum(products, orders), np.float64)
        found = c[0] * a + c[1] * b
        assert found @ a > -1e-3
        assert found @ b > -1e-3
