"""Generated pictures with true masks, to train a promptable model on many domains.

Every scene is a pure function of a random generator. The kinds imitate how medical
images are formed (lit bumps, pigment, speckle, stains, nested tissue) rather than any
one data set, and are randomised widely. Real texture comes from the pictures that
scikit-image bundles. The module knows nothing of models, prompts or files of a
training set.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter
from scipy import ndimage

SIZE = 512
MAX_MASKS = 16
MIN_AREA = 40  # pixels; smaller objects are not worth a prompt

Rng = np.random.Generator

#: Bundled pictures with enough texture to serve as background and material.
PICTURES = (
    ("astronaut.png", "brick.png", "camera.png", "cell.png", "chelsea.png")
    + ("coffee.png", "coins.png", "grass.png", "gravel.png", "ihc.png", "moon.png")
    + ("hubble_deep_field.jpg", "motorcycle_left.png", "retina.jpg", "rocket.jpg")
    + ("page.png", "text.png", "color.png", "microaneurysms.png")
)  # fmt: skip


@dataclass(frozen=True)
class Scene:
    """A picture and the masks of what is in it.

    Attributes
    ----------
    image : numpy.ndarray
        (S, S, 3) uint8.
    masks : numpy.ndarray
        (N, S, S) bool, 1 <= N <= 16; parts may lie inside wholes.
    kind : str
        Name of the generator.
    """

    image: np.ndarray
    masks: np.ndarray
    kind: str


# --- material -----------------------------------------------------------------------


def noise(rng: Rng, cells: float, size: int = SIZE) -> np.ndarray:
    """Smooth random field, (size, size) float32, mean 0, deviation about 1."""
    n = max(2, round(cells)) + 3
    grid = Image.fromarray(rng.standard_normal((n, n)).astype(np.float32))
    scale = size / max(2, round(cells))
    big = grid.resize((round(n * scale), round(n * scale)), Image.Resampling.BICUBIC)
    dy, dx = rng.integers(0, round(3 * scale), 2)
    field = np.asarray(big)[dy : dy + size, dx : dx + size]
    return field / (field.std() + 1e-3)


def fractal(
    rng: Rng, cells: float, octaves: int = 4, decay: float = 0.55
) -> np.ndarray:
    """Sum of `noise` at doubling frequencies, (SIZE, SIZE) float32."""
    total = np.zeros((SIZE, SIZE), np.float32)
    for octave in range(octaves):
        if cells * 2**octave > SIZE / 2:
            break
        total += decay**octave * noise(rng, cells * 2**octave)
    return total / (total.std() + 1e-3)


def blur(field: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian blur, float32, of a (S, S) or (S, S, 3) array."""
    sigmas = (sigma, sigma) + (0,) * (field.ndim - 2)
    return ndimage.gaussian_filter(field.astype(np.float32), sigmas, truncate=2.5)


def outline(
    rng: Rng, centre: tuple[float, float], radius: float, rough: float, stretch: float
) -> list[tuple[float, float]]:
    """Draw a closed star-shaped contour as (x, y) vertices.

    Parameters
    ----------
    centre : (x, y) in pixels
    radius : mean radius in pixels
    rough : amplitude of the lobes, 0 for an ellipse, .5 for something ragged
    stretch : ratio of the axes, at least 1
    """
    angles = np.linspace(0, 2 * np.pi, 96, endpoint=False)
    shape = np.ones_like(angles)
    for order in range(2, 12):
        amplitude = rough * rng.standard_normal() / order**1.2
        shape += amplitude * np.cos(order * angles + rng.uniform(0, 2 * np.pi))
    shape = np.clip(shape, 0.25, 2.2)
    x = radius * shape * np.cos(angles) * np.sqrt(stretch)
    y = radius * shape * np.sin(angles) / np.sqrt(stretch)
    turn = rng.uniform(0, 2 * np.pi)
    cos, sin = np.cos(turn), np.sin(turn)
    along, down = centre[0] + cos * x - sin * y, centre[1] + sin * x + cos * y
    return list(zip(along, down, strict=True))


def fill(points: list[tuple[float, float]]) -> np.ndarray:
    """Rasterise a polygon of (x, y) vertices as (SIZE, SIZE) bool."""
    canvas = Image.new("L", (SIZE, SIZE))
    ImageDraw.Draw(canvas).polygon(points, fill=1)
    return np.asarray(canvas).astype(bool)


def blob(
    rng: Rng,
    area: float,
    rough: float | None = None,
    stretch: float | None = None,
    margin: float = -0.1,
) -> np.ndarray:
    """Random blob covering about `area` (share of the picture), (SIZE, SIZE) bool."""
    radius = SIZE * np.sqrt(area / np.pi)
    rough = rng.choice([0.0, 0.06, 0.15, 0.3]) if rough is None else rough
    stretch = 1 + rng.exponential(0.35) if stretch is None else stretch
    edge = np.clip(SIZE * margin + radius, 0, SIZE * 0.49)
    x, y = rng.uniform(edge, SIZE - edge, 2)
    return fill(outline(rng, (x, y), radius, rough, min(stretch, 3.5)))


