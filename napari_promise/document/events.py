"""What a document tells: of one object, of many at once, of label pixels."""

from __future__ import annotations

from dataclasses import dataclass

from psygnal import Signal, SignalGroup

__all__ = ["Changes", "DocumentEvents"]


@dataclass(frozen=True)
class Changes:
    """What happened to many objects at once.

    Attributes
    ----------
    added, changed, removed : tuple of int
        The objects' ids.
    """

    added: tuple[int, ...] = ()
    changed: tuple[int, ...] = ()
    removed: tuple[int, ...] = ()


class DocumentEvents(SignalGroup):
    """What happens to a document. Emitted in the thread that made the edit.

    Attributes
    ----------
    object_added, object_changed, object_removed : Signal(int)
        The object's id.
    objects_changed : Signal(Changes)
        Several objects were added, changed or removed at once: told instead of the
        three above.
    active_changed : Signal(object)
        The id of the object being worked on, or None.
    labels_patched : Signal(LabelPatch)
        Label pixels must be written: at a commit, a removal, undo and redo. Not
        for `Document.record_paint`, whose pixels are there already.
    labels_painted : Signal(LabelPatch)
        Label pixels were set by hand, see `Document.record_paint`.
    history_changed : Signal()
        What can be undone or redone changed.
    """

    object_added = Signal(int)
    object_changed = Signal(int)
    object_removed = Signal(int)
    objects_changed = Signal(Changes)
    active_changed = Signal(object)
    labels_patched = Signal(object)
    labels_painted = Signal(object)
    history_changed = Signal()
