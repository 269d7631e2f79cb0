"""Adapters: small trained modules beside a frozen SAM, and their files.

An adapter is a folder with ``adapter.safetensors`` and ``adapter.json``. It belongs
to one base model, named with its hash, and is refused on any other. Pickles are never
read. The module knows no prompts, images or training.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import platformdirs
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import nn

from napari_promise.model.auto_prompt import HeatmapAPM, slot_labels
from napari_promise.model.pattern_shift import PatternEmbedding

if TYPE_CHECKING:
    from segment_anything.modeling import Sam

TENSORS = "adapter.safetensors"
RECORD = "adapter.json"
BUNDLED = Path(__file__).parent / "bundled" / "adapters"
FORMAT = 1

#: Kinds of auto-prompting modules.
APMS: dict[str, type[HeatmapAPM]] = {"heatmap": HeatmapAPM}


@dataclass(frozen=True)
class AdapterInfo:
    """What an adapter is, where it came from, and how good it is.

    Attributes
    ----------
    name : str
        Letters, digits, ``-``, ``_`` and ``.``; also the folder's name.
    base_model, base_sha256 : str
        The only model on which it may run.
    apm : str
        Kind of the auto-prompting module, a key of `APMS`, or ``"none"``.
    points : int
        Slots of the auto-prompting module.
    slot_labels : tuple of int
        Label of each slot.
    ips : bool
        Whether the mask tokens are shifted.
    class_name : str
        What it segments.
    trained_on : str
        Data sets and numbers of images.
    scores : dict
        Held-out scores; automatic and GT-prompted apart, frozen SAM beside them.
    licence, note : str
        Terms inherited from the training data; anything a user should know.
    version, created : str
        Of the adapter; of its making (ISO 8601, UTC).
    modules : dict
        Arguments that build ``"apm"`` and ``"ips"`` again.
    """

    name: str
    base_model: str
    base_sha256: str
    apm: str = "heatmap"
    points: int = 16
    slot_labels: tuple[int, ...] = ()
    ips: bool = True
    class_name: str = "object"
    trained_on: str = ""
    scores: dict[str, Any] = field(default_factory=dict)
    licence: str = ""
    note: str = ""
    version: str = "1"
    created: str = ""
    modules: dict[str, dict[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[\w.-]*\w[\w.-]*", self.name):
            raise ValueError(
                f"adapter name {self.name!r}: use letters, digits, '-', '_' and '.'"
            )
        if self.apm != "none" and self.apm not in APMS:
            known = ", ".join((*APMS, "none"))
            raise ValueError(f"unknown auto-prompting module {self.apm!r}: use {known}")
        labels = tuple(self.slot_labels) or slot_labels(self.points)
        if labels != slot_labels(self.points):
            raise ValueError(
                f"slot labels {labels} do not fit {self.points} points: the first "
                "half is 1, the rest 0"
            )
        object.__setattr__(self, "slot_labels", labels)

    def to_json(self) -> dict[str, Any]:
        """Everything, ready for `json.dump`."""
        return {"format": FORMAT, **asdict(self), "slot_labels": [*self.slot_labels]}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> AdapterInfo:
        """Rebuild from `to_json`.

        Raises
        ------
        ValueError
            If a field is missing or unknown, or the format is another.
        """
        values = dict(record)
        if values.pop("format", None) != FORMAT:
            raise ValueError(
                f"adapter format {record.get('format')!r}, expected {FORMAT}: update "
                "napari-promise or train the adapter again"
            )
        known = {item.name for item in fields(cls)}
        if values.keys() != known:
            odd = ", ".join(sorted(values.keys() ^ known))
            raise ValueError(f"missing or unknown fields: {odd}")
        values["slot_labels"] = tuple(values["slot_labels"])
        return cls(**values)


class Adapter(nn.Module):
    """An auto-prompting module, a pattern embedding, or both.

    Parameters
    ----------
    info : AdapterInfo
    apm : HeatmapAPM, optional
    ips : PatternEmbedding, optional
    """

    def __init__(
        self,
        info: AdapterInfo,
        apm: HeatmapAPM | None = None,
        ips: PatternEmbedding | None = None,
    ) -> None:
        super().__init__()
        self.info = info
        self.apm = apm
        self.ips = ips


@dataclass(frozen=True)
class InstalledAdapter:
    """An adapter found on this computer."""

    info: AdapterInfo
    path: Path
    bundled: bool


def user_dir() -> Path:
    """Folder of the user's own adapters (it need not exist).

    The environment variable ``NAPARI_PROMISE_ADAPTERS`` overrides it.
    """
    named = os.environ.get("NAPARI_PROMISE_ADAPTERS")
    if named:
        return Path(named).expanduser()
    return Path(platformdirs.user_data_dir("napari-promise")) / "adapters"


def save_adapter(adapter: Adapter, folder: str | Path) -> Path:
    """Write an adapter, whole or not at all.

    Tensors are written as float16: the file is half as large, and what is saved is
    what was scored if the trainer rounds before scoring.

    Parameters
    ----------
    adapter : Adapter
    folder : str or pathlib.Path
        Made where missing; an adapter in it is replaced.

    Returns
    -------
    pathlib.Path
        The folder.
    """
    folder = Path(folder).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    modules = {
        name: module.settings
        for name, module in (("apm", adapter.apm), ("ips", adapter.ips))
        if module is not None
    }
    info = replace(adapter.info, modules=modules)
    # the record comes last: a folder without it is no adapter
    _write(folder / TENSORS, tensor_bytes(adapter))
    text = json.dumps(info.to_json(), indent=2, ensure_ascii=False)
    _write(folder / RECORD, (text + "\n").encode())
    return folder


def tensor_bytes(adapter: Adapter) -> bytes:
    """Return the content of an adapter's tensor file, always in the same order."""
    tensors = {
        name: value.detach().to("cpu", torch.float16).contiguous()
        for name, value in adapter.state_dict().items()
    }
    return safetensors.torch.save(tensors)


