"""Fit what confidence says of a propagated plane to the Dice that it has.

Objects of the ``choose-`` sets and of those that weights are learned from are
propagated from planes of five clicks and from true ones, past their ends. A logistic
regression of each plane's Dice on its signs gives the weights of
`napari_promise/propagation/confidence.py`, which this prints.

    python scripts/volumes/fit_confidence.py --cache volumes-cache
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.optimize import minimize

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

from volume_sets import stacks  # noqa: E402
from volumes import Case, click, dice  # noqa: E402

from napari_promise.propagation import Propagator, Rules  # noqa: E402
from napari_promise.propagation.confidence import Signs, expected_dice  # noqa: E402
from napari_promise.segmenter import Segmenter  # noqa: E402


def main() -> None:
    """Collect, fit and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cache", type=Path, default=Path("volumes-cache"))
    parser.add_argument(
        "--sets",
        nargs="+",
        default=["learn-others", "choose-hippocampus", "choose-ct", "choose-mr"],
    )
    arguments = parser.parse_args()
    segmenter = Segmenter.load("promise-tiny", device="cpu")
    signs: list[Signs] = []
    reached: list[float] = []

    def note(one: Signs) -> float:
        signs.append(one)
        return expected_dice(one)

    for name in arguments.sets:
        for stack in stacks(name, segmenter, arguments.cache):
            for named, truth in stack.truth.items():
                case = Case(
                    stack,
                    named,
                    truth,
                    replace(Rules(), stop=-np.inf, contrast=-np.inf),
                )
                clicked = click(case, case.largest).mask
                for mask in (clicked, truth[case.largest]):
                    if not mask.any():
                        continue
                    propagator = Propagator(
                        stack.embed,
                        stack.pixels,
                        len(truth),
                        spacing=stack.spacing,
                        rules=case.rules,
                        confidence=note,
                    )
                    propagator.set_plane(case.largest, 1, mask)
                    for result in propagator.run():
                        if result.stopped is None:
                            reached.append(dice(result.mask, truth[result.plane]))
    given, wanted = np.array([s.vector for s in signs]), np.array(reached)
    # Planes past the ends are half of what confidence is for: weighed like the others.
    past = wanted == 0
    weight = np.where(past, 0.5 / past.sum(), 0.5 / (~past).sum())

    def loss(weights: np.ndarray) -> float:
        z = given @ weights
        entropy = np.logaddexp(0, z) - wanted * z
        return float((weight * entropy).sum() + 1e-4 * (weights[1:] ** 2).sum())

    found = minimize(loss, np.zeros(given.shape[1])).x
    said = 1 / (1 + np.exp(-given @ found))
    order = np.argsort(np.argsort(said))
    inside = (~past).sum()
    above = (order[~past].sum() - inside * (inside - 1) / 2) / (inside * past.sum())
    print(f"{len(wanted)} planes, {past.mean():.0%} past the ends, AUC {above:.3f}")
    for low in np.arange(0, 1, 0.2):
        here = (said >= low) & (said < low + 0.2)
        if here.any():
            mean = wanted[here].mean()
            print(f"said {low:.1f}-{low + 0.2:.1f}: {here.sum()} planes, {mean:.2f}")
    print("WEIGHTS =", tuple(round(float(w), 3) for w in found))


if __name__ == "__main__":
    main()
