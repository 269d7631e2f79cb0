"""Say what the bundled adapters score on the test parts, base by base."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from napari_promise.model.adapters import BUNDLED, RECORD, AdapterInfo, read_info

HEAD = """## Bundled adapters, base by base

Dice on test images that show an object, from the adapters' own records. *Automatic* is
what the adapter finds by itself, then after one corrective click that is answered
whole; the second number is the frozen decoder's with the same prompts. *From the truth*
are 16 random points of the truth, a different thing. An adapter's record says on how
many images it was trained. Those for another base are made by
`python -m scripts.study.train_adapters skin polyp --model promise-medical`.

| adapter | base | set | images | automatic | after one click | from the truth |
|---|---|---|---|---|---|---|
"""


def section(folder: Path = BUNDLED) -> str:
    """Return the section for a folder of adapters; those that find many are not in it.

    Parameters
    ----------
    folder : Path

    Returns
    -------
    str
        Markdown.
    """
    infos = [read_info(path.parent) for path in sorted(folder.glob(f"*/{RECORD}"))]
    return HEAD + "".join(row + "\n" for info in infos for row in _rows(info))


def _rows(info: AdapterInfo) -> list[str]:
    rows = []
    for name, scores in info.scores.get("test", {}).items():
        automatic = scores["automatic"]
        if "dice" not in automatic:
            continue
        cells = (
            info.name,
            info.base_model,
            name,
            str(scores["images"]),
            _pair(automatic, "dice", "frozen_dice_same_prompts"),
            _pair(
                automatic,
                "dice_after_one_corrective_click",
                "frozen_dice_after_one_corrective_click",
            ),
            _pair(scores["gt_prompted"], "dice", "frozen_dice_same_prompts"),
        )
        rows.append("| " + " | ".join(cells) + " |")
    return rows


def _pair(scores: Mapping[str, Any], own: str, frozen: str) -> str:
    return f"{scores[own]:.3f} / {scores[frozen]:.3f}".replace("0.", ".")
