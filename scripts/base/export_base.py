"""Put trained weights into the package, with the record that travels beside them.

    python -m scripts.base.export_base RUN/promise-tiny.safetensors --scores test.json

Writes ``promise-tiny.safetensors`` (a float16 state dict of the whole SAM) and
``promise-tiny.json``. Knows files only; scores come from `scripts.base.evaluate_base`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path

BUNDLED = Path(__file__).resolve().parents[2] / "napari_promise" / "model" / "bundled"
LARGEST = 24_000_000  # bytes: what may travel in the wheel

TRAINED_ON = [
    {"data": "generated scenes (scripts/base/scenes.py)", "licence": "BSD-3-Clause"},
    {"data": "pictures bundled with scikit-image", "licence": "see scikit-image"},
    {"data": "dsb2018 (BBBC038), training part", "licence": "CC0"},
    {"data": "BUSI breast ultrasound, training part", "licence": "CC BY 4.0"},
    {"data": "MSD hippocampus, training part", "licence": "CC BY-SA 4.0"},
    {"data": "DeiT-Tiny/16 on ImageNet-1k (initial encoder)", "licence": "Apache-2.0"},
]
NEVER_TRAINED_ON = ["kvasir-seg", "cvc-clinicdb", "ph2"]


def record(weights: bytes, recipe: dict | None, reports: Sequence[dict]) -> dict:
    """Describe weights: what they are, where they come from, how good they are.

    Parameters
    ----------
    weights : bytes
        The safetensors file.
    recipe : dict, optional
        ``recipe.json`` of the training run.
    reports : sequence of dict
        What `scripts.base.evaluate_base` wrote for these weights, of one part.

    Returns
    -------
    dict

    Raises
    ------
    ValueError
        If the file is too large, or the scores are those of other weights or of
        more than one part.
    """
    digest = hashlib.sha256(weights).hexdigest()
    if len(weights) > LARGEST:
        raise ValueError(f"the weights take {len(weights)} bytes, at most {LARGEST}")
    if any(report["sha256"] != digest for report in reports):
        raise ValueError("the scores belong to other weights; measure these first")
    parts = sorted({report["part"] for report in reports})
    if len(parts) > 1:
        raise ValueError(f"the scores are of parts {parts}; give those of one part")
    return {
        "name": "promise-tiny",
        "description": "A small promptable SAM of this project, not Meta's SAM.",
        "architecture": "promise-tiny",
        "sha256": digest,
        "bytes": len(weights),
        "licence": "BSD-3-Clause; share-alike where hippocampus' terms ask for it",
        "trained_on": TRAINED_ON,
        "never_trained_on": NEVER_TRAINED_ON,
        "recipe": recipe,
        "scores": {n: s for report in reports for n, s in report["scores"].items()},
        "scores_part": parts[0] if parts else None,
        "date": datetime.now(timezone.utc).date().isoformat(),
    }


def install(source: Path, folder: Path, scores: Sequence[Path] = ()) -> Path:
    """Copy weights and write their record; both are written whole.

    Parameters
    ----------
    source : Path
        Weights; a ``recipe.json`` beside them is taken in.
    folder : Path
        Where the package looks for them.
    scores : sequence of Path
        JSON of `scripts.base.evaluate_base`, for all sets or some each.

    Returns
    -------
    Path
        The record.
    """
    weights = source.read_bytes()
    beside = source.with_name("recipe.json")
    recipe = json.loads(beside.read_text()) if beside.exists() else None
    reports = [json.loads(path.read_text()) for path in scores]
    text = json.dumps(record(weights, recipe, reports), indent=2) + "\n"
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in (
        ("promise-tiny.safetensors", weights),
        ("promise-tiny.json", text.encode()),
    ):
        part = folder / f"{name}.part"
        part.write_bytes(content)
        os.replace(part, folder / name)
    return folder / "promise-tiny.json"


def main() -> None:
    """Parse arguments and install."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("weights", type=Path)
    parser.add_argument("--scores", type=Path, nargs="*", default=[])
    parser.add_argument("--folder", type=Path, default=BUNDLED)
    args = parser.parse_args()
    print(install(args.weights, args.folder, args.scores))


if __name__ == "__main__":
    main()
