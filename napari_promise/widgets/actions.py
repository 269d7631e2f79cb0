"""What the buttons and keys do, in terms of the document, the session and the layers.

Each button of a panel and each key is connected to one method here. What cannot be
done is answered with one line and a remedy.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Concatenate, ParamSpec

import numpy as np
from psygnal import Signal

from napari_promise.data.export import load_prompts
from napari_promise.data.place import Place
from napari_promise.document import Document, ObjectRecord, Plane, merge, split
from napari_promise.session import Order, SegmentResult, Session
from napari_promise.widgets.connections import Connections
from napari_promise.widgets.layers import edits
from napari_promise.widgets.layers.bridge import LayerBridge, Tool
from napari_promise.widgets.layers.drafts import drafts, is_taken, next_uncertain
from napari_promise.widgets.layers.geometry import placement
from napari_promise.widgets.layers.work import Work

_P = ParamSpec("_P")

#: Said of an object whose points only exclude.
NO_TARGET = (
    "All points exclude, so nothing says where the object is: add a point to include, "
    "or a box."
)
_NO_IMAGE = (
    "There is no image to work on: open one, or take one from File → Open Sample → "
    "ProMISe."
)


@dataclass(frozen=True)
class Snapshot:
    """Everything an export needs, taken at one moment, so that work can go on.

    Parameters
    ----------
    labels : array or LabelStore, shape (…, H, W)
        The labels layer's pixels, a copy.
    placement : mapping
        ``scale, translate, rotate, shear, affine`` of the layer.
    unit : str or None
        Unit of the scale.
    objects : tuple of ObjectRecord
    image_name : str
    provenance : mapping
        What made the masks.
    place : Place or None
        Where the image's file lies, unless the layer was moved since.
    file_name : str or None
        Of the file that the image was opened from, where known.
    """

    labels: Any
    placement: Mapping[str, Any]
    unit: str | None
    objects: tuple[ObjectRecord, ...]
    image_name: str
    provenance: Mapping[str, Any]
    place: Place | None = None
    file_name: str | None = None


def _in_order(
    method: Callable[Concatenate[Actions, _P], Any],
) -> Callable[Concatenate[Actions, _P], None]:
    """Answer as `_answering`, and act only after what was asked for before."""
    answered = _answering(method)

    def call(self: Actions, /, *args: _P.args, **kwargs: _P.kwargs) -> None:
        work = self._bridge.work
        if work is None:
            self._tell(_NO_IMAGE)
        else:
            self._order.do(work.document, lambda: answered(self, *args, **kwargs))

    functools.update_wrapper(call, method)
    return call


def _after_commits(
    method: Callable[Concatenate[Actions, _P], Any],
) -> Callable[Concatenate[Actions, _P], None]:
    """Act as `_in_order`, and after all commits that are pending."""
    answered = _answering(method)

    def call(self: Actions, /, *args: _P.args, **kwargs: _P.kwargs) -> None:
        work = self._bridge.work
        if work is None:
            self._tell(_NO_IMAGE)
        else:
            self._order.do(
                work.document,
                lambda: answered(self, *args, **kwargs),
                after_commits=True,
            )

    functools.update_wrapper(call, method)
    return call


def _answering(
    method: Callable[Concatenate[Actions, _P], Any],
) -> Callable[Concatenate[Actions, _P], None]:
    """Need an image, and turn a ValueError into a line for the user."""

    def call(self: Actions, /, *args: _P.args, **kwargs: _P.kwargs) -> None:
        if self._bridge.work is None:
            self._tell(_NO_IMAGE)
            return
        try:
            method(self, *args, **kwargs)
        except (ValueError, OSError) as error:
            self._tell(str(error))

    functools.update_wrapper(call, method)
    return call


class Actions:
    """Everything the user can ask for.

    Parameters
    ----------
    session : Session
    bridge : LayerBridge
    tell : callable
        Shows one line to the user.
    order : Order
        Holds acts back that have to wait; the bridge's.
    """

    #: Told of a document when what waited in it was done, or will not be.
    settled = Signal(Document)

    def __init__(
        self,
        session: Session,
        bridge: LayerBridge,
        tell: Callable[[str], None],
        order: Order,
    ) -> None:
        self._session = session
        self._bridge = bridge
        self._tell = tell
        self._order = order
        # Asked whether planes of an object of the document in work are still found.
        self.is_finding: Callable[[int], bool] = lambda _label: False
        # Objects that are committed when all their planes are there: (document,
        # label, keep_painted), in the order of asking.
        self._held: list[tuple[Document, int, bool]] = []
        self._connections = Connections()
        for signal, handler in (
            (session.segmented, self._on_segmented),
            (session.unanswered, self._on_unanswered),
            (session.proposal_ended, self._settle),
        ):
            self._connections.add(signal, handler)

    def close(self) -> None:
        """Hear nothing more of the session."""
        self._connections.release()

    def is_waiting(self, document: Document) -> bool:
        """Whether commits or other acts on a document wait for an answer."""
        held = any(waiting is document for waiting, _, _ in self._held)
        return held or bool(document.pending) or self._order.holds(document)

    def waiting_line(self) -> str:
        """Say in a line what waits in the document on display; empty for nothing."""
        work = self._bridge.work
        if work is None:
            return ""
        held, pending = self._order.count(work.document), len(work.document.pending)
        if held:
            return f"Waiting for an answer; {held} of your acts follow in their order."
        if any(document is work.document for document, _, _ in self._held):
            return "The object is committed as soon as all its planes are there."
        if pending:
            objects = "1 object is" if pending == 1 else f"{pending} objects are"
            return f"{objects} committed as soon as their masks are there."
        return ""

    @property
    def _document(self) -> Document:
        assert self._bridge.work is not None
        return self._bridge.work.document

    # -- prompts ------------------------------------------------------------------

    def auto(self) -> None:
        """Let the adapter place its points on the plane on display."""
        self._auto(self._bridge.plane)

    @_in_order
    def _auto(self, plane: Plane) -> None:
        if not self._bridge.has_image():
            raise ValueError(_NO_IMAGE)
        if not self._session.settings.adapter:
            raise ValueError(
                "Stock Segment Anything places no points: choose an adapter, or click "
                "on the object yourself."
            )
        self._session.propose(plane)

    @_answering
    def flip(self) -> None:
        """Flip the selected points; with none selected, what the next click says."""
        if not self._bridge.flip_selected():
            self._bridge.set_include(not self._bridge.include)

    @_answering
    def choose_include(self, include: bool) -> None:
        """Choose what the next point, scribble or lasso says."""
        self._bridge.set_include(include)
        if self._bridge.tool() not in ("scribble", "lasso"):
            self._bridge.use_points()

    @_answering
    def toggle_tool(self, tool: Tool) -> None:
        """Draw a box, a scribble or a lasso next; asked again, go back to points."""
        self._bridge.use_tool("point" if self._bridge.tool() == tool else tool)

    @_answering
    def take_mask(self) -> None:
        """Make the selected label of a Labels layer the object's mask prompt."""
        _, mask = self._bridge.selected_label_mask()
        self._add_mask(self._bridge.plane, np.array(mask))
        self._bridge.use_points()

    @_in_order
    def _add_mask(self, plane: Plane, mask: np.ndarray) -> None:
        edits.take_mask(self._document, plane, mask)

    @_in_order
    def clear(self) -> None:
        """Take away the prompts and the mask of the active object."""
        if self._document.active_id is None:
            raise ValueError("No object is active: click a row to open one.")
        self._document.clear(self._document.active_id)

    @_in_order
    def segment(self) -> None:
        """Segment what has no answer yet; if there is no such object, the active one.

        Again, that is: another adapter or IPS may have been switched on since.
        """
        if self.segment_waiting():
            return
        record = self._document.active
        if record is None or record.prompts.is_empty:
            raise ValueError("There is nothing to segment: add a point or a box.")
        if not record.prompts.has_target:
            raise ValueError(NO_TARGET)
        self._session.segment(record.id, again=True)

    def segment_waiting(self) -> int:
        """Ask for every mask that is due; returns how many."""
        waiting = [
            record.id
            for record in self._document.objects
            if not record.is_answered and record.prompts.has_target
        ]
        for object_id in waiting:
            self._session.segment(object_id)
        return len(waiting)

    # -- objects ------------------------------------------------------------------

    def commit(self) -> None:
        """Write the active object into the labels; after its mask, if one is due.

        Where several objects are chosen, all of them.
        """
        if len(self._bridge.chosen) > 1:
            self.accept_many(self._bridge.chosen)
            return
        if self._bridge.work is not None:
            # At once, also where the commit has to wait: the next click may not.
            self._begin_clicking()
        self._commit()

    @_in_order
    def _commit(self) -> None:
        document = self._document
        record = document.active
        if record is None:
            raise ValueError(
                "No object is active: add a point or a box, or click a row."
            )
        self._write(record.id, keep_painted=True)

    @_after_commits
    def rewrite(self, object_id: int) -> None:
        """Write an object as its mask is, over what was painted by hand."""
        self._write(object_id, keep_painted=False)

    def _write(self, object_id: int, *, keep_painted: bool) -> None:
        work, document = self._bridge.work, self._document
        assert work is not None
        record = document.get(object_id)
        if not record.is_answered and not record.prompts.has_target:
            raise ValueError(f"Object {object_id} stays open. {NO_TARGET}")
        whole = [r for r in document.whole(object_id) if not r.is_blank]
        label, due = record.label, [one for one in whole if not one.is_answered]
        if self.is_finding(label) or (len(whole) > 1 and due):
            # An object is committed whole.
            if any(not one.prompts.has_target for one in due):
                raise ValueError(f"Object {label} stays open. {NO_TARGET}")
            self._held = [one for one in self._held if one[:2] != (document, label)]
            self._held.append((document, label, keep_painted))
            document.active_id = None
            return
        with document.step("commit"):
            # An object is committed on all its planes.
            if len(whole) > 1 and not document.pending:
                document.commit_many(
                    [record.id for record in whole],
                    work.result.labels,
                    overlap=self._session.settings.overlap,
                    keep_painted=keep_painted,
                )
                document.active_id = None
                return
            for record in whole or [document.get(object_id)]:
                if record.is_answered and not document.pending:
                    labels = work.result.plane(record.plane)
                    self._session.commit(record.id, labels, keep_painted=keep_painted)
                else:
                    self._session.commit_later(record.id, keep_painted=keep_painted)
            document.active_id = None

    def _begin_clicking(self) -> None:
        """Make the next click the first of an object: it says "this belongs to it"."""
        self._bridge.set_include(True)
        self._bridge.use_points()

    def _on_segmented(self, result: SegmentResult) -> None:
        self._settle(result.document)

    def _on_unanswered(self, document: Document, object_id: int, why: str) -> None:
        if document.take_back_commit(object_id):
            self._tell(f"Object {object_id} is not committed and stays open: {why}")
        self._settle(document)

    def take_up(self) -> None:
        """Go on with what waits in the image on display, which may be another."""
        work = self._bridge.work
        if work is None:
            return
        for object_id in work.document.pending:
            if self._bridge.has_image():
                self._session.segment(object_id)
        self._settle(work.document)

    def _settle(self, document: Document) -> None:
        """Do what waited and can be done now: commits first, then acts held back."""
        work = self._bridge.work_of(document)
        if work is None:
            return
        self._commit_held(work)
        self._carry_out(work)
        if work is self._bridge.work:
            self._order.release(document, work.result.plane)
        if not self.is_waiting(document):
            self.settled.emit(document)

    def go_on(self, document: Document, _labels: tuple[int, ...] = ()) -> None:
        """Take note that all planes of objects were found."""
        self._settle(document)

    def _commit_held(self, work: Work) -> None:
        """Commit the objects whose planes have all come."""
        if work is not self._bridge.work:
            return
        waiting = [one for one in self._held if one[0] is work.document]
        for one in waiting:
            document, label, keep_painted = one
            whole = [r for r in document.of_label(label) if not r.is_blank]
            if self.is_finding(label) or not all(r.is_answered for r in whole):
                continue
            self._held.remove(one)
            active = document.active_id
            try:
                if whole:
                    self._write(whole[0].id, keep_painted=keep_painted)
            except ValueError as error:
                self._tell(str(error))
            if active in document:
                document.active_id = active

    def _carry_out(self, work: Work) -> None:
        if work.document.pending:
            _, refused = work.document.carry_out(work.result.plane)
            for object_id, why in refused:
                self._tell(f"Object {object_id} stays open: {why}")

    def new(self) -> None:
        """Begin an object on the plane on display."""
        if self._bridge.work is not None:
            self._begin_clicking()
        self._new(self._bridge.plane)

    @_in_order
    def _new(self, plane: Plane) -> None:
        document, named = self._document, None
        if self._bridge.picks and document.active is None:
            # of many, the next is hardly of another class than the last
            others = document.on_plane(plane)
            named = others[-1].class_name if others else None
        document.new_object(plane, class_name=named)

    def reopen(self, object_id: int) -> None:
        """Work on an object again, with its prompts, on its plane."""
        work = self._bridge.work
        if work is not None and object_id in work.document:
            self._bridge.go_to(work.document.get(object_id).plane)  # at once
        if work is not None and object_id in work.document.pending:
            self._reopen_committed(object_id)
        else:
            self._reopen(object_id)

    @_after_commits
    def _reopen_committed(self, object_id: int) -> None:
        self._open(object_id)

    @_in_order
    def _reopen(self, object_id: int) -> None:
        self._open(object_id)

    def _open(self, object_id: int) -> None:
        self._bridge.go_to(self._document.get(object_id).plane)
        self._document.active_id = object_id
        self._bridge.use_points()

    @_in_order
    def set_class(self, object_id: int, name: str) -> None:
        """Name the class of an object."""
        self._document.set_class(object_id, name)

    @_after_commits
    def delete(self, object_id: int) -> None:
        """Take an object away on all its planes, with its pixels in the labels."""
        work = self._bridge.work
        assert work is not None
        whole = self._document.whole(object_id)
        if len(whole) > 1:
            ids = [record.id for record in whole]
            self._document.remove_many(ids, work.result.labels)
        else:
            labels = work.result.plane(whole[0].plane)
            self._document.remove(object_id, labels)

    # -- many objects ---------------------------------------------------------------

    @_after_commits
    def accept(self, floor: float) -> None:
        """Commit every object that waits and whose score reaches a floor; one step."""
        work = self._bridge.work
        assert work is not None
        waiting = [record for record, _ in drafts(work.document)]
        # An object through planes is as sure as its weakest plane.
        weak = {r.label for r in waiting if not is_taken(r, floor)}
        taken = [r.id for r in waiting if r.label not in weak]
        if not taken:
            raise ValueError("No object that waits reaches this score: lower it.")
        work.document.commit_many(
            taken, work.result.labels, overlap=self._session.settings.overlap
        )

    @_after_commits
    def accept_many(self, object_ids: Sequence[int]) -> None:
        """Commit these objects, as far as they have a mask; one step."""
        work = self._bridge.work
        assert work is not None
        there = [work.document.get(i) for i in object_ids if i in work.document]
        taken = [r.id for r in there if r.region is not None and r.is_answered]
        if not taken:
            raise ValueError("None of these objects has a mask yet.")
        work.document.commit_many(
            taken, work.result.labels, overlap=self._session.settings.overlap
        )
        self._bridge.set_chosen(())

    def merge_chosen(self) -> None:
        """Make one object of those that are chosen; one step."""
        self._merge(self._bridge.chosen)

    @_after_commits
    def _merge(self, object_ids: Sequence[int]) -> None:
        work = self._bridge.work
        assert work is not None
        merge(work.document, object_ids, work.result.labels)
        self._bridge.set_chosen(())

    def split(self) -> None:
        """Divide the active object, between its points or at its waist; one step."""
        active = None if self._bridge.work is None else self._document.active_id
        self._split(active)

    @_after_commits
    def _split(self, object_id: int | None) -> None:
        work = self._bridge.work
        assert work is not None
        if object_id is None or object_id not in work.document:
            raise ValueError("No object is active: click on the one to be split.")
        split(work.document, object_id, work.result.labels)

    def reject(self) -> None:
        """Delete what is selected: points or boxes, else objects; one step.

        An object goes with the last of its points that says where it is, where there
        are many; elsewhere the active one goes only while it was never committed.
        """
        bridge = self._bridge
        if bridge.work is None:
            return
        lost, some = bridge.selected_prompts()
        active = self._document.active
        if some and not (bridge.picks and lost):
            bridge.delete_selected()
        elif some:
            self.delete_many(lost)
        elif len(bridge.chosen) > 1:
            self.delete_many(bridge.chosen)
            bridge.set_chosen(())
        elif active is not None and (bridge.picks or self._document.is_draft(active)):
            self.delete(active.id)

    def choose_within(self, *, box: bool = False) -> None:
        """Draw around objects to choose them, or a box; asked again, place points."""
        self._bridge.choose_within(box=box)

    @_in_order
    def next_uncertain(self) -> None:
        """Look at the object that waits and has the next higher score."""
        record = next_uncertain(self._document)
        if record is None:
            raise ValueError("No object waits to be accepted.")
        self._open(record.id)
        if record.region is not None:
            r0, c0, r1, c1 = record.region.bbox
            self._bridge.look_at(((r0 + r1 - 1) / 2, (c0 + c1 - 1) / 2))

    @_after_commits
    def delete_many(self, object_ids: Sequence[int]) -> None:
        """Take objects away, with their pixels in the labels; one step."""
        work = self._bridge.work
        assert work is not None
        there = [
            record.id
            for label in dict.fromkeys(
                work.document.get(i).label for i in object_ids if i in work.document
            )
            for record in work.document.of_label(label)
        ]
        if there:
            work.document.remove_many(there, work.result.labels)

    @_in_order
    def set_class_many(self, object_ids: Sequence[int], name: str) -> None:
        """Name the class of objects; one step."""
        document = self._document
        with document.step("change class"):
            for object_id in object_ids:
                if object_id in document:
                    document.set_class(object_id, name)

    # -- history ------------------------------------------------------------------

    @_in_order
    def undo(self) -> None:
        """Take the latest step back, and look at where it was."""
        for one in reversed(self._held):
            if one[0] is self._document:  # asked for last, and not done yet
                self._held.remove(one)
                self._document.active_id = next(
                    (r.id for r in self._document.of_label(one[1])), None
                )
                return
        if self._document.undo():
            self._look_at_active()

    @_in_order
    def redo(self) -> None:
        """Do the latest undone step again, and look at where it is."""
        if self._document.redo():
            self._look_at_active()

    def _look_at_active(self) -> None:
        assert self._bridge.work is not None
        self._carry_out(self._bridge.work)  # a commit redone may be due at once
        for object_id in self._document.pending:
            self._session.segment(object_id)  # or its mask was never asked for
        active = self._document.active
        if active is not None:
            self._bridge.go_to(active.plane)

    # -- files --------------------------------------------------------------------

    @_after_commits
    def load(self, path: Path) -> None:
        """Add the objects of a prompts file, and segment them as they were."""
        work = self._bridge.work
        assert work is not None
        saved = load_prompts(path)
        depth = len(work.shape) - 2
        for item in saved.objects:
            inside = len(item.plane) == depth and all(
                0 <= i < n for i, n in zip(item.plane, work.shape, strict=False)
            )
            if not inside:
                raise ValueError(
                    f"{path.name} holds an object on plane {item.plane}, which this "
                    "image does not have: open the image the prompts were made on."
                )
        ids = self._session.replay(saved.objects)
        if ids:
            self._open(ids[-1])
        settings = self._session.settings
        made = tuple(
            (saved.provenance.get(what) or {}).get("name", "")
            for what in ("model", "adapter")
        )
        used = (settings.model, settings.adapter)
        if saved.provenance and made != used:
            self._tell(
                f"These prompts were answered by {_named(*made)}, now "
                f"{_named(*used)} answers them: choose the same for the same masks."
            )

    def snapshot(self) -> Snapshot | None:
        """Take everything an export needs, or say what is missing."""
        work = self._bridge.work
        if work is None:
            self._tell(_NO_IMAGE)
            return None
        where = placement(work.image)
        units = where.pop("units", None)
        unit = None if units is None else str(units[-1])
        place = work.image.metadata.get("place")
        return Snapshot(
            work.result.labels.copy(),
            where,
            None if unit in (None, "pixel") else unit,
            work.document.objects,
            work.image.name,
            self._session.provenance(),
            place if isinstance(place, Place) and place.is_that_of(where) else None,
            _file_of(work.image),
        )


def _file_of(image: Any) -> str | None:
    """Return the name of the one file that a layer was opened from, where known."""
    path = getattr(image.source, "path", None)
    return None if not isinstance(path, (str, Path)) else Path(path).name


def _named(model: str, adapter: str) -> str:
    return f"{Path(model).name} with {Path(adapter).name or 'no adapter'}"
