"""Sample images with their truth: an endoscopy-like scene, a stack, and nuclei.

Scene and stack are pure functions of a seed, so nothing has to be downloaded and
nobody's patient is shown; the nuclei are a photograph in the public domain. The scene
is ray-marched: a bent tube with folds, a polyp on its wall, one light beside the
camera; its mask is the set of pixels whose ray ends on the polyp.
``*_layers`` hand them to napari as layer data; this module does not know napari itself,
nor any model.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, special

from napari_promise.data.sample_volumes import abdomen_layers, hippocampus_layers

__all__ = [
    "STACK_SCALE",
    "STACK_SHAPE",
    "SCENE_SHAPE",
    "abdomen_layers",
    "endoscopy_layers",
    "endoscopy_scene",
    "hippocampus_layers",
    "nodule_stack",
    "retina_layers",
    "stack_layers",
]

Floats = NDArray[np.float32]
#: ``(data, keyword arguments of the layer, type of the layer)``, as napari takes them.
LayerData = tuple[NDArray[Any], dict[str, Any], str]

SCENE_SHAPE = (512, 640)
STACK_SHAPE = (12, 160, 160)
STACK_SCALE = (2.5, 0.7, 0.7)  # (plane, row, column), mm

_PERIOD = 32  # of the noise, in cells
_FINENESS = 3  # lattice points a cell, enough for the linear look-up to stay smooth


class _Noise:
    """Smooth 3-D noise that repeats every 32 cells; the seed makes it reproducible."""

    def __init__(self, rng: np.random.Generator) -> None:
        white = rng.standard_normal((_PERIOD * _FINENESS,) * 3, dtype=np.float32)
        smooth = ndimage.gaussian_filter(white, 0.45 * _FINENESS, mode="wrap")
        self._lattice = smooth / smooth.std()

    def __call__(
        self, points: NDArray[np.floating[Any]], frequency: float, octaves: int = 1
    ) -> Floats:
        """Noise at `points` (3, N): mean 0, deviation 1 in the first octave, (N,)."""
        total = np.zeros(points.shape[1], np.float32)
        for octave in range(octaves):
            where = (points * (frequency * 2**octave) + 7.3 * octave) * _FINENESS
            total += 0.5**octave * ndimage.map_coordinates(
                self._lattice, where, order=1, mode="grid-wrap"
            )
        return total


# --- the scene ----------------------------------------------------------------------
# Camera coordinates: x to the right, y down, z forward; the unit is the tube's radius.

_POLYP_CENTRE = np.array([-0.24, 0.56, 1.38], np.float32)
_POLYP_RADII = np.array([0.44, 0.37, 0.40], np.float32)


def _axis(z: Floats) -> tuple[Floats, Floats]:
    """Return where the tube's axis runs at depth `z`: it bends up and to the right."""
    return 0.035 * z**2 + 0.05 * z, -0.045 * z**2 + 0.02 * z


def _wall_distance(points: Floats) -> Floats:
    """Distance to the wall of the tube, (N,), positive inside; folds included."""
    x, y, z = points
    ax, ay = _axis(z)
    x, y = x - ax, y - ay
    angle = np.arctan2(y, x)
    # Folds are narrow ridges across the tube, cut in three by the longitudinal muscles.
    along = z + 0.14 * np.sin(2 * angle + 0.7) + 0.08 * np.sin(3 * angle - z)
    phase = (along / 1.15 + 0.42) % 1.0 - 0.5
    ridge = np.exp(-((phase / 0.13) ** 2)) * (0.62 + 0.38 * np.cos(3 * angle + 0.9 * z))
    ripple = 0.018 * np.sin(9 * along + 2 * angle) + 0.03 * np.sin(4 * angle + 2 * z)
    return (1.0 - 0.26 * ridge - ripple - np.hypot(x, y)).astype(np.float32)