def share(rng: Rng, low: float, high: float) -> float:
    """Log-uniform share of the picture."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


@cache
def _picture(name: str) -> Image.Image:
    import skimage.data

    folder = Path(skimage.data.__file__).parent
    return Image.open(folder / name).convert("RGB")


def photo(rng: Rng) -> np.ndarray:
    """Random crop of a bundled picture, (SIZE, SIZE, 3) float32 in 0..1."""
    picture = _picture(str(rng.choice(PICTURES)))
    side = int(min(picture.size) * rng.uniform(0.25, 1.0))
    x = int(rng.integers(0, picture.width - side + 1))
    y = int(rng.integers(0, picture.height - side + 1))
    crop = picture.resize(
        (SIZE, SIZE), Image.Resampling.BILINEAR, box=(x, y, x + side, y + side)
    )
    array = np.rot90(np.asarray(crop), int(rng.integers(4))).astype(np.float32) / 255
    if rng.random() < 0.5:
        array = array[:, ::-1]
    return array


def colour(rng: Rng, base: tuple[float, float, float], spread: float) -> np.ndarray:
    """Vary the colour `base` at random, (3,) float32 in 0..1."""
    return np.clip(rng.normal(base, spread), 0.02, 0.98).astype(np.float32)


def material(rng: Rng) -> np.ndarray:
    """Make some surface, photographed or of noise, (SIZE, SIZE, 3) float32."""
    choice = rng.random()
    if choice < 0.4:
        surface = photo(rng)
        if rng.random() < 0.4:
            surface = surface.mean(-1, keepdims=True) * colour(rng, (0.9,) * 3, 0.15)
        return surface
    ground = colour(rng, (0.5, 0.45, 0.42), 0.25)
    amount = rng.uniform(0.01, 0.12)
    cells = rng.choice([3, 8, 20, 50])
    grain = fractal(rng, cells)[..., None] * amount
    tint = rng.normal(1, 0.4, 3).astype(np.float32)
    return np.clip(ground + grain * tint, 0, 1)


def paint(
    image: np.ndarray, mask: np.ndarray, surface: np.ndarray, soft: float
) -> np.ndarray:
    """Lay `surface` over `image` where `mask` is, with a border `soft` pixels wide."""
    alpha = blur(mask, soft) if soft > 0.3 else mask.astype(np.float32)
    return image + alpha[..., None] * (surface - image)


def strokes(
    rng: Rng, count: int, width: tuple[float, float], length: float
) -> np.ndarray:
    """Curved lines (hairs, vessels, wires), (SIZE, SIZE) float32 in 0..1."""
    canvas = Image.new("L", (SIZE, SIZE))
    draw = ImageDraw.Draw(canvas)
    for _ in range(count):
        x, y = rng.uniform(-0.1, 1.1, 2) * SIZE
        angle, bend = rng.uniform(0, 2 * np.pi), rng.normal(0, 0.04)
        points = []
        step = SIZE * length / 24
        for _ in range(24):
            points.append((x, y))
            x, y = x + step * np.cos(angle), y + step * np.sin(angle)
            angle += bend + rng.normal(0, 0.03)
        draw.line(points, fill=255, width=max(1, round(rng.uniform(*width))))
    return np.asarray(canvas.filter(ImageFilter.GaussianBlur(0.8)), np.float32) / 255


def radial(rng: Rng, wander: float = 0.25) -> np.ndarray:
    """Distance from a random centre, (SIZE, SIZE) float32, 1 at half the side."""
    cy, cx = 0.5 + rng.uniform(-wander, wander, 2)
    axis = np.linspace(0, 1, SIZE, dtype=np.float32)
    return 2 * np.hypot(axis[:, None] - cy, axis[None, :] - cx)


def dome(mask: np.ndarray, power: float) -> np.ndarray:
    """Height of a bump that stands on `mask`, (SIZE, SIZE) float32, at most 1."""
    depth = ndimage.distance_transform_edt(mask).astype(np.float32)
    return (depth / max(depth.max(), 1.0)) ** power


def lit(height: np.ndarray, light: tuple[float, float], gain: float) -> np.ndarray:
    """Lambertian shading of a height field, (SIZE, SIZE) float32 about 1."""
    dy, dx = np.gradient(height * gain)
    normal = 1 / np.sqrt(1 + dx * dx + dy * dy)
    shade = (light[0] * -dx + light[1] * -dy + 1) * normal
    return np.clip(shade, 0.1, 2.5)


def framed(rng: Rng, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Blacken what lies outside a round, octagonal or cut frame.

    Returns the image and the (SIZE, SIZE) bool field that stays visible.
    """
    visible = np.ones((SIZE, SIZE), bool)
    choice = rng.random()
    if choice < 0.25:
        visible = radial(rng, 0.03) < rng.uniform(0.98, 1.3)
    elif choice < 0.45:
        cut = SIZE * rng.uniform(0.05, 0.25)
        far = SIZE - 1 - cut
        end = SIZE - 1
        visible = fill(
            [(cut, 0), (far, 0), (end, cut), (end, far)]
            + [(far, end), (cut, end), (0, far), (0, cut)]
        )
    elif choice < 0.6:
        visible[:, : int(SIZE * rng.uniform(0.02, 0.18))] = False
    image = np.where(visible[..., None], image, rng.uniform(0, 0.06))
    return image, visible


def finish(rng: Rng, image: np.ndarray) -> np.ndarray:
    """Camera effects: gamma, blur, grain, quantisation; (SIZE, SIZE, 3) uint8."""
    image = np.clip(image, 0, 1) ** rng.uniform(0.75, 1.35)
    if rng.random() < 0.4:
        image = blur(image, rng.uniform(0.5, 1.8))
    if rng.random() < 0.6:
        grain = rng.standard_normal((SIZE, SIZE, 1 if rng.random() < 0.5 else 3))
        image = image + grain.astype(np.float32) * rng.uniform(0.004, 0.035)
    return (np.clip(image, 0, 1) * 255).astype(np.uint8)


# --- kinds of scenes ----------------------------------------------------------------

Drawn = tuple[np.ndarray, list[np.ndarray]]


