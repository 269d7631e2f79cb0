"""Losses on masks and points in the part of SAM's frame where the image is."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage

#: Distances of `point_loss`, in sides of the frame: how deep inside the object a
#: positive point should lie at least, how near to it a negative one and how far from
#: it at least, and how far from each other two points of a kind.
DEEP, FAR, NEAR, APART = 0.02, 0.25, 0.03, 0.05


def mask_loss(
    logits: torch.Tensor,
    target: torch.Tensor,
    inside: torch.Tensor,
    *,
    double_sigmoid: bool = False,
) -> torch.Tensor:
    """Binary cross-entropy plus soft Dice, averaged over the batch.

    Both act on logits through one sigmoid. An image whose target is empty is pushed
    to nothing by both terms.

    Parameters
    ----------
    logits : torch.Tensor
        (B, 1, h, w).
    target : torch.Tensor
        (B, 1, h, w) in [0, 1]: share of each cell that is foreground.
    inside : torch.Tensor
        (B, 1, h, w), 1 where the image is, 0 in the padding.
    double_sigmoid : bool
        Take probabilities for logits, as the authors' code does; for parity only.

    Returns
    -------
    torch.Tensor
        Scalar.
    """
    if double_sigmoid:
        logits = torch.sigmoid(logits)
    axes = (1, 2, 3)
    entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    entropy = (entropy * inside).sum(axes) / inside.sum(axes).clamp(min=1)
    probability, target = torch.sigmoid(logits) * inside, target * inside
    overlap = (probability * target).sum(axes)
    # one cell smooths: keeps the gradient finite where both are empty
    dice = (2 * overlap + 1) / (probability.sum(axes) + target.sum(axes) + 1)
    return (entropy + 1 - dice).mean()


def signed_distance(target: torch.Tensor, inside: torch.Tensor) -> torch.Tensor:
    """Distance to the outline of the object, positive on it.

    The border of the image counts as outline. Where nothing is foreground, the whole
    frame is far outside.

    Parameters
    ----------
    target, inside : torch.Tensor
        (B, 1, h, w), see `mask_loss`.

    Returns
    -------
    torch.Tensor
        (B, 1, h, w) float32 on the CPU, in sides of the frame.
    """
    maps = []
    for mask in ((target >= 0.5) & (inside > 0)).cpu().numpy()[:, 0]:
        if mask.any():
            depth = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
            maps.append(depth - ndimage.distance_transform_edt(~mask))
        else:
            maps.append(np.full(mask.shape, -float(max(mask.shape))))
    stacked = np.stack(maps)[:, None] / max(target.shape[-2:])
    return torch.from_numpy(stacked.astype(np.float32))


def point_loss(
    points_xy: torch.Tensor, labels: torch.Tensor, distance: torch.Tensor
) -> torch.Tensor:
    """Tell points where to be: positives on the object, negatives in a ring around it.

    The decoder's gradient alone says little to a point far from the object; this says
    in which direction the object lies. Points of a kind are kept apart.

    Parameters
    ----------
    points_xy : torch.Tensor
        (B, P, 2) as (x, y) in [0, 1]: sides of the frame.
    labels : torch.Tensor
        (P,) 1 or 0.
    distance : torch.Tensor
        (B, 1, h, w), see `signed_distance`. Images without an object are left out.

    Returns
    -------
    torch.Tensor
        Scalar, 0 where every point is where it should be.
    """
    present = (distance.flatten(1) > 0).any(1)  # (B,)
    if not present.any():
        return points_xy.sum() * 0
    points_xy, distance = points_xy[present], distance[present]
    here = F.grid_sample(
        distance,
        points_xy[:, None] * 2 - 1,
        mode="bilinear",
        padding_mode="border",
        align_corners=False,
    )[:, 0, 0]  # (B, P)
    deepest = distance.flatten(1).amax(1, keepdim=True)
    wrong = torch.where(
        labels == 1,
        F.relu(deepest.clamp(max=2 * DEEP) / 2 - here),
        F.relu(here + NEAR) + F.relu(-here - FAR),
    )
    # squared: the root has no finite gradient where two points coincide
    gaps = (points_xy[:, :, None] - points_xy[:, None]).square().sum(-1)
    alike = (labels[:, None] == labels).triu(1)  # (P, P)
    near = F.relu(1 - gaps / APART**2) * APART
    crowd = (near * alike).sum((1, 2)) / alike.sum().clamp(min=1)
    return wrong.mean() + crowd.mean()
