"""Measure what the confidence of proposals is worth where the truth is known.

Proposes for images of a set's validation part as *Propose all* does, and compares each
signal of `project.confidence`, and their combination, with the Dice of the proposal:
Spearman's rank correlation says whether the weakest come first; the error of the
calibration is measured on images that it was not fitted to (five folds). How signals
are combined may be chosen here; the test parts are left alone.

    python -m scripts.checks.measure_confidence --set kvasir-seg --json c.json
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from napari_promise import proposing
from napari_promise.data.images import read_image, read_mask
from napari_promise.project.confidence import (
    SIGNALS,
    Calibration,
    draw_calibration,
    raw_confidence,
)
from napari_promise.segmenter import Segmenter
from scripts.study import datasets

FOLDS = 5


def propose(name: str, adapter: str, count: int) -> list[dict[str, Any]]:
    """Propose for images taken at even distances, each with its Dice.

    Parameters
    ----------
    name : str
        Of the set, see `scripts.study.datasets`.
    adapter : str
    count : int

    Returns
    -------
    list of dict
        Image name, Dice, and the signals.
    """
    pairs = datasets.load_parts(name)["val"]
    segmenter = Segmenter.load(adapter=adapter)
    rows = []
    for at in np.unique(np.linspace(0, len(pairs) - 1, count).astype(int)):
        pair = pairs[at]
        truth = read_mask(pair.target) > 0
        found = proposing.propose(
            segmenter,
            segmenter.encode(read_image(pair.image).rgb8()),
            signals=True,
        )
        for proposed in found:
            if proposed.region is None:
                continue
            mask = proposed.region.mask
            dice = 2 * int((mask & truth).sum()) / int(mask.sum() + truth.sum())
            signals = dict(proposed.signals)
            rows.append({"image": pair.image.name, "dice": dice, **signals})
            print(f"{len(rows):4d}  {pair.image.name}  Dice {dice:.3f}", flush=True)
    return rows


def rank_correlation(values: Any, dice: Any) -> float:
    """Return Spearman's correlation; 0 where either is constant."""
    from scipy.stats import spearmanr

    if np.ptp(values) == 0 or np.ptp(dice) == 0:
        return 0.0
    return float(spearmanr(values, dice).statistic)


def judge(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Compare signals and combination with the Dice.

    Parameters
    ----------
    rows : list of dict
        What `propose` returned.

    Returns
    -------
    dict
    """
    dice = np.array([row["dice"] for row in rows])
    names = [name for name in SIGNALS if all(name in row for row in rows)]
    signals = {name: np.array([row[name] for row in rows]) for name in names}
    raw = np.array([raw_confidence(row) for row in rows])
    kinds = {**signals, "combined": raw}
    spread = np.random.default_rng(0).permutation(len(rows))
    expected = np.zeros(len(rows))
    for fold in range(FOLDS):
        held = spread[fold::FOLDS]
        kept = np.setdiff1d(spread, held)
        fitted = Calibration.fit(list(zip(raw[kept], dice[kept], strict=True)))
        assert fitted is not None
        expected[held] = [fitted(value) for value in raw[held]]
    weakest = dice < 0.8
    seen = np.argsort(raw, kind="stable")[: max(1, len(rows) // 5)]
    return {
        "images": len(rows),
        "mean_dice": float(dice.mean()),
        "rank_correlation": {k: rank_correlation(v, dice) for k, v in kinds.items()},
        "error_raw": float(np.abs(raw - dice).mean()),
        "error_calibrated": float(np.abs(expected - dice).mean()),
        "error_of_the_mean": float(np.abs(dice.mean() - dice).mean()),
        "below_0.8": int(weakest.sum()),
        "of_these_in_the_weakest_fifth": int(weakest[seen].sum()),
    }


def main() -> None:
    """Run the measurement and print it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--set", default="kvasir-seg")
    parser.add_argument("--adapter", default="polyp")
    parser.add_argument("--count", type=int, default=90)
    parser.add_argument("--json", type=Path, help="also write the figures here")
    parser.add_argument("--plot", type=Path, help="draw the calibration here, PNG")
    arguments = parser.parse_args()
    rows = propose(arguments.set, arguments.adapter, arguments.count)
    judged = judge(rows)
    print(json.dumps(judged, indent=1))
    if arguments.json:
        text = json.dumps({**judged, "rows": rows}, indent=1)
        arguments.json.write_text(text + "\n")
    if arguments.plot:
        pairs = [(raw_confidence(row) or 0.0, row["dice"]) for row in rows]
        fitted = Calibration.fit(pairs)
        if fitted is not None:
            draw_calibration(fitted).save(arguments.plot)


if __name__ == "__main__":
    main()
