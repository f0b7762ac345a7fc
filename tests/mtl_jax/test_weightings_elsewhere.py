"""Where public versions compute something else: our numbers of docs/weightings.md, "Elsewhere".

They are closed forms, or float64 values of the formulas; what public code makes of the same input
stands beside them in the docs.
"""

import itertools

import balancing_adapter
import numpy as np

J = np.array([[-4.0, 1.0, 1.0], [6.0, 1.0, 1.0]])


def step(losses=(1.0, 1.0), rows=None, unlabelled=(), **more) -> dict:
    """One step of a values file: see balancing_values.json; a loss of 0 has no label."""
    labelled = [loss != 0 for loss in losses]
    rows = {} if rows is None else {"jacobian": np.array(rows).tolist()}
    return {"losses": list(losses), "labelled": labelled} | rows | more


def run(name: str, steps: list[dict], **options) -> list[dict]:
    return balancing_adapter.run(name, options, steps)


def close(found, expected, rtol=1e-4):
    np.testing.assert_allclose(found, expected, rtol=rtol, atol=1e-6)


def test_rlw_is_of_labelled_tasks():
    draws = {"normal": [0.3, -1.0, 0.5]}
    shares = np.exp([0.3, 0.5]) / np.exp([0.3, 0.5]).sum()
    close(run("rlw", [step((1.0, 0.0, 1.0), **draws)])[0]["weights"], [shares[0], 0, shares[1]])


def test_stch_has_as_many_tasks_as_labels():
    nadir = np.array([2.0, 2.0, 0.5])
    steps = [step(nadir, end_epoch=True), step((1.2, 3.0, 0.4)), step((1.2, 3.0, 0.0))]
    _, full, part = run("stch", steps, mu=1.0, warmup_epochs=1)
    shares = np.array([1.2, 3.0, 0.4]) / nadir
    close(full["total"], 3 * np.log(shares.sum()))
    close(full["weights"], [0.51724, 0.51724, 2.06897])
    close(part["weights"], [0.47619, 0.47619, 0.0])
    (plain,) = run("stch", [step((1.2, 3.0, 0.0))], log=False, mu=0.5)
    close(plain["weights"], [0.07093, 0.42907, 0.0])


def test_famo_gives_a_task_without_a_label_nothing():
    step_without = step((1.2, 0.0, 0.4), losses_after=[1.2, 0.0, 0.4])
    close(run("famo", [step_without])[0]["weights"], [0.25, 0.0, 0.75])


def test_decay_of_famo():
    falling = 1.2 * 0.99 ** np.arange(202)
    steps = [step((a, 0.4), losses_after=[b, 0.4]) for a, b in itertools.pairwise(falling)]
    for decay, expected in ((1e-5, 0.01392), (1e-3, 0.11480), (1e-2, 0.38339)):
        last = run("famo", steps, weight_decay=decay)[-1]["weights"]
        shares = last * steps[-1]["losses"]
        close(shares / shares.sum(), [expected, 1 - expected], rtol=2e-3)


def test_gradnorm_has_a_pace_of_its_own():
    rows = [[1.0, 0.0], [0.0, 10.0]]
    close(run("gradnorm", [step(rows=rows)] * 101)[-1]["weights"], [1.8176, 0.1824], rtol=1e-3)
    slope = np.diff(np.linalg.norm(J, axis=1))[0] / 2 + np.linalg.norm(J, axis=1)[0]
    share = 1 / (1 + np.exp(-2 * 0.025 * slope))
    found = run("gradnorm", [step(rows=J)] * 2, optimizer="sgd", learning_rate=0.025)
    close(found[1]["weights"], [2 * share, 2 - 2 * share])
    close(2 * share, 1.1294)


def test_gradnorm_helps_the_slow_task():
    rows = [[5.0, 0.0], [0.0, 5.0]]
    found = run("gradnorm", [step(rows=rows), *[step((0.9, 0.5), rows)] * 60])
    paces = (np.array([0.9, 0.5]) / 0.7) ** 1.5
    close(5 * paces, [7.28931, 3.01841])
    # The weights sum to 2, these to more: where neither gradient is too long, nothing moves.
    slow, fast = found[-1]["weights"]
    assert 2 - paces[1] - 0.02 < slow < paces[0] + 0.02
    close(slow + fast, 2.0)


def test_pcgrad_meets_no_task_itself():
    close(run("pcgrad", [step(rows=1e-4 * J)])[0]["weights"], [20 / 9, 30 / 19])
    rows, orders = [[2, 1], [-3, -3], [-3, 0]], [[1, 2, 0], [0, 2, 1], [0, 1, 2]]
    close(run("pcgrad", [step((1, 1, 1), rows, orders=orders)])[0]["gradient"], [-0.9, -0.8])


def test_gradvac_has_no_epsilon_and_keeps_the_goals_of_pairs_that_did_not_meet():
    alone = step((0.0, 1.0), rows=[[0, 0, 0], J[1]])
    for scale in (1.0, 1e-5):
        first, second = run("gradvac", [step(rows=scale * J)] * 2)
        close(first["weights"], [20 / 9, 30 / 19])
        close(second["weights"], [1.85799, 1.40642])
    close(run("gradvac", [step(rows=J), alone, step(rows=J)])[2]["weights"], second["weights"])


def test_imtl_g_of_dependent_gradients():
    (found,) = run("imtl_g", [step(rows=[[1.0, 0.0], [10.0, 0.0]])])
    close(found["weights"], [10 / 11, 1 / 11])


def test_imtl_logs_the_weights_of_the_losses():
    (found,) = run("imtl", [step(rows=J)], initial={"log_scale": [0.3, -0.5]})
    inverse = 1 / np.linalg.norm(J, axis=1)
    close(found["weights"], inverse / np.sum(inverse * np.exp([-0.3, 0.5])))
    close(found["weights"], [0.53318, 0.36696])


def test_length_of_pivrg():
    (found,) = run("pivrg", [step(rows=10 * J)])
    close(np.linalg.norm(found["gradient"]), 0.51931)


def test_graddrop_decides_for_each_example():
    rows = [[1.0, 1.0], [-2.0, -2.0]]
    (found,) = run("graddrop", [step(rows=rows, uniform=[0.3, 0.4])])
    close(found["gradient"], [1.0, -2.0])


def test_db_mtl_takes_no_old_gradient_for_a_new_one():
    steps = [step(rows=J), step((0.0, 1.0), rows=[[0, 0, 0], J[1]])]
    first, second = run("db_mtl", steps)
    close(first["gradient"], [0.01881, 0.2453, 0.2453], rtol=1e-3)
    close(second["gradient"], 0.19 * J[1])
    (whole,) = run("db_mtl", steps[:1], bias_correction=True)
    close(whole["gradient"], 10 * first["gradient"])


def test_moco_stays_near_equal_shares():
    found = run("moco", [step((3.0, 0.3), rows=J)] * 20)[-1]["gradient"]
    close(found, [-1.11655, 0.3445, 0.3445], rtol=1e-3)
    assert found @ J[1] < 0


def test_excess_mtl_begins_at_the_first_label():
    steps = [step((0.0, 1.0), rows=[[0, 0, 0], J[1]]), step(rows=J)]
    close(run("excess_mtl", steps)[1]["weights"].sum(), 2.0)
    close(run("excess_mtl", steps)[1]["weights"], [1.0, 1.0], rtol=0.02)
