"""Sizes, counts and files in words."""

from __future__ import annotations

import os
from pathlib import Path


def size(count: float) -> str:
    """Return a number of bytes in words.

    Examples
    --------
    >>> size(2.5e9), size(40e6)
    ('2.5 GB', '40 MB')
    """
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


def counted(count: int, noun: str) -> str:
    """Return a number of things in words.

    Examples
    --------
    >>> counted(1, "image"), counted(3, "image")
    ('1 image', '3 images')
    """
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def from_within(line: str, source: Path) -> str:
    """Return a line with the files of a folder named from there on.

    napari shows the first words of a message: a long path would be all of them.

    Parameters
    ----------
    line : str
    source : Path
        The folder, or a file in it.

    Examples
    --------
    >>> from_within("/data/a/b.png is gone.", Path("/data"))
    'a/b.png is gone.'
    """
    folder = source.parent if source.is_file() else source
    return line.replace(f"{folder}{os.sep}", "")
