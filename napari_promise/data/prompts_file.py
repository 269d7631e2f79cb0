"""Write objects with their prompts as JSON, and read them back to the same masks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_promise.files import (
    PathLike,
    check_version,
    parse_json,
    save_json,
    written_by,
)
from napari_promise.prompts import Before, Prompts

__all__ = ["PromptsFile", "SavedObject", "load_prompts", "save_prompts"]

_SCHEMA = "napari-promise/prompts"
#: The highest version that is read. What version 1 can say is written as version 1,
#: which napari-promise 0.1 reads; 2 has labels of their own, tiles and more sources.
_VERSION = 2
_SOURCES_1 = {"auto", "user"}


@dataclass(frozen=True, eq=False)
class SavedObject:
    """One object as a prompts file holds it: what replays it to the same mask.

    Attributes
    ----------
    id : int
    prompts : Prompts
        With the logits that served as mask prompt.
    plane : tuple of int
        The plane's leading indices, ``()`` for a 2-D image.
    class_name : str
    sources : tuple of str
        Who placed each point, see `document.Source`.
    score : float or None
    committed : bool
    coarse : (1, h, w) float32 or None
        The auto-prompting module's map, which further editing restarts from.
    label : int
        What is written into the labels; left out, the id. Objects that share a label
        are one through planes.
    tile : (int, int, int, int) or None
        The part of the plane, (row 0, column 0, row 1, column 1), that the model saw
        when it drew the mask; None for the whole plane.
    """

    id: int
    prompts: Prompts
    plane: tuple[int, ...] = ()
    class_name: str = ""
    sources: tuple[str, ...] = ()
    score: float | None = None
    committed: bool = False
    coarse: npt.NDArray[np.float32] | None = None
    label: int = 0  # the background's, so no object's
    tile: tuple[int, int, int, int] | None = None

    def __post_init__(self) -> None:
        if self.label == 0:
            object.__setattr__(self, "label", self.id)


@dataclass(frozen=True)
class PromptsFile:
    """What `load_prompts` read.

    Attributes
    ----------
    objects : tuple of SavedObject
    image : dict
        What was said of the image: name, digests, contrast limits.
    provenance : dict
        The model, adapter and versions, see `provenance`.
    """

    objects: tuple[SavedObject, ...]
    image: dict[str, Any]
    provenance: dict[str, Any]


def save_prompts(
    path: PathLike,
    objects: Iterable[Any],
    *,
    image: Mapping[str, Any] | None = None,
    metadata: Mapping[str, Any] | None = None,
    overwrite: bool = False,
) -> Path:
    """Write objects' prompts so that `load_prompts` replays them to the same masks.

    Parameters
    ----------
    path : path
        A ``.json`` file.
    objects : iterable of SavedObject or document.ObjectRecord
        Anything with the attributes of `SavedObject`.
    image : mapping, optional
        The image's name, ``digest`` (see `planes.digest`), contrast limits.
    metadata : mapping, optional
        What `provenance` returned.
    overwrite : bool
        Whether a file already there may be replaced.

    Returns
    -------
    pathlib.Path
    """
    objects = list(objects)
    return save_json(
        path,
        {
            "schema": _SCHEMA,
            "version": 1 if all(map(_fits_version_1, objects)) else _VERSION,
            "written_by": written_by(),
            "axes": "points are (row, column), boxes (r0, c0, r1, c1), in pixels",
            "image": dict(image or {}),
            "objects": [_object_to_json(record) for record in objects],
            "provenance": dict(metadata or {}),
        },
        overwrite=overwrite,
    )


def load_prompts(path: PathLike) -> PromptsFile:
    """Read a file that `save_prompts` wrote.

    Parameters
    ----------
    path : path

    Returns
    -------
    PromptsFile

    Raises
    ------
    ValueError
        If it is no such file, or of a later version: the message names the file.
    FileNotFoundError
        If there is none.
    """
    path = Path(path)
    try:
        data = parse_json(path.read_text(encoding="utf-8"))
    except ValueError as error:  # no text, no JSON, or nested too deep
        raise ValueError(
            f"{path} is no prompts file, it cannot be read as JSON ({error}): choose "
            "a file that was exported as prompts."
        ) from error
    if not isinstance(data, dict) or data.get("schema") != _SCHEMA:
        raise ValueError(
            f"{path} is no prompts file: choose one that was exported as prompts."
        )
    check_version(data, _VERSION, path)
    try:
        return PromptsFile(
            objects=tuple(_object_from_json(entry) for entry in data["objects"]),
            image=dict(data.get("image") or {}),
            provenance=dict(data.get("provenance") or {}),
        )
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
        raise ValueError(
            f"{path} is damaged ({type(error).__name__}: {error}): export it again."
        ) from error


def _fits_version_1(record: Any) -> bool:
    before = record.prompts.before
    return (
        record.label == record.id
        and (before is None or before.tile is None)
        and getattr(record, "tile", None) is None
        and _SOURCES_1.issuperset(record.sources)
    )


def _object_to_json(record: Any) -> dict[str, Any]:
    score = record.score
    data = {
        "id": int(record.id),
        "class": record.class_name,
        "plane": [int(index) for index in record.plane],
        "sources": list(record.sources),
        "score": None if score is None or not np.isfinite(score) else float(score),
        "committed": bool(record.committed),
        "prompts": record.prompts.to_json(),
    }
    if record.label != record.id:
        data["label"] = int(record.label)
    tile = getattr(record, "tile", None)
    if tile is not None:
        data["tile"] = [int(edge) for edge in tile]
    coarse = getattr(record, "coarse", None)
    if coarse is not None:
        data["coarse"] = Prompts(before=Before(coarse)).to_json()["logits"]
    return data


def _object_from_json(data: dict[str, Any]) -> SavedObject:
    coarse = data.get("coarse")
    score = data.get("score")
    return SavedObject(
        id=int(data["id"]),
        prompts=Prompts.from_json(data["prompts"]),
        plane=tuple(int(index) for index in data.get("plane", ())),
        class_name=str(data.get("class", "")),
        sources=tuple(str(source) for source in data.get("sources", ())),
        score=None if score is None else float(score),
        committed=bool(data.get("committed", False)),
        coarse=(
            None if coarse is None else Prompts.from_json({"logits": coarse}).logits
        ),
        label=int(data.get("label", 0)),
        tile=_tile_from_json(data.get("tile")),
    )


def _tile_from_json(edges: Any) -> tuple[int, int, int, int] | None:
    if edges is None:
        return None
    r0, c0, r1, c1 = (int(edge) for edge in edges)
    if not (0 <= r0 < r1 and 0 <= c0 < c1):
        raise ValueError(f"the tile {edges} has no area")
    return r0, c0, r1, c1