def endoscopy(rng: Rng) -> Drawn:
    """Wet mucosa with folds; bumps that differ by shading and a slight hue."""
    height = fractal(rng, rng.uniform(2, 5), 3) * rng.uniform(2, 12)
    ridge = np.exp(-2 * np.abs(noise(rng, rng.uniform(2, 6))))
    height += blur(ridge, rng.uniform(2, 6)) * rng.uniform(0, 30)
    tone = fractal(rng, rng.uniform(3, 8), 4)
    ground = colour(rng, (0.72, 0.38, 0.27), 0.09)
    image = ground + tone[..., None] * np.array([0.04, 0.05, 0.045], np.float32)
    vessels = strokes(rng, int(rng.integers(0, 16)), (1, 4), 0.5)
    image -= vessels[..., None] * np.array([0.06, 0.13, 0.1], np.float32) * rng.random()
    masks: list[np.ndarray] = []
    contrast = rng.uniform(0.3, 1.4)
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        rough = rng.choice([0.03, 0.08, 0.15, 0.22])
        mask = blob(rng, share(rng, 0.006, 0.35), rough, 1 + rng.exponential(0.3))
        lift = np.sqrt(mask.sum() / np.pi)
        rise = dome(mask, rng.uniform(0.35, 0.9)) * lift * rng.uniform(0.25, 1.0)
        height += blur(rise, rng.uniform(1, 1 + lift * 0.06))
        shift = rng.normal(0, 1, 3) * np.array([0.05, 0.07, 0.06])
        shift = shift + rng.choice([-0.06, 0.0, 0.07]) * np.array([0.5, 1, 0.9])
        bumpy = fractal(rng, rng.uniform(8, 40), 3)[..., None] * rng.uniform(0, 0.06)
        skin = image + (shift * contrast).astype(np.float32) + bumpy
        image = paint(image, mask, skin, rng.uniform(0.8, 5))
        if rng.random() < 0.4:
            rim = np.exp(-((ndimage.distance_transform_edt(~mask) / 7) ** 2))
            image *= 1 - (rim * ~mask * rng.uniform(0.05, 0.4))[..., None]
        masks = [m & ~mask for m in masks] + [mask]
    direction = rng.normal(0, 0.5, 2)
    shade = lit(height, (direction[0], direction[1]), rng.uniform(0.25, 0.9))
    image = image * shade[..., None]
    glow = radial(rng, 0.35)
    image *= np.clip(1.25 - glow * rng.uniform(0.15, 0.75), 0.05, None)[..., None]
    if rng.random() < 0.45:  # the dark lumen
        hole = blob(rng, share(rng, 0.01, 0.12))
        image = paint(image, hole, image * rng.uniform(0.05, 0.4), rng.uniform(8, 40))
        masks = [m & ~hole if rng.random() < 0.5 else m for m in masks]
    sharp = shade * noise(rng, rng.uniform(15, 50))
    bright = sharp > np.quantile(sharp, rng.uniform(0.985, 0.9995))
    image += blur(bright, rng.uniform(0.7, 2.2))[..., None] * rng.uniform(0.2, 0.9)
    image, visible = framed(rng, image)
    if rng.random() < 0.15:
        image[int(SIZE * 0.72) :, : int(SIZE * 0.3)] = colour(rng, (0.1, 0.5, 0.3), 0.1)
        visible[int(SIZE * 0.72) :, : int(SIZE * 0.3)] = False
    return image, [m & visible for m in masks]


