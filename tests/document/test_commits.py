"""Commits: whose a pixel is, painted by hand or by another object."""

from __future__ import annotations

import numpy as np
import pytest

from napari_promise.document.commits import commit_patches
from tests.document.bench import SHAPE, Bench, expected, rectangle


def test_by_default_a_commit_leaves_the_earlier_objects_pixels_alone() -> None:
    bench = Bench()
    bench.add(rectangle(0, 0, 10, 10))
    bench.add(rectangle(5, 5, 15, 15))
    want = expected(_2=np.s_[5:15, 5:15])
    want[:10, :10] = 1
    np.testing.assert_array_equal(bench.labels, want)


def test_overwriting_takes_pixels_and_giving_them_up_returns_them() -> None:
    bench = Bench()
    first = bench.add(rectangle(0, 0, 10, 10))
    second = bench.add(rectangle(5, 5, 15, 15), overlap="overwrite")
    want = expected(_1=np.s_[:10, :10], _2=np.s_[5:15, 5:15])
    np.testing.assert_array_equal(bench.labels, want)
    bench.click(second, (9.0, 9.0))
    bench.answer(second, rectangle(10, 10, 15, 15))
    bench.commit(second)
    want = expected(_1=np.s_[:10, :10], _2=np.s_[10:15, 10:15])
    np.testing.assert_array_equal(bench.labels, want)
    assert bench.document.get(first).written == rectangle(0, 0, 10, 10)


def test_committing_again_replaces_the_objects_earlier_pixels() -> None:
    bench = Bench()
    first = bench.add(rectangle(0, 0, 10, 10))
    bench.click(first, (3.0, 3.0))
    bench.answer(first, rectangle(5, 5, 12, 12))
    bench.commit(first)
    np.testing.assert_array_equal(bench.labels, expected(_1=np.s_[5:12, 5:12]))


def test_pixels_painted_by_hand_survive_a_commit_and_so_do_erased_ones() -> None:
    bench = Bench()
    first = bench.add(rectangle(0, 0, 10, 10))
    bench.paint(np.s_[12:14, 20:25], first)
    bench.paint(np.s_[0:2, 0:2], 0)
    for shape in ((0, 0, 9, 9), (0, 0, 10, 10)):  # survives twice
        bench.click(first, (3.0, float(shape[2])))
        bench.answer(first, rectangle(*shape))
        bench.commit(first)
        want = expected(_1=np.s_[: shape[2], : shape[3]])
        want[12:14, 20:25] = first
        want[0:2, 0:2] = 0
        np.testing.assert_array_equal(bench.labels, want)
    bench.commit(first, keep_painted=False)
    np.testing.assert_array_equal(bench.labels, expected(_1=np.s_[:10, :10]))


def test_overwriting_spares_what_was_painted_by_hand_until_told_otherwise() -> None:
    bench = Bench()
    bench.paint(np.s_[0:4, 0:4], 7)
    bench.document.reserve(7)
    region = rectangle(0, 0, 8, 8)
    eighth = bench.add(region, overlap="overwrite")
    assert eighth == 8
    want = expected(_8=np.s_[:8, :8], _7=np.s_[:4, :4])
    np.testing.assert_array_equal(bench.labels, want)
    bench.commit(eighth, overlap="overwrite", keep_painted=False)
    np.testing.assert_array_equal(bench.labels, expected(_8=np.s_[:8, :8]))


def _patch(labels, region):
    """The first commit of one object into labels of an image of one plane."""
    return commit_patches(
        labels,
        [(1, region)],
        plane=(),
        written={},
        yielded={},
        overlap="keep",
        keep_painted=True,
    )


def test_a_commit_reads_only_the_part_of_the_labels_that_matters() -> None:
    class Spy:
        shape = SHAPE

        def __getitem__(self, window):
            rows, columns = window
            assert (rows.stop - rows.start, columns.stop - columns.start) == (3, 4)
            return np.zeros((3, 4), int)

    result = _patch(Spy(), rectangle(2, 3, 5, 7))
    assert result.patch.region.area == 12


def test_a_commit_into_labels_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match="image's shape"):
        _patch(np.zeros((5, 5), int), rectangle(0, 0, 3, 3))


def test_committing_an_object_without_a_mask_is_refused() -> None:
    bench = Bench()
    record = bench.document.new_object()
    with pytest.raises(ValueError, match="no mask yet"):
        bench.commit(record.id)


def test_removing_an_object_takes_its_pixels_with_it_and_undo_brings_it_back() -> None:
    bench = Bench()
    first = bench.add(rectangle(0, 0, 10, 10))
    record = bench.document.get(first)
    bench.document.remove(first, bench.labels)
    assert first not in bench.document
    assert not bench.labels.any()
    assert bench.document.active_id is None
    bench.document.undo()
    assert bench.document.get(first) is record
    np.testing.assert_array_equal(bench.labels, expected(_1=np.s_[:10, :10]))
