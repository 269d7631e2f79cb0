"""Simulated prompts of a training episode, and the loss of what answers them.

Shared by the training of both bases. Masks lie on a grid of cells, `pitch` pixels of
the encoder's input each; coordinates are (x, y) in those pixels, as SAM takes them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw
from scipy import ndimage
from torch import Tensor, nn

from napari_promise.depth import deepest
from scripts.base.clicks import error_region
from scripts.base.episodes import Sample
from scripts.base.scenes import outline

Rng = np.random.Generator

#: Type of pixels' activations; mixed with float32 half the time goes into conversion.
COMPUTE = torch.bfloat16

#: Share of clicks that lie deepest inside what they mean; the rest lie anywhere in it.
CENTRED = 0.7

#: Where the sides of a tight box lie, before and behind the outermost pixel centres,
#: in pixels of the picture: on these, on their outer edges, half-open. People and
#: programs do all three; on a small nucleus that is a tenth of its area.
BOX_MANNERS = ((0.0, 0.0), (0.5, 0.5), (0.0, 1.0))

#: Corrective rounds without gradient before the last one, and how often.
ROUNDS, ROUND_SHARES = (0, 1, 2, 3, 4, 6), (0.32, 0.20, 0.16, 0.14, 0.12, 0.06)


# --- prompts ------------------------------------------------------------------------


@dataclass
class Prompt:
    """Prompts of N objects of one picture, in the encoder's (x, y) pixels."""

    points: Tensor  # (N, P, 2), P may be 0
    labels: Tensor  # (N, P)
    boxes: Tensor | None = None  # (N, 4)
    logits: Tensor | None = None  # (N, 1, S / 2, S / 2)

    def clicked(self, points: Tensor, labels: Tensor, logits: Tensor) -> Prompt:
        """Add one point an object and replace the mask prompt."""
        return Prompt(
            torch.cat([self.points, points[:, None]], 1),
            torch.cat([self.labels, labels[:, None]], 1),
            self.boxes,
            logits,
        )


def to_xy(point: tuple[int, int], pitch: int = 2) -> tuple[float, float]:
    """Centre of a cell of the mask in (x, y) of the input."""
    half = (pitch - 1) / 2
    return pitch * point[1] + half, pitch * point[0] + half


def anywhere(rng: Rng, region: np.ndarray) -> tuple[int, int]:
    """Random pixel of a region that is not empty."""
    rows, columns = np.nonzero(region)
    pick = int(rng.integers(len(rows)))
    return int(rows[pick]), int(columns[pick])


def phantom(rng: Rng, sample: Sample, pitch: int = 2) -> Sample:
    """Replace the objects of a sample by round shapes unrelated to the picture."""
    side = sample.truth.shape[1]
    rows, columns = (max(1, round(n / pitch)) for n in sample.extent)
    truth = np.zeros_like(sample.truth)
    for mask in truth:
        while mask.sum() < 16:
            radius = float(np.exp(rng.uniform(np.log(0.04), np.log(0.4)))) * side
            centre = (float(rng.uniform(0, columns)), float(rng.uniform(0, rows)))
            rough, stretch = rng.choice([0.03, 0.08, 0.15]), 1 + rng.exponential(0.3)
            canvas = Image.new("L", (side, side))
            contour = outline(rng, centre, radius, rough, min(stretch, 2.5))
            ImageDraw.Draw(canvas).polygon(contour, fill=1)
            mask[:rows, :columns] = np.asarray(canvas)[:rows, :columns]
    return replace(sample, truth=truth)


def first_prompt(
    rng: Rng,
    truth: np.ndarray,
    kind: str | None = None,
    scale: float = 1.0,
    pitch: int = 2,
) -> Prompt:
    """Prompts for the first round: one kind for all objects of a picture.

    Parameters
    ----------
    truth : numpy.ndarray
        (N, H, W) bool.
    kind : str, optional
        ``click``, ``box``, ``points``, ``mask``, ``scribble`` or ``lasso``; by default
        one of the first four is drawn at random.
    scale : float
        Input pixels per pixel of the picture as it was.
    pitch : int
        Input pixels per cell of `truth`.
    """
    count = len(truth)
    if kind is None:
        kinds = ["click", "box", "points", "mask"]
        kind = str(rng.choice(kinds, p=[0.56, 0.28, 0.10, 0.06]))
    empty = Prompt(torch.zeros(count, 0, 2), torch.zeros(count, 0))
    if kind == "click":
        spots = [
            deepest(m) if rng.random() < CENTRED else anywhere(rng, m) for m in truth
        ]
        points = torch.tensor([[to_xy(s, pitch)] for s in spots])
        return Prompt(points, torch.ones(count, 1))
    if kind == "box":
        boxes = np.array([_loose_box(rng, m, scale, pitch) for m in truth], np.float32)
        return Prompt(empty.points, empty.labels, torch.from_numpy(boxes))
    if kind == "points":
        number = int(rng.integers(2, 17))
        positive = int(rng.integers(1, number + 1))
        labels = np.repeat([1.0, 0.0], [positive, number - positive])
        spots = [
            [to_xy(anywhere(rng, m if label else ~m), pitch) for label in labels]
            if not m.all()
            else [to_xy(anywhere(rng, m), pitch) for _ in labels]
            for m in truth
        ]
        marks = [np.ones(number) if m.all() else labels for m in truth]
        return Prompt(torch.tensor(spots), torch.tensor(np.array(marks)).float())
    drawn = {"scribble": _scribble, "lasso": _lasso}.get(kind, _rough_logits)
    rough = np.stack([drawn(rng, m) for m in truth])
    empty.logits = torch.from_numpy(rough)[:, None]
    return empty


