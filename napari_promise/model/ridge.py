"""A closed-form classifier on a frozen embedding: fitted at once, undone exactly.

What is kept of an image is not its features (megabytes) but its normal equations, a
matrix of features times features. Those of several images add up; taking an image out
again means leaving its equations out of the sum, so nothing of it stays behind.

The algebra is torch's, on the threads that torch was given: numpy and scipy bring
threads of their own, which wait for each other where the processor is busy, and took
0.3 s for what takes a millisecond.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy import ndimage

if TYPE_CHECKING:
    from napari_promise.model.sam import Embedding

__all__ = ["NormalEquations", "Ridge", "features"]

#: Length of the embedding's part of a feature vector, beside pictures of 0 to 1.
_EMBEDDING_LENGTH = 4.0
#: Gaussians that the picture is smoothed with, in cells of the grid.
_SIGMAS = (0.0, 0.7, 1.5)
_PICTURE_LENGTH = 2.0


@dataclass(frozen=True, eq=False)
class NormalEquations:
    """What some weighted examples say of a linear classifier.

    Attributes
    ----------
    gram : (F, F) float64
        Sum of weight times feature vector times its transpose.
    moment : (F,) float64
        Sum of weight times target times feature vector.
    """

    gram: NDArray[np.float64]
    moment: NDArray[np.float64]

    @classmethod
    def of(
        cls,
        examples: NDArray[np.float32],
        targets: NDArray[np.float32],
        weights: NDArray[np.float32],
    ) -> NormalEquations:
        """Return the equations of examples.

        Parameters
        ----------
        examples : (N, F) float32
            Feature vectors, see `features`.
        targets : (N,) float32
            What the classifier is to answer, as a rule 1 and -1.
        weights : (N,) float32
            How much each counts, not negative.
        """
        given, share = torch.from_numpy(examples), torch.from_numpy(weights)
        weighted = given * share[:, None]
        return cls(
            (weighted.T @ given).numpy().astype(np.float64),
            (weighted.T @ torch.from_numpy(targets)).numpy().astype(np.float64),
        )

    @classmethod
    def of_mask(
        cls,
        examples: NDArray[np.float32],
        mask: NDArray[np.bool_],
        total: float = 1000.0,
        where: NDArray[np.bool_] | None = None,
    ) -> NormalEquations:
        """Return the equations of a mask: 1 inside, -1 outside, both weighed alike.

        Parameters
        ----------
        examples : (N, F) float32
        mask : (N,) bool
            The object's cells.
        total : float
            The sum of all weights.
        where : (N,) bool, optional
            Only these cells count.
        """
        used = np.ones(len(mask), bool) if where is None else where
        chosen, inside = examples[used], mask[used]
        weights = np.zeros(len(inside), np.float32)
        for side in (inside, ~inside):
            weights[side] = total / 2 / max(1, int(np.count_nonzero(side)))
        targets = np.where(inside, 1, -1).astype(np.float32)
        return cls.of(chosen, targets, weights)

    @classmethod
    def sum(
        cls, parts: Iterable[tuple[float, NormalEquations]]
    ) -> NormalEquations | None:
        """Return the weighted sum of equations; None of none.

        Given in the same order, the same parts give the same sum bit for bit: whoever
        takes a part out gets back exactly what was before it came.
        """
        gram = moment = None
        for weight, part in parts:
            if gram is None or moment is None:
                gram, moment = weight * part.gram, weight * part.moment
            else:
                gram += weight * part.gram
                moment += weight * part.moment
        return None if gram is None or moment is None else cls(gram, moment)

    def solve(self, penalty: float = 3.0) -> Ridge:
        """Return the classifier, its weights held small by a penalty."""
        system = torch.from_numpy(self.gram + penalty * np.eye(len(self.moment)))
        moment = torch.from_numpy(self.moment)[:, None]
        found = torch.cholesky_solve(moment, torch.linalg.cholesky(system))[:, 0]
        return Ridge(found.numpy().astype(np.float32))


@dataclass(frozen=True, eq=False)
class Ridge:
    """A linear classifier.

    Attributes
    ----------
    weights : (F,) float32
    """

    weights: NDArray[np.float32]

    def scores(self, examples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return about 1 for the object and about -1 for what is around it, (N,)."""
        given = torch.from_numpy(np.ascontiguousarray(examples))
        found: NDArray[np.float32] = (given @ torch.from_numpy(self.weights)).numpy()
        return found


@torch.no_grad()
def features(
    emb: Embedding,
    picture: NDArray[np.float32],
    window: tuple[int, int, int, int] | None = None,
) -> NDArray[np.float32]:
    """Describe each cell of a grid by the embedding and by the picture around it.

    Parameters
    ----------
    emb : Embedding
        Of the plane, or of a part of it.
    picture : (h, w) float32
        The plane's pixels on the grid, 0 to 1. The grid covers the whole plane.
    window : (int, int, int, int), optional
        Describe only these cells of the grid, (row 0, column 0, row 1, column 1), half
        open.

    Returns
    -------
    (h, w, F) float32
        Of the grid or of the window. The last feature is constant.
    """
    height, width = picture.shape
    r0, c0, r1, c1 = window or (0, 0, height, width)
    frame = max(emb.input_size)
    rows = _positions(r0, r1, height, 0, emb) * emb.input_size[0] / frame
    columns = _positions(c0, c1, width, 1, emb) * emb.input_size[1] / frame
    device = emb.image.device
    at = torch.stack(
        [
            torch.from_numpy(columns).to(device)[None, :].expand(len(rows), -1),
            torch.from_numpy(rows).to(device)[:, None].expand(-1, len(columns)),
        ],
        dim=-1,
    )
    sampled = F.grid_sample(
        emb.image.float(),
        (2 * at - 1)[None].float(),
        mode="bilinear",
        padding_mode="border",
        align_corners=False,
    )[0].permute(1, 2, 0)  # (h, w, C)
    sampled = sampled - emb.image[0].float().mean(dim=(1, 2))
    sampled = _EMBEDDING_LENGTH * F.normalize(sampled, dim=-1)
    return np.concatenate(
        [sampled.cpu().numpy(), *_pictures(picture, (r0, c0, r1, c1))], axis=-1
    )


def _positions(
    start: int, stop: int, cells: int, axis: int, emb: Embedding
) -> NDArray[np.float64]:
    """Return where cells lie in the part of the plane that was encoded, 0 to 1."""
    in_plane = (np.arange(start, stop) + 0.5) / cells * emb.plane_shape[axis]
    return (in_plane - emb.origin[axis]) / emb.original_size[axis]


def _pictures(
    picture: NDArray[np.float32], window: tuple[int, int, int, int]
) -> list[NDArray[np.float32]]:
    r0, c0, r1, c1 = window
    margin = 6  # beyond the reach of the widest Gaussian
    top, left = max(0, r0 - margin), max(0, c0 - margin)
    part = picture[top : r1 + margin, left : c1 + margin]
    cut = (slice(r0 - top, r1 - top), slice(c0 - left, c1 - left))
    smooth = [
        (ndimage.gaussian_filter(part, sigma) if sigma else part)[cut] - 0.5
        for sigma in _SIGMAS
    ]
    found = [*smooth, 2 * smooth[1] ** 2, np.full_like(smooth[0], 0.5)]
    return [_PICTURE_LENGTH * each[..., None].astype(np.float32) for each in found]