def colonoscopy(rng: Rng) -> Drawn:
    """Look into a tube by the light of the camera: folds, a dark lumen, polyps.

    What is near is bright and may be blown out, what is far is dark; a polyp stands
    before both and has one light of its own. Polyps are the only objects: lumen, folds,
    instruments, residue and overlays never are.
    """
    rows, columns = np.mgrid[0:SIZE, 0:SIZE].astype(np.float32) / SIZE
    facing = rng.random() < 0.35  # the wall from the front, no lumen in sight
    wander = rng.uniform(1.2, 2.5) if facing else rng.uniform(0.0, 0.7)
    aim = rng.uniform(0, 2 * np.pi)
    middle = 0.5 + 0.5 * wander * np.array([np.sin(aim), np.cos(aim)])
    warp = noise(rng, rng.uniform(2, 4)) * rng.uniform(0.02, 0.12)
    away = np.hypot(rows - middle[0], columns - middle[1]) * (1 + warp) + 0.02
    turn = np.arctan2(rows - middle[0], columns - middle[1])
    # folds: brightness climbs to a ridge and drops behind it, as in a concertina
    tilt = rng.normal(0, 0.35, 3)
    phase = np.log(away) * rng.uniform(1.0, 4.0) + rng.uniform(0, 1)
    for order, amount in enumerate(tilt, start=1):
        phase = phase + amount * np.sin(order * turn + rng.uniform(0, 2 * np.pi))
    phase += noise(rng, rng.uniform(2, 5)) * rng.uniform(0.02, 0.15)
    fold = blur((phase % 1.0) ** rng.uniform(1, 3), rng.uniform(2, 10))
    there = blur((noise(rng, rng.uniform(1.5, 4)) > -0.3).astype(np.float32), 30)
    fold *= there * rng.uniform(0.0, 0.8) * (0.4 if facing else 1.0)
    falloff = rng.uniform(0.1, 0.5) if facing else rng.uniform(0.5, 1.6)
    light = (away / away.mean()) ** falloff * (0.75 + fold)
    light *= 1 + noise(rng, rng.uniform(1, 3)) * rng.uniform(0.02, 0.18)
    light /= np.quantile(light, rng.uniform(0.6, 0.98))
    height = fractal(rng, rng.uniform(4, 16), 3) * rng.uniform(0.5, 4)
    light *= lit(blur(height, 2), tuple(rng.normal(0, 0.4, 2)), rng.uniform(0.2, 0.8))

    wet = colour(rng, (0.74, 0.42, 0.30), 0.1)
    tone = fractal(rng, rng.uniform(2, 7), 4)[..., None]
    mottle = np.float32([0.03, 0.04, 0.035])
    skin = wet + tone * mottle * rng.uniform(0.3, 1.5)
    vessels = strokes(rng, int(rng.integers(0, 40)), (1, 3), rng.uniform(0.1, 0.5))
    blood = vessels[..., None] * np.float32([0.08, 0.16, 0.12])
    skin -= blood * rng.uniform(0, 1.2)
    image = skin * light[..., None]

    masks: list[np.ndarray] = []
    gloss = np.zeros((SIZE, SIZE), np.float32)
    for _ in range(rng.choice([1, 1, 1, 1, 2, 3])):
        mask = _polyp(rng)
        lift = max(np.sqrt(mask.sum() / np.pi), 1.0)
        steep = rng.uniform(0.3, 0.8)
        rise = blur(dome(mask, steep) * lift * rng.uniform(0.3, 1.0), 1 + lift * 0.04)
        direction = rng.normal(0, 0.35, 2)
        shade = lit(rise, (direction[0], direction[1]), rng.uniform(0.4, 1.0))
        # its own light: of the wall behind it, or of something nearer to the lamp
        own = rng.uniform(0.55, 1.3)
        nearness = rng.choice([0.0, 0.5, 0.8, 1.0])
        around = blur(light, lift * 0.5) * (1 - nearness) + own * nearness
        contrast = rng.uniform(0.0, 1.5)
        shift = rng.normal(0, 0.03, 3) + rng.normal(0, 0.04)
        shift += rng.choice([-1.0, -0.4, 0.0, 0.6]) * np.array([-0.02, 0.10, 0.08])
        grain = fractal(rng, rng.uniform(8, 60), 3)[..., None] * rng.uniform(0, 0.07)
        flesh = wet + tone * 0.02 + contrast * shift + grain
        if rng.random() < 0.3:
            flesh = flesh - blood
        surface = flesh * (around * shade)[..., None]
        if rng.random() < 0.5:  # the shadow that it throws, or a dark rim
            step = rng.normal(0, 0.25 * lift, 2).round().astype(int)
            thrown = np.roll(mask, (int(step[0]), int(step[1])), (0, 1)) & ~mask
            shadow = blur(thrown, 1 + lift * 0.08) * rng.uniform(0.1, 0.6)
            image *= 1 - shadow[..., None]
        image = paint(image, mask, surface, share(rng, 0.8, 8))
        top = shade * noise(rng, rng.uniform(10, 70))
        shine = mask & (top > np.quantile(top[mask], rng.uniform(0.95, 0.9995)))
        gloss += shine * rng.uniform(0.3, 1.0)
        if rng.random() < 0.15:  # burnt out by the lamp
            burnt = blob(rng, share(rng, 0.003, 0.08), 0.15) & mask
            image += blur(burnt, rng.uniform(4, 20))[..., None] * rng.uniform(0.3, 0.9)
        masks = [m & ~mask for m in masks] + [mask]

    for _ in range(rng.choice([0, 0, 0, 1, 4])):  # residue and bubbles
        speck = blob(rng, share(rng, 0.0003, 0.01), 0.2)
        dirt = colour(rng, (0.75, 0.6, 0.2), 0.12) * np.clip(light, 0.3, 1.2)[..., None]
        image = paint(image, speck, dirt, rng.uniform(0.5, 3))
        masks = [m & ~speck if m[speck].mean() < 0.5 else m for m in masks]
    if rng.random() < 0.12:  # an instrument comes in from the border
        tool, metal = _instrument(rng)
        image = paint(image, tool, metal, 1.0)
        masks = [m & ~tool for m in masks]
    sharp = (light + 0.3) * noise(rng, rng.uniform(15, 90))
    bright = sharp > np.quantile(sharp, rng.uniform(0.985, 0.9998))
    gloss += bright * rng.uniform(0.3, 1.0)
    image += blur(gloss, rng.uniform(0.6, 2.0))[..., None] * rng.uniform(0.3, 1.0)
    image *= rng.uniform(0.75, 1.3)
    if rng.random() < 0.3:
        glow = 1.3 - radial(rng, 0.1) * rng.uniform(0.2, 0.7)
        image *= np.clip(glow, 0.05, None)[..., None]
    image, visible = framed(rng, image)
    if rng.random() < 0.35:
        visible &= ~_overlay(rng, image)
    return image, [m & visible for m in masks]


def _polyp(rng: Rng) -> np.ndarray:
    """Outline of one polyp: sessile, lobed, on a stalk or along a fold."""
    area = share(rng, 0.008, 0.4)
    rough = rng.choice([0.02, 0.05, 0.1, 0.18])
    kind = rng.choice(["round", "lobed", "stalk", "long"], p=[0.6, 0.2, 0.1, 0.1])
    if kind == "long":
        return blob(rng, min(area, 0.15), rough, rng.uniform(2, 3.5))
    mask = blob(rng, area, rough, 1 + rng.exponential(0.3))
    if kind == "round":
        return mask
    rows, columns = np.nonzero(mask)
    if not len(rows):
        return mask
    radius = np.sqrt(len(rows) / np.pi)
    y, x = rows.mean(), columns.mean()
    if kind == "lobed":
        for _ in range(rng.integers(1, 4)):
            angle = rng.uniform(0, 2 * np.pi)
            far = radius * rng.uniform(0.6, 1.1)
            centre = (x + far * np.cos(angle), y + far * np.sin(angle))
            mask = mask | fill(
                outline(rng, centre, radius * rng.uniform(0.35, 0.8), rough, 1.2)
            )
        return mask
    angle = rng.uniform(0, 2 * np.pi)
    side = np.array([-np.sin(angle), np.cos(angle)]) * radius * rng.uniform(0.25, 0.55)
    end = np.array([x, y]) + radius * rng.uniform(1.5, 3) * np.array(
        [np.cos(angle), np.sin(angle)]
    )
    corners = [(x, y) + side, (x, y) - side, end - side * 0.9, end + side * 0.9]
    stalk = fill([(float(a), float(b)) for a, b in corners])
    return mask | (blur(stalk, 3) > 0.5)


