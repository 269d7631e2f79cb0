"""Views of training images for a frozen encoder: whole images, and zooms on objects.

A frozen encoder's embedding of a view is computed once and kept, so a view is augmented
once, when it is drawn: window, gamma, noise, flips and zoom are all in the pixels.
`View` number i is a pure function of i.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage

from scripts.base import scenes, sets
from scripts.base.episodes import augment
from scripts.base.sets import Plane

Rng = np.random.Generator

#: Objects that one view keeps at most, one bit each.
MOST_OBJECTS = 16
#: Cells of the view's grid that an object has at least.
LEAST_CELLS = 14
#: Share of views that show (nearly) the whole image.
WHOLE = 0.4
#: Black and white of CT in Hounsfield units: soft tissue (three), brain, lung, bone.
WINDOWS = (
    (-160, 240),
    (-200, 300),
    (-100, 200),
    (0, 90),
    (-1200, 400),
    (-500, 1300),
    (-1000, 1000),
)
WINDOW_SHARES = (0.34, 0.16, 0.12, 0.08, 0.10, 0.08, 0.12)


@dataclass(frozen=True, eq=False)
class View:
    """What the encoder sees, and the objects in it.

    Attributes
    ----------
    image : numpy.ndarray
        (S, S, 3) uint8; the picture fills the upper left.
    extent : tuple of int
        (rows, columns) that hold picture; the rest is padding.
    layers : numpy.ndarray
        (S, S) uint16; bit k is object k.
    parted : int
        Bits of the objects that have several parts, which one click does not mean.
    scale : float
        Pixels of the view per pixel of the picture.
    source : str
    """

    image: np.ndarray
    extent: tuple[int, int]
    layers: np.ndarray
    parted: int
    scale: float
    source: str


def draw(index: int, side: int = 256) -> View:
    """Return view number `index`; a pure function of the index and the side."""
    rng = np.random.default_rng([20260, index])
    names = list(sets.MIXTURE)
    shares = np.array([sets.MIXTURE[name] for name in names])
    while True:
        name = str(rng.choice(names, p=shares / shares.sum()))
        view = _view(rng, name, side)
        if view is not None:
            return view


#: Pictures of each set by which a run is followed.
FOLLOWED_PICTURES = 4


def held_out(side: int = 256) -> Iterator[View]:
    """Yield whole pictures of the val parts, as they are, to follow a run by.

    Polyps and skin are among them; no weights are chosen by these views.
    """
    for name in sets.SETS:
        for pair in sets.parts(name)["val"][:FOLLOWED_PICTURES]:
            plane = next(iter(sets.measured_planes(name, pair, 1)))
            plane = sets.square_pixels(plane)
            picture = sets.shown(name, plane)
            whole = (slice(None), slice(None))
            masks = sets.objects(name, plane.labels)
            order = np.random.default_rng(len(masks)).permutation(len(masks))
            kept = _kept([masks[i] for i in order], whole, _extent(picture, side))
            if kept:
                small = _resize(
                    picture, _extent(picture, side), Image.Resampling.BILINEAR
                )
                yield _packed(small, kept, side / max(picture.shape[:2]), name, side)


def _extent(picture: np.ndarray, side: int) -> tuple[int, int]:
    rows, columns = picture.shape[:2]
    scale = side / max(rows, columns)
    return max(1, round(rows * scale)), max(1, round(columns * scale))


def _view(rng: Rng, name: str, side: int) -> View | None:
    picture, masks = _picture(rng, name)
    if not masks:
        return None
    window = _window(rng, name, picture.shape, masks)
    if window is None:
        return None
    part = picture[window]
    extent = _extent(part, side)
    scale = side / max(part.shape[:2])
    small = _resize(part, extent, Image.Resampling.BICUBIC)
    turn, flip = int(rng.integers(4)), rng.random() < 0.5
    small = _turned(augment(rng, small), turn, flip)
    order = rng.permutation(len(masks))
    kept = _kept([masks[i] for i in order], window, extent, turn, flip)
    return _packed(small, kept, scale, name, side) if kept else None


def _kept(
    masks: list[np.ndarray],
    window: tuple[slice, slice],
    extent: tuple[int, int],
    turn: int = 0,
    flip: bool = False,
) -> list[np.ndarray]:
    """Cells of the objects that are large enough in a window, at most a bit each."""
    kept: list[np.ndarray] = []
    for whole in masks:
        mask = whole[window]
        if not mask.any() or mask.all():
            continue
        share = _resize(mask.astype(np.uint8) * 255, extent, Image.Resampling.BILINEAR)
        cells = _turned(share > 127, turn, flip)
        if cells.sum() >= LEAST_CELLS:
            kept.append(cells)
        if len(kept) == MOST_OBJECTS:
            break
    return kept


def _packed(
    small: np.ndarray, kept: list[np.ndarray], scale: float, name: str, side: int
) -> View:
    image = np.zeros((side, side, 3), np.uint8)
    image[: small.shape[0], : small.shape[1]] = small
    layers = np.zeros((side, side), np.uint16)
    parted = 0
    for bit, cells in enumerate(kept):
        inside = layers[: cells.shape[0], : cells.shape[1]]
        inside |= cells.astype(np.uint16) << np.uint16(bit)
        parted |= (_parts(cells) > 1) << bit
    return View(image, small.shape[:2], layers, parted, scale, name)


def _picture(rng: Rng, name: str) -> tuple[np.ndarray, list[np.ndarray]]:
    """Return a picture (H, W, 3) uint8 and the masks of its objects."""
    if name == "scenes":
        scene = scenes.generate(int(rng.integers(1 << 31)))
        return scene.image, list(scene.masks)
    if name == "vessels":
        return vessels(rng)
    pairs = sets.parts(name)["train"]
    pair = pairs[int(rng.integers(len(pairs)))]
    if sets.is_volume(pair):
        plane = _some_plane(rng, pair)
    else:
        plane = _read(name, str(pair.image))
    masks = sets.objects(name, plane.labels)
    if sets.SETS[name].targets == "classes":
        masks += [m for m in sets.class_masks(name, plane.labels) if _parts(m) > 1]
    return _rendered(rng, plane), masks


@cache
def _read(name: str, image: str) -> Plane:
    pair = next(p for p in sets.parts(name)["train"] if str(p.image) == image)
    return sets.read_picture(name, pair)


def _some_plane(rng: Rng, pair: sets.Pair) -> Plane:
    _, labels, spacing = sets.read_volume(pair.image, pair.target)
    axis = int(rng.choice(sets.axes_of(spacing)))
    others = tuple(a for a in range(3) if a != axis)
    filled = np.flatnonzero(labels.any(axis=others))
    if rng.random() < 0.5:  # so that small structures are met as often as large ones
        value = int(rng.choice(np.unique(labels)[1:]))
        filled = np.flatnonzero((labels == value).any(axis=others))
    return sets.square_pixels(sets.plane_at(pair, axis, int(rng.choice(filled))))


def _rendered(rng: Rng, plane: Plane) -> np.ndarray:
    """Show a plane through some window of grey values, (H, W, 3) uint8."""
    image = plane.image
    if image.dtype == np.uint8:
        return image if image.ndim == 3 else np.repeat(image[..., None], 3, 2)
    grey = image.astype(np.float32)
    if grey.min() < -900:
        low, high = WINDOWS[int(rng.choice(len(WINDOWS), p=WINDOW_SHARES))]
        width = high - low
        low, high = low + rng.normal(0, 0.06) * width, high + rng.normal(0, 0.1) * width
    else:
        low, high = np.percentile(
            grey, [rng.uniform(0, 2), 100 - rng.choice([0.1, rng.uniform(0, 2)])]
        )
    shown = np.clip((grey - low) / max(high - low, 1e-6), 0, 1)
    return np.repeat((shown * 255).astype(np.uint8)[..., None], 3, 2)


def _window(
    rng: Rng, name: str, shape: tuple[int, ...], masks: list[np.ndarray]
) -> tuple[slice, slice] | None:
    """Choose which part of a picture is seen."""
    height, width = shape[:2]
    if rng.random() < WHOLE:
        share = 1.0 if rng.random() < 0.6 else rng.uniform(0.75, 1)
        rows, columns = round(height * share), round(width * share)
        r0 = int(rng.integers(0, height - rows + 1))
        c0 = int(rng.integers(0, width - columns + 1))
        return slice(r0, r0 + rows), slice(c0, c0 + columns)
    mask = masks[int(rng.integers(len(masks)))]
    found = np.argwhere(mask)
    if not len(found):
        return None
    (r0, c0), (r1, c1) = found.min(0), found.max(0) + 1
    longest = max(r1 - r0, c1 - c0)
    least = 24 if max(height, width) < 200 else 64
    reach = max(longest * np.exp(rng.uniform(np.log(1.15), np.log(4.5))), least)
    squash = np.exp(rng.normal(0, 0.12))
    rows = int(min(max(reach * squash, 1.05 * (r1 - r0)), height))
    columns = int(min(max(reach / squash, 1.05 * (c1 - c0)), width))
    # the object lies anywhere in the view, sometimes cut off by its edge
    slack = 0.1 * longest
    top = rng.uniform(r1 - rows - slack, r0 + slack)
    left = rng.uniform(c1 - columns - slack, c0 + slack)
    top = int(np.clip(top, 0, height - rows))
    left = int(np.clip(left, 0, width - columns))
    return slice(top, top + rows), slice(left, left + columns)


def vessels(rng: Rng) -> tuple[np.ndarray, list[np.ndarray]]:
    """Draw a branching tree of tapering tubes over a generated texture.

    Returns
    -------
    image : numpy.ndarray
        (512, 512, 3) uint8.
    masks : list of numpy.ndarray
        (512, 512) bool: the whole tree, and its larger branches.
    """
    size = scenes.SIZE
    ground = ndimage.gaussian_filter(
        scenes.generate(int(rng.integers(1 << 31))).image.astype(np.float32),
        (rng.uniform(2, 12),) * 2 + (0,),
    )
    branches: list[list[tuple[float, float, float]]] = []
    start = rng.uniform(0.1, 0.9, 2) * size
    trunks = int(rng.integers(1, 4))
    for trunk in range(trunks):
        angle = rng.uniform(0, 2 * np.pi) + trunk * 2 * np.pi / trunks
        _grow(rng, branches, tuple(start), angle, rng.uniform(3, 11), 0)
    whole = Image.new("L", (size, size))
    masks = []
    for branch in branches:
        own = Image.new("L", (size, size))
        for canvas in (whole, own):
            pen = ImageDraw.Draw(canvas)
            for (x0, y0, w0), (x1, y1, _) in zip(branch, branch[1:], strict=False):
                pen.line((x0, y0, x1, y1), 255, max(2, round(w0)))
                half = w0 / 2
                pen.ellipse((x1 - half, y1 - half, x1 + half, y1 + half), 255)
        masks.append(np.asarray(own) > 127)
    tree = np.asarray(whole)
    soft = ndimage.gaussian_filter(tree.astype(np.float32) / 255, rng.uniform(0.6, 2))
    sign = -1 if rng.random() < 0.65 else 1
    tint = sign * rng.uniform(25, 110) * rng.uniform(0.6, 1, 3)
    image = np.clip(ground + soft[..., None] * tint, 0, 255).astype(np.uint8)
    sizes = [int(m.sum()) for m in masks]
    large = [masks[i] for i in np.argsort(sizes)[::-1][:4] if sizes[i] > 150]
    return image, [tree > 127, *large]


def _grow(
    rng: Rng,
    branches: list[list[tuple[float, float, float]]],
    start: tuple[float, ...],
    angle: float,
    width: float,
    depth: int,
) -> None:
    x, y = start
    path = [(x, y, width)]
    bend, size = rng.normal(0, 0.05), scenes.SIZE
    forks = []
    for _ in range(int(rng.integers(14, 40))):
        bend = 0.8 * bend + rng.normal(0, 0.07)
        angle += bend
        x, y = x + 9 * np.cos(angle), y + 9 * np.sin(angle)
        if not (0 <= x < size and 0 <= y < size):
            break
        width *= 0.985
        path.append((x, y, width))
        if rng.random() < 0.12:
            forks.append((x, y, angle, width))
    branches.append(path)
    if depth == 3 or width < 2.2 or len(branches) > 40:
        return
    for x, y, turn, wide in forks:
        side = rng.choice([-1, 1]) * rng.uniform(0.4, 1.1)
        _grow(
            rng, branches, (x, y), turn + side, wide * rng.uniform(0.5, 0.85), depth + 1
        )


def _parts(mask: np.ndarray) -> int:
    return int(ndimage.label(mask, np.ones((3, 3)))[1])


def _resize(
    array: np.ndarray, shape: tuple[int, int], how: Image.Resampling
) -> np.ndarray:
    picture = Image.fromarray(np.ascontiguousarray(array))
    return np.asarray(picture.resize((shape[1], shape[0]), how))


def _turned(array: np.ndarray, quarter_turns: int, flip: bool) -> np.ndarray:
    array = np.rot90(array, quarter_turns)
    return array[:, ::-1] if flip else array
