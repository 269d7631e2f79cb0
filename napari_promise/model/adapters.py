"""Adapters: small trained modules beside a frozen SAM, and their files.

An adapter is a folder with ``adapter.safetensors`` and ``adapter.json``. It belongs to
one base model, named with its hash, and is refused on any other. Pickles are never
read.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import nn

from napari_promise.files import (
    NewerFileError,
    check_version,
    one_line,
    parse_json,
    user_folder,
    write_whole,
    written_by,
)
from napari_promise.model.auto_prompt import HeatmapAPM, slot_labels
from napari_promise.model.instance_prompter import InstanceAPM
from napari_promise.model.instant_prompter import InstantAPM
from napari_promise.model.pattern_shift import PatternEmbedding
from napari_promise.model.point_prompters import CrossAPM, PointAPM, ResNetAPM

if TYPE_CHECKING:
    from segment_anything.modeling import Sam

TENSORS = "adapter.safetensors"
RECORD = "adapter.json"
BUNDLED = Path(__file__).parent / "bundled" / "adapters"
#: Of the record; 1: version 0.1 did not say who wrote it.
FORMAT = 2
#: What the names of folders begin with that are being written or removed.
WRITING = ".writing-"

APM: TypeAlias = HeatmapAPM | PointAPM | InstanceAPM | InstantAPM

#: Kinds of auto-prompting modules: ours, the paper's CNN and Transformer, the one that
#: finds many objects, and the one in closed form.
APMS: dict[str, type[APM]] = {
    "heatmap": HeatmapAPM,
    "resnet": ResNetAPM,
    "cross": CrossAPM,
    "instances": InstanceAPM,
    "instant": InstantAPM,
}
#: How the mask is chosen: by our rules, or always mask token 1 as in the paper's code.
MASK_CHOICES = ("default", "paper")
#: Fields that an adapter's record may lack, because it was written before they came.
_LATER = {"mask_choice"}


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
    mask_choice : str
        One of `MASK_CHOICES`; with IPS both are token 1.
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
    mask_choice: str = "default"
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
        if self.mask_choice not in MASK_CHOICES:
            raise ValueError(
                f"unknown mask choice {self.mask_choice!r}: use "
                f"{' or '.join(MASK_CHOICES)}"
            )
        labels = tuple(self.slot_labels) or slot_labels(self.points)
        if labels != slot_labels(self.points):
            raise ValueError(
                f"slot labels {labels} do not fit {self.points} points: the first "
                "half is 1, the rest 0"
            )
        object.__setattr__(self, "slot_labels", labels)

    def to_json(self) -> dict[str, Any]:
        """Everything and who writes it, ready for `json.dump`."""
        stamp = {"format": FORMAT, "written_by": written_by()}
        return {**stamp, **asdict(self), "slot_labels": [*self.slot_labels]}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> AdapterInfo:
        """Rebuild from `to_json`, of this version or an earlier one.

        Raises
        ------
        ValueError
            If a field is missing or unknown.
        NewerFileError
            If a later version of the program wrote it.
        """
        values = dict(record)
        check_version(values, FORMAT, f"adapter {values.get('name')!r}", key="format")
        del values["format"]
        values.pop("written_by", None)
        known = {item.name for item in fields(cls)}
        odd_keys = (values.keys() ^ known) - (_LATER - values.keys())
        if odd_keys:
            odd = ", ".join(sorted(odd_keys))
            raise ValueError(f"missing or unknown fields: {odd}")
        values["slot_labels"] = tuple(values["slot_labels"])
        return cls(**values)


class Adapter(nn.Module):
    """An auto-prompting module, a pattern embedding, or both.

    Parameters
    ----------
    info : AdapterInfo
    apm : HeatmapAPM, ResNetAPM, CrossAPM, InstanceAPM or InstantAPM, optional
    ips : PatternEmbedding, optional
    precision : torch.dtype
        In which parameters are written to a file: float16, or float32 where they have
        to reproduce another program's results.
    """

    def __init__(
        self,
        info: AdapterInfo,
        apm: APM | None = None,
        ips: PatternEmbedding | None = None,
        *,
        precision: torch.dtype = torch.float16,
    ) -> None:
        super().__init__()
        self.info = info
        self.apm = apm
        self.ips = ips
        self.precision = precision


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
    return user_folder("data") / "adapters"


def save_adapter(adapter: Adapter, folder: str | Path) -> Path:
    """Write an adapter, whole or not at all.

    Parameters are written in the adapter's precision. Float16 halves the file, and
    what is saved is what was scored if the trainer rounds before scoring. Statistics of
    batch normalisation stay float32, for a variance may lie beyond float16.

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
    write_whole(folder / TENSORS, tensor_bytes(adapter))
    text = json.dumps(info.to_json(), indent=2, ensure_ascii=False)
    write_whole(folder / RECORD, (text + "\n").encode())
    return folder