def _instrument(rng: Rng) -> tuple[np.ndarray, np.ndarray]:
    """Make a bright or dark rod from a border: its mask and its surface."""
    angle = rng.uniform(0, 2 * np.pi)
    ahead = np.array([np.cos(angle), np.sin(angle)])
    across = np.array([-ahead[1], ahead[0]])
    tip = SIZE * rng.uniform(0.25, 0.75, 2)
    half = SIZE * rng.uniform(0.01, 0.06)
    tail = tip + ahead * SIZE * 1.5
    corners = [tip + across * half, tip - across * half]
    corners += [tail - across * half * 1.3, tail + across * half * 1.3]
    mask = fill([(float(a), float(b)) for a, b in corners])
    columns, rows = np.meshgrid(np.arange(SIZE), np.arange(SIZE))
    offset = ((columns - tip[0]) * across[0] + (rows - tip[1]) * across[1]) / half
    round_ = np.clip(1 - 0.6 * offset**2, 0.1, 1).astype(np.float32)
    metal = colour(rng, (0.75, 0.75, 0.78), 0.2) * round_[..., None]
    return mask, metal


def _overlay(rng: Rng, image: np.ndarray) -> np.ndarray:
    """Write patient data at the left or an inset into a corner of `image`, in place.

    Returns the (SIZE, SIZE) bool field that is covered by something opaque.
    """
    covered = np.zeros((SIZE, SIZE), bool)
    canvas = Image.new("L", (SIZE, SIZE))
    draw = ImageDraw.Draw(canvas)
    size = int(rng.integers(9, 18))
    row = int(rng.uniform(0.02, 0.5) * SIZE)
    for _ in range(rng.integers(1, 8)):
        words = "".join(str(rng.choice(list("0123456789:/ ANSrx."))) for _ in range(9))
        draw.text((int(rng.integers(2, 12)), row), words, fill=255, font_size=size)
        row += int(size * 1.3)
    ink = np.asarray(canvas, np.float32)[..., None] / 255
    image += ink * (rng.uniform(0.6, 1.0) - image)
    if rng.random() < 0.5:
        height, width = (SIZE * rng.uniform(0.15, 0.35, 2)).astype(int)
        corner = (slice(SIZE - height, None), slice(0, width))
        image[corner] = colour(rng, (0.05, 0.3, 0.25), 0.2) * rng.choice([0.1, 1.0])
        covered[corner] = True
    return covered


def dermoscopy(rng: Rng) -> Drawn:
    """Skin with a pigmented lesion of many tones and any size, hair and rulers."""
    skin = colour(rng, (0.8, 0.62, 0.55), 0.07)
    tone = fractal(rng, rng.uniform(1, 4), 5)
    image = skin * (1 + tone[..., None] * rng.uniform(0.01, 0.06))
    image += noise(rng, rng.uniform(60, 180))[..., None] * rng.uniform(0, 0.02)
    size = rng.choice([share(rng, 0.02, 0.2), rng.uniform(0.15, 0.6), 0.95])
    if size > 0.9:
        size = rng.uniform(0.5, 1.0)
    seed = blob(rng, size, rng.uniform(0, 0.25), 1 + rng.exponential(0.25), -0.05)
    inside = ndimage.distance_transform_edt(seed)
    outside = ndimage.distance_transform_edt(~seed)
    reach = (inside - outside).astype(np.float32)
    ragged = fractal(rng, rng.uniform(4, 14), 4) * SIZE * rng.uniform(0, 0.022)
    reach = reach + ragged
    mask = reach > 0
    pigment = colour(rng, (0.4, 0.25, 0.18), 0.08)
    strength = rng.uniform(0.35, 1.0)
    lesion = image + strength * (pigment - image)
    lesion = lesion * (1 + fractal(rng, rng.uniform(3, 9), 4)[..., None] * 0.1)
    if rng.random() < 0.5:  # pigment network
        mesh = np.abs(noise(rng, rng.uniform(30, 70)))
        lesion *= 1 - np.exp(-mesh * 3)[..., None] * rng.uniform(0.05, 0.3)
    parts: list[np.ndarray] = []
    for _ in range(rng.integers(0, 4)):
        spot = noise(rng, rng.uniform(2, 6)) > rng.uniform(0.4, 1.3)
        spot &= reach > rng.uniform(0, 12)
        spot = ndimage.binary_opening(spot, iterations=3)
        tint = colour(rng, (0.36, 0.28, 0.26), 0.12)
        lesion = paint(lesion, spot, lesion * 0.35 + tint * 0.65, rng.uniform(1, 6))
        largest = _largest(spot)
        if largest.mean() > 0.01 and rng.random() < 0.5:
            parts.append(largest)
    width = SIZE * rng.choice([0.004, 0.012, 0.03])
    alpha = 1 / (1 + np.exp(-np.clip(reach / width, -30, 30)))
    image = image + alpha[..., None] * (lesion - image)
    mask = _largest(mask)
    if rng.random() < 0.5:
        hair = strokes(rng, int(rng.integers(2, 45)), (1, 4), rng.uniform(0.3, 1.2))
        tone3 = colour(rng, (0.2, 0.15, 0.12), 0.1)
        image = image + hair[..., None] * rng.uniform(0.4, 1) * (tone3 - image)
    if rng.random() < 0.25:
        bubbles = noise(rng, 25) > 2.2
        image += (bubbles ^ ndimage.binary_erosion(bubbles))[..., None] * 0.2
    if rng.random() < 0.2:  # ruler
        row = int(rng.uniform(0.05, 0.95) * SIZE)
        for x in range(0, SIZE, int(rng.integers(8, 30))):
            image[row : row + int(rng.integers(6, 20)), x : x + 2] *= 0.3
    edge = np.clip(1.15 - radial(rng, 0.1) * rng.uniform(0, 0.35), 0, 1)
    image = image * edge[..., None]
    if rng.random() < 0.3:
        visible = radial(rng, 0.03) < rng.uniform(1.0, 1.35)
        image = np.where(visible[..., None], image, 0.02)
        if rng.random() < 0.7:
            mask = mask & visible
    return image, [mask, *parts]


