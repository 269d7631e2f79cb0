import numpy as np
import pytest

from napari_promise.document import Region
from napari_promise.propagation import Propagator


def dice(a, b):
    return 2 * (a & b).sum() / (a.sum() + b.sum())


@pytest.fixture
def propagator(phantom):
    return Propagator(phantom.embed, phantom.pixels, len(phantom.volume))


def whole(propagator, label, shape):
    found = np.zeros(shape, bool)
    for result in propagator.results(label):
        found[result.plane] = result.mask
    return found


def snapshot(results):
    return [(r.plane, r.label, r.region, r.confidence, r.stopped) for r in results]


def test_one_drawn_plane_becomes_the_whole_object(phantom, propagator):
    propagator.set_plane(7, 1, phantom.one[7])
    list(propagator.run())
    assert dice(whole(propagator, 1, phantom.one.shape), phantom.one) > 0.9


def test_the_nearest_planes_come_first(phantom, propagator):
    propagator.set_plane(7, 1, phantom.one[7])
    far = [abs(result.plane - 7) for result in propagator.run()]
    assert far == sorted(far)
    assert far[:2] == [1, 1]


def test_an_object_ends_with_a_reason_on_an_empty_plane(phantom, propagator):
    propagator.set_plane(7, 1, phantom.one[7])
    ends = [r for r in propagator.run() if r.stopped]
    assert len(ends) == 2
    assert all(r.region is None for r in ends)
    assert all(abs(abs(r.plane - 7) - 6) <= 1 for r in ends)


def test_planes_between_two_drawn_ones_are_interpolated(phantom, propagator):
    propagator.set_plane(4, 1, phantom.one[4])
    propagator.set_plane(10, 1, phantom.one[10])
    sources = {r.plane: r.source for r in propagator.run()}
    assert {p for p, s in sources.items() if s == "interpolated"} == set(range(5, 10))
    assert "prompted" not in sources.values()


def test_a_drawn_plane_is_never_drawn_over(phantom, propagator):
    propagator.set_plane(6, 1, phantom.one[6])
    propagator.set_plane(8, 1, phantom.one[8])
    assert {6, 8}.isdisjoint(r.plane for r in propagator.run())


def test_a_correction_is_recomputed_up_to_the_next_drawn_planes(phantom, propagator):
    for plane in (3, 7, 11):
        propagator.set_plane(plane, 1, phantom.one[plane])
    list(propagator.run())
    propagator.set_plane(9, 1, phantom.one[9])
    assert propagator.between(1, 9) == (7, 11)
    again = {r.plane for r in propagator.run(between=propagator.between(1, 9))}
    assert again == {8, 10}


def test_taking_a_plane_out_undoes_it_exactly(phantom, propagator):
    propagator.set_plane(7, 1, phantom.one[7])
    before = snapshot(propagator.run())
    propagator.set_plane(4, 1, phantom.two[4])
    list(propagator.run())
    propagator.remove_plane(4, 1)
    assert snapshot(propagator.run()) == before


def test_objects_that_go_together_encode_each_plane_once(phantom, propagator):
    propagator.set_plane(7, 1, phantom.one[7])
    propagator.set_plane(7, 2, phantom.two[7])
    phantom.encoded.clear()
    list(propagator.run(z_range=(5, 9)))
    assert sorted(phantom.encoded) == [5, 6, 8, 9]


def test_no_pixel_belongs_to_two_objects(phantom, propagator):
    propagator.set_plane(7, 1, phantom.one[7])
    propagator.set_plane(7, 2, phantom.one[7] | phantom.two[7])
    list(propagator.run())
    one = whole(propagator, 1, phantom.one.shape)
    two = whole(propagator, 2, phantom.one.shape)
    planes = [p for p in range(15) if p != 7]
    assert one[planes].any()
    assert two[planes].any()
    assert not (one & two)[planes].any()


def test_an_empty_drawn_plane_ends_the_object(phantom, propagator):
    propagator.set_plane(7, 1, phantom.one[7])
    propagator.set_plane(9, 1, None)
    assert max(r.plane for r in propagator.run() if r.region) == 8


def test_planes_that_the_object_left_are_taken_back(phantom, propagator):
    propagator.set_plane(7, 1, phantom.one[7])
    list(propagator.run())
    propagator.set_plane(8, 1, None)
    gone = [r for r in propagator.run() if r.plane > 8 and r.region is None]
    assert {9, 10} <= {r.plane for r in gone}
    assert not any(r.region for r in propagator.results(1) if r.plane > 8)


def test_the_range_bounds_the_planes(phantom, propagator):
    propagator.set_plane(7, 1, phantom.one[7])
    assert {r.plane for r in propagator.run(z_range=(6, 9))} <= {6, 8, 9}


def test_leaving_half_way_keeps_what_is_there(phantom, propagator):
    propagator.set_plane(7, 1, phantom.one[7])
    results = propagator.run()
    first = next(results)
    results.close()
    assert [r.plane for r in propagator.results(1)] == sorted([first.plane, 7])


def test_a_region_is_as_good_as_a_mask(phantom, propagator):
    propagator.set_plane(7, 1, phantom.one[7])
    before = snapshot(propagator.run())
    propagator.set_plane(7, 1, Region.from_mask(phantom.one[7]))
    assert snapshot(propagator.run()) == before


def test_a_mask_of_another_shape_is_refused(phantom, propagator):
    with pytest.raises(ValueError, match="pass a mask of this plane"):
        propagator.set_plane(7, 1, np.zeros((3, 3), bool))


def test_a_plane_outside_of_the_stack_is_refused(phantom, propagator):
    with pytest.raises(ValueError, match="planes 0 to 14"):
        propagator.set_plane(15, 1, None)


def test_a_rough_mask_is_drawn_anew_along_the_object(phantom, propagator):
    truth = phantom.one[7]
    rough = np.roll(truth, 2, axis=1)
    found = propagator.refined(7, 1, rough)
    assert dice(found, truth) > dice(rough, truth)


def test_a_mask_drawn_anew_obeys_the_clicks(phantom, propagator):
    rough = phantom.one[7].copy()
    rough[10:14, 30:34] = True
    clicks = np.array([[18.0, 18.0], [11.0, 31.0]])
    found = propagator.refined(7, 1, rough, clicks, np.array([1, 1]))
    assert found[11, 31]
    assert found[18, 18]


def test_an_object_between_two_drawn_planes_is_never_empty(phantom):
    propagator = Propagator(
        phantom.embed,
        phantom.pixels,
        len(phantom.volume),
        outline=lambda look: np.full_like(look.prior, -9),
    )
    propagator.set_plane(4, 1, phantom.one[4])
    propagator.set_plane(10, 1, phantom.one[10])
    between = [r for r in propagator.run() if 4 < r.plane < 10]
    assert all(r.region is not None for r in between)
