"""Numpy in, numpy out: encode an image, segment with prompts, propose prompts.

The public face of the model rooms; it stores no image and no result.
"""

from __future__ import annotations

import copy
import dataclasses
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
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
from napari_promise.model.elsewhere import EncoderElsewhere
from napari_promise.model.instance_prompter import (
    FoundObjects,
    InstanceAPM,
    find_objects,
    maps_of,
)
from napari_promise.model.instant_prompter import InstantAPM
from napari_promise.model.lean_decoder import prepare_lean
from napari_promise.model.local_correction import corrected_locally
from napari_promise.model.resampling import logits_of_tile, mask_to_logits, upsample
from napari_promise.model.sam import (
    Embedding,
    encode_image,
    load_sam,
    oom_fallback,
    resolve_device,
)
from napari_promise.model.windowed_decode import WindowPrompt, decode_windowed
from napari_promise.prompts import Before, Prompts, round_logits
from napari_promise.segmentation import EmbeddingLike, NoPrompterError, Segmentation

if TYPE_CHECKING:
    from segment_anything.modeling import Sam

    from napari_promise.remote.encoder import Server

__all__ = ["Segmenter"]


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
        self._decoder = "stock"

    @classmethod
    def load(
        cls,
        model: str | Path = "promise-tiny",
        adapter: str | Path | None = None,
        device: str = "auto",
        *,
        mode: str = "stock",
        decoder: str = "stock",
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
        mode : str
            How images are encoded: "stock" bit for bit as segment_anything does,
            "auto" as fast as this computer can, or see `model.fast_encoder`. Models
            with other encoders than SAM's own ViT stay as they are.
        decoder : str
            See `Segmenter.decoder`.
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
        if mode != "stock":
            from napari_promise.model.fast_encoder import use_mode

            use_mode(sam, mode)
        segmenter = cls(sam, notify=notify)
        segmenter.adapter = adapter
        segmenter.decoder = decoder
        return segmenter

    @classmethod
    def connect(
        cls,
        address: str,
        model: str = "promise-tiny",
        adapter: str | Path | None = None,
        device: str = "auto",
        *,
        certificate: str | Path | None = None,
        plain: bool = False,
        mode: str = "stock",
        cancel: Callable[[], bool] | None = None,
        notify: Callable[[str], None] | None = None,
        waiting: Callable[[str], None] | None = None,
    ) -> Segmenter:
        """Encode on another computer, and decode here.

        Only pixels go there, and embeddings come back; prompts, masks and adapters
        stay. Weights are needed there alone: what decodes is sent once.

        Parameters
        ----------
        address : str
            ``tls://host:port``, as `napari-promise serve` prints it.
        model : str
            A registered model's name, or a checkpoint's path on that computer.
        adapter : str or pathlib.Path, optional
            See `load`.
        device : str
            Where masks are decoded: "auto", "cpu", "cuda" or "mps".
        certificate : str or pathlib.Path, optional
            The server's ``client.pem``; needed for ``tls://``.
        plain : bool
            Whether ``tcp://`` is allowed to other computers than this one.
        mode : str
            How it is to be encoded there, see `model.fast_encoder`.
        cancel : callable, optional
            Asked while the model is being loaded there.
        notify : callable, optional
            Told in one line when the connection is lost, and when it is back.
        waiting : callable, optional
            Told in a few words what is being waited for meanwhile.

        Returns
        -------
        Segmenter
            To be closed at the end, see `close`.

        Raises
        ------
        ValueError
            If the address is not safe, the certificate unreadable, or the model
            unknown there.
        PermissionError, ConnectionError
            If the server refuses the certificate, or nothing answers.
        """
        from napari_promise.remote.encoder import find_server

        return cls.on_server(
            find_server(address, certificate, plain=plain),
            model,
            adapter,
            device,
            mode=mode,
            cancel=cancel,
            notify=notify,
            waiting=waiting,
        )

    @classmethod
    def on_server(
        cls,
        server: Server,
        model: str = "promise-tiny",
        adapter: str | Path | None = None,
        device: str = "auto",
        *,
        mode: str = "stock",
        cancel: Callable[[], bool] | None = None,
        notify: Callable[[str], None] | None = None,
        waiting: Callable[[str], None] | None = None,
    ) -> Segmenter:
        """Encode on a server that was found already; see `connect`."""
        from napari_promise.model.elsewhere import sam_around
        from napari_promise.remote.encoder import RemoteEncoder

        remote = RemoteEncoder(server, model, mode=mode, notify=notify, waiting=waiting)
        try:
            sam = sam_around(remote, remote.load(cancel))
            sam.to(resolve_device(device))
            segmenter = cls(sam, notify=notify)
            segmenter.adapter = adapter
        except BaseException:
            remote.close()
            raise
        return segmenter

    def close(self) -> None:
        """Let go of the computer that encodes, if it is another one."""
        if isinstance(self.sam.image_encoder, EncoderElsewhere):
            self.sam.image_encoder.encodes.close()

    @property
    def encodes_on(self) -> str:
        """The address of the computer that encodes; empty for this one."""
        encoder = self.sam.image_encoder
        if isinstance(encoder, EncoderElsewhere):
            return encoder.encodes.address
        return ""

    @property
    def encoder_mode(self) -> str:
        """How images are encoded: "stock", or see `model.fast_encoder`."""
        return str(getattr(self.sam, "encoder_mode", "stock"))

    def feed(self, images: Iterator[NDArray[np.uint8]]) -> None:
        """Say which images will be encoded next, for computers that stand idle.

        Parameters
        ----------
        images : iterator of (H, W, 3) uint8
            In the order in which `encode` will be called; not read where this computer
            encodes.
        """
        encoder = self.sam.image_encoder
        if isinstance(encoder, EncoderElsewhere):
            encoder.feed(images)

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

    def with_adapter(self, adapter: Adapter | str | Path | None) -> Segmenter:
        """Return a segmenter of the same model with another adapter, or with none.

        This one keeps its own: whoever uses it meanwhile sees no change.

        Raises
        ------
        ValueError
            If the adapter is unknown, unreadable, or belongs to another model.
        """
        other = copy.copy(self)
        other.adapter = adapter
        return other

    @property
    def decoder(self) -> str:
        """How masks are decoded: "stock" bit for bit as segment_anything does.

        Or "lean": in about half the time on a CPU, equal but for the rounding of sums,
        see `model.lean_decoder`. Models that it does not know are decoded as ever.
        """
        return self._decoder

    @decoder.setter
    def decoder(self, decoder: str) -> None:
        if decoder not in ("stock", "lean"):
            raise ValueError(f"the decoder is 'stock' or 'lean', not {decoder!r}")
        if decoder == "lean":
            prepare_lean(self.sam)
        self._decoder = decoder

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
    def sees(self) -> int:
        """Pixels of the longest side that the model sees of whatever it is shown."""
        return int(self.sam.image_encoder.img_size)

    @property
    def device(self) -> torch.device:
        """Where the model computes."""
        return torch.device(self.sam.device)

    def encode(
        self,
        image: Any,
        *,
        contrast_limits: tuple[float, float] | None = None,
        region: BBox | None = None,
        plane_shape: tuple[int, int] | None = None,
        progress: Callable[[int, int], None] | None = None,
        cancel: Callable[[], bool] | None = None,
    ) -> Embedding:
        """Encode an image: the slow part, done once per image.

        Parameters
        ----------
        image : array-like, (H, W), (H, W, 3) or (H, W, 4)
            Any real type; see `planes.to_rgb8` for how it becomes what SAM sees. Of a
            lazy one no more than the region is read, where the contrast is given.
        contrast_limits : (float, float), optional
            The values shown black and white.
        region : (int, int, int, int), optional
            (row 0, column 0, row 1, column 1), half open: encode this part at full
            resolution, with the contrast of the whole image. Prompts and masks stay in
            the whole image's pixels.
        plane_shape : (int, int), optional
            Rows and columns of the whole image, where `image` is its region alone, cut
            out already. It may be smaller than the region is, read from a coarser level
            of a pyramid.
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
            If the image is no single plane of real numbers, or the region does not lie
            in it.
        napari_promise.model.weights.Cancelled
            `cancel` answered True.
        """
        cut = region if plane_shape is None else None
        part = planes.to_rgb8(image, contrast_limits, region=cut)
        rows, columns = plane_shape or np.shape(image)[:2]
        r0, c0, r1, c1 = region or (0, 0, rows, columns)
        found = oom_fallback(
            lambda: encode_image(self.sam, part, progress=progress, cancel=cancel),
            self._modules(),
            self._notify,
        )
        return dataclasses.replace(
            found,
            original_size=(r1 - r0, c1 - c0),
            origin=(r0, c0),
            plane_shape=(rows, columns),
        )

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> Embedding:
        """Return the embedding that `Embedding.to_arrays` took apart."""
        return Embedding.from_arrays(dict(arrays), self.device)

    @torch.no_grad()
    def segment(
        self,
        emb: EmbeddingLike,
        prompts: Prompts,
        *,
        ips: bool = True,
        multimask: bool | None = None,
        local: bool | None = None,
        alternatives: bool = False,
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
            model, see `Prompts.to_send`. Logits of another tile of the plane are
            brought to this one, see `logits_of_tile`.
        ips : bool
            Off, the adapter's pattern shifting is left out: stock SAM decodes.
        multimask : bool, optional
            Choose among three masks by predicted quality, or take the single one.
            Left out, three are drawn where one click alone leaves open what is
            meant.
        local : bool, optional
            Let added points change the mask only where they point, see
            `model.local_correction`. Off, the answer is what the decoder draws. Left
            out, it is on with an adapter, and off without one: stock SAM bit for bit.
        alternatives : bool
            Return also what stock SAM draws, see `Segmentation.alternatives`. Without
            shifted tokens it comes from the same pass of the decoder; with them stock's
            four take one more.

        Returns
        -------
        Segmentation

        Raises
        ------
        ValueError
            If there are no prompts, none says where the object is, a point lies outside
            of the image or a box holds nothing of it, a point to include or a box lies
            outside of the part that was encoded, or the embedding or mask prompt
            belongs to another model or image.
        """
        own, asked = _own(emb), [self._checked(emb, prompts)]
        return oom_fallback(
            lambda: self._answer(
                own.to(self.device), asked, ips, multimask, local, alternatives
            ),
            self._modules(),
            self._notify,
        )[0]

    def segment_many(
        self,
        emb: EmbeddingLike,
        prompts: Sequence[Prompts],
        *,
        ips: bool = True,
        local: bool | None = None,
        alternatives: bool = False,
    ) -> tuple[Segmentation, ...]:
        """Return the masks of several objects of one image; see `segment`.

        Parameters
        ----------
        emb : Embedding
            Made by this model.
        prompts : sequence of Prompts
            One of each object, none of them empty.
        ips, local, alternatives : bool, optional
            See `segment`.

        Returns
        -------
        tuple of Segmentation
            In the same order.
        """
        own, asked = _own(emb), [self._checked(emb, each) for each in prompts]
        return oom_fallback(
            lambda: self._answer(
                own.to(self.device), asked, ips, None, local, alternatives
            ),
            self._modules(),
            self._notify,
        )

    def _checked(self, emb: EmbeddingLike, prompts: Prompts) -> Prompts:
        """Return what is to be sent of some prompts, or raise; see `segment`."""
        if prompts.is_empty:
            raise ValueError("there is nothing to segment: add a point or a box.")
        own = _own(emb)
        prompts = _seen(prompts.within(own.plane_shape), own)
        if not prompts.has_target:
            raise ValueError(
                "every point is to be excluded, so nothing says where the object is: "
                "add a point to include or a box."
            )
        if own.model_id != self.model_id:
            raise ValueError(
                f"the embedding was made by {own.model_id}, this model is "
                f"{self.model_id}: encode the image again."
            )
        return prompts.to_send()

    @property
    def finds_many(self) -> bool:
        """Whether the adapter proposes many objects, each small in the image."""
        adapter = self._adapter
        return adapter is not None and isinstance(adapter.apm, InstanceAPM)

    @torch.no_grad()
    def _answer(
        self,
        emb: Embedding,
        prompts: Sequence[Prompts],
        ips: bool,
        multimask: bool | None,
        local: bool | None,
        alternatives: bool,
    ) -> tuple[Segmentation, ...]:
        """Decode the prompts of each object.

        In windows where the adapter looks for many objects, whichever way they were
        asked for, so that the same prompts have the same mask; else one by one, for
        the stock decoder is slower on a batch of prompts.
        """
        if self.finds_many and all(len(p.points) or len(p.boxes) for p in prompts):
            return self._in_windows(emb, prompts, multimask, local, alternatives)
        return tuple(
            self._segment(emb, each, ips, multimask, local, alternatives)
            for each in prompts
        )

    def _in_windows(
        self,
        emb: Embedding,
        prompts: Sequence[Prompts],
        multimask: bool | None,
        local: bool | None,
        alternatives: bool,
    ) -> tuple[Segmentation, ...]:
        """Decode each object in a window around it; its box alone where it has one."""
        device = emb.image.device
        owner, asked = [], []
        for number, given in enumerate(prompts):
            mask_logits = self._mask_logits(emb, given)
            for points, labels, box in _parts(_box_alone(given)):
                owner.append(number)
                asked.append(
                    WindowPrompt(
                        torch.from_numpy(points).to(device) if len(points) else None,
                        torch.from_numpy(labels.copy()).to(device)
                        if len(points)
                        else None,
                        None
                        if box is None
                        else torch.from_numpy(box.copy()).to(device),
                        None if mask_logits is None else mask_logits[0],
                    )
                )
        found = decode_windowed(self.sam, emb, asked, multimask=multimask)
        parts: list[list[int]] = [[] for _ in prompts]
        for at, number in enumerate(owner):
            parts[number].append(at)
        others = [found]
        if (
            alternatives
        ):  # what stock SAM draws with its single token, and the best of 3
            others = [
                decode_windowed(self.sam, emb, asked, multimask=several)
                for several in (False, True)
            ]
        answers = []
        for given, own in zip(prompts, parts, strict=True):
            answer = _union([found[at].whole() for at in own])
            if local is not False and given.added is not None:
                answer = _corrected(answer, given, emb)
            low = round_logits(answer[None].float().cpu().numpy())
            low.flags.writeable = False
            score = np.mean([float(found[at].iou[found[at].index]) for at in own])
            first = found[own[-1]]
            drawn = [_union([each[at].whole() for at in own]) for each in others]
            answers.append(
                Segmentation(
                    emb.plane_shape,
                    _region(answer, emb),
                    float(score),
                    low,
                    first.index + 1 if len(first.logits) > 1 else 0,
                    tuple(_region(each, emb) for each in drawn) if alternatives else (),
                    emb.tile,
                )
            )
        return tuple(answers)

    def probabilities(
        self, emb: EmbeddingLike, logits: NDArray[np.float32]
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
            is the mask but for rounding. 0 outside of the part that was encoded.
        """
        own = _own(emb)
        low = torch.from_numpy(np.array(logits, np.float32))[None]
        full = self.sam.postprocess_masks(low, own.input_size, own.original_size)
        found: NDArray[np.float32] = torch.sigmoid(full[0, 0]).numpy()
        if not own.is_crop:
            return found
        whole = np.zeros(own.plane_shape, np.float32)
        whole[own.window] = found
        return whole

    def propose(self, emb: EmbeddingLike) -> Prompts:
        """Let the adapter's auto-prompting module write the prompts.

        Parameters
        ----------
        emb : Embedding
            Made by this model.

        Returns
        -------
        Prompts
            Points, labels and, where the module states them, scores and, as logits,
            a coarse map. Without a point to include where nothing was found. Of a
            module that finds many objects one point for each, see `proposals`.

        Raises
        ------
        NoPrompterError
            If there is no adapter, or it has no auto-prompting module.
        ValueError
            If the embedding is another model's.
        """
        adapter, own = self._adapter, _own(emb)
        if adapter is None:
            raise NoPrompterError(
                "auto-prompting needs an adapter: choose one, or train one on a few "
                "labelled images."
            )
        if self.finds_many:
            many = self.find_many(emb)
            return Prompts(
                points=many.points_xy[:, ::-1],
                labels=np.ones(len(many), np.int64),
                scores=many.scores,
            )
        found = oom_fallback(
            lambda: promise.auto_prompts(adapter, own.to(self.device), self.sam),
            self._modules(),
            self._notify,
        )
        return _as_prompts(found, own.tile)

    def proposals(self, emb: EmbeddingLike, *, bar: float = 1) -> tuple[Prompts, ...]:
        """Let the auto-prompting module write the prompts of each object it finds.

        Parameters
        ----------
        emb : Embedding
            Made by this model.
        bar : float
            Score from which one of many objects counts, as a share of the adapter's
            own threshold: less where another look will follow.

        Returns
        -------
        tuple of Prompts
            One an object, each with a point to include; empty where nothing was found.
            A module that finds many objects gives each its point, the point's score
            and, where it trusts it, a box; the surest come first. Such a box is
            answered alone, without the point: the decoder draws better so. The other
            modules find one object, see `propose`.

        Raises
        ------
        NoPrompterError, ValueError
            See `propose`.
        """
        adapter = self._adapter
        apm = None if adapter is None else adapter.apm
        if adapter is not None and isinstance(apm, InstantAPM) and apm.many:
            own = _own(emb)
            parts = oom_fallback(
                lambda: promise.auto_prompts_of_parts(
                    adapter, own.to(self.device), self.sam
                ),
                self._modules(),
                self._notify,
            )
            return tuple(
                _as_prompts(part, own.tile)
                for part in parts
                if (part.labels == 1).any()
            )
        if not self.finds_many:
            found = self.propose(emb)
            return (found,) if (found.labels == 1).any() else ()
        trust, many = self._many_apm().trust, self.find_many(emb, bar)
        return tuple(
            Prompts(
                points=point[None, ::-1],
                labels=[1],
                scores=[score],
                boxes=box[[1, 0, 3, 2]][None] if spread <= trust else (),
            )
            for point, box, score, spread in zip(
                many.points_xy, many.boxes_xy, many.scores, many.spread, strict=True
            )
        )

    def _many_apm(self) -> InstanceAPM:
        assert self._adapter is not None
        apm = self._adapter.apm
        assert isinstance(apm, InstanceAPM)
        return apm

    def find_many(self, emb: EmbeddingLike, bar: float = 1) -> FoundObjects:
        """Let a module that finds many objects look; see `proposals`.

        Returns
        -------
        FoundObjects
            Points, boxes and how far they are to be trusted, the surest first.
        """
        own = _own(emb)

        def look() -> FoundObjects:
            apm, seen = self._many_apm(), own.to(self.device)
            with torch.no_grad():
                drawn = apm(seen.levels, seen.image, seen.detail)[0]
            return find_objects(maps_of(drawn, seen), seen, bar * apm.threshold)

        return oom_fallback(look, self._modules(), self._notify)

    def _segment(
        self,
        emb: Embedding,
        prompts: Prompts,
        ips: bool,
        multimask: bool | None,
        local: bool | None,
        alternatives: bool,
    ) -> Segmentation:
        device = emb.image.device
        if local is None:
            local = self._adapter is not None
        first = promise.takes_first(self._adapter, ips)
        mask_logits = self._mask_logits(emb, prompts)
        if multimask is None:
            multimask = promise.wants_multimask(
                len(prompts.points),
                has_box=len(prompts.boxes) > 0,
                has_logits=mask_logits is not None,
                first=first,
            )
        shifts = ips and self._adapter is not None and self._adapter.ips is not None
        drawn: list[torch.Tensor] = []
        stock: list[tuple[torch.Tensor, torch.Tensor]] = []
        scores, token = [], 0
        for points, labels, box in _parts(prompts):
            asked = {
                "points_xy": _batch(points, device) if len(points) else None,
                "labels": _batch(labels, device) if len(points) else None,
                "boxes_xy": None if box is None else _batch(box, device),
                "mask_logits": mask_logits,
            }
            if alternatives:
                every, quality = promise.decode_every_token(self.sam, emb, **asked)
                best = promise.choose_mask(every[0, 1:], quality[0, 1:], False)
                stock.append((every[0, 0], every[0, 1 + best]))
            if alternatives and not shifts:
                kept = slice(1, None) if multimask else slice(0, 1)
                logits, iou = every[:, kept], quality[:, kept]
            else:
                logits, iou = promise.decode(
                    self.sam,
                    emb,
                    **asked,
                    multimask=multimask,
                    adapter=self._adapter,
                    ips=ips,
                    lean=self._decoder == "lean",
                )
            index = promise.choose_mask(logits[0], iou[0], first)
            token = index + 1 if multimask else 0
            drawn.append(logits[0, index])
            scores.append(float(iou[0, index]))
        answer = _union(drawn)
        if local and prompts.added is not None:
            answer = _corrected(answer, prompts, emb)
        low = round_logits(answer[None].float().cpu().numpy())
        low.flags.writeable = False
        return Segmentation(
            emb.plane_shape,
            _region(answer, emb),
            float(np.mean(scores)),
            low,
            token,
            tuple(_region(_union(parts), emb) for parts in zip(*stock, strict=True)),
            emb.tile,
        )

    def _mask_logits(self, emb: Embedding, prompts: Prompts) -> torch.Tensor | None:
        """Return the mask prompt, (1, 1, 4h, 4w), from logits or else from a mask."""
        height, width = self.sam.prompt_encoder.mask_input_size
        if prompts.before is not None:
            given = _logits_before(prompts.before, emb)
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


def _as_prompts(found: promise.AutoPrompts, tile: BBox | None) -> Prompts:
    """Return what a module proposes for one object of a tile, as prompts."""
    return Prompts(
        points=found.points_xy[:, ::-1],
        labels=found.labels,
        scores=None if np.isnan(found.scores).all() else found.scores,
        before=(
            None
            if found.logits is None
            else Before(found.logits[0].cpu().numpy(), tile=tile)
        ),
    )


def _own(emb: EmbeddingLike) -> Embedding:
    """Return an embedding as what it has to be here."""
    if not isinstance(emb, Embedding):
        raise TypeError(
            f"{type(emb).__name__} is no embedding: pass what Segmenter.encode returned"
        )
    return emb


def _seen(prompts: Prompts, emb: Embedding) -> Prompts:
    """Leave out what lies outside of the part that was encoded, or raise.

    A point to exclude has been heeded where the mask cannot reach it. Anything else
    would be lost.
    """
    if not emb.is_crop:
        return prompts
    low, high = np.array(emb.bbox[:2]) - 0.5, np.array(emb.bbox[2:])
    inside = ((prompts.points >= low) & (prompts.points <= high)).all(axis=1)
    met = (prompts.boxes[:, :2] < high) & (prompts.boxes[:, 2:] > low)
    lost = (prompts.labels[~inside] == 1).any() or not met.all()
    if lost:
        raise ValueError(
            f"a prompt lies outside of the part {emb.bbox} that was encoded: encode a "
            "part of the image that holds all prompts."
        )
    if inside.all():
        return prompts
    before = prompts.before
    if before is not None:
        answered, added = before.answered, before.added
        before = dataclasses.replace(
            before,
            answered=None if answered is None else answered[inside],
            added=None if added is None else added[inside],
        )
    return prompts.replace(
        points=prompts.points[inside],
        labels=prompts.labels[inside],
        scores=None if prompts.scores is None else prompts.scores[inside],
        before=before,
    )


def _union(parts: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return the logits of all masks together."""
    whole = parts[0]
    for part in parts[1:]:
        whole = torch.maximum(whole, part)
    return whole


def _region(logits: torch.Tensor, emb: Embedding) -> Region | None:
    """Return a mask's pixels in the plane; None when it is empty."""
    bbox, crop = upsample(logits, emb)
    return None if bbox is None else Region.from_crop(crop, bbox[:2], emb.plane_shape)


def _logits_before(before: Before, emb: Embedding) -> torch.Tensor:
    """Return the logits that prompts are given on top of, (1, h, w), as `emb` sees."""
    given = torch.from_numpy(np.array(before.logits)).to(emb.image.device)
    return logits_of_tile(given, before.tile, emb)


def _corrected(answer: torch.Tensor, prompts: Prompts, emb: Embedding) -> torch.Tensor:
    """Let the added points change the mask before only where they point."""
    added = prompts.added
    assert prompts.before is not None
    assert added is not None
    before = _logits_before(prompts.before, emb).cpu().numpy()
    if before.shape[1:] != answer.shape:
        return answer  # of another model: there is no telling what it would keep
    used = np.array(emb.input_size) / max(emb.input_size) * len(answer)
    inside = prompts.points[added] - emb.origin
    cells = ((inside + 0.5) / emb.original_size * used).astype(int)
    cells = cells.clip(0, len(answer) - 1)
    clicks = [
        (row, column, label)
        for (row, column), label in zip(
            cells.tolist(), prompts.labels[added].tolist(), strict=True
        )
    ]
    merged = corrected_locally(before[0], answer.float().cpu().numpy(), clicks)
    return torch.from_numpy(merged).to(answer.device)


def _box_alone(prompts: Prompts) -> Prompts:
    """Leave out the points that a module placed, where there is a box.

    The box alone is the better prompt; what a person clicked is sent with it, and says
    how large the box has to be, which the module only guessed.
    """
    if prompts.scores is None or not len(prompts.boxes):
        return prompts
    kept = np.isnan(prompts.scores) | (prompts.labels == 0)
    points, labels, boxes = prompts.points[kept], prompts.labels[kept], prompts.boxes
    if len(boxes) == 1:
        boxes = _fitted(boxes[0], points, labels)[None]
    return prompts.replace(
        points=points,
        labels=labels,
        boxes=boxes,
        scores=prompts.scores[kept],
        before=None if prompts.before is None else Before(prompts.before.logits),
    )


#: An included point lies so many pixels inside of the box that has to hold it.
_INSIDE = 1.5
#: An excluded point this near to a side of the box, as a share of its size, moves it.
_EDGE = 0.3


def _fitted(
    box: NDArray[np.float64], points: NDArray[np.float64], labels: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Enlarge a box to hold what is included, and cut what is excluded near a side.

    Parameters
    ----------
    box : (4,) float64
        (r0, c0, r1, c1).
    points : (N, 2) float64
        As (row, column).
    labels : (N,) int64
        1 to include, 0 to exclude.

    Returns
    -------
    (4,) float64
    """
    fitted = box.copy()
    for point in points[labels == 1]:
        if (point < box[:2]).any() or (point > box[2:]).any():
            fitted[:2] = np.minimum(fitted[:2], point - _INSIDE)
            fitted[2:] = np.maximum(fitted[2:], point + _INSIDE)
    for row, column in points[labels == 0]:
        r0, c0, r1, c1 = fitted
        if r0 < row < r1 and c0 < column < c1:
            apart = np.array([row - r0, column - c0, r1 - row, c1 - column])
            side = int(apart.argmin())
            if apart[side] < _EDGE * (r1 - r0, c1 - c0)[side % 2]:
                fitted[side] = (row, column)[side % 2]
    return fitted


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