def ultrasound(rng: Rng) -> Drawn:
    """Speckle, layered tissue, dark lesions with shadow or enhancement below."""
    rows = np.linspace(0, 1, SIZE, dtype=np.float32)[:, None]
    warp = noise(rng, rng.uniform(2, 4)) * rng.uniform(0.01, 0.05)
    bands = np.interp(
        np.clip(rows + warp, 0, 1),
        np.linspace(0, 1, 12),
        np.clip(rng.normal(0.42, 0.13, 12), 0.12, 0.85),
    ).astype(np.float32)
    tissue = bands + fractal(rng, rng.uniform(4, 12), 4) * rng.uniform(0.03, 0.1)
    for _ in range(rng.integers(0, 4)):  # shadows and fat lobules that are no lesion
        lobule = blob(rng, share(rng, 0.005, 0.06), stretch=rng.uniform(1, 3))
        tissue += blur(lobule, rng.uniform(6, 20)) * rng.uniform(-0.2, 0.15)
    masks: list[np.ndarray] = []
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        mask = blob(
            rng,
            share(rng, 0.006, 0.3),
            rng.choice([0.03, 0.1, 0.22, 0.4]),
            1 + rng.exponential(0.5),
        )
        darkness = rng.uniform(0.35, 0.95)
        inner = tissue * (1 - darkness) + rng.uniform(0, 0.12)
        inner += fractal(rng, rng.uniform(5, 20), 3) * rng.uniform(0, 0.05)
        if rng.random() < 0.1:
            inner = tissue + rng.uniform(0.12, 0.35)  # a bright lesion
        alpha = blur(mask, rng.uniform(1, 7))
        tissue = tissue + alpha * (inner - tissue)
        columns = mask.any(0)
        bottom = SIZE - np.argmax(mask[::-1], axis=0)
        below = (np.arange(SIZE)[:, None] > bottom) & columns
        shadow = blur(below & ~mask, rng.uniform(4, 14))
        tissue *= 1 + shadow * rng.choice([-0.6, -0.3, 0.0, 0.0, 0.45])
        if rng.random() < 0.3:
            rim = ndimage.binary_dilation(mask, iterations=int(rng.integers(2, 9)))
            tissue += blur(rim & ~mask, 2) * rng.uniform(0.05, 0.3)
        masks = [m & ~mask for m in masks] + [mask]
    grain_y, grain_x = rng.uniform(0.6, 1.6), rng.uniform(0.8, 3.5)
    real, imaginary = rng.standard_normal((2, SIZE, SIZE)).astype(np.float32)
    real = ndimage.gaussian_filter(real, (grain_y, grain_x), truncate=2)
    imaginary = ndimage.gaussian_filter(imaginary, (grain_y, grain_x), truncate=2)
    speckle = np.hypot(real, imaginary)
    speckle /= speckle.mean()
    amount = rng.uniform(0.2, 0.9)
    image = np.clip(tissue, 0.01, None) * (1 - amount + amount * speckle)
    image *= 1 + (rows - 0.5) * rng.uniform(-0.7, 0.4)
    if rng.random() < 0.25:  # sector of a curved probe
        visible = radial(rng, 0.02) < rng.uniform(0.9, 1.2)
        image = image * visible
        masks = [m & visible for m in masks]
    colour_image = np.repeat(image[..., None], 3, axis=2)
    if rng.random() < 0.3:
        x, y = rng.integers(0, SIZE - 60, 2)
        canvas = Image.fromarray(np.zeros((SIZE, SIZE), np.uint8))
        ImageDraw.Draw(canvas).text((x, y), "L 12 3h +", fill=255, font_size=22)
        colour_image += (np.asarray(canvas, np.float32) / 255)[..., None]
    return colour_image, masks


