"""Measure on validation images how corrections of automatic prompts are answered.

What `napari_promise.model.local_correction` does with a click is chosen with this, and
with nothing else: clicks to an IoU of .85 and .90 after automatic prompts, answered as
the window does, beside the same with the frozen decoder, on the validation part.

    python -m scripts.checks.measure_corrections --domain polyp
    python -m scripts.checks.measure_corrections --domain polyp --loose --seed 1

With ``--loose`` the clicks do not hit the centre of the error: a rule that expects them
there must not lose by it.
"""

from __future__ import annotations

import argparse

import numpy as np

from napari_promise.training.evaluate import evaluate_all
from napari_promise.training.simulated_prompts import MOST_CLICKS, WANTED_IOU
from scripts.study import runs

PROMPTS = "auto+noc+local"


def main() -> None:
    """Print the clicks that each set of a domain needs."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--domain", default="polyp", choices=list(runs.DOMAINS))
    parser.add_argument("--adapter", help="default: the one named like the domain")
    parser.add_argument("--most", type=int, help="images of each set, evenly spread")
    parser.add_argument("--loose", action="store_true", help="clicks off the centre")
    parser.add_argument("--seed", type=int, default=0, help="of these clicks")
    args = parser.parse_args()
    prompts = PROMPTS + "+loose" * args.loose
    segmenter = runs.CachedSegmenter.load(adapter=args.adapter or args.domain)
    for name, pairs in runs.pairs_of(args.domain, "val", args.most).items():
        (report,) = evaluate_all(pairs, segmenter, [prompts], seed=args.seed)
        for prefix, title in (("", "with the shift"), ("frozen_", "frozen decoder")):
            for key, wanted in WANTED_IOU.items():
                found = [
                    score.figures(report.plan)[prefix + key] for score in report.scores
                ]
                mean = np.mean([MOST_CLICKS if n is None else n for n in found])
                print(
                    f"{name:14}{title:16}IoU {wanted:.2f}: {mean:.3f} clicks, "
                    f"never {found.count(None)} of {len(found)}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
