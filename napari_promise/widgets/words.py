"""Sizes of files in words."""

from __future__ import annotations


def size(count: float) -> str:
    """Return a number of bytes in words.

    Examples
    --------
    >>> size(2.5e9), size(40e6)
    ('2.5 GB', '40 MB')
    """
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"
