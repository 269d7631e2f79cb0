"""A folder of small pictures, its project, and somebody who works on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_promise.project import Project
from napari_promise.prompts import Prompts
from napari_promise.proposing import ProposedObject
from tests.project.people import Loop, Person, rectangle, write_image


@pytest.fixture
def loop() -> Loop:
    return Loop()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three pictures: a.png, b.png and c.png."""
    for seed, name in enumerate("abc"):
        write_image(tmp_path / "set" / f"{name}.png", seed)
    return tmp_path / "set"


@pytest.fixture
def reopen(folder: Path) -> Iterator[Callable[..., Project]]:
    """Open the project of the folder, closing the one that was open."""
    opened: list[Project] = []

    def open_(**options: Any) -> Project:
        for project in opened:
            project.close()
        opened[:] = [Project.open(folder, **options)]
        return opened[0]

    yield open_
    for project in opened:
        project.close()


@pytest.fixture
def project(reopen: Callable[..., Project]) -> Project:
    return reopen()


@pytest.fixture
def person(project: Project) -> Callable[[str], Person]:
    return lambda key: Person(project, key)


@pytest.fixture
def proposal() -> Callable[..., Any]:
    """Make a proposed object with one automatic point inside its mask."""

    def make(*bbox: int) -> ProposedObject:
        region = rectangle(*bbox)
        point = ((bbox[0] + bbox[2]) / 2 - 0.5, (bbox[1] + bbox[3]) / 2 - 0.5)
        logits = np.full((1, 16, 16), 1.5, np.float32)
        return ProposedObject(
            Prompts(points=[point], scores=[0.7]), region, 0.8, logits, logits
        )

    return make