def microscopy(rng: Rng) -> Drawn:
    """Many cells, touching and of mixed brightness, in one of four contrasts."""
    style = rng.choice(["fluorescence", "stain", "bright-field", "phase"])
    radius = share(rng, 5, 60)
    fit = (SIZE / (2.2 * radius)) ** 2
    count = int(np.clip(fit * rng.uniform(0.08, 0.9), 2, 220))
    spread = rng.uniform(0.05, 0.35)
    stretch = 1 + rng.exponential(0.25)
    rough = rng.choice([0.0, 0.04, 0.1, 0.18])
    touching = rng.random() < 0.6
    labels = np.zeros((SIZE, SIZE), np.uint16)
    placed: list[tuple[float, float, float]] = []
    clump = rng.uniform(0, 0.75)
    for _ in range(count * 2):
        if len(placed) >= count:
            break
        r = radius * np.exp(rng.normal(0, spread))
        if placed and rng.random() < clump:
            ox, oy, other = placed[int(rng.integers(len(placed)))]
            away = rng.uniform(0, 2 * np.pi)
            gap = (r + other) * rng.uniform(0.85, 1.15)
            x, y = ox + gap * np.cos(away), oy + gap * np.sin(away)
        else:
            x, y = rng.uniform(0, SIZE, 2)
        near = 0.75 if touching else 1.2
        if any(
            (x - a) ** 2 + (y - b) ** 2 < (near * (r + c)) ** 2 for a, b, c in placed
        ):
            continue
        placed.append((x, y, r))
    canvas = Image.fromarray(labels.astype(np.int32))
    draw = ImageDraw.Draw(canvas)
    for index, (x, y, r) in enumerate(placed, start=1):
        draw.polygon(
            outline(rng, (x, y), r, rough, min(stretch + abs(rng.normal(0, 0.2)), 3)),
            fill=index,
        )
    labels = np.asarray(canvas).astype(np.uint16)
    gains = np.clip(
        rng.normal(0.6, rng.uniform(0.02, 0.25), len(placed) + 1), 0.12, 1.1
    )
    gains[0] = 0
    body = gains[labels].astype(np.float32)
    inside = labels > 0
    border = ndimage.grey_dilation(labels, 3) != ndimage.grey_erosion(labels, 3)
    depth = np.clip(ndimage.distance_transform_edt(inside & ~border) / radius, 0, 1)
    grain = fractal(rng, SIZE / radius * rng.uniform(0.5, 2), 3)
    texture = 1 + grain * rng.uniform(0, 0.2)
    focus = rng.uniform(0.5, max(0.6, radius * 0.12))
    ground = fractal(rng, rng.uniform(1, 5), 4)
    if style == "fluorescence":
        profile = body * texture * (0.75 + 0.25 * depth ** rng.uniform(0.3, 1))
        grey = blur(profile, focus) * rng.uniform(0.25, 1.2)
        haze = blur(profile, radius * 0.8) * rng.uniform(0, 0.3)
        grey = grey + haze + rng.uniform(0.01, 0.15) * (1 + 0.3 * ground)
        if rng.random() < 0.35:
            tint = colour(rng, (0.4, 0.5, 0.6), 0.3)
            image = grey[..., None] * tint / tint.max()
        else:
            image = np.repeat(grey[..., None], 3, 2)
    elif style == "stain":
        paper = colour(rng, (0.86, 0.68, 0.8), 0.1)
        fibres = fractal(rng, rng.uniform(6, 30), 4)[..., None]
        image = paper * (
            1 + fibres * np.array([0.03, 0.1, 0.05]) * rng.uniform(0.3, 1.3)
        )
        gaps = (noise(rng, rng.uniform(4, 12)) > rng.uniform(1.0, 2.2)) & ~inside
        image = paint(image, gaps, np.float32([0.94, 0.92, 0.94]), 2)
        dye = colour(rng, (0.36, 0.22, 0.52), 0.1)
        alpha = np.clip(blur(np.sqrt(body) * texture, focus), 0, 1)[..., None]
        image = image + alpha * rng.uniform(0.6, 1) * (dye - image)
        if rng.random() < 0.5:
            dark = blur(border & inside, 1.2)[..., None]
            image *= 1 - dark * rng.uniform(0.1, 0.4)
    elif style == "bright-field":
        field = colour(rng, (0.75, 0.73, 0.7), 0.1)
        image = field * (1 + ground[..., None] * rng.uniform(0, 0.05))
        dye = colour(rng, (0.45, 0.3, 0.5), 0.16)
        alpha = np.clip(blur(body * texture, focus), 0, 1)[..., None]
        image = image + alpha * rng.uniform(0.4, 1) * (dye - image)
        image -= blur(border & inside, 1.2)[..., None] * rng.uniform(0, 0.3)
    else:
        base = rng.uniform(0.3, 0.6)
        relief = lit(
            blur(depth * inside * texture, 1.2) * radius * 0.5, (0.6, 0.4), 0.7
        )
        halo = np.exp(-((ndimage.distance_transform_edt(~inside) / 4) ** 2)) * ~inside
        grey = base * relief * (1 + 0.05 * ground) + halo * rng.uniform(0, 0.35)
        grey -= blur(border, 1) * rng.uniform(0, 0.25)
        image = np.repeat(grey[..., None], 3, 2)
    if rng.random() < 0.25:  # debris
        dirt = noise(rng, 60) > 2.8
        image = paint(image, dirt & ~inside, colour(rng, (0.5,) * 3, 0.3), 1)
    areas = np.bincount(labels.ravel(), minlength=len(placed) + 1)
    whole = [i for i in range(1, len(areas)) if areas[i] > MIN_AREA]
    chosen = rng.permutation(whole)[:MAX_MASKS]
    return image, [labels == i for i in chosen]


