"""A command run as a person runs it, what it says, and a picture for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from napari_promise import cli


def run(*arguments: Any) -> int:
    return cli.main([str(argument) for argument in arguments])


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    """Return stderr, which must be one line and no traceback."""
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert "Traceback" not in message
    return message


def draw(
    path: Path, rng: np.random.Generator, shape: tuple[int, int] = (40, 60)
) -> Path:
    rows, columns = np.indices(shape)
    image = rng.integers(40, 90, (*shape, 3)).astype(np.uint8)
    image[(rows - 20) ** 2 + (columns - 30) ** 2 < 10**2] = 220
    Image.fromarray(image).save(path)
    return path
