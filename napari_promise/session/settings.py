"""What the user sets, and how it is kept."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args, get_type_hints

from psygnal import SignalGroupDescriptor

from napari_promise.document import Overlap

__all__ = ["Settings"]


@dataclass
class Settings:
    """What the user sets. Evented: assign, and everybody concerned hears of it.

    Attributes
    ----------
    model : str
        A registered model's name or a checkpoint's path.
    device : str
        "auto", "cpu", "cuda" or "mps"; or the address of a computer that encodes,
        ``tls://host:port``.
    adapter : str
        An adapter's name or folder; empty for stock SAM.
    ips : bool
        Whether the adapter's pattern shifting is used.
    local : bool
        Whether added points change the mask only where they point; off, and without
        an adapter, the answer is stock SAM's.
    enlarged : bool
        Whether small objects of many are looked for in enlarged tiles, too.
    live : bool
        Whether an edit of prompts is answered at once.
    closer : bool
        Whether small objects are looked at again in a part of the image, enlarged.
    frame : bool
        Whether a frame shows that part.
    overlap : {"keep", "overwrite"}
        What a commit does with pixels of earlier objects.
    disk_cache : bool
        Whether embeddings are kept on disk.
    cache_quota_mb : int
        How much disk they may use.
    encoder : {"stock", "auto"}
        How images are encoded: as segment_anything does, bit for bit, or as fast as
        this computer can, see `model.fast_encoder`.
    decoder : {"stock", "lean"}
        How clicks are answered: as segment_anything does, bit for bit; or sooner and
        equal but for rounding, see `model.lean_decoder`.
    remote : str
        The address that was encoded on last.
    certificate : str
        The file that it wants to see.
    plain : bool
        Whether images may go to other computers without encryption.
    """

    events: ClassVar[SignalGroupDescriptor] = SignalGroupDescriptor()

    model: str = "promise-tiny"
    device: str = "auto"
    adapter: str = ""
    ips: bool = True
    local: bool = True
    enlarged: bool = True
    live: bool = True
    closer: bool = True
    frame: bool = False
    overlap: Overlap = "keep"
    disk_cache: bool = True
    cache_quota_mb: int = 4096
    encoder: Literal["stock", "auto"] = "stock"
    decoder: Literal["stock", "lean"] = "stock"
    remote: str = ""
    certificate: str = ""
    plain: bool = False

    @classmethod
    def from_preferences(cls, values: Mapping[str, Any]) -> Settings:
        """Return settings from what a file held; what does not fit is left out."""
        settings = cls()
        hints = get_type_hints(cls)
        for known in dataclasses.fields(cls):
            value = values.get(known.name)
            allowed = get_args(hints[known.name])
            fits = value in allowed if allowed else type(value) is hints[known.name]
            if fits:
                setattr(settings, known.name, value)
        return settings

    def to_preferences(self) -> dict[str, Any]:
        """Return what is to be kept in a file."""
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