def section(rng: Rng) -> Drawn:
    """Nested regions of near-constant grey, as in MR and CT slices."""
    image = np.full((SIZE, SIZE), rng.uniform(0, 0.15), np.float32)
    masks: list[np.ndarray] = []
    body = blob(rng, rng.uniform(0.3, 0.9), rng.uniform(0, 0.08), None, 0.0)
    levels = rng.permutation(np.linspace(0.1, 0.95, 12)) + rng.normal(0, 0.02, 12)
    image = np.where(body, levels[0], image)
    masks.append(body)
    parents = [body]
    for index in range(1, int(rng.integers(3, 12))):
        parent = parents[int(rng.integers(len(parents)))]
        rows, columns = np.nonzero(parent)
        if len(rows) < 600:
            continue
        pick = int(rng.integers(len(rows)))
        radius = np.sqrt(len(rows) / np.pi) * rng.uniform(0.12, 0.7)
        contour = outline(
            rng,
            (float(columns[pick]), float(rows[pick])),
            radius,
            rng.choice([0.03, 0.12, 0.25]),
            min(1 + rng.exponential(0.7), 4),
        )
        child = fill(contour) & parent
        if child.sum() < 4 * MIN_AREA:
            continue
        contrast = rng.uniform(0.15, 1)
        surface = image * (1 - contrast) + levels[index] * contrast
        surface = surface + fractal(rng, rng.uniform(6, 40), 3) * rng.uniform(0, 0.03)
        image = image + blur(child, rng.uniform(0.5, 4)) * (surface - image)
        parents.append(child)
        masks.append(child)
    if rng.random() < 0.6:
        image *= 1 + noise(rng, 2) * rng.uniform(0, 0.15)
    image = blur(image, rng.uniform(0, 4)) if rng.random() < 0.5 else image
    image += noise(rng, rng.uniform(80, 250)) * rng.uniform(0, 0.06)
    return np.repeat(image[..., None], 3, 2), masks


def collage(rng: Rng) -> Drawn:
    """Shapes of one material laid over another, some with parts of their own."""
    image = material(rng)
    masks: list[np.ndarray] = []
    for _ in range(rng.integers(1, 8)):
        if masks and rng.random() < 0.3:  # a part inside the last whole
            whole = masks[-1]
            rows, columns = np.nonzero(whole)
            if len(rows) < 800:
                continue
            pick = int(rng.integers(len(rows)))
            radius = np.sqrt(len(rows) / np.pi) * rng.uniform(0.2, 0.6)
            centre = (float(columns[pick]), float(rows[pick]))
            mask = fill(outline(rng, centre, radius, rng.uniform(0, 0.25), 1.3)) & whole
            keep = masks
        else:
            mask = blob(rng, share(rng, 0.004, 0.5))
            if rng.random() < 0.15:  # corners
                corners = rng.uniform(0, SIZE, (int(rng.integers(3, 7)), 2))
                mask = fill([(float(x), float(y)) for x, y in corners])
            if rng.random() < 0.25:  # a ragged border
                field = blur(mask, SIZE * 0.02) + fractal(rng, 8) * rng.uniform(0, 0.12)
                mask = _largest(field > 0.5)
            keep = [m & ~mask for m in masks]
        if mask.sum() < MIN_AREA:
            continue
        surface = material(rng)
        if rng.random() < 0.5:  # nearly the same material
            surface = image + colour(rng, (0.5,) * 3, 0.12) - 0.5
            surface = surface + fractal(rng, rng.uniform(5, 60))[..., None] * 0.03
        if rng.random() < 0.3:
            raised = dome(mask, 0.5) * np.sqrt(mask.sum()) * 0.4
            surface = surface * lit(raised, (0.5, 0.5), 0.8)[..., None]
        image = paint(image, mask, surface, share(rng, 0.2, 6))
        masks = [*keep, mask]
    return image, masks


def picture(rng: Rng) -> Drawn:
    """Cut a bundled picture into regions by graph segmentation at one scale."""
    from skimage.segmentation import felzenszwalb

    image = photo(rng)
    small = np.asarray(
        Image.fromarray((image * 255).astype(np.uint8)).resize((192, 192))
    )
    regions = felzenszwalb(
        small, scale=share(rng, 100, 1500), sigma=rng.uniform(0.8, 1.8), min_size=60
    )
    big = Image.fromarray(regions.astype(np.int32)).resize(
        (SIZE, SIZE), Image.Resampling.NEAREST
    )
    labels = np.asarray(big)
    areas = np.bincount(labels.ravel()) / labels.size
    chosen = rng.permutation(np.flatnonzero((areas > 0.004) & (areas < 0.6)))[
        :MAX_MASKS
    ]
    return image, [blur(labels == i, 2) > 0.5 for i in chosen]


#: Generator and relative frequency of every kind.
KINDS: dict[str, tuple[Callable[[Rng], Drawn], float]] = {
    "endoscopy": (endoscopy, 0.12),
    "colonoscopy": (colonoscopy, 0.34),
    "dermoscopy": (dermoscopy, 0.13),
    "ultrasound": (ultrasound, 0.11),
    "microscopy": (microscopy, 0.13),
    "section": (section, 0.05),
    "collage": (collage, 0.09),
    "picture": (picture, 0.03),
}


def generate(seed: int, kind: str | None = None) -> Scene:
    """Draw one scene.

    Parameters
    ----------
    seed : int
        Equal seeds give equal scenes.
    kind : str, optional
        One of `KINDS`; by default drawn by their frequency.

    Returns
    -------
    Scene

    Raises
    ------
    ValueError
        If `kind` is unknown.
    """
    if kind is not None and kind not in KINDS:
        raise ValueError(f"unknown scene {kind!r}; choose one of {', '.join(KINDS)}")
    rng = np.random.default_rng([seed, 20240304])
    if kind is None:
        weights = np.array([weight for _, weight in KINDS.values()])
        kind = str(rng.choice(list(KINDS), p=weights / weights.sum()))
    while True:
        image, masks = KINDS[kind][0](rng)
        masks = [m for m in masks if m.sum() >= MIN_AREA][:MAX_MASKS]
        if masks:
            break
    if kind != "picture" and rng.random() < 0.12:  # strange colours
        image = np.clip(image, 0, 1)[..., rng.permutation(3)]
        if rng.random() < 0.5:
            image = 1 - image
    return Scene(finish(rng, image), np.stack(masks), kind)


def _largest(mask: np.ndarray) -> np.ndarray:
    labels, count = ndimage.label(mask)
    if count == 0:
        return mask
    return labels == 1 + np.argmax(np.bincount(labels.ravel())[1:])
