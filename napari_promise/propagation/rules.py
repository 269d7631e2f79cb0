"""The numbers of propagation, chosen with `benchmarks/volumes.py`."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Rules"]


@dataclass(frozen=True)
class Rules:
    """What propagation goes by.

    Attributes
    ----------
    cells : int
        The longest side of a plane's grid, in cells; smaller planes keep their pixels.
    penalty : float
        Of the classifier's weights.
    around : float
        Cells around the object that teach what is not the object, as a share of the
        grid's longest side.
    softness : float
        The distance from the outline at which the shape counts as one, as a share of
        the plane's longest side.
    outline : float
        What the network's outline counts beyond the outermost drawn planes, beside the
        draft of classifier and shape; between two drawn planes it alone counts.
    refined : float
        The same where a rough mask is drawn anew.
    memory : int
        Propagated planes that the classifier learns from on its way.
    memory_weight : float
        What each of them counts beside a plane that was drawn.
    stop : float
        The object ends where its contrast falls below this share of that on the planes
        that were drawn.
    """

    cells: int = 192
    penalty: float = 3.0
    around: float = 0.1
    softness: float = 1 / 64
    outline: float = 0.3
    refined: float = 0.5
    memory: int = 3
    memory_weight: float = 0.5
    stop: float = 0.5
