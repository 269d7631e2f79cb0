"""Blocks in which we change layers ourselves.

`Guard` tells handlers that an event is our own doing; `BatchedUpdate` lets napari wait
with its scene until the block ends.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari.components import LayerList


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


class BatchedUpdate(Guard):
    """Lets layers come and go without a new scene for each.

    napari collects garbage and builds its scene anew for every layer that is removed;
    inside the ``with`` block it waits for the end, which comes once however deeply
    blocks are nested. A napari that cannot wait does as it always did.

    Parameters
    ----------
    layers : napari.components.LayerList
    """

    def __init__(self, layers: LayerList) -> None:
        super().__init__()
        self._layers = layers
        self._batch: AbstractContextManager[object] = nullcontext()

    def __enter__(self) -> None:
        if not self:
            batched = getattr(self._layers, "batched_update", nullcontext)
            self._batch = batched()
            self._batch.__enter__()
        super().__enter__()

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        if not self:
            self._batch.__exit__(None, None, None)
