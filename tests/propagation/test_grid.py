import numpy as np
import pytest

from napari_promise.propagation.grid import Grid


def test_a_small_plane_keeps_its_pixels():
    grid = Grid.of((35, 50), 192)
    picture = np.random.default_rng(0).random((35, 50)).astype(np.float32)
    assert grid.cells == (35, 50)
    assert np.array_equal(grid.reduced(picture), picture)


def test_a_large_plane_has_fewer_cells_and_the_same_mean():
    grid = Grid.of((512, 400), 192)
    picture = np.random.default_rng(0).random((512, 400)).astype(np.float32)
    assert max(grid.cells) == 192
    assert grid.reduced(picture).mean() == pytest.approx(picture.mean(), abs=1e-3)


def test_what_was_reduced_comes_back_to_its_place():
    grid = Grid.of((512, 400), 192)
    r, c = np.indices((512, 400))
    mask = (r - 300) ** 2 + (c - 120) ** 2 < 60**2
    cells = grid.reduced_mask(mask)
    window = (80, 10, 150, 90)
    part = np.where(cells, 1.0, -1.0).astype(np.float32)[80:150, 10:90]
    field, (row, column) = grid.enlarged(part, window)
    back = np.zeros_like(mask)
    back[row : row + field.shape[0], column : column + field.shape[1]] = field > 0
    assert 2 * (back & mask).sum() / (back.sum() + mask.sum()) > 0.98


def test_a_mask_smaller_than_a_cell_is_not_lost():
    mask = np.zeros((900, 900), bool)
    mask[450, 450] = True
    assert Grid.of(mask.shape, 192).reduced_mask(mask).sum() == 1