def _loose_box(rng: Rng, mask: np.ndarray, scale: float, pitch: int = 2) -> list[float]:
    """Box around a mask as a person or a program draws it, (x0, y0, x1, y1).

    SAM scales the picture's coordinates without regard to the pixels' centres, so a
    box between outermost centres ends one picture's pixel short; see `BOX_MANNERS`.
    """
    rows, columns = np.nonzero(mask)
    box = float(pitch) * np.array(
        [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], np.float32
    )
    before, behind = BOX_MANNERS[int(rng.integers(len(BOX_MANNERS)))]
    box[:2] -= before * scale
    box[2:] -= (1 - behind) * scale
    if rng.random() < 0.3:
        sides = np.array([box[2] - box[0], box[3] - box[1]] * 2)
        box += rng.normal(0, 0.05, 4) * sides
    else:
        box += rng.uniform(-0.35, 0.35, 4) * pitch  # known to a cell only
    return box.tolist()


def _rough_logits(rng: Rng, mask: np.ndarray) -> np.ndarray:
    """Imitate a mask from a person or another method: smooth, shifted, partial."""
    side = np.sqrt(mask.sum())
    soft = torch.from_numpy(mask.astype(np.float32))[None, None]
    kernel = 2 * int(rng.uniform(0, 0.2) * side) + 1
    soft = F.avg_pool2d(soft, kernel, 1, kernel // 2, count_include_pad=False)
    field = soft[0, 0].numpy()
    coarse = torch.from_numpy(rng.standard_normal((1, 1, 12, 12)).astype(np.float32))
    wobble = F.interpolate(coarse, mask.shape, mode="bicubic", align_corners=False)
    field = (
        field - rng.uniform(0.25, 0.75) + rng.uniform(0, 0.35) * wobble[0, 0].numpy()
    )
    gain = rng.choice([4.0, 12.0, 40.0])
    return np.clip(field * gain, -10, 10).astype(np.float32)


#: Logit of a cell that a person painted, or did not; see `segmenter.mask_to_logits`.
PAINTED = 6.9


def _scribble(rng: Rng, mask: np.ndarray) -> np.ndarray:
    """Imitate a stroke painted inside the object: a few cells wide, along its middle.

    It wanders between a deep place and others of the same part of the object.
    """
    depth = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    places = np.argwhere(depth >= min(2.0, depth.max()))
    start = np.array(np.unravel_index(int(depth.argmax()), depth.shape))
    canvas = Image.new("L", mask.shape[::-1])
    pen, width = ImageDraw.Draw(canvas), int(rng.integers(1, 6))
    for _ in range(int(rng.integers(1, 4))):
        end = places[int(rng.integers(len(places)))]
        pen.line([(start[1], start[0]), (end[1], end[0])], 255, width)
        start = end
    stroke = (np.asarray(canvas) > 0) & mask
    if not stroke.any():
        stroke = mask
    return np.where(stroke, PAINTED, -PAINTED).astype(np.float32)


def _lasso(rng: Rng, mask: np.ndarray) -> np.ndarray:
    """Imitate a loop drawn loosely round the object, filled."""
    side = np.sqrt(mask.sum())
    margin = rng.uniform(0.02, 0.2) * side + 1
    away = ndimage.distance_transform_edt(~mask)
    coarse = torch.from_numpy(rng.standard_normal((1, 1, 10, 10)).astype(np.float32))
    wobble = F.interpolate(coarse, mask.shape, mode="bicubic", align_corners=False)
    loop = away < margin * (1 + 0.5 * wobble[0, 0].numpy())
    loop = ndimage.binary_fill_holes(loop | mask)
    return np.where(loop, PAINTED, -PAINTED).astype(np.float32)


def correct(
    rng: Rng, prompt: Prompt, logits: Tensor, truth: np.ndarray, pitch: int = 2
) -> Prompt:
    """Add one corrective click an object.

    Parameters
    ----------
    logits : Tensor
        (N, 1, H, W), becomes the mask prompt.
    truth : numpy.ndarray
        (N, H, W) bool.
    """
    predicted = (logits[:, 0] > 0).numpy()
    points, labels = [], []
    for guess, mask in zip(predicted, truth, strict=True):
        region = error_region(guess, mask)
        if region is None:
            region = mask
        centred = rng.random() < CENTRED
        spot = deepest(region) if centred else anywhere(rng, region)
        points.append(to_xy(spot, pitch))
        labels.append(float(mask[spot]))
    return prompt.clicked(
        torch.tensor(points), torch.tensor(labels), logits.clamp(-20, 20)
    )


# --- the loss -----------------------------------------------------------------------


def decode(
    sam: nn.Module, embedding: Tensor, position: Tensor, prompt: Prompt
) -> tuple[Tensor, Tensor]:
    """All four masks (N, 4, H, W) and predicted IoU (N, 4) in float32.

    Prompts are encoded in float32: the phases of the position code in bfloat16 are off
    by up to a pixel, and a box corner is not where it was drawn.
    """
    points = (prompt.points.float(), prompt.labels) if prompt.labels.numel() else None
    with torch.autocast("cpu", enabled=False):
        sparse, dense = sam.prompt_encoder(points, prompt.boxes, prompt.logits)
    masks, quality = sam.mask_decoder.predict_masks(
        image_embeddings=embedding.to(COMPUTE),
        image_pe=position.to(COMPUTE),
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense.to(COMPUTE),
    )
    return masks.float(), quality.float()


def mask_losses(masks: Tensor, truth: Tensor) -> Tensor:
    """2 BCE + Dice of every mask, (N, T), against truth (N, H, W) in 0..1.

    The cross-entropy is divided not by the whole grid but by the square root of the
    object's share of it: averaged over the grid, a nucleus of a hundred cells would
    weigh nothing, and an empty mask would be nearly right; divided by the share
    itself, small objects would drown large ones.
    """
    target = truth[:, None].expand_as(masks)
    bce = F.binary_cross_entropy_with_logits(masks, target, reduction="none")
    chance = masks.sigmoid()
    overlap = (chance * target).sum((2, 3))
    total = chance.sum((2, 3)) + target.sum((2, 3))
    covered = truth.mean((1, 2))[:, None]
    counted = (covered + 1 / 1024).sqrt()
    return 2 * bce.mean((2, 3)) / counted + 1 - (2 * overlap + 1) / (total + 1)


def episode_loss(
    masks: Tensor, quality: Tensor, truth: Tensor, ambiguous: bool
) -> Tensor:
    """Loss of one round.

    The single mask (token 0) is always trained; of the three others the best one, with
    full weight where one click leaves the extent open, and all a little: on pictures
    of a foreign kind the predicted quality chooses badly, and a mask that nobody ever
    corrected is then far off.
    """
    losses = mask_losses(masks, truth)  # (N, 4)
    three = losses[:, 1:]
    single, several = losses[:, 0], 0.8 * three.min(1).values + 0.2 * three.mean(1)
    with torch.no_grad():
        guess, mask = masks > 0, truth[:, None] > 0.5
        joint = (guess & mask).sum((2, 3)).float()
        iou = joint / (guess | mask).sum((2, 3)).clamp(min=1)
    score = F.mse_loss(quality, iou, reduction="none").mean(1)
    return (single + (1.0 if ambiguous else 0.25) * several + 2 * score).mean()


def picture_loss(
    sam: nn.Module,
    rng: Rng,
    embedding: Tensor,
    position: Tensor,
    sample: Sample,
    corrected: bool,
    kind: str | None = None,
) -> tuple[float, float]:
    """Run one episode and back-propagate; returns Dice of its first and last round.

    Without `corrected` the episode ends after its first round.
    """
    soft = torch.from_numpy(sample.truth)
    truth = sample.truth > 0.5
    prompt = first_prompt(rng, truth, kind, sample.scale)
    ambiguous = prompt.labels.shape[1] == 1 and prompt.boxes is None
    masks, quality = decode(sam, embedding, position, prompt)
    episode_loss(masks, quality, soft, ambiguous).backward()
    first = masks.detach()
    if not corrected:
        return (_dice(first[:, 0], soft),) * 2
    if ambiguous and rng.random() < 0.5:
        best = quality[:, 1:].argmax(1)
        logits = first[torch.arange(len(first)), 1 + best][:, None]
    else:
        logits = first[:, :1]
    for _ in range(int(rng.choice(ROUNDS, p=ROUND_SHARES))):
        prompt = correct(rng, prompt, logits, truth)
        with torch.no_grad():
            logits = decode(sam, embedding, position, prompt)[0][:, :1]
    prompt = correct(rng, prompt, logits, truth)
    masks, quality = decode(sam, embedding, position, prompt)
    episode_loss(masks, quality, soft, False).backward()
    return _dice(first[:, 0], soft), _dice(masks[:, 0].detach(), soft)


def _dice(logits: Tensor, truth: Tensor) -> float:
    guess, mask = logits > 0, truth > 0.5
    total = guess.sum((1, 2)) + mask.sum((1, 2))
    return float((2 * (guess & mask).sum((1, 2)) / total.clamp(min=1)).mean())
