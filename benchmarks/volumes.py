"""Volumes: Dice of the whole object from few planes, beside simpler ways.

Three questions, each per set and object:

- ``true``: one, two, three, five true planes, spread over the object, whose ends are
  known. `propagate` beside copying and shape interpolation.
- ``clicked``: the plane where the object is largest, prompted with at most five clicks
  (`next_click`, to IoU .85); its own stop rule. Beside it copying, box-only and
  last-logits propagation, which are micro-sam's ways; all but `propagate` are told
  where the object ends.
- ``corrected``: after that, three times: the plane with most wrong pixels is corrected
  with at most five clicks, and what it changes is propagated again.

Clicks are answered as in the window: a small object is looked at again from closer, and
an added click changes the mask only where it points; of a propagated plane it is the
mask there that is corrected. A click that made the mask worse is undone, and so is not
part of it. What answers the clicks is drawn anew (`Propagator.refined`) before it is
carried on.

    python benchmarks/volumes.py hippocampus-axial ct-organs mr-organs \
        --json results/volumes-promise-tiny.json

The record is written after each object and question, and what stands in it is not
measured again: a run that was ended goes on where it was.

`make results` sets the record as tables, see `scripts/study/volumes.py`.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from volume_sets import Stack, sets, stacks

from napari_promise.closer import segment_closer
from napari_promise.document import Region
from napari_promise.files import write_whole
from napari_promise.jobs.propagating import mask_prompt
from napari_promise.prompts import Before, Prompts
from napari_promise.propagation import Propagator, Rules, shapes
from napari_promise.segmenter import Segmenter
from napari_promise.training.simulated_prompts import next_click

CLICKS = 5
ENOUGH = 0.85
Masks = NDArray[np.bool_]


def dice(one: Masks, other: Masks) -> float:
    """Return the overlap of two masks, 1 for two empty ones."""
    both = int(one.sum()) + int(other.sum())
    return 2 * int((one & other).sum()) / both if both else 1.0


@dataclass
class Case:
    """One object of one stack."""

    stack: Stack
    name: str
    truth: Masks
    rules: Rules
    first: int = field(init=False)
    last: int = field(init=False)

    def __post_init__(self) -> None:
        on = np.flatnonzero(self.truth.any((1, 2)))
        self.first, self.last = int(on[0]), int(on[-1])

    @property
    def largest(self) -> int:
        """The plane where the object is largest."""
        return int(np.argmax(self.truth.sum((1, 2))))

    def spread(self, count: int) -> list[int]:
        """Return so many planes at (i + .5) / n of the object's extent."""
        on = np.flatnonzero(self.truth.any((1, 2)))
        if count == 1:
            return [self.largest]
        return sorted({int(on[int((i + 0.5) / count * len(on))]) for i in range(count)})

    def propagator(self, *, stop: bool = True) -> Propagator:
        """Return a fresh propagator of the stack."""
        rules = (
            self.rules if stop else replace(self.rules, stop=-np.inf, contrast=-np.inf)
        )
        return Propagator(
            self.stack.embed,
            self.stack.pixels,
            len(self.truth),
            spacing=self.stack.spacing,
            rules=rules,
        )

    @property
    def ends(self) -> tuple[int, int]:
        """The object's first and last plane."""
        return self.first, self.last


# Ways ---------------------------------------------------------------------------------


def whole(propagator: Propagator, shape: tuple[int, ...]) -> Masks:
    """Return what a propagator knows of object 1."""
    found = np.zeros(shape, bool)
    for result in propagator.results(1):
        found[result.plane] = result.mask
    return found


def interpolate(masks: dict[int, Masks], case: Case) -> Masks:
    """Interpolate the shapes between planes; beyond the outermost copy them."""
    found = np.zeros_like(case.truth)
    planes = sorted(masks)
    for plane in range(case.first, case.last + 1):
        below = [p for p in planes if p <= plane]
        above = [p for p in planes if p >= plane]
        if not below or not above or below[-1] == above[0]:
            found[plane] = masks[below[-1] if below else above[0]]
            continue
        low, high = below[-1], above[0]
        share = (plane - low) / (high - low)
        found[plane] = (
            shapes.interpolated(masks[low], masks[high], share, case.stack.spacing[1:])
            > 0
        )
    return found


def by_decoder(case: Case, start: int, answer: Any, way: str) -> Masks:
    """Prompt each next plane with the last mask: its box, or its logits and a point."""
    found = np.zeros_like(case.truth)
    found[start] = answer.mask
    for step in (-1, 1):
        last, plane = answer, start + step
        while case.first <= plane <= case.last and last.mask.any():
            rows, columns = (np.flatnonzero(last.mask.any(a)) for a in (1, 0))
            if way == "box":
                low, high = (rows[0], columns[0]), (rows[-1], columns[-1])
                box = (*np.subtract(low, 0.5), *np.add(high, 0.5))
                prompts = Prompts(boxes=[box])
            else:
                click = next_click(np.zeros_like(last.mask), last.mask)
                assert click is not None
                before = Before(last.logits, tile=last.tile)
                prompts = Prompts(points=[click[0]], before=before)
            emb = case.stack.embed(plane)
            last = case.stack.segmenter.segment(emb, prompts)
            found[plane] = last.mask
            plane += step
    return found


