"""Numpy in, numpy out: encode an image, segment with prompts, propose prompts.

The public face of the model rooms. It stores no image and no result, and knows no
session, no window and no file but those of models and adapters.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from napari_promise.data import planes
from napari_promise.document import BBox, Region
from napari_promise.model import promise
from napari_promise.model.adapters import (
    Adapter,
    AdapterInfo,
    load_adapter,
    tensor_bytes,
)
from napari_promise.model.local_correction import corrected_locally
from napari_promise.model.sam import (
    Embedding,
    encode_image,
    load_sam,
    oom_fallback,
)
from napari_promise.prompts import Prompts, round_logits

if TYPE_CHECKING:
    from segment_anything.modeling import Sam

__all__ = ["Segmentation", "Segmenter", "mask_to_logits"]

#: How sure a mask prompt is of its pixels; the logit of it is about 6.9.
_MASK_CONFIDENCE = 1 - 1e-3


@dataclass(frozen=True, eq=False)
class Segmentation:
    """The mask that answers some prompts.

    Attributes
    ----------
    shape : (int, int)
        Rows and columns of the image.
    region : Region or None
        The mask's pixels, compressed; None when it is empty.
    score : float
        The model's predicted quality (IoU). Not trained for an adapter with IPS.
    logits : (1, h, w) float32
        The mask's low-resolution logits in SAM's padded frame, rounded so that they
        can serve as `Prompts.logits`.
    token : int
        The mask token that drew it: 0 the single mask, 1-3 the ambiguous ones.
    """

    shape: tuple[int, int]
    region: Region | None
    score: float
    logits: NDArray[np.float32] = field(repr=False)
    token: int = 0

    @property
    def bbox(self) -> BBox | None:
        """The mask's (r0, c0, r1, c1), half open; None when it is empty."""
        return None if self.region is None else self.region.bbox

    @cached_property
    def mask(self) -> NDArray[np.bool_]:
        """The whole mask, (H, W) bool; made when first asked for."""
        if self.region is None:
            return np.zeros(self.shape, bool)
        return self.region.mask


