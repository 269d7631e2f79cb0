"""Say in a line what the masks of a set hold, and warn of what looks wrong.

Where no rule can be right, somebody who reads this line sees it: a background that is
foreground, edges that became objects, masks without anything.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from napari_promise.data.images import notes_on
from napari_promise.data.masks import ReadMask, understand_mask
from napari_promise.data.pairs import ImagePair

__all__ = ["ALMOST_ALL", "MaskSurvey", "survey_masks"]

#: A mask with more foreground than that is likely to be turned round.
ALMOST_ALL = 0.8
#: So many ids with so few pixels in the middle of them are rather edges than objects.
_MANY, _TINY = 100, 12
#: Cells along the longer side of SAM's grid of masks.
_GRID = 256


@dataclass
class MaskSurvey:
    """Counts over the masks of a set.

    Attributes
    ----------
    rules : Counter of str
        How many masks were understood by which rule.
    most_ids : int
        The largest number of ids in a mask.
    shares : list of float
        Foreground of each mask.
    full, crowded, vanishing : list of str
        Names of masks that are almost all foreground, hold hundreds of tiny ids, or
        hold only objects smaller than half a cell of the model's grid.
    unreadable : int
    notes : dict of str to list of str
        What is to be known of images, such as an EXIF orientation: which ones.
    """

    rules: Counter[str] = field(default_factory=Counter)
    least_id: int = 0
    greatest_id: int = 0
    most_ids: int = 0
    shares: list[float] = field(default_factory=list)
    full: list[str] = field(default_factory=list)
    crowded: list[str] = field(default_factory=list)
    vanishing: list[str] = field(default_factory=list)
    unreadable: int = 0
    notes: dict[str, list[str]] = field(default_factory=dict)

    def add(self, name: str, mask: ReadMask) -> None:
        """Count one mask."""
        sizes, share = mask.sizes, mask.foreground
        self.rules[mask.rule] += 1
        self.shares.append(share)
        if not sizes:
            return
        ids = mask.ids
        self.least_id = min(ids[0], self.least_id or ids[0])
        self.greatest_id = max(ids[-1], self.greatest_id)
        self.most_ids = max(self.most_ids, len(ids))
        if share > ALMOST_ALL:
            self.full.append(name)
        planes = mask.labels.size // (mask.labels.shape[-1] * mask.labels.shape[-2])
        if len(ids) >= _MANY * planes and median(sizes.values()) < _TINY:
            self.crowded.append(name)
        cell = max(1.0, max(mask.labels.shape[-2:]) / _GRID) ** 2
        if max(sizes.values()) < cell / 2:
            self.vanishing.append(name)

    def line(self) -> str:
        """Return what they hold: rule, ids, share of foreground."""
        masks = len(self.shares)
        if not masks:
            return "no mask could be read"
        rules = "; ".join(
            rule if count == masks else f"{rule} ({count} of {masks})"
            for rule, count in self.rules.most_common()
        )
        filled = [share for share in self.shares if share]
        text = f"{masks} mask{'s' * (masks > 1)} read as {rules}"
        if not filled:
            return f"{text}: all empty"
        text += (
            f": ids {self.least_id} to {self.greatest_id}, at most {self.most_ids} in "
            f"one; foreground {_percent(median(filled))} of the pixels "
            f"({_percent(min(filled))} to {_percent(max(filled))})"
        )
        empty = masks - len(filled)
        return text + (f"; {empty} empty" if empty else "")

    def warnings(self) -> list[str]:
        """Return a sentence for each thing that looks wrong."""
        masks, said = len(self.shares), []
        for names, what in (
            (
                self.full,
                f"foreground for more than {ALMOST_ALL:.0%}: check that their "
                "background is 0",
            ),
            (
                self.crowded,
                "full of tiny ids: edges that were resized or anti-aliased, perhaps; "
                "save ids without smoothing",
            ),
            (
                self.vanishing,
                "without any object that the model's grid can show: crop the images",
            ),
        ):
            if names:
                more = f" and {len(names) - 3} more" if len(names) > 3 else ""
                said.append(
                    f"{len(names)} of {masks} masks are {what} "
                    f"({', '.join(names[:3])}{more})."
                )
        for note, names in self.notes.items():
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            said.append(f"{names[0]}{more}: {note}")
        if masks and not any(self.shares):
            said.append("every mask is empty: there is nothing to learn or to measure.")
        return said


def survey_masks(pairs: Iterable[ImagePair]) -> MaskSurvey:
    """Read the masks of pairs, each file once, and what is odd about their images."""
    found, seen = MaskSurvey(), set[Path]()
    for pair in pairs:
        if pair.mask in seen:
            continue
        seen.add(pair.mask)
        try:
            found.add(pair.mask.name, understand_mask(pair.mask))
        except (OSError, ValueError):
            found.unreadable += 1  # said by who needs it
        with contextlib.suppress(OSError, ValueError):
            for note in notes_on(pair.image):
                found.notes.setdefault(note, []).append(pair.image.name)
    return found


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %" if share < 0.995 else "100 %"