@dataclass(frozen=True)
class Clicked:
    """What clicks on a plane gave; without answer nothing had to be clicked."""

    answer: Any
    mask: Masks
    points: NDArray[np.float64]
    labels: NDArray[np.int64]
    clicks: int


def click(case: Case, plane: int, mask: Masks | None = None) -> Clicked:
    """Click on a plane up to five times, and undo what made it worse.

    Parameters
    ----------
    mask : (rows, columns) bool, optional
        The mask to correct, which has a point where it is deepest.
    """
    truth, segmenter = case.truth[plane], case.stack.segmenter
    points: list[tuple[float, float]] = []
    labels: list[int] = []
    current = best = np.zeros_like(truth) if mask is None else mask
    answer: Any = None
    before: Before | None = None
    region = None if mask is None else Region.from_mask(mask)
    if region is not None:
        emb = case.stack.embed(plane)
        before = Before(mask_prompt(segmenter, emb, region.mask))
        points, labels = [region.deepest], [1]
    clicks = 0
    while clicks < CLICKS:
        overlap = dice(current, truth)
        if overlap / (2 - overlap) >= ENOUGH:
            break
        wrong = next_click(current, truth)
        if wrong is None:
            break
        points.append(wrong[0])
        labels.append(wrong[1])
        clicks += 1
        if before is not None:
            added = np.arange(len(points)) == len(points) - 1
            before = replace(before, added=added)
        given = Prompts(points=points, labels=labels, before=before)
        if not given.has_target:
            break
        answer, _ = segment_closer(
            segmenter,
            lambda tile: case.stack.embed(plane, tile),
            given,
            (truth.shape[0], truth.shape[1]),
            local=True,
        )
        before = Before(answer.logits, tile=answer.tile)
        current = answer.mask
        if dice(current, truth) > dice(best, truth):
            best = current
    return Clicked(
        answer, best, np.reshape(points, (-1, 2)), np.array(labels, np.int64), clicks
    )


# Questions ----------------------------------------------------------------------------


def true_planes(case: Case) -> Iterator[dict[str, Any]]:
    """From true planes, ends known."""
    for count in (1, 2, 3, 5):
        planes = case.spread(count)
        masks = {plane: case.truth[plane] for plane in planes}
        propagator = case.propagator(stop=False)
        for plane, mask in masks.items():
            propagator.set_plane(plane, 1, mask)
        for plane in range(case.first, case.last + 1):
            case.stack.embed(plane)  # encoding is no part of the time
        begun = time.process_time()
        steps = sum(1 for _ in propagator.run(case.ends))
        spent = time.process_time() - begun
        found = whole(propagator, case.truth.shape)
        simple = interpolate(masks, case)
        yield {
            "question": f"{count} true",
            "dice": dice(found, case.truth),
            "interpolation": dice(simple, case.truth),
            "seconds_a_plane": spent / max(1, steps),
            "by_distance": _by_distance(found, case, planes),
        }


def _by_distance(found: Masks, case: Case, planes: list[int]) -> dict[int, float]:
    collected: dict[int, list[float]] = {}
    for plane in range(case.first, case.last + 1):
        far = min(abs(plane - p) for p in planes)
        collected.setdefault(far, []).append(dice(found[plane], case.truth[plane]))
    return {far: float(np.mean(each)) for far, each in sorted(collected.items())}


