"""Numbers as a person reads them: durations and sizes."""

from __future__ import annotations


def duration(seconds: float) -> str:
    """Return a time in words.

    Examples
    --------
    >>> duration(5), duration(130), duration(8000)
    ('5 s', '2 min', '2 h 13 min')
    """
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def size(count: float) -> str:
    """Return a number of bytes in words.

    Examples
    --------
    >>> size(2.5e9), size(40e6)
    ('2.5 GB', '40 MB')
    """
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"
