"""Whatever the batch and the tiles, every image gets its own maps at its own size."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy_predictions import TASKS, BrightestChannel, maps_of, photograph

from mtl_jax import tasks
from mtl_jax.pictures.maps import resize_nearest
from mtl_jax.prediction import Settings
from mtl_jax.prediction.network import Inferer, Item, pad

INSTANCES = tasks.build(
    {
        "semseg": {"type": "segmentation"},
        "instance": {"type": "instances", "semantics": "semseg", "classes": ("thing",)},
    },
    {
        "semseg": {
            "kind": "classes",
            "class_names": ("stuff", "thing"),
            "palette": (),
            "ignore": 255,
        }
    },
)


def _items(images):
    return [Item(str(i), f"image {i}", image) for i, image in enumerate(images)]


def _run(network, images, tasks=TASKS, **settings):
    """{position: maps}, and the positions in the order in which they came."""
    found = list(Inferer(network, tasks, Settings(**settings)).run(_items(images)))
    return {int(item.name): maps for item, maps in found}, [int(item.name) for item, _ in found]


def _check(found, images):
    assert sorted(found) == list(range(len(images)))
    for i, image in enumerate(images):
        for name, expected in maps_of(image).items():
            np.testing.assert_allclose(found[i][name], expected, rtol=1e-5, err_msg=f"{i} {name}")


def test_padding_repeats_the_border():
    image = photograph(3, 5)
    padded = pad(image, (4, 8))
    assert padded.shape == (4, 8, 3)
    np.testing.assert_array_equal(padded[:3, :5], image)
    np.testing.assert_array_equal(padded[3, :5], image[2])
    np.testing.assert_array_equal(padded[:3, 5:], image[:, 4:].repeat(3, 1))


def test_nearest_takes_the_value_at_each_pixels_centre():
    value = np.arange(6).reshape(2, 3)
    np.testing.assert_array_equal(
        resize_nearest(value, (4, 6)), value.repeat(2, axis=0).repeat(2, axis=1)
    )
    np.testing.assert_array_equal(resize_nearest(np.arange(9)[None], (1, 3)), [[1, 4, 7]])


# Batches.


@pytest.mark.parametrize("batch_size", [1, 2, 3, 16])
def test_images_of_several_sizes_in_batches_of_one_shape(batch_size):
    sizes = [(30, 40), (32, 64), (60, 20), (31, 33), (1, 50), (64, 32), (20, 60), (32, 61)]
    images, network = [photograph(*size) for size in sizes], BrightestChannel()
    found, _ = _run(network, images, batch_size=batch_size)
    _check(found, images)
    assert sorted(network.shapes) == [(batch_size, 32, 64, 3), (batch_size, 64, 32, 3)]


def test_a_batch_changes_nothing_about_an_image():
    """A network that would mix the images of a batch is given each of them more than once."""
    images = [photograph(8, 8) for _ in range(3)]

    def first_row_of_batch(image):
        return BrightestChannel()(np.broadcast_to(image[-1:], image.shape))

    found, _ = _run(first_row_of_batch, images[:1], batch_size=3)
    _check(found, images[:1])  # the rest of the batch is the same image again


def test_frames_keep_their_order():
    images = [photograph(8, 8) for _ in range(7)]
    found, order = _run(BrightestChannel(), images, batch_size=3)
    assert order == list(range(7))
    _check(found, images)


@pytest.mark.parametrize("shapes", [1, 12])
def test_only_a_few_images_are_held(shapes):
    drawn = []

    def items():
        for i in range(36):
            drawn.append(i)
            yield Item(str(i), "", photograph(8, 32 * (i % shapes) + 8))

    network = Inferer(BrightestChannel(), TASKS, Settings(batch_size=2))
    for done, _ in enumerate(network.run(items())):
        assert len(drawn) - done <= 4 * 2
    assert done == 35


def test_an_error_names_the_images():
    def broken(image):
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory") as caught:
        _run(broken, [photograph(8, 8)] * 3, batch_size=2)
    assert caught.value.__notes__ == ["This happened while predicting on image 0, image 1."]


@pytest.mark.parametrize("tile", [0, 32])
def test_padding_casts_no_votes(tile):
    """The centre that all pixels vote for is in the padding, so there is no instance."""

    def network(image):
        rows = np.mgrid[: image.shape[1], : image.shape[2]][0]
        offsets = np.stack([rows - 60, 0 * rows], -1)[None].astype(np.float32)
        return {"semseg": 0 * image[..., :2] + np.uint8([0, 1]), "instance": offsets}

    def instances(image):
        settings = {"tile": tile, "tile_overlap": 0} if tile else {}
        return _run(network, [image], INSTANCES, **settings)[0][0]["instance"]

    assert instances(photograph(64, 32)).any() or tile  # each tile has rows of its own
    assert not instances(photograph(50, 32)).any()


# Tiles.


@jax.jit
def _all_around(image):
    """A network that sees the whole of what it is given."""
    image = image.astype(jnp.float32)
    mean = jnp.mean(image, axis=(1, 2), keepdims=True)
    return {
        "semseg": image * 0.1 + jnp.roll(image, 5, axis=2) + mean,
        "depth": mean + image[..., :1],
    }


@pytest.mark.parametrize("size", [(64, 64), (50, 64), (33, 40), (10, 12)])
def test_one_tile_that_covers_the_image_is_the_whole_image(size):
    image = photograph(*size)
    whole, _ = _run(_all_around, [image])
    tiled, _ = _run(_all_around, [image], tile=64, tile_overlap=16)
    for name in TASKS:
        np.testing.assert_array_equal(tiled[0][name], whole[0][name])


@pytest.mark.parametrize("batch_size", [1, 3])
@pytest.mark.parametrize("size", [(65, 64), (20, 100), (150, 40), (97, 131)])
def test_tiles_of_a_network_that_sees_one_pixel_are_the_whole_image(size, batch_size):
    image, network = photograph(*size), BrightestChannel()
    found, _ = _run(network, [image], tile=64, tile_overlap=16, batch_size=batch_size)
    _check(found, [image])
    shape = tuple(min(64, -(-side // 32) * 32) for side in size)
    assert network.shapes == [(batch_size, *shape, 3)]


def test_raw_predictions_are_blended_before_classes_are_chosen():
    """Each tile is sure of its own class, and the last, which is of two minds, decides nothing."""
    image = np.zeros((32, 48, 3), np.uint8)
    image[:, 40:] = 1  # the second tile sees it, the first does not

    def network(tile):
        second = tile.max(axis=(1, 2, 3), keepdims=True) > 0
        logits = np.where(second, np.float32([0, 0, 1]), np.float32([1, 0, 0]))
        logits = np.broadcast_to(logits, (*tile.shape[:3], 3))
        return {"semseg": logits, "depth": np.where(second, 40, 20) + 0 * logits[..., :1]}

    found, _ = _run(network, [image], tile=32, tile_overlap=16)
    # The tiles' weights are equal in the middle of what they share.
    assert np.all(found[0]["semseg"][:, :24] == 0)
    assert np.all(found[0]["semseg"][:, 24:] == 2)
    depth = found[0]["depth"][0]
    np.testing.assert_allclose(depth[:16], 20, rtol=1e-6)
    np.testing.assert_allclose(depth[32:], 40, rtol=1e-6)
    assert np.all(np.diff(depth[15:33]) > 0)
    np.testing.assert_allclose(depth[16:32] + depth[16:32][::-1], 60, rtol=1e-6)


def test_large_images_are_shrunk_before_they_are_cut():
    image = photograph(8, 16).repeat(16, 0).repeat(16, 1)
    network = BrightestChannel()
    found, _ = _run(network, [image], max_size=128, tile=64, tile_overlap=16)
    assert network.shapes == [(1, 64, 64, 3)]
    np.testing.assert_array_equal(found[0]["semseg"][8::16, 8::16], image[8::16, 8::16].argmax(-1))


def test_instances_that_tiles_cut_apart_are_whole():
    """Offsets are blended, and instances found in the whole image."""
    ids = np.zeros((96, 160), np.int32)
    ids[20:80, 10:70], ids[30:60, 75:150] = 1, 2
    rows, columns = np.mgrid[:96, :160].astype(np.float32)
    offsets = np.zeros((96, 160, 2), np.float32)
    for i in (1, 2):
        inside = ids == i
        offsets[inside, 0] = rows[inside] - rows[inside].mean()
        offsets[inside, 1] = columns[inside] - columns[inside].mean()
    # The image carries the position, by which the network looks its answer up.
    image = np.stack([rows, columns, 0 * rows], -1).astype(np.uint8)

    def network(tile):
        at = tile[..., 0].astype(int), tile[..., 1].astype(int)
        thing = (ids[at] > 0).astype(np.float32)
        return {"semseg": np.stack([0.5 + 0 * thing, thing], -1), "instance": offsets[at]}

    whole, _ = _run(network, [image], INSTANCES)
    tiled, _ = _run(network, [image], INSTANCES, tile=64, tile_overlap=16, batch_size=2)
    assert sorted(np.unique(whole[0]["instance"])) == [0, 1, 2]
    np.testing.assert_array_equal(tiled[0]["instance"] > 0, ids > 0)
    np.testing.assert_array_equal(tiled[0]["instance"], whole[0]["instance"])