def clicked(case: Case) -> Iterator[dict[str, Any]]:
    """From one plane of at most five clicks, then three corrected planes."""
    start = case.largest
    first = click(case, start)
    answer, clicks = first.answer, first.clicks
    if answer is None:
        return
    propagator = case.propagator()
    mask = propagator.refined(start, 1, first.mask, first.points, first.labels)
    propagator.set_plane(start, 1, mask)
    begun = time.process_time()
    steps = sum(1 for _ in propagator.run())
    spent = time.process_time() - begun
    found = whole(propagator, case.truth.shape)
    on = np.flatnonzero(found.any((1, 2)))
    ends = [
        (over, under)
        for true, mine, sign in ((case.first, on[0], -1), (case.last, on[-1], 1))
        if 0 < true < len(case.truth) - 1
        for over, under in [((mine - true) * sign, (true - mine) * sign)]
    ]
    copied = np.zeros_like(case.truth)
    copied[case.first : case.last + 1] = first.mask
    yield {
        "question": "clicked",
        "dice": dice(found, case.truth),
        "dice_within_ends": dice(
            found[case.first : case.last + 1], case.truth[case.first : case.last + 1]
        ),
        "start": dice(first.mask, case.truth[start]),
        "start_refined": dice(mask, case.truth[start]),
        "clicks": clicks,
        "copy": dice(copied, case.truth),
        "box": dice(by_decoder(case, start, answer, "box"), case.truth),
        "logits": dice(by_decoder(case, start, answer, "logits"), case.truth),
        "ends_within_2": [float(abs(over) <= 2) for over, _ in ends],
        "overrun": [max(0, int(over)) for over, _ in ends],
        "underrun": [max(0, int(under)) for _, under in ends],
        "seconds_a_plane": spent / max(1, steps),
        "by_distance": _by_distance(found, case, [start]),
    }
    done = {start}
    for corrected in (1, 2, 3):
        wrong = (found ^ case.truth).sum((1, 2))
        wrong[list(done)] = 0
        worst = int(np.argmax(wrong))
        if not wrong[worst]:
            break
        if case.truth[worst].any():
            had = found[worst] if found[worst].any() else None
            more = click(case, worst, had)
            mask = propagator.refined(worst, 1, more.mask, more.points, more.labels)
            clicks += more.clicks
        else:
            mask, clicks = case.truth[worst], clicks + 1  # one key: not here
        done.add(worst)
        propagator.set_plane(worst, 1, mask)
        begun = time.process_time()
        list(propagator.run())
        found = whole(propagator, case.truth.shape)
        masks = {p: found[p] for p in done if found[p].any()}
        yield {
            "question": f"{corrected} corrected",
            "dice": dice(found, case.truth),
            "interpolation": dice(interpolate(masks, case), case.truth),
            "clicks": clicks,
            "seconds": time.process_time() - begun,
        }


# Tables -------------------------------------------------------------------------------


def measure(
    name: str,
    segmenter: Segmenter,
    cache: Path,
    rules: Rules,
    most: int | None,
    record: Record,
) -> None:
    """Ask all questions of a set's objects that are not in the record."""
    for number, stack in enumerate(stacks(name, segmenter, cache)):
        if most is not None and number >= most:
            break
        for named, truth in stack.truth.items():
            what = {"set": name, "stack": stack.name, "object": named}
            case = Case(stack, named, truth, rules)
            for ask, first in ((true_planes, "1 true"), (clicked, "clicked")):
                if not record.holds({**what, "question": first}):
                    record.add([{**what, **row} for row in ask(case)])


@dataclass
class Record:
    """What was measured, in a file where one is named.

    Attributes
    ----------
    about : dict
        Kind of the record, model, and whatever else makes rows comparable.
    path : Path or None
    rows : list of dict
    """

    about: dict[str, Any]
    path: Path | None
    rows: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.path is None or not self.path.exists():
            return
        known = json.loads(self.path.read_text(encoding="utf-8"))
        self.rows = known.pop("rows")
        if known != self.about:
            raise SystemExit(
                f"{self.path} is of {known}, this run of {self.about}: name another "
                "file."
            )

    def holds(self, what: dict[str, Any]) -> bool:
        """Whether there is a row that says all this."""
        return any(what.items() <= row.items() for row in self.rows)

    def add(self, rows: list[dict[str, Any]]) -> None:
        """Take what was measured of one object, to four digits."""
        short = json.dumps(rows)
        self.rows += json.loads(short, parse_float=lambda text: round(float(text), 4))
        if self.path is not None:
            known = {**self.about, "rows": self.rows}
            write_whole(self.path, json.dumps(known, indent=1).encode())


def show(rows: list[dict[str, Any]]) -> None:
    """Print the mean of each question of each set."""
    asked = list(dict.fromkeys((r["set"], r["question"]) for r in rows))
    for name, question in asked:
        some = [r for r in rows if (r["set"], r["question"]) == (name, question)]
        figures = {
            key: np.mean(np.concatenate([np.atleast_1d(r[key]) for r in some]))
            for key in some[0]
            if key not in ("set", "stack", "object", "question", "by_distance")
        }
        text = "  ".join(f"{key} {value:.3f}" for key, value in figures.items())
        print(f"{name:20} {question:12} n {len(some):2}  {text}", flush=True)


def main() -> None:
    """Run the benchmark and print its tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sets", nargs="+", choices=list(sets()))
    parser.add_argument("--model", default="promise-tiny")
    parser.add_argument("--most", type=int, help="stacks of a set")
    parser.add_argument("--cache", type=Path, default=Path("volumes-cache"))
    parser.add_argument("--json", type=Path, help="write the figures here, or go on")
    arguments = parser.parse_args()
    segmenter = Segmenter.load(arguments.model, device="cpu")
    about = {"kind": "volumes", "model": segmenter.model_id}
    record = Record(about, arguments.json)
    for name in arguments.sets:
        measure(name, segmenter, arguments.cache, Rules(), arguments.most, record)
        show([row for row in record.rows if row["set"] == name])


if __name__ == "__main__":
    main()
