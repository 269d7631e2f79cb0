"""What a job is handed by its worker, without a worker."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any


class Context:
    """Has a SAM, and nobody waits for it: what is delivered is called at once."""

    def __init__(self, sam: Any) -> None:
        self.segmenter = SimpleNamespace(sam=sam, model_id="micro")

    def feed(self, views: Any) -> None:
        """Nobody else encodes."""

    def must_give_way(self) -> bool:
        return False

    def deliver(self, call: Any) -> None:
        call()
