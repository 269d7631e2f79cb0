import numpy as np
import pytest

from napari_promise import Prompts, Segmenter, propagate

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def segmenter():
    return Segmenter.load("promise-tiny", device="cpu")


@pytest.fixture(scope="module")
def ball():
    z, r, c = np.ogrid[:7, :32, :40]
    return (4 * (z - 3)) ** 2 + (r - 15) ** 2 + (c - 22) ** 2 <= 11**2


@pytest.fixture(scope="module")
def volume(ball):
    noise = np.random.default_rng(0).normal(0, 5, ball.shape)
    return (60 + 120 * ball + noise).astype(np.int16)


def collected(results, shape):
    """Return the whole object as the iterator gives it in the end, and the order."""
    painted, order = np.zeros(shape, bool), []

    def follow():
        whole = yield from results
        follow.whole = whole

    for result in follow():
        painted[result.plane] = result.mask
        order.append((result.plane, result.source))
    assert np.array_equal(follow.whole, painted)
    return painted, order


def dice(a, b):
    return 2 * (a & b).sum() / (a.sum() + b.sum())


def test_prompts_of_one_plane_give_the_object_plane_by_plane(segmenter, volume, ball):
    prompts = {3: Prompts(boxes=[(3.5, 10.5, 26.5, 33.5)])}
    found, order = collected(propagate(segmenter, volume, prompts), ball.shape)
    assert order[0] == (3, "prompted")
    assert {plane for plane, _ in order[1:3]} == {2, 4}
    assert dice(found, ball) > 0.8


def test_masks_are_taken_as_they_are(segmenter, volume, ball):
    results = propagate(segmenter, volume, {3: ball[3]}, z_range=(3, 4))
    first = next(results)
    assert np.array_equal(first.mask, ball[3])
    assert first.confidence == 1
    assert [result.plane for result in results] == [4]


def test_any_axis_can_be_gone_along(segmenter, volume, ball):
    turned, object_ = np.moveaxis(volume, 0, 2), np.moveaxis(ball, 0, 2)
    results = propagate(segmenter, turned, {3: ball[3]}, axis=2, z_range=(2, 4))
    planes = {result.plane: result.mask for result in results}
    assert set(planes) == {2, 3, 4}
    assert dice(planes[4], object_[..., 4]) > 0.8


@pytest.mark.parametrize(
    ("prompts", "options", "remedy"),
    [
        ({}, {}, "give prompts of a plane"),
        ({9: Prompts(points=[(3, 3)])}, {}, "planes 0 to 6"),
        ({3: np.ones((4, 4), bool)}, {}, "pass a mask of this plane"),
        ({3: Prompts(points=[(3, 3)])}, {"axis": 5}, "an axis of 0, 1 or 2"),
        ({3: Prompts(points=[(3, 3)])}, {"spacing": (0, 1, 1)}, "three positive"),
    ],
)
def test_what_does_not_fit_is_refused(segmenter, volume, prompts, options, remedy):
    with pytest.raises(ValueError, match=remedy):
        list(propagate(segmenter, volume, prompts, **options))
