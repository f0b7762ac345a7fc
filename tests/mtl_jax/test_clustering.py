"""Decoders of offsets: OPTICS against its rule in plain Python, voting against known answers."""

import math

import jax
import numpy as np
import pytest

from mtl_jax import clustering
from mtl_jax.tasks.instances import centroid_offsets

SIZE = (40, 60)


def _scene():
    """Three boxes, one of them in front of another one."""
    ids = np.zeros(SIZE, np.int32)
    ids[2:14, 2:22] = 1
    ids[4:12, 18:23] = 2
    ids[20:30, 40:53] = 3
    return ids


def _offsets(ids, noise=0.0, seed=0):
    exact = np.asarray(jax.jit(centroid_offsets)(ids[None])[0])
    return (exact + noise * np.random.default_rng(seed).normal(size=exact.shape)).astype(np.float32)


def _vote(offsets, things, **options):
    return np.asarray(_compiled_vote(offsets[None], things[None], **options)[0])


_compiled_vote = jax.jit(clustering.vote)


def _partition(ids):
    """Sets of pixels, whatever they are numbered."""
    return {frozenset(np.flatnonzero(ids == i).tolist()) for i in np.unique(ids[ids != 0])}


def _optics_by_the_rule(points, min_points, eps, threshold):
    """Instance numbers by point, as report E writes the algorithm down."""
    count = len(points)
    distances = np.linalg.norm(points[:, None] - points[None], axis=-1)
    near = (distances <= eps) & ~np.eye(count, dtype=bool)
    neighbours = [np.flatnonzero(row) for row in near]

    def core(i):
        others = sorted(distances[i, j] for j in neighbours[i])
        return others[min_points - 2] if len(others) >= min_points - 1 else None

    reachability, order, done = [math.inf] * count, [], set()
    while len(done) < count:
        seeds = [i for i in range(count) if i not in done and reachability[i] < math.inf]
        if seeds:
            i = min(seeds, key=lambda k: reachability[k])
        else:
            i = min(set(range(count)) - done)
        done.add(i)
        order.append(i)
        if core(i) is not None:
            for j in neighbours[i]:
                if j not in done:
                    reachability[j] = min(reachability[j], max(core(i), distances[i, j]))
    pieces = []
    for i in order:
        if not pieces or reachability[i] > threshold:
            pieces.append([])
        pieces[-1].append(i)
    result = np.zeros(count, np.int32)
    for number, piece in enumerate((p for p in pieces if len(p) >= min_points), start=1):
        result[piece] = number
    return result


@pytest.mark.parametrize(
    "seed", [0, 1, *(pytest.param(n, marks=pytest.mark.weekly) for n in (2, 3))]
)
@pytest.mark.parametrize(
    ("min_points", "eps", "threshold"), [(5, 5.0, 1.0), (3, 2.0, 0.7), (8, 4.0, 1.5)]
)
def test_optics_is_the_written_rule(seed, min_points, eps, threshold):
    random = np.random.default_rng(seed)
    things = random.random(SIZE) < 0.05
    centres = random.uniform(0, 40, (4, 2))[random.integers(0, 4, things.sum())]
    centres += random.normal(scale=0.8, size=centres.shape)
    offsets = np.zeros((*SIZE, 2))
    offsets[things] = np.argwhere(things) - centres
    found = clustering.optics(offsets, things, min_points=min_points, eps=eps, threshold=threshold)
    points = np.argwhere(things) - offsets[things]
    expected = _optics_by_the_rule(points, min_points, eps, threshold)
    assert expected.max() > 1
    np.testing.assert_array_equal(found[things], expected)
    assert not found[~things].any()
    assert found.dtype == np.int32


def test_optics_cuts_above_the_threshold_alone():
    """Votes on a grid have neighbours at exactly 1 pixel."""
    things = np.zeros(SIZE, bool)
    things[10:13, 10:13] = True
    found = clustering.optics(np.zeros((*SIZE, 2)), things, min_points=3, threshold=1.0)
    np.testing.assert_array_equal(found, things.astype(np.int32))


@pytest.mark.parametrize("decode", [clustering.optics, _vote])
def test_exact_offsets_give_the_instances_back(decode):
    ids = _scene()
    assert _partition(decode(_offsets(ids), ids > 0)) == _partition(ids)


@pytest.mark.parametrize("decode", [clustering.optics, _vote])
def test_nothing_to_group(decode):
    ids, few = _scene(), np.zeros(SIZE, bool)
    few[3, 3:7] = True
    assert not decode(_offsets(ids), np.zeros(SIZE, bool)).any()
    assert not decode(_offsets(few.astype(np.int32)), few).any()  # 4 pixels are not enough
    scattered = np.zeros((*SIZE, 2), np.float32)
    grid = np.zeros(SIZE, bool)
    grid[::10, ::10] = True
    assert not decode(scattered, grid).any()