def _polyp_distance(points: Floats) -> Floats:
    """Distance to the polyp's surface, (N,), negative inside it."""
    q = (points - _POLYP_CENTRE[:, None]) / _POLYP_RADII[:, None]
    x, y, z = q * 3.1
    lobes = 0.07 * np.sin(x + 0.8) * np.sin(1.1 * y) + 0.05 * np.sin(1.3 * z + 0.7 * x)
    radius = np.sqrt(np.einsum("ij,ij->j", q, q))
    return ((radius - 1.0 + lobes) * _POLYP_RADII.min()).astype(np.float32)


def _distance(points: Floats) -> Floats:
    """Distance to the nearest surface, (N,); polyp and wall meet in a soft neck."""
    wall, polyp = _wall_distance(points), _polyp_distance(points)
    neck = np.maximum(0.12 - np.abs(wall - polyp), 0.0)
    return np.minimum(wall, polyp) - neck**2 / 0.48


def _march(rays: Floats, steps: int = 64) -> Floats:
    """Follow `rays` (3, N) from the camera to the first surface; points (3, N)."""
    depth = np.full(rays.shape[1], 0.35, np.float32)
    active = np.arange(depth.size)
    for _ in range(steps):
        gap = _distance(rays[:, active] * depth[active])
        depth[active] += 0.7 * gap  # the folds bend the distance: tread carefully
        active = active[(np.abs(gap) > 1e-3) & (depth[active] < 9.0)]
        if active.size == 0:
            break
    return rays * depth


def _normals(points: Floats) -> Floats:
    """Return unit normals of the surface at `points`, (3, N), facing the camera."""
    step = np.float32(4e-3)
    slopes = [
        _distance(points + step * axis[:, None])
        - _distance(points - step * axis[:, None])
        for axis in np.eye(3, dtype=np.float32)
    ]
    normals = np.stack(slopes)
    return normals / (np.linalg.norm(normals, axis=0) + 1e-9)


