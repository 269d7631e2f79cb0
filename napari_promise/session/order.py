"""Acts take effect in the order in which they were made, however quickly that was.

Most acts take effect at once, also while masks are being computed: a commit then waits
in the history of the document (`Document.commit_later`). Two kinds of acts cannot:
what is done after auto-prompts were asked for, whose objects nobody knows yet; and what
works on an object whose commit is pending. Such an act is held back until it can, and
so is everything after it, but strokes: their pixels are there. What was held back is
done beneath them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from napari_promise.document import Document, LabelPatch, Plane
from napari_promise.session.session import Session

__all__ = ["Order"]

#: What to do, and whether commits come first; None for a stroke that settles.
_Act = tuple[Callable[[], None], bool | None]


class Order:
    """Holds acts back, of each document its own.

    Parameters
    ----------
    session : Session
        Asked whether auto-prompts are on their way.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        # By identity; with the documents, so that they are there as long as this.
        self._held: dict[int, tuple[Document, deque[_Act]]] = {}
        self._releasing = False

    def holds(self, document: Document) -> bool:
        """Whether an act on a document is held back, or one made now would be."""
        return id(document) in self._held or self._session.is_proposing(document)

    def count(self, document: Document) -> int:
        """How many acts on a document are held back."""
        return len(self._held[id(document)][1]) if id(document) in self._held else 0

    def do(
        self,
        document: Document,
        act: Callable[[], None],
        *,
        after_commits: bool = False,
    ) -> bool:
        """Do something now, or after what was asked for before.

        Parameters
        ----------
        document : Document
        act : callable
            Never raises.
        after_commits : bool
            Whether pending commits have to be carried out before.

        Returns
        -------
        bool
            Whether it was done at once.
        """
        now = self._releasing or not self.holds(document)
        if now and not (after_commits and document.pending):
            act()
            return True
        _, acts = self._held.setdefault(id(document), (document, deque()))
        if self._releasing:
            acts.appendleft((act, after_commits))
        else:
            acts.append((act, after_commits))
        return False

    def record_stroke(
        self, document: Document, patches: Sequence[LabelPatch | None], highest: int
    ) -> None:
        """Take note of what was painted, on top of the acts that are held back.

        Parameters
        ----------
        document : Document
        patches : sequence of LabelPatch or None
            See `Document.record_paint`.
        highest : int
            The highest label painted, which no object gets from now on.
        """
        held = self.holds(document)
        if not document.record_paint(patches, afloat=held):
            return

        def settle() -> None:
            if held:
                document.settle_stroke()
            document.reserve(highest)

        if held:
            _, acts = self._held.setdefault(id(document), (document, deque()))
            acts.append((settle, None))
        else:
            settle()

    def release(
        self, document: Document, labels: Callable[[Plane], Any] | None = None
    ) -> None:
        """Do what was held back and can be done now.

        Parameters
        ----------
        document : Document
        labels : callable, optional
            Returns the labels of a plane, (H, W), as they are now.
        """
        if self._releasing:
            return
        while id(document) in self._held and not self._session.is_proposing(document):
            _, acts = self._held[id(document)]
            if not acts:
                del self._held[id(document)]
                return
            if acts[0][1] and document.pending:
                return
            act, after_commits = acts.popleft()
            self._releasing = True
            try:
                if after_commits is None:
                    act()
                else:
                    with document.beneath_strokes(labels):
                        act()
            finally:
                self._releasing = False