def tensor_bytes(adapter: Adapter) -> bytes:
    """Return the content of an adapter's tensor file, always in the same order."""
    parameters = dict(adapter.named_parameters())
    tensors = {
        name: value.detach()
        .to("cpu", adapter.precision if name in parameters else value.dtype)
        .contiguous()
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
        The model it shall run on; the adapter goes to its device. Of a bundled name
        that several models have, that of this one is taken.

    Returns
    -------
    Adapter
        In evaluation mode, float32.

    Raises
    ------
    ValueError
        If it is not found, damaged, a pickle, or belongs to another base model.
    """
    folder = _find(source, getattr(sam, "model_id", ""))
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
        with torch.device(
            "meta"
        ):  # no random weights, and no memory for a wrong record
            adapter = build_adapter(info)
        parameters = dict(adapter.named_parameters())
        precise = any(tensors[name].dtype == torch.float32 for name in parameters)
        adapter.precision = torch.float32 if precise else torch.float16
        values = {
            name: value.float() if value.is_floating_point() else value
            for name, value in tensors.items()
        }
        adapter.load_state_dict(values, assign=True)
    except (RuntimeError, TypeError, ValueError, KeyError) as error:
        raise ValueError(
            f"{folder}: tensors and record disagree: {one_line(error)}"
        ) from error
    adapter.eval().requires_grad_(False)
    return adapter if sam is None else adapter.to(sam.device)


def build_adapter(info: AdapterInfo) -> Adapter:
    """Build the modules that `info` names, with initial weights.

    Raises
    ------
    TypeError, ValueError
        If `info.modules` does not hold what they are built from.
    """
    apm: APM | None = None
    ips: PatternEmbedding | None = None
    if info.apm != "none":
        apm = APMS[info.apm](**info.modules.get("apm", {}))
        if isinstance(apm, PointAPM) and apm.points != info.points:
            raise ValueError(
                f"{info.points} points in the record, {apm.points} in its module"
            )
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
        If there is none or it is damaged, or (`NewerFileError`) of a later version.
    """
    path = Path(folder) / RECORD
    try:
        return AdapterInfo.from_json(parse_json(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise ValueError(f"{folder} is no adapter: no readable {RECORD}") from error
    except NewerFileError as error:
        raise NewerFileError(f"{path}: {error}") from error
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        raise ValueError(f"{path} is damaged: {one_line(error)}") from error


def list_adapters() -> list[InstalledAdapter]:
    """Adapters on this computer: bundled ones, then the user's, by name.

    Folders whose record cannot be read are left out.
    """
    found = []
    for root, bundled in ((BUNDLED, True), (user_dir(), False)):
        for record in sorted(root.glob(f"*/{RECORD}")):
            if record.parent.name.startswith(WRITING):
                continue
            try:
                info = read_info(record.parent)
            except ValueError:
                continue
            found.append(InstalledAdapter(info, record.parent, bundled))
    return found


def check_free(name: str, *, force: bool = False) -> Path:
    """Return the folder in `user_dir` that an adapter of this name may be written to.

    Parameters
    ----------
    name : str
    force : bool
        Allow to replace one of the user's own adapters; bundled ones stay.

    Raises
    ------
    ValueError
        If the name cannot be a folder's, or an adapter has it already.
    """
    AdapterInfo(name, "", "")  # refuses a name that cannot be a folder's
    for item in list_adapters():
        if item.info.name == name and (item.bundled or not force):
            remedy = "use another name" if item.bundled else "add --force"
            raise ValueError(
                f"there is an adapter {name} in {item.path} already: {remedy}."
            )
    folder = user_dir() / name
    if not force and (folder / RECORD).exists():
        raise ValueError(
            f"there is an adapter in {folder} already that cannot be read: use another "
            "name or add --force."
        )
    return folder


def bundled_folder(name: str, base_model: str) -> Path:
    """Return where the bundled adapter of this name for a model lies (or would lie).

    One name stands for the same objects on every model: those of `promise-tiny` lie in
    a folder of their name, those of others have the model's behind it.
    """
    own = name if base_model == "promise-tiny" else f"{name}.{base_model}"
    return BUNDLED / own


def _find(source: str | Path, base_model: str = "") -> Path:
    path = Path(source).expanduser()
    if isinstance(source, str) and path.name == source:
        own = bundled_folder(source, base_model)
        if base_model and (own / RECORD).is_file():
            return own
        for root in (BUNDLED, user_dir()):
            if (root / source / RECORD).is_file():
                return root / source
    if path.is_dir():
        return path
    names = ", ".join(item.info.name for item in list_adapters()) or "none"
    raise ValueError(
        f"no adapter {str(source)!r}: give a folder, or one of the installed ({names})"
    )