def endoscopy_scene(
    seed: int = 7, shape: tuple[int, int] = SCENE_SHAPE
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Generate a picture as a colonoscope might take it, and where the polyp is.

    Parameters
    ----------
    seed : int
        Chooses texture, vessels and noise; the geometry stays.
    shape : tuple of int
        Rows and columns.

    Returns
    -------
    image : numpy.ndarray
        (H, W, 3) uint8, RGB; black outside the field of view.
    mask : numpy.ndarray
        (H, W) bool, True on the polyp.
    """
    rng = np.random.default_rng(seed)
    noise = _Noise(rng)
    height, width = shape
    row, column = np.mgrid[:height, :width].astype(np.float32)
    x = (column - (width - 1) / 2) / (height / 2)
    y = (row - (height - 1) / 2) / (height / 2)
    # Eight corners: a disc that the sensor cuts off, as most endoscopes show it.
    view = (np.abs(x) < 1.17) & (np.abs(y) < 0.985) & (np.abs(x) + np.abs(y) < 1.72)

    rays = np.stack([x[view], y[view], np.ones(int(view.sum()), np.float32)])
    rays[:2] *= 0.92  # a wide angle, about 85 degrees from top to bottom
    rays /= np.linalg.norm(rays, axis=0)
    points = _march(rays)
    wall, polyp = _wall_distance(points), _polyp_distance(points)
    on_polyp = polyp < wall
    # 1 on the polyp, 0 on the wall, in between along its foot.
    blend = special.expit((wall - polyp) / 0.018)

    # Mucosa: mottled, with vessels (the zero lines of noise) that thin out and branch.
    mottle = noise(points, 1.6, 3)
    pits = noise(points, 26.0, 2)
    warped = points + 0.10 * noise(points, 3.0)
    vessels = np.exp(-((noise(warped, 2.6) / 0.055) ** 2))
    vessels += 0.7 * np.exp(-((noise(warped + 5.0, 5.2) / 0.075) ** 2))
    vessels *= np.clip(0.55 + 0.5 * noise(points, 1.1), 0, 1) * (1 - blend)
    pink = np.array([0.84, 0.36, 0.25], np.float32)[:, None]
    red = np.array([0.86, 0.27, 0.20], np.float32)[:, None]
    tint = np.array([0.05, 0.065, 0.05], np.float32)[:, None]
    albedo = pink * (1 - blend) + red * blend + tint * mottle
    albedo = albedo + tint * 0.9 * blend * pits
    albedo = albedo * (1 - np.array([0.14, 0.34, 0.30], np.float32)[:, None] * vessels)

    # One light at the camera: what is near and faces us is bright, the lumen is dark.
    normals = _normals(points)
    rough = np.stack([noise(points + o, 13.0, 2) for o in (0.0, 11.0, 23.0)])
    normals = normals + (0.07 + 0.03 * blend) * rough
    normals = normals / np.linalg.norm(normals, axis=0)
    light = np.array([0.16, -0.10, 0.0], np.float32)[:, None] - points
    distance = np.linalg.norm(light, axis=0)
    light = light / distance
    facing = np.clip(np.einsum("ij,ij->j", normals, light), 0, 1)
    half = light - rays
    half = half / np.linalg.norm(half, axis=0)
    glance = np.clip(np.einsum("ij,ij->j", normals, half), 0, 1)
    falloff = 1.0 / (0.45 + 0.62 * distance**2)
    # Light that comes from deep inside has met red walls on its way.
    depths = np.array([0.04, 0.20, 0.30], np.float32)[:, None] * distance
    lit = albedo * (0.10 + 0.90 * facing) * falloff * 2.4 * np.exp(-depths)
    # Wet: small glints where the film of water faces the light, and a soft sheen.
    wet = np.clip(noise(points, 4.0, 2) * 0.5 + 0.45, 0, 1)
    lit = lit + (2.4 * wet * glance**300 + 0.08 * glance**18) * np.sqrt(falloff)
    lit = 1 - np.exp(-1.25 * np.clip(lit, 0, None))  # the sensor saturates softly

    image = np.zeros((height, width, 3), np.float32)
    image[view] = lit.T ** (1 / 1.6)
    mask = np.zeros(shape, bool)
    mask[view] = on_polyp
    image *= (1 - 0.22 * (x**2 + y**2) / 1.7)[..., None]  # the lens darkens its edge
    image = ndimage.gaussian_filter(image, (0.8, 0.8, 0))
    grain = ndimage.gaussian_filter(rng.standard_normal(image.shape), (0.6, 0.6, 0))
    image += 0.012 * grain.astype(np.float32) * view[..., None]
    return np.round(np.clip(image, 0, 1) * 255).astype(np.uint8), mask


# --- the stack ----------------------------------------------------------------------


def nodule_stack(
    seed: int = 3,
) -> tuple[NDArray[np.uint16], NDArray[np.uint8], tuple[float, float, float]]:
    """Generate a small volume with nodules in it, as a scanner might see them.

    Parameters
    ----------
    seed : int
        Chooses place, size and brightness of the nodules, texture and noise.

    Returns
    -------
    volume : numpy.ndarray
        (12, 160, 160) uint16, (plane, row, column).
    labels : numpy.ndarray
        The same shape, uint8: 0 background, 1 ... N one nodule each.
    scale : tuple of float
        Size of a voxel in mm, (plane, row, column); planes are thicker than pixels.
    """
    rng = np.random.default_rng(seed)
    size = np.array(STACK_SHAPE) * STACK_SCALE
    where = np.indices(STACK_SHAPE, np.float32)
    where = where * np.array(STACK_SCALE, np.float32)[:, None, None, None]
    points = where.reshape(3, -1)
    noise = _Noise(rng)
    # Body: parenchyma with a coarse texture, darker outside an ellipse.
    middle = (size / 2)[:, None]
    body = np.hypot(*((points - middle)[1:] / np.array([[52.0], [46.0]]))) < 1
    signal = np.where(body, 900 + 70 * noise(points, 0.10, 3), 160).astype(np.float32)
    # Bright and thin, so that "bright" alone does not tell a nodule.
    vessel = np.abs(noise(points, 0.035)) + np.abs(noise(points + 31.0, 0.035))
    signal += np.where(body, 500 * np.exp(-((vessel / 0.16) ** 2)), 0)

    labels = np.zeros(points.shape[1], np.uint8)
    taken: list[NDArray[np.float64]] = []
    while len(taken) < 6:
        radius = rng.uniform(7.0, 11.0)
        centre = middle[:, 0] + rng.uniform(-1, 1, 3) * np.array([10.0, 36.0, 32.0])
        if any(np.linalg.norm(centre - other) < 25 for other in taken):
            continue
        taken.append(centre)
        offset = (points - centre[:, None].astype(np.float32)) / radius
        gap = np.linalg.norm(offset, axis=0) - 1 + 0.10 * noise(points, 0.12)
        labels[gap < 0] = len(taken)
        soft = special.expit(-gap * radius / 0.6)  # the scanner blurs by about 1 mm
        brightness = rng.uniform(550, 950) + 60 * noise(points, 0.3)
        signal += soft * brightness
    volume = ndimage.gaussian_filter(signal.reshape(STACK_SHAPE), (0, 0.6, 0.6))
    volume += rng.normal(0, 38, STACK_SHAPE)
    volume = np.clip(np.round(volume), 0, 65535).astype(np.uint16)
    return volume, labels.reshape(STACK_SHAPE), STACK_SCALE


# --- what napari's File > Open Sample shows -----------------------------------------


def endoscopy_layers() -> list[LayerData]:
    """Layers of the generated scene: the picture, and its truth, hidden."""
    image, mask = endoscopy_scene()
    return [
        (image, {"name": "endoscopy", "rgb": True}, "image"),
        (
            mask.astype(np.uint8),
            {"name": "endoscopy, true mask", "visible": False, "opacity": 0.5},
            "labels",
        ),
    ]


def stack_layers() -> list[LayerData]:
    """Layers of the generated stack with its voxel size: volume, and truth, hidden."""
    volume, labels, scale = nodule_stack()
    kwargs: dict[str, Any] = {"scale": scale, "units": ("mm", "mm", "mm")}
    return [
        (volume, {"name": "nodules", "colormap": "gray", **kwargs}, "image"),
        (
            labels,
            {"name": "nodules, true labels", "visible": False, "opacity": 0.5} | kwargs,
            "labels",
        ),
    ]


def nuclei_image() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return 92 nuclei under a fluorescence microscope, and their true labels.

    From the test part of dsb2018 (BBBC038v1, Broad Bioimage Benchmark Collection, CC0):
    no bundled adapter was trained on it.

    Returns
    -------
    image, labels : (520, 696) uint8
        In the labels 0 is background, and each nucleus has another number.
    """
    from PIL import Image

    folder = Path(__file__).parent
    image, labels = (
        np.asarray(Image.open(folder / name))
        for name in ("nuclei.png", "nuclei_labels.png")
    )
    return image, labels


def nuclei_layers() -> list[LayerData]:
    """Layers of the nuclei: the picture, and its true labels, hidden."""
    image, labels = nuclei_image()
    return [
        (
            image,
            {"name": "nuclei", "colormap": "gray", "contrast_limits": (8, 110)},
            "image",
        ),
        (
            labels,
            {"name": "nuclei, true labels", "visible": False, "opacity": 0.5},
            "labels",
        ),
    ]


def retina_layers() -> list[LayerData]:
    """Layers of a real photograph that scikit-image ships: a retina, 1411 x 1411 RGB.

    The optic disc is the object to click on; there is no true mask.
    """
    from skimage import data  # the fetcher behind it is slow to import

    return [(data.retina(), {"name": "retina", "rgb": True}, "image")]