def load_adapter(source: str | Path, sam: Sam | None = None) -> Adapter:
    """Load an adapter by name or from a folder.

    Parameters
    ----------
    source : str or pathlib.Path
        A bundled adapter's name, a name in `user_dir`, or a folder.
    sam : segment_anything.modeling.Sam, optional
        The model it shall run on; the adapter goes to its device.

    Returns
    -------
    Adapter
        In evaluation mode, float32.

    Raises
    ------
    ValueError
        If it is not found, damaged, a pickle, or belongs to another base model.
    """
    folder = _find(source)
    info = read_info(folder)
    if sam is not None:
        check_base(info, sam)
    path = folder / TENSORS
    if not path.is_file():
        raise ValueError(f"{folder} has no {TENSORS}; other formats are not read")
    try:
        tensors = safetensors.torch.load_file(path)
    except SafetensorError as error:
        raise ValueError(
            f"{path} is damaged or no safetensors file ({error}); get it again"
        ) from error
    try:
        adapter = build_adapter(info)
        adapter.load_state_dict({name: t.float() for name, t in tensors.items()})
    except (RuntimeError, TypeError) as error:
        line = str(error).splitlines()[0]
        raise ValueError(f"{folder}: tensors and record disagree: {line}") from error
    adapter.eval().requires_grad_(False)
    return adapter if sam is None else adapter.to(sam.device)


def build_adapter(info: AdapterInfo) -> Adapter:
    """Build the modules that `info` names, with initial weights."""
    apm = ips = None
    if info.apm != "none":
        apm = APMS[info.apm](**info.modules.get("apm", {}))
    if info.ips:
        ips = PatternEmbedding(**info.modules.get("ips", {}))
    return Adapter(info, apm, ips)


def check_base(info: AdapterInfo, sam: Sam) -> None:
    """Refuse an adapter on another base model.

    Raises
    ------
    ValueError
        Naming both models.
    """
    name, digest = getattr(sam, "model_id", "unnamed"), getattr(sam, "sha256", "")
    if info.base_sha256 == digest:
        return
    raise ValueError(
        f"adapter {info.name!r} was trained on {info.base_model} "
        f"({info.base_sha256[:12]}), the loaded model is {name} ({digest[:12]}); load "
        f"{info.base_model} or train the adapter on {name}"
    )


def read_info(folder: str | Path) -> AdapterInfo:
    """Read the record of the adapter in a folder.

    Raises
    ------
    ValueError
        If there is none or it is damaged.
    """
    path = Path(folder) / RECORD
    try:
        return AdapterInfo.from_json(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise ValueError(f"{folder} is no adapter: no readable {RECORD}") from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{path} is damaged: {error}") from error


def list_adapters() -> list[InstalledAdapter]:
    """Adapters on this computer: bundled ones, then the user's, by name.

    Folders whose record cannot be read are left out.
    """
    found = []
    for root, bundled in ((BUNDLED, True), (user_dir(), False)):
        for record in sorted(root.glob(f"*/{RECORD}")):
            try:
                info = read_info(record.parent)
            except ValueError:
                continue
            found.append(InstalledAdapter(info, record.parent, bundled))
    return found


def _find(source: str | Path) -> Path:
    path = Path(source).expanduser()
    if isinstance(source, str) and path.name == source:
        for root in (BUNDLED, user_dir()):
            if (root / source / RECORD).is_file():
                return root / source
    if path.is_dir():
        return path
    names = ", ".join(item.info.name for item in list_adapters()) or "none"
    raise ValueError(
        f"no adapter {str(source)!r}: give a folder, or one of the installed ({names})"
    )


def _write(path: Path, content: bytes) -> None:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.chmod(name, 0o644)  # mkstemp makes it private
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
