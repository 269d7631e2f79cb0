"""Views of an image with many objects: itself, crops and zooms; and their targets.

A view is the image as SAM sees it and a label image of the same size. What
`model.instance_prompter.InstanceAPM` shall draw of it is worked out here.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from napari_promise.training.views import recolour

#: Part of every cached view's name: raise it when the code here draws other views.
RECIPE = 1
#: Diameters of a typical object in a zoomed view, as shares of SAM's frame.
DIAMETERS = (20 / 512, 110 / 512)
LEAST_CROP = 32  # pixels
#: Objects of fewer pixels of the frame are left to the background.
LEAST_AREA = 12
INVERTED = 0.1  # share of views whose greys are turned round
#: Where inside its object a cell tells the sides of the box, as a share of the depth.
INNER = 0.5


def view_of(
    rgb: NDArray[np.uint8],
    labels: NDArray[np.integer],
    frame: int,
    rng: np.random.Generator | None,
) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """Draw a view.

    Parameters
    ----------
    rgb : numpy.ndarray
        (H, W, 3) uint8.
    labels : numpy.ndarray
        (H, W) ids, 0 for background.
    frame : int
        Side of SAM's padded square frame.
    rng : numpy.random.Generator or None
        None for the image itself; else a crop of it, turned and recoloured.

    Returns
    -------
    tuple of numpy.ndarray
        (h, w, 3) uint8 and (h, w) int32, the longer side `frame`.
    """
    found = labels.astype(np.int32)
    if rng is not None:
        window = _window(found, frame, rng)
        rgb, found = rgb[window], found[window]
        turns = int(rng.integers(4))
        rgb, found = np.rot90(rgb, turns), np.rot90(found, turns)
        if rng.random() < 0.5:
            rgb, found = rgb[:, ::-1], found[:, ::-1]
    scale = frame / max(found.shape)
    height, width = (max(1, int(side * scale + 0.5)) for side in found.shape)
    scaled = Image.fromarray(np.ascontiguousarray(rgb)).resize(
        (width, height), Image.Resampling.BILINEAR
    )
    # ids do not mix
    near = Image.fromarray(np.ascontiguousarray(found)).resize(
        (width, height), Image.Resampling.NEAREST
    )
    pixels, ids = np.array(scaled), np.array(near, np.int32)
    if rng is not None:
        moved = torch.from_numpy(pixels).permute(2, 0, 1).float() / 255
        coloured = recolour(moved, rng).permute(1, 2, 0).numpy()
        if rng.random() < INVERTED:
            coloured = 1 - coloured
        pixels = (coloured * 255).round().astype(np.uint8)
    return pixels, ids


def _window(
    labels: NDArray[np.int32], frame: int, rng: np.random.Generator
) -> tuple[slice, slice]:
    """Choose a crop in which objects have some size of `DIAMETERS`."""
    areas = np.bincount(labels.ravel())[1:]
    areas = areas[areas > 0]
    side = max(labels.shape)
    low, high = DIAMETERS
    wanted = math.exp(rng.uniform(math.log(low), math.log(high)))
    if len(areas):
        diameter = math.sqrt(float(np.median(areas)) * 4 / math.pi)
        side = min(side, max(LEAST_CROP, round(diameter / wanted)))
    place = np.array(labels.shape) * rng.random(2)
    inside = np.argwhere(labels > 0)
    if len(inside) and rng.random() < 0.7:
        place = inside[int(rng.integers(len(inside)))]
    window = []
    for at, length in zip(place, labels.shape, strict=True):
        size = min(side, length)
        first = int(np.clip(at - rng.random() * size, 0, length - size))
        window.append(slice(first, first + size))
    return window[0], window[1]


def targets_of(labels: NDArray[np.int32], frame: int, cells: int) -> torch.Tensor:
    """Say what shall be drawn of a view.

    Parameters
    ----------
    labels : numpy.ndarray
        (h, w) ids at the size that the image has in SAM's frame.
    frame : int
        Side of that frame, a multiple of `cells`.
    cells : int
        Rows and columns that are drawn.

    Returns
    -------
    torch.Tensor
        (9, cells, cells) float32: centre, foreground, depth, four sides in cells
        (left, top, right, bottom), how much a cell's sides count, and 1 where the image
        is. The sides of one object count 1 together.
    """
    step = frame // cells
    centre = np.zeros((cells, cells), np.float32)
    depth = np.zeros((cells, cells), np.float32)
    sides = np.ones((4, cells, cells), np.float32)
    counts = np.zeros((cells, cells), np.float32)
    kept = np.zeros(labels.shape, np.float32)
    # the middle of each cell; the view may end within one
    rows = np.minimum(np.arange(cells) * step + step // 2, labels.shape[0] - 1)
    columns = np.minimum(np.arange(cells) * step + step // 2, labels.shape[1] - 1)
    inside = np.zeros((cells, cells), np.float32)
    height, width = (math.ceil(side / step) for side in labels.shape)
    inside[:height, :width] = 1
    y, x = np.mgrid[:cells, :cells] + 0.5
    for number, window in enumerate(ndimage.find_objects(labels), start=1):
        if window is None:
            continue
        mask = labels[window] == number
        area = int(mask.sum())
        if area < LEAST_AREA:
            continue
        kept[window][mask] = 1
        r0, c0 = window[0].start, window[1].start
        r1, c1 = window[0].stop, window[1].stop
        # cells whose middle lies in the object's box
        rs = slice(*np.searchsorted(rows[:height], [r0, r1]))
        cs = slice(*np.searchsorted(columns[:width], [c0, c1]))
        deep = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
        deep = deep / deep.max()
        ridge = np.argwhere(deep >= 0.8)
        middle = ridge[((ridge - ridge.mean(0)) ** 2).sum(1).argmin()]
        at_y, at_x = (middle[0] + r0 + 0.5) / step, (middle[1] + c0 + 0.5) / step
        spot = min(int(at_y), height - 1), min(int(at_x), width - 1)
        sigma = max(0.7, 0.12 * math.sqrt(area) / step)
        near = np.exp(-((y - at_y) ** 2 + (x - at_x) ** 2) / (2 * sigma**2))
        here = deep[np.ix_(rows[rs] - r0, columns[cs] - c0)].astype(np.float32)
        own = here > 0
        centre[rs, cs] = np.where(own, near[rs, cs], centre[rs, cs])
        depth[rs, cs] = np.where(own, here, depth[rs, cs])
        telling = np.zeros((cells, cells), bool)
        telling[rs, cs] = here >= INNER
        telling[spot] = True
        centre[spot] = 1
        box = np.array([c0, r0, c1, r1]) / step
        told = np.stack([x - box[0], y - box[1], box[2] - x, box[3] - y])
        sides[:, telling] = told[:, telling].clip(0.1)
        counts[telling] = 1 / telling.sum()
    padded = np.zeros((frame, frame), np.float32)
    padded[: labels.shape[0], : labels.shape[1]] = kept
    share = F.avg_pool2d(torch.from_numpy(padded)[None], step)[0].numpy()
    maps = [centre[None], share[None], depth[None], sides, counts[None], inside[None]]
    return torch.from_numpy(np.concatenate(maps).astype(np.float32))
