"""What `segment` is to do with every image: its prompts, given or replayed.

Reads options and prompts files; of pixels it knows their digests only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_promise.data.export import PromptsFile, SavedObject
    from napari_promise.segmenter import Segmenter


@dataclass(frozen=True)
class SegmentRequest:
    """What is wanted of every image."""

    objects: tuple[SavedObject, ...]  # empty: the adapter proposes
    contrast_limits: tuple[float, float] | None
    replayed: PromptsFile | None = None
    ips: bool = True
    local: bool = True
    closer: bool = True  # whether small objects are looked for in enlarged tiles
    region: tuple[int, int, int, int] | None = None  # what the model sees
    tiles: str = "whole"  # "auto": as close as each object asks


def read_request(
    points: list[str] | None,
    boxes: list[str] | None,
    replay: Path | None,
    contrast_limits: str | None,
    adapter: str | None,
) -> SegmentRequest:
    """Read what is wanted from the options, or from the prompts file they name."""
    from napari_promise.data.export import SavedObject, load_prompts
    from napari_promise.prompts import Prompts

    objects: tuple[SavedObject, ...] = ()
    limits, replayed = None, None
    if contrast_limits is not None:
        limits = _limits(contrast_limits)
    if points or boxes:
        if replay is not None:
            raise ValueError(
                "--prompts cannot be combined with --points or --box: leave one out."
            )
        at = _numbers("--points", ";".join(points or ()), (2, 3), "row,column,1")
        corners = _numbers("--box", ";".join(boxes or ()), (4,), "r0,c0,r1,c1")
        prompt = Prompts(
            points=[point[:2] for point in at],
            labels=[(*point, 1)[2] for point in at],
            boxes=corners,
        )
        objects = (SavedObject(1, prompt, sources=("user",) * len(at)),)
    elif replay is not None:
        replayed = load_prompts(replay)
        objects = tuple(o for o in replayed.objects if not o.prompts.is_empty)
        if not objects:
            raise ValueError(f"{replay} holds no object: there is nothing to replay.")
        saved = _image_of(replayed).get("contrast_limits")
        if limits is None and saved is not None:
            limits = (float(saved[0]), float(saved[1]))
    elif adapter is None:
        raise ValueError(
            "nothing says what to segment: give --points, --box or --prompts, or an "
            "--adapter that proposes points."
        )
    return SegmentRequest(objects, limits, replayed)


def read_tiles(
    request: SegmentRequest, region: str | None, tiles: str
) -> SegmentRequest:
    """Read which part of each image the model is to see."""
    if tiles not in ("whole", "auto"):
        raise ValueError(f'--tiles {tiles}: write "auto" or "whole".')
    if tiles == "auto":
        if region is not None:
            raise ValueError("--region and --tiles auto: leave one out.")
        return replace(request, tiles=tiles)
    if region is None:
        return request
    found = _numbers("--region", region, (4,), "r0,c0,r1,c1")
    if len(found) != 1 or any(n != int(n) or n < 0 for n in found[0]):
        raise ValueError(f"--region {region}: write four pixels, r0,c0,r1,c1.")
    r0, c0, r1, c1 = (int(n) for n in found[0])
    if r0 >= r1 or c0 >= c1:
        raise ValueError(
            f"--region {region} has no area: the first corner comes first."
        )
    return replace(request, region=(r0, c0, r1, c1))


def _limits(text: str) -> tuple[float, float]:
    """Read ``low,high``, or the name of a window of CT."""
    from napari_promise.data.ct_windows import window_of

    if not any(letter.isdigit() for letter in text):
        try:
            return window_of(text)
        except ValueError as error:
            raise ValueError(f"--contrast-limits {error}") from None
    low, high = _numbers("--contrast-limits", text, (2,), "low,high")[0]
    if low > high:
        raise ValueError(f"--contrast-limits {text}: the lower one comes first.")
    return low, high


def _numbers(
    option: str, text: str, lengths: tuple[int, ...], example: str
) -> list[tuple[float, ...]]:
    """Read ``1,2,3;4,5,6``; every part must have one of the lengths."""
    parts = [part for part in text.split(";") if part.strip()]
    try:
        numbers = [tuple(float(n) for n in part.split(",")) for part in parts]
    except ValueError:
        numbers = [()]
    for part, values in zip(parts, numbers, strict=False):
        if len(values) not in lengths or not all(map(math.isfinite, values)):
            raise ValueError(
                f"{option} {part.strip()!r} cannot be read: write {example}, parts "
                "separated by semicolons."
            )
    return numbers


def objects_on(
    index: tuple[int, ...], request: SegmentRequest, is_stack: bool
) -> list[SavedObject]:
    """Pick the prompts of one plane; those without a plane hold for every one."""
    return [
        replace(record, plane=index)
        for record in request.objects
        if record.plane == index or (is_stack and record.plane == ())
    ]


def differences(
    request: SegmentRequest, replayed: PromptsFile, segmenter: Segmenter
) -> str:
    """Say what is not as it was when the prompts were saved: masks may differ then."""
    then = replayed.provenance
    adapter, settings = then.get("adapter") or {}, then.get("settings") or {}
    pairs: list[tuple[str, Any, Any]] = [
        ("model", (then.get("model") or {}).get("name"), segmenter.model_id),
        (
            "adapter",
            adapter.get("name", "none"),
            "none" if segmenter.adapter_info is None else segmenter.adapter_info.name,
        ),
    ]
    if adapter and segmenter.adapter_info is not None:
        pairs.append(("IPS", settings.get("ips"), request.ips))
    if bool(adapter) == (segmenter.adapter_info is not None):
        pairs.append(("local corrections", settings.get("local"), request.local))
    return ", ".join(
        f"{what} {before} then and {now} now"
        for what, before, now in pairs
        if before is not None and before != now
    )


def are_other_pixels(request: SegmentRequest, digests: dict[str, str]) -> bool:
    """Tell whether a plane differs from the one whose prompts are replayed on it."""
    if request.replayed is None:
        return False
    saved = _image_of(request.replayed).get("digest") or {}
    if isinstance(saved, str):  # of an image with one plane
        saved = {"": saved}
    return any(digests.get(plane, value) != value for plane, value in saved.items())


def _image_of(replayed: PromptsFile) -> dict[str, Any]:
    """Return what a prompts file says of its image, wherever it says it."""
    return {**(replayed.provenance.get("image") or {}), **replayed.image}