def test_votes_need_not_meet_in_one_pixel():
    ids = _scene()
    found = _vote(_offsets(ids, noise=1.0), ids > 0)
    assert found.max() == 3
    for i in (1, 3):
        best = max((found[ids == i] == k).mean() for k in (1, 2, 3))
        assert best > 0.95


def test_a_wide_spread_is_one_instance_not_many():
    ids = np.zeros((60, 80), np.int32)
    ids[10:50, 10:70] = 1
    for seed in range(3):
        assert _vote(_offsets(ids, noise=4.0, seed=seed), ids > 0).max() == 1


def test_centres_four_pixels_apart_stay_apart():
    ids = np.zeros(SIZE, np.int32)
    ids[10:20, 10:14], ids[10:20, 14:18] = 1, 2
    assert _partition(_vote(_offsets(ids), ids > 0)) == _partition(ids)


def test_a_pixel_goes_to_a_centre_within_four_deviations_of_its_votes():
    """That of votes which agree is the smoothing's: 1/√2π·height, of a height of (70/256)²."""
    ids = np.zeros(SIZE, np.int32)
    ids[10:21, 20:31] = 1
    offsets = _offsets(ids)
    reach = 4 * 256 / 70 / math.sqrt(2 * math.pi)
    offsets[10, 20, 1] += reach - 0.1
    offsets[20, 30, 0] -= reach + 0.1
    found = _vote(offsets, ids > 0)
    assert found[10, 20] == 1
    assert found[20, 30] == 0
    assert (found == 1).sum() == 11 * 11 - 1


def _pointing(groups):
    """Offsets and mask of as many pixels as each group has, all pointing to its centre."""
    things, centres = np.zeros(SIZE, bool), np.zeros((*SIZE, 2))
    begin = 0
    for count, centre in groups:
        things.reshape(-1)[begin : begin + count] = True
        centres.reshape(-1, 2)[begin : begin + count] = centre
        begin += count
    return (np.moveaxis(np.mgrid[: SIZE[0], : SIZE[1]], 0, -1) - centres).astype(np.float32), things


def test_votes_that_agree_are_counted_one_by_one():
    for votes, found in ((119, 0), (121, 1)):
        assert _vote(*_pointing([(votes, (20, 20))]), min_votes=120.0).max() == found


@pytest.mark.parametrize(("votes", "found"), [(12, 1), (14, 2)])
def test_a_centre_stands_above_the_tail_of_another_one(votes, found):
    """8 pixels from 1000 votes it is 2·1000 / (1 + 64/2s²)², 7.8 votes, beside the least 5."""
    assert _vote(*_pointing([(1000, (20, 20)), (votes, (20, 28))])).max() == found


def test_a_vote_falls_into_the_nearest_pixel():
    things = np.zeros((1, 3), bool)
    things[0, :2] = True
    counts = clustering._histogram(
        np.float32([[-0.4, 0.4, 0]]), np.float32([[0.6, 2.4, 0]]), things
    )
    np.testing.assert_array_equal(counts, [[0, 1, 1]])


def test_hundreds_of_instances():
    rows, columns = np.mgrid[:100, :100]
    ids = (rows // 5 * 20 + columns // 5 + 1).astype(np.int32)
    assert ids.max() == 400
    assert _partition(_vote(_offsets(ids), ids > 0)) == _partition(ids)


def test_min_votes_and_order():
    ids = _scene()
    sizes = {i: (ids == i).sum() for i in (1, 2, 3)}
    found = _vote(_offsets(ids), ids > 0)
    assert [ids[found == k].min() for k in (1, 2, 3)] == sorted(sizes, key=sizes.get, reverse=True)
    assert _vote(_offsets(ids), ids > 0, min_votes=sizes[2] + 1).max() == 2
    assert _vote(_offsets(ids), ids > 0, min_votes=sizes[2] - 5).max() == 3


def test_votes_outside_the_image_count_nowhere():
    things = np.zeros(SIZE, bool)
    things[:5, :5] = True
    offsets = np.full((*SIZE, 2), 100.0, np.float32)
    assert not _vote(offsets, things).any()
    assert not _vote(-offsets, things).any()


def test_images_of_a_batch_do_not_meet():
    scenes = [_scene(), np.zeros(SIZE, np.int32), np.roll(_scene(), 7, axis=1) * 2]
    offsets = np.stack([_offsets(ids, noise=0.7) for ids in scenes])
    things = np.stack([ids > 0 for ids in scenes])
    together = jax.jit(clustering.vote)(offsets, things)
    for i in range(3):
        np.testing.assert_array_equal(together[i], _vote(offsets[i], things[i]))
