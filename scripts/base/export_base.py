r"""Put trained weights into the package, with the record that travels beside them.

    python -m scripts.base.export_base RUN/promise-tiny.safetensors --scores test.json
    python -m scripts.base.export_base RUN/promise-medical.safetensors \
        --name promise-medical --scores test.json

Writes ``NAME.safetensors`` (a float16 state dict: of the whole of `promise-tiny`, of
`promise-medical` without its encoder) and ``NAME.json``. Scores come from
`scripts.base.evaluate_base`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from napari_promise.files import write_whole
from napari_promise.model.weights import MODELS
from scripts.base.sets import SETS

BUNDLED = Path(__file__).resolve().parents[2] / "napari_promise" / "model" / "bundled"
#: Bytes that may travel in the wheel.
LARGEST = {"promise-tiny": 24_000_000, "promise-medical": 12_000_000}

SCENES = {
    "data": "generated scenes (scripts/base/scenes.py)",
    "licence": "BSD-3-Clause",
}
TINY_TRAINED_ON = [
    SCENES,
    {"data": "pictures bundled with scikit-image", "licence": "see scikit-image"},
    {"data": "dsb2018 (BBBC038), training part", "licence": "CC0"},
    {"data": "BUSI breast ultrasound, training part", "licence": "CC BY 4.0"},
    {"data": "MSD hippocampus, training part", "licence": "CC BY-SA 4.0"},
    {"data": "DeiT-Tiny/16 on ImageNet-1k (initial encoder)", "licence": "Apache-2.0"},
]


def medical_trained_on() -> list[dict[str, str]]:
    """Everything that `promise-medical` saw, with its terms."""
    drawn = [
        {"data": f"{one.name} ({one.title}), training part", "licence": one.terms}
        for one in SETS.values()
        if one.trainable
    ]
    lite = (
        "LiteMedSAM (encoder, frozen; decoder, as the start): its data are not listed"
    )
    return [
        SCENES,
        {"data": "drawn trees (scripts/base/crops.py)", "licence": "BSD-3-Clause"},
        *drawn,
        {"data": lite, "licence": "Apache-2.0"},
    ]


#: What stands in the record of each model, beside what is measured.
ABOUT: dict[str, dict[str, Any]] = {
    "promise-tiny": {
        "description": "A small promptable SAM of this project, not Meta's SAM.",
        "licence": "BSD-3-Clause; share-alike where hippocampus' terms ask for it",
        "trained_on": TINY_TRAINED_ON,
        "never_trained_on": ["kvasir-seg", "cvc-clinicdb", "ph2"],
    },
    "promise-medical": {
        "description": "A decoder of this project on LiteMedSAM's frozen encoder.",
        "licence": "BSD-3-Clause; share-alike where the data's terms ask for it; "
        "encoder Apache-2.0",
        "encoder": {"model": "litemedsam", "hash": MODELS["litemedsam"].hash},
        "trained_on": medical_trained_on(),
        "never_trained_on": [one.name for one in SETS.values() if not one.trainable],
    },
}


def record(
    weights: bytes,
    recipe: dict | None,
    reports: Sequence[dict],
    name: str = "promise-tiny",
) -> dict:
    """Describe weights: what they are, where they come from, how good they are.

    Parameters
    ----------
    weights : bytes
        The safetensors file.
    recipe : dict, optional
        ``recipe.json`` of the training run.
    reports : sequence of dict
        What `scripts.base.evaluate_base` wrote for these weights, of one part.
    name : str
        A key of `ABOUT`.

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
    if len(weights) > LARGEST[name]:
        raise ValueError(
            f"the weights take {len(weights)} bytes, at most {LARGEST[name]}"
        )
    if any(report["sha256"] != digest for report in reports):
        raise ValueError("the scores belong to other weights; measure these first")
    parts = sorted({report["part"] for report in reports})
    if len(parts) > 1:
        raise ValueError(f"the scores are of parts {parts}; give those of one part")
    return {
        "name": name,
        "architecture": name,
        **ABOUT[name],
        "sha256": digest,
        "bytes": len(weights),
        "recipe": recipe,
        "scores": {n: s for report in reports for n, s in report["scores"].items()},
        "scores_part": parts[0] if parts else None,
        "date": datetime.now(timezone.utc).date().isoformat(),
    }


def install(
    source: Path,
    folder: Path,
    scores: Sequence[Path] = (),
    name: str = "promise-tiny",
) -> Path:
    """Copy weights and write their record; both are written whole.

    Parameters
    ----------
    source : Path
        Weights; a ``recipe.json`` beside them is taken in.
    folder : Path
        Where the package looks for them.
    scores : sequence of Path
        JSON of `scripts.base.evaluate_base`, for all sets or some each.
    name : str
        A key of `ABOUT`.

    Returns
    -------
    Path
        The record.
    """
    weights = source.read_bytes()
    beside = source.with_name("recipe.json")
    recipe = json.loads(beside.read_text()) if beside.exists() else None
    reports = [json.loads(path.read_text()) for path in scores]
    text = json.dumps(record(weights, recipe, reports, name), indent=2) + "\n"
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / f"{name}.safetensors", weights)
    write_whole(folder / f"{name}.json", text.encode())
    return folder / f"{name}.json"


def main() -> None:
    """Parse arguments and install."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("weights", type=Path)
    parser.add_argument("--scores", type=Path, nargs="*", default=[])
    parser.add_argument("--name", choices=list(ABOUT), default="promise-tiny")
    parser.add_argument("--folder", type=Path, default=BUNDLED)
    args = parser.parse_args()
    print(install(args.weights, args.folder, args.scores, args.name))


if __name__ == "__main__":
    main()
