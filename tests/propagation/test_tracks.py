import numpy as np

from napari_promise.document import Region
from napari_promise.propagation import PlaneResult
from napari_promise.propagation.tracks import divisions


def result(plane, *boxes, label=1):
    mask = np.zeros((20, 20), bool)
    for r0, c0, r1, c1 in boxes:
        mask[r0:r1, c0:c1] = True
    region = Region.from_mask(mask)
    return PlaneResult(plane, label, (20, 20), region, 1.0, "propagated")


WHOLE = (2, 2, 10, 10)
LEFT, RIGHT = (2, 2, 10, 5), (2, 7, 10, 12)


def test_an_object_that_divides_is_offered_as_two():
    planes = [result(0, WHOLE), *(result(p, LEFT, RIGHT) for p in (1, 2, 3))]
    (found,) = divisions(planes)
    assert (found.label, found.plane) == (1, 1)
    assert [part.area for part in found.parts] == [40, 24]


def test_pieces_that_meet_again_are_no_division():
    planes = [result(0, LEFT, RIGHT), result(1, WHOLE), result(2, LEFT, RIGHT)]
    assert divisions(planes) == []


def test_a_fleck_is_no_daughter():
    planes = [result(p, WHOLE, (15, 15, 17, 17)) for p in range(4)]
    assert divisions(planes) == []


def test_objects_that_are_gone_divide_no_more():
    assert divisions([result(0), result(1)]) == []
