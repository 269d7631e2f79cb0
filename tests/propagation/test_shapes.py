import numpy as np

from napari_promise.propagation import shapes


def disc(row, column, radius, shape=(40, 50)):
    r, c = np.indices(shape)
    return (r - row) ** 2 + (c - column) ** 2 <= radius**2


def test_the_shape_half_way_lies_half_way():
    found = shapes.interpolated(disc(12, 12, 6), disc(28, 36, 10), 0.5) > 0
    assert np.allclose(shapes.centroid(found), (20, 24), atol=0.6)
    assert abs(np.sqrt(found.sum() / np.pi) - 8) < 0.7


def test_at_its_ends_interpolation_is_what_was_drawn():
    one, other = disc(12, 12, 6), disc(28, 36, 10)
    assert np.array_equal(shapes.interpolated(one, other, 0.0) > 0, one)
    assert np.array_equal(shapes.interpolated(one, other, 1.0) > 0, other)


def test_distances_are_in_the_unit_of_the_spacing():
    mask = disc(20, 25, 10)
    found = shapes.signed_distance(mask, (3.0, 3.0))
    assert found[20, 25] > 2.5 * shapes.signed_distance(mask)[20, 25]
    assert (found > 0).sum() == mask.sum()


def test_an_empty_mask_is_far_from_everywhere():
    assert shapes.signed_distance(np.zeros((4, 4), bool)).max() < -100


def test_an_object_cut_by_the_edge_is_not_thinner_there():
    found = shapes.signed_distance(np.ones((9, 9), bool))
    assert found.min() > 0


def test_flecks_and_holes_go_and_other_pieces_with_a_seed():
    mask = disc(20, 20, 8)
    mask[20, 20] = False
    mask[2, 2] = True
    apart = mask | disc(32, 44, 4)
    found = shapes.cleaned(apart, disc(20, 20, 2))
    assert found[20, 20]
    assert not found[2, 2]
    assert not found[32, 44]
