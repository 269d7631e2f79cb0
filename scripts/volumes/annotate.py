"""A simulated annotator: clicks and seconds until a volume is right.

Two ways to the same 3-D Dice:

- **plane by plane**: every plane the object is on, the largest first, at most five
  clicks each (`next_click`, to IoU .85).
- **propagate and correct**: five clicks on the largest plane, propagate, then correct
  the planes that the tool names first (lowest confidence, ends included), propagating
  after each.

A person's seconds are counted with fixed prices (`--click`, `--plane`), the computer's
as processor time with planes encoded ahead; both stand in the record.

    python -m scripts.volumes.annotate mr-organs ct-organs --json annotate.json
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from napari_promise.propagation import PlaneResult, Rules
from napari_promise.segmenter import Segmenter

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

from volume_sets import sets, stacks
from volumes import Case, Clicked, Record, click, dice, whole

#: Looked at so many planes without reaching the aim, the annotator gives up.
_PATIENCE = 30


@dataclass
class Effort:
    """What it took so far."""

    clicks: int = 0
    planes: int = 0
    computing: float = 0.0

    def seconds(self, click: float, plane: float) -> float:
        """Return a person's seconds at these prices, and the computer's."""
        return self.clicks * click + self.planes * plane + self.computing


def plane_by_plane(case: Case, aim: float) -> tuple[Effort, float]:
    """Click on every plane of the object, the largest first."""
    effort, found = Effort(), np.zeros_like(case.truth)
    for plane in np.argsort(-case.truth.sum((1, 2)), kind="stable"):
        if not case.truth[plane].any() or dice(found, case.truth) >= aim:
            break
        given = _clicked(case, int(plane), None, effort)
        found[plane] = given.mask
    return effort, dice(found, case.truth)


def propagate_and_correct(case: Case, aim: float) -> tuple[Effort, float]:
    """Click on the largest plane, propagate, and correct what is named weakest."""
    effort, start = Effort(), case.largest
    propagator, seen = case.propagator(), {start}
    given = _clicked(case, start, None, effort)
    mask = propagator.refined(start, 1, given.mask, given.points, given.labels)
    propagator.set_plane(start, 1, mask)
    _run(propagator, effort)
    while effort.planes < _PATIENCE:
        found = whole(propagator, case.truth.shape)
        if dice(found, case.truth) >= aim:
            break
        plane = _weakest(propagator.results(1), seen)
        if plane is None:
            break
        seen.add(plane)
        truth = case.truth[plane]
        if not truth.any():
            effort.clicks, effort.planes = effort.clicks + 1, effort.planes + 1
            if not found[plane].any():
                continue  # one looked: it ends there indeed
            propagator.set_plane(plane, 1, truth)
        else:
            had = found[plane] if found[plane].any() else None
            given = _clicked(case, plane, had, effort)
            mask = given.mask
            if given.clicks:
                mask = propagator.refined(plane, 1, mask, given.points, given.labels)
            propagator.set_plane(plane, 1, mask)
        _run(propagator, effort)
    return effort, dice(whole(propagator, case.truth.shape), case.truth)


def _weakest(results: tuple[PlaneResult, ...], seen: set[int]) -> int | None:
    """Return the plane of lowest confidence, first of those where it ends."""
    left = [r for r in results if r.source != "prompted" and r.plane not in seen]
    if not left:
        return None
    return min(left, key=lambda r: (r.confidence, r.plane)).plane


def _clicked(case: Case, plane: int, mask: Any, effort: Effort) -> Clicked:
    begun = time.process_time()
    case.stack.embed(plane)  # ahead of its time
    begun = time.process_time()
    given = click(case, plane, mask)
    effort.computing += time.process_time() - begun
    effort.clicks += given.clicks
    effort.planes += 1
    return given


def _run(propagator: Any, effort: Effort) -> None:
    begun = time.process_time()
    for _ in propagator.run():
        pass
    effort.computing += time.process_time() - begun


def main() -> None:
    """Measure both ways and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sets", nargs="+", choices=list(sets()))
    parser.add_argument("--model", default="promise-tiny")
    parser.add_argument("--most", type=int, help="stacks of a set")
    parser.add_argument("--aim", type=float, default=0.9, help="3-D Dice")
    parser.add_argument("--click", type=float, default=2.0, help="seconds of a click")
    parser.add_argument("--plane", type=float, default=2.0, help="seconds to look")
    parser.add_argument("--cache", type=Path, default=Path("volumes-cache"))
    parser.add_argument("--json", type=Path, help="write the figures here, or go on")
    options = parser.parse_args()
    segmenter = Segmenter.load(options.model, device="cpu")
    about = {"aim": options.aim, "click": options.click, "plane": options.plane}
    about = {"kind": "volume-effort", "model": segmenter.model_id, **about}
    record = Record(about, options.json)
    for name in options.sets:
        for number, stack in enumerate(stacks(name, segmenter, options.cache)):
            if options.most is not None and number >= options.most:
                break
            for part, truth in stack.truth.items():
                case = Case(stack, part, truth, Rules())
                for way in (plane_by_plane, propagate_and_correct):
                    what = {"set": name, "stack": stack.name, "object": part}
                    what["way"] = way.__name__
                    if record.holds(what):
                        continue
                    effort, reached = way(case, options.aim)
                    row = {
                        **what,
                        "dice": reached,
                        "reached": reached >= options.aim,
                        "clicks": effort.clicks,
                        "planes": effort.planes,
                        "computing": effort.computing,
                        "seconds": effort.seconds(options.click, options.plane),
                    }
                    record.add([row])
                    print(
                        f"{name:18} {stack.name:20} {part:14} {way.__name__:22} Dice "
                        f"{reached:.3f}  {effort.clicks:3} clicks  {effort.planes:2} "
                        f"planes  {row['seconds']:5.0f} s",
                        flush=True,
                    )


if __name__ == "__main__":
    main()