class Segmenter:
    """A frozen SAM, with or without an adapter.

    Parameters
    ----------
    sam : segment_anything.modeling.Sam
        A frozen model, see `load_sam`.
    adapter : Adapter, optional
    notify : callable, optional
        Told in one sentence when the work moves to the CPU, for want of memory on
        the accelerator.

    Examples
    --------
    >>> segmenter = Segmenter.load("promise-tiny")  # doctest: +SKIP
    >>> embedding = segmenter.encode(image)  # doctest: +SKIP
    >>> segmenter.segment(embedding, Prompts(points=[(40, 60)])).mask  # doctest: +SKIP
    """

    def __init__(
        self,
        sam: Sam,
        adapter: Adapter | None = None,
        *,
        notify: Callable[[str], None] | None = None,
    ) -> None:
        self.sam = sam
        self._adapter = adapter
        self._notify = notify

    @classmethod
    def load(
        cls,
        model: str | Path = "promise-tiny",
        adapter: str | Path | None = None,
        device: str = "auto",
        *,
        progress: Callable[[int, int], None] | None = None,
        cancel: Callable[[], bool] | None = None,
        notify: Callable[[str], None] | None = None,
    ) -> Segmenter:
        """Load a model and, where one is named, an adapter.

        Parameters
        ----------
        model : str or pathlib.Path
            A registered name (downloaded where it is not at hand) or a checkpoint.
        adapter : str or pathlib.Path, optional
            A bundled or installed adapter's name, or a folder.
        device : str
            "auto", "cpu", "cuda" or "mps".
        progress, cancel : callable, optional
            For the download: told (bytes done, bytes in all); asked whether to stop.
        notify : callable, optional
            See the class.

        Returns
        -------
        Segmenter

        Raises
        ------
        ValueError
            If a name is unknown, a file unreadable, or the adapter belongs to
            another model.
        """
        sam = load_sam(
            model, device=device, progress=progress, cancel=cancel, notify=notify
        )
        segmenter = cls(sam, notify=notify)
        segmenter.adapter = adapter
        return segmenter

    @property
    def adapter(self) -> Adapter | None:
        """The adapter, or None for stock SAM.

        May be set to an `Adapter`, a name, a folder or None. Embeddings stay valid
        whatever adapter is set.
        """
        return self._adapter

    @adapter.setter
    def adapter(self, adapter: Adapter | str | Path | None) -> None:
        if isinstance(adapter, str | Path):
            adapter = load_adapter(adapter, self.sam)
        self._adapter = adapter

    @property
    def adapter_info(self) -> AdapterInfo | None:
        """What is known of the adapter; None without one."""
        return None if self._adapter is None else self._adapter.info

    @property
    def adapter_sha256(self) -> str | None:
        """The hash of the adapter's tensor file, hexadecimal; None without one."""
        if self._adapter is None:
            return None
        return hashlib.sha256(tensor_bytes(self._adapter)).hexdigest()

    @property
    def model_id(self) -> str:
        """The model's name."""
        return str(getattr(self.sam, "model_id", type(self.sam.image_encoder).__name__))

    @property
    def sha256(self) -> str:
        """The hash of the model's file, hexadecimal; empty for a model without one."""
        return str(getattr(self.sam, "sha256", ""))

    @property
    def prompt_kinds(self) -> tuple[str, ...]:
        """What the model was trained for: of "points", "boxes" and "masks"."""
        return tuple(getattr(self.sam, "prompt_kinds", ("points", "boxes", "masks")))

    @property
    def device(self) -> torch.device:
        """Where the model computes."""
        return torch.device(self.sam.device)

    def encode(
        self,
        image: Any,
        *,
        contrast_limits: tuple[float, float] | None = None,
        progress: Callable[[int, int], None] | None = None,
        cancel: Callable[[], bool] | None = None,
    ) -> Embedding:
        """Encode an image: the slow part, done once per image.

        Parameters
        ----------
        image : array-like, (H, W), (H, W, 3) or (H, W, 4)
            Any real type; see `planes.to_rgb8` for how it becomes what SAM sees.
        contrast_limits : (float, float), optional
            The values shown black and white.
        progress : callable, optional
            Told (blocks done, blocks in all).
        cancel : callable, optional
            Asked before each block of the encoder.

        Returns
        -------
        Embedding

        Raises
        ------
        ValueError
            If the image is no single plane of real numbers.
        napari_promise.model.weights.Cancelled
            `cancel` answered True.
        """
        rgb = planes.to_rgb8(image, contrast_limits)
        return oom_fallback(
            lambda: encode_image(self.sam, rgb, progress=progress, cancel=cancel),
            self._modules(),
            self._notify,
        )

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> Embedding:
        """Return the embedding that `Embedding.to_arrays` took apart."""
        return Embedding.from_arrays(dict(arrays), self.device)

    @torch.no_grad()
    def segment(
        self,
        emb: Embedding,
        prompts: Prompts,
        *,
        ips: bool = True,
        multimask: bool | None = None,
        local: bool = True,
    ) -> Segmentation:
        """Return the mask that answers the prompts.

        Several boxes mean an object of several parts: each box is answered with the
        points that lie nearest to it, and the mask is the union.

        Parameters
        ----------
        emb : Embedding
            Made by this model.
        prompts : Prompts
            Not empty. Points that its logits answer already are not sent to the
            model, see `Prompts.to_send`.
        ips : bool
            Off, the adapter's pattern shifting is left out: stock SAM decodes.
        multimask : bool, optional
            Choose among three masks by predicted quality, or take the single one.
            Left out, three are drawn where one click alone leaves open what is
            meant.
        local : bool
            With an adapter, let added points change the mask only where they point,
            see `model.local_correction`. Off, or without an adapter, the answer is
            what the decoder draws.

        Returns
        -------
        Segmentation

        Raises
        ------
        ValueError
            If there are no prompts, or the embedding or mask prompt belongs to
            another model or image.
        """
        if prompts.is_empty:
            raise ValueError("there is nothing to segment: add a point or a box.")
        if emb.model_id != self.model_id:
            raise ValueError(
                f"the embedding was made by {emb.model_id}, this model is "
                f"{self.model_id}: encode the image again."
            )
        return oom_fallback(
            lambda: self._segment(
                emb.to(self.device), prompts.to_send(), ips, multimask, local
            ),
            self._modules(),
            self._notify,
        )

    def probabilities(
        self, emb: Embedding, logits: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Bring a result's logits to the image's pixels, as probabilities.

        Parameters
        ----------
        emb : Embedding
            The one that the result was drawn on.
        logits : (1, h, w) float32
            `Segmentation.logits`.

        Returns
        -------
        (H, W) float32
            In [0, 1]; SAM's own two bilinear steps, then the sigmoid. Half and more
            is the mask but for rounding.
        """
        low = torch.from_numpy(np.array(logits, np.float32))[None]
        full = self.sam.postprocess_masks(low, emb.input_size, emb.original_size)
        return torch.sigmoid(full[0, 0]).numpy()

    def propose(self, emb: Embedding) -> Prompts:
        """Let the adapter's auto-prompting module write the prompts.

        Parameters
        ----------
        emb : Embedding
            Made by this model.

        Returns
        -------
        Prompts
            Points, labels and, where the module states them, scores and, as logits,
            a coarse map. Without a point to include where nothing was found.

        Raises
        ------
        ValueError
            If there is no adapter, or it has no auto-prompting module.
        """
        adapter = self._adapter
        if adapter is None:
            raise ValueError(
                "auto-prompting needs an adapter: choose one, or train one on a few "
                "labelled images."
            )
        found = oom_fallback(
            lambda: promise.auto_prompts(adapter, emb.to(self.device), self.sam),
            self._modules(),
            self._notify,
        )
        return Prompts(
            points=found.points_xy[:, ::-1],
            labels=found.labels,
            scores=None if np.isnan(found.scores).all() else found.scores,
            logits=None if found.logits is None else found.logits[0].cpu().numpy(),
        )

    def _segment(
        self,
        emb: Embedding,
        prompts: Prompts,
        ips: bool,
        multimask: bool | None,
        local: bool,
    ) -> Segmentation:
        device = emb.image.device
        first = promise.takes_first(self._adapter, ips)
        mask_logits = self._mask_logits(emb, prompts)
        if multimask is None:
            multimask = promise.wants_multimask(
                len(prompts.points),
                has_box=len(prompts.boxes) > 0,
                has_logits=mask_logits is not None,
                first=first,
            )
        best: torch.Tensor | None = None
        scores, token = [], 0
        for points, labels, box in _parts(prompts):
            logits, iou = promise.decode(
                self.sam,
                emb,
                points_xy=_batch(points, device) if len(points) else None,
                labels=_batch(labels, device) if len(points) else None,
                boxes_xy=None if box is None else _batch(box, device),
                mask_logits=mask_logits,
                multimask=multimask,
                adapter=self._adapter,
                ips=ips,
            )
            index = promise.choose_mask(logits[0], iou[0], first)
            token = index + 1 if multimask else 0
            chosen = logits[0, index]
            best = chosen if best is None else torch.maximum(best, chosen)
            scores.append(float(iou[0, index]))
        assert best is not None
        if local and self._adapter is not None and prompts.added is not None:
            best = _corrected(best, prompts, emb)
        bbox, crop = promise.upsample(best, emb)
        height, width = emb.original_size
        region = None
        if bbox is not None:
            region = Region.from_crop(crop, bbox[:2], (height, width))
        low = round_logits(best[None].float().cpu().numpy())
        low.flags.writeable = False
        return Segmentation((height, width), region, float(np.mean(scores)), low, token)

    def _mask_logits(self, emb: Embedding, prompts: Prompts) -> torch.Tensor | None:
        """Return the mask prompt, (1, 1, 4h, 4w), from logits or else from a mask."""
        height, width = self.sam.prompt_encoder.mask_input_size
        if prompts.logits is not None:
            given = torch.from_numpy(np.array(prompts.logits)).to(emb.image.device)
            if given.shape[1:] == (height, width):
                return given[None]
            # Another model's grid over the same padded frame.
            return F.interpolate(
                given[None], (height, width), mode="bilinear", align_corners=False
            )
        if prompts.mask is None:
            return None
        return mask_to_logits(prompts.mask, emb, (height, width))

    def _modules(self) -> list[torch.nn.Module]:
        return [self.sam] if self._adapter is None else [self.sam, self._adapter]


def _corrected(answer: torch.Tensor, prompts: Prompts, emb: Embedding) -> torch.Tensor:
    """Let the added points change the mask before only where they point."""
    before, added = prompts.logits, prompts.added
    assert before is not None
    assert added is not None
    if before.shape[1:] != answer.shape:
        return answer  # of another model: there is no telling what it would keep
    used = np.array(emb.input_size) / max(emb.input_size) * len(answer)
    cells = ((prompts.points[added] + 0.5) / emb.original_size * used).astype(int)
    cells = cells.clip(0, len(answer) - 1)
    clicks = [
        (row, column, label)
        for (row, column), label in zip(
            cells.tolist(), prompts.labels[added].tolist(), strict=True
        )
    ]
    merged = corrected_locally(before[0], answer.float().cpu().numpy(), clicks)
    return torch.from_numpy(merged).to(answer.device)


def mask_to_logits(
    mask: NDArray[np.bool_], emb: Embedding, size: tuple[int, int]
) -> torch.Tensor:
    """Turn a mask of the image into a mask prompt.

    Parameters
    ----------
    mask : (H, W) bool
    emb : Embedding
        Gives the sizes of image and frame, and the device.
    size : (int, int)
        Rows and columns of the mask prompt.

    Returns
    -------
    torch.Tensor
        (1, 1, *size) logits in the padded frame: how much of each cell the mask
        covers, as the logit of a probability. Rounded as `round_logits` does.

    Raises
    ------
    ValueError
        If the mask does not have the image's shape.
    """
    if mask.shape != emb.original_size:
        raise ValueError(
            f"the mask prompt has shape {mask.shape}, the image {emb.original_size}; "
            "pass a mask of this image."
        )
    frame = max(emb.input_size)
    rows, columns = (
        max(1, round(cells * used / frame))
        for cells, used in zip(size, emb.input_size, strict=True)
    )
    pixels = torch.from_numpy(np.array(mask, np.uint8)).to(emb.image.device)
    covered = F.adaptive_avg_pool2d(pixels[None, None].float(), (rows, columns))
    covered = F.pad(covered, (0, size[1] - columns, 0, size[0] - rows))
    logits = torch.logit(covered.clamp(1 - _MASK_CONFIDENCE, _MASK_CONFIDENCE))
    return logits.half().float()


def _parts(
    prompts: Prompts,
) -> list[
    tuple[
        NDArray[np.float64],
        NDArray[np.int64],
        NDArray[np.float64] | None,
    ]
]:
    """Split prompts by box: (points (x, y), labels, box (x, y, x, y)) for each."""
    points, boxes = prompts.points_xy(), prompts.boxes_xy()
    if len(boxes) < 2:
        return [(points, prompts.labels, boxes[0] if len(boxes) else None)]
    # The distance of each point to each box; 0 inside.
    low, high = boxes[None, :, :2], boxes[None, :, 2:]
    outside = np.maximum(0, np.maximum(low - points[:, None], points[:, None] - high))
    owner = np.hypot(outside[..., 0], outside[..., 1]).argmin(axis=1)
    return [
        (points[owner == index], prompts.labels[owner == index], box)
        for index, box in enumerate(boxes)
    ]


def _batch(values: NDArray[Any], device: torch.device) -> torch.Tensor:
    return torch.from_numpy(np.array(values))[None].to(device)
