"""Tells what we do ourselves from what somebody else does. Knows no layer."""

from __future__ import annotations


class Guard:
    """True while its ``with`` block runs, however deeply it is nested.

    Examples
    --------
    >>> writing = Guard()
    >>> with writing:
    ...     bool(writing)
    True
    >>> bool(writing)
    False
    """

    def __init__(self) -> None:
        self._depth = 0

    def __bool__(self) -> bool:
        return self._depth > 0

    def __enter__(self) -> None:
        self._depth += 1

    def __exit__(self, *_: object) -> None:
        self._depth -= 1
