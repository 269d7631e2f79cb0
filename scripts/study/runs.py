"""Runs whose outcome is kept: which images, what was measured, one JSON file each.

Knows the image sets and how a record is written and found again; nothing of training.
A record holds means and intervals (never single images), the command that made it and
what it cost, and is small enough to be committed in ``results/``.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from napari_promise import __version__
from napari_promise.data import planes
from napari_promise.data.embeddings import EmbeddingCache, default_folder
from napari_promise.data.pairs import Pair
from napari_promise.files import save_json, utc_now
from napari_promise.model.sam import Embedding
from napari_promise.segmenter import Segmenter
from napari_promise.training.evaluate import evaluate_all
from napari_promise.training.scores import EvaluationReport
from scripts.study import datasets

RESULTS = Path(__file__).resolve().parents[2] / "results"

#: Image sets by the domain that an adapter is for.
DOMAINS = {
    "polyp": ("kvasir-seg", "cvc-clinicdb"),
    "skin": ("ph2",),
    "breast-us": ("busi",),
    "nuclei": ("dsb2018",),
    "cells": ("dsb2018",),
    "medical": ("kvasir-seg", "cvc-clinicdb", "ph2", "busi"),
}

#: What is found in each domain.
CLASSES = {
    "polyp": "polyp",
    "skin": "skin lesion",
    "breast-us": "breast lesion",
    "nuclei": "nucleus",
    "cells": "nucleus",
    "medical": "lesion",
}

#: Options whose value is a folder of one computer.
_FOLDERS = ("--cache", "--keep", "--results")


def pairs_of(domain: str, part: str, most: int | None = None) -> dict[str, list[Pair]]:
    """Pairs of one part of each set of a domain.

    Parameters
    ----------
    domain : str
        One of `DOMAINS`.
    part : str
        ``train``, ``val`` or ``test``.
    most : int, optional
        Of each set, evenly spread.

    Returns
    -------
    dict of str to list of Pair
        Groups carry the set's name, so that sets never share one.
    """
    result = {}
    for name in DOMAINS[domain]:
        found = datasets.load_parts(name)[part]
        if most is not None and most < len(found):
            chosen = np.linspace(0, len(found) - 1, most).round().astype(int)
            found = [found[at] for at in chosen]
        result[name] = [Pair(p.image, p.target, f"{name}/{p.group}") for p in found]
    return result


def labelled(
    domain: str, labels: int | None, seed: int
) -> tuple[list[Pair], list[Pair]]:
    """Pairs to train on, and those that may choose.

    Parameters
    ----------
    domain : str
    labels : int, optional
        So many labelled images in all, chosen at random; fewer are part of more, with
        the same seed. None is all.
    seed : int

    Returns
    -------
    tuple of list of Pair
        With all labels the train and val parts. With few, these alone: the second
        list is empty, and whoever trains holds some of them out.
    """
    train = [p for pairs in pairs_of(domain, "train").values() for p in pairs]
    if labels is None:
        return train, [p for pairs in pairs_of(domain, "val").values() for p in pairs]
    if not 2 <= labels <= len(train):
        raise ValueError(f"labels must be 2 to {len(train)} for {domain}, got {labels}")
    order = np.random.default_rng(seed).permutation(len(train))
    return [train[at] for at in sorted(order[:labels])], []


class CachedSegmenter(Segmenter):
    """A segmenter that encodes an image once for all runs."""

    embeddings: EmbeddingCache | None = None

    def encode(self, image: Any, **options: Any) -> Embedding:
        """Return the stored embedding, or make and store it."""
        if self.embeddings is None:
            self.embeddings = EmbeddingCache(default_folder(), memory_bytes=0)
        rgb8 = planes.to_rgb8(image)
        key = (planes.digest(rgb8), f"{self.model_id}-{self.sha256[:12]}")
        arrays = self.embeddings.get(key)
        if arrays is not None:
            return self.restore(arrays)
        emb = super().encode(rgb8, **options)
        self.embeddings.put(key, emb.to_arrays(), {})
        return emb


def measured(
    segmenter: Segmenter, domain: str, prompts: Sequence[str], most: int | None = None
) -> dict[str, Any]:
    """Measure on the test part of each set of a domain.

    Parameters
    ----------
    segmenter : Segmenter
    domain : str
    prompts : sequence of str
        See `PromptPlan.parse`.
    most : int, optional
        Images of each set.

    Returns
    -------
    dict
        Set -> prompts -> what `told` says.
    """
    result: dict[str, Any] = {}
    for name, pairs in pairs_of(domain, "test", most).items():
        reports = evaluate_all(pairs, segmenter, prompts, metrics=True)
        result[name] = {report.prompts: told(report) for report in reports}
        for way, found in result[name].items():
            print(name, way, *_headline(found["summary"]), flush=True)
    return result


def told(report: EvaluationReport) -> dict[str, Any]:
    """Return a report's means and intervals, without single images."""
    data = report.to_json()
    return {key: data[key] for key in ("summary", "intervals", "bootstrap")}


def _headline(summary: dict[str, Any]) -> list[str]:
    ends = ("_dice", "_noc85", "_noc90")
    return [f"{key} {mean:.3f}" for key, mean in summary.items() if key.endswith(ends)]


def base_record(kind: str, domain: str, **more: Any) -> dict[str, Any]:
    """Say what every record says of where it comes from.

    Parameters
    ----------
    kind : str
        ``ablation`` or ``unet``.
    domain : str
    **more
        Further entries.
    """
    return {
        "kind": kind,
        "domain": domain,
        "sets": list(DOMAINS[domain]),
        "command": command(),
        "date": utc_now(),
        "version": __version__,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        **more,
    }


def command() -> str:
    """Return the command line that runs now, without the folders of this computer."""
    kept, words = [], iter(sys.argv[1:])
    for word in words:
        if word in _FOLDERS:
            next(words, None)
        elif not word.startswith(tuple(f"{option}=" for option in _FOLDERS)):
            kept.append(word)
    return shlex.join(
        ["python", "-m", f"scripts.study.{Path(sys.argv[0]).stem}", *kept]
    )


def path_of(folder: Path, *parts: object) -> Path:
    """Name a record by what decides it: ``ablation-polyp-apm-heatmap-p16-all-s0``."""
    return folder / ("-".join(str(part) for part in parts) + ".json")


def write(path: Path, record: dict[str, Any]) -> None:
    """Write a record whole, replacing an earlier one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    print(f"written: {save_json(path, record, overwrite=True)}", flush=True)


def read_all(folder: Path = RESULTS) -> list[dict[str, Any]]:
    """Read every record of a folder, in the order of their names.

    Raises
    ------
    ValueError
        If a file is no record; it is named.
    """
    records = []
    for path in sorted(folder.glob("*.json")):
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            records.append({**record, "file": path.name, "kind": record["kind"]})
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"{path} is no record of a run ({error}): remove it or make it again"
            ) from error
    return records


class Stopwatch:
    """Seconds on the wall and of all cores, by phase."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._started = self._since = time.monotonic()
        self._processed = time.process_time()

    def lap(self, phase: str) -> None:
        """Count the time since the last call for `phase`."""
        now = time.monotonic()
        self.seconds[phase] = self.seconds.get(phase, 0.0) + now - self._since
        self._since = now

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._started

    def told(self) -> dict[str, float]:
        """Seconds of each phase, of all, and of all cores together."""
        result = {**self.seconds, "all": self.elapsed}
        result["cpu"] = time.process_time() - self._processed
        return {phase: round(seconds, 1) for phase, seconds in result.items()}
