"""What was asked of the model and waits for an answer, and what replaces what."""

from __future__ import annotations

import dataclasses
import time
from collections import OrderedDict
from dataclasses import dataclass, field

from napari_promise.document import BBox, Document, Plane, Tile
from napari_promise.prompts import Prompts
from napari_promise.segmentation import Segmentation
from napari_promise.session.sources import ImageInWork

__all__ = ["Request", "Requests"]

#: An object of a document.
_Key = tuple[int, int]


@dataclass(frozen=True, eq=False)
class Request:
    """A request for a mask, for prompts and their masks, or for a drag preview.

    Attributes
    ----------
    image : ImageInWork
    tile : Tile
        What has to be encoded for it.
    object_id : int or None
        None for auto-prompts that are to become a fresh object.
    revision : int
        Of the object.
    prompts : Prompts
    ips, local : bool
        See `Segmenter.segment`.
    again : bool
        Even where the prompts have a mask.
    propose : bool
        Whether auto-prompts are asked for.
    hand_over : bool
        Whether somebody else proposes where the adapter finds many objects.
    drag_preview : int
        The drag that it belongs to; 0 for none.
    view : BBox or None
        What was on the screen; None where that is not known.
    may_look : bool
        Whether the prompts may be asked of another tile after this one, see `looking`.
    rounds : int
        How many tiles were asked before; 0 for the answer that comes at once.
    shown : BBox or None
        Of which part of the plane the mask is that is shown meanwhile.
    farther : Segmentation or None
        What was found from farther away, see `closer.answer_closer`.
    asked : float
        `time.monotonic`.
    """

    image: ImageInWork
    tile: Tile
    object_id: int | None
    revision: int
    prompts: Prompts
    ips: bool
    local: bool
    again: bool = False
    propose: bool = False
    hand_over: bool = False
    drag_preview: int = 0
    view: BBox | None = None
    may_look: bool = False
    rounds: int = 0
    shown: BBox | None = None
    farther: Segmentation | None = None
    asked: float = field(default_factory=time.monotonic)

    @property
    def plane(self) -> Plane:
        """The plane of the object."""
        return self.tile.plane


class Requests:
    """What waits: of each object the newest request, of each document one proposal.

    Of drag previews there is one.

    Has no lock of its own: `TaskQueue` holds its lock around every use.

    Attributes
    ----------
    drag_preview : Request or None
        What is being dragged.

    What the worker took counts as under way until the window's thread has dealt with
    what came of it. Were that over as soon as the worker is done, or later than the
    answer is dealt with, the same asked in between would be taken for answered.
    """

    def __init__(self) -> None:
        self._of_objects: OrderedDict[_Key, Request] = OrderedDict()
        self._latest: dict[_Key, Request] = {}
        self._proposals: OrderedDict[int, Request] = OrderedDict()
        self._closer: OrderedDict[_Key, Request] = OrderedDict()
        self._latest_closer: dict[_Key, Request] = {}
        self.drag_preview: Request | None = None
        self._under_way: list[Request] = []

    def waiting(self) -> list[Request]:
        """Return what waits, the most urgent first."""
        last = [] if self.drag_preview is None else [self.drag_preview]
        return [*self._of_objects.values(), *self._proposals.values(), *last]

    def add(self, request: Request) -> None:
        """Have a request of an object wait; an older one of it is given up."""
        key = _key(request)
        self._forget_closer(key)
        self._of_objects.pop(key, None)
        self._of_objects[key] = self._latest[key] = request

    def look_closer(self, request: Request) -> None:
        """Have a request of an answered object wait until nobody waits for an answer.

        Of each object there is one; it goes with whatever is asked of the object anew.
        """
        key = _key(request)
        self._closer[key] = self._latest_closer[key] = request

    def closer(self) -> list[Request]:
        """Return what waits to be seen from closer by, the latest wish first."""
        return list(reversed(self._closer.values()))

    def _forget_closer(self, key: _Key) -> None:
        self._closer.pop(key, None)
        self._latest_closer.pop(key, None)

    def propose(self, request: Request) -> None:
        """Have a wish for auto-prompts wait; an older one of the document goes."""
        self._proposals[id(request.image.document)] = request

    def has_like(self, request: Request) -> bool:
        """Whether the same is asked by one that waits or is under way; it counts then.

        What was asked of the object since, and was taken back, counts no longer.
        """
        key = _key(request)
        waiting = self._of_objects.get(key)
        for known in (waiting, *self._under_way):
            if known is not None and _asks_the_same(request, known):
                if known is not waiting:
                    self._of_objects.pop(key, None)
                self._latest[key] = known
                return True
        return False

    def withdraw(self, document: Document, object_id: int) -> None:
        """Forget what waits for an object."""
        self._of_objects.pop((id(document), object_id), None)
        self._forget_closer((id(document), object_id))

    def withdraw_tile(self, image: ImageInWork, tile: Tile) -> list[Request]:
        """Forget what waits for a tile, as it cannot be answered; returns what did."""
        gone = []
        self.withdraw_closer(image, tile)
        for key, request in list(self._of_objects.items()):
            if (request.image, request.tile) == (image, tile):
                gone.append(self._of_objects.pop(key))
        for number, request in list(self._proposals.items()):
            if (request.image, request.tile) == (image, tile):
                gone.append(self._proposals.pop(number))
        return gone

    def withdraw_closer(self, image: ImageInWork, tile: Tile) -> None:
        """Forget the closer looks that wait for a tile."""
        for key, request in list(self._closer.items()):
            if (request.image, request.tile) == (image, tile):
                self._forget_closer(key)

    def clear(self) -> list[Request]:
        """Forget all that waits; the answer to what is in progress will not count.

        Returns
        -------
        list of Request
            What will not be answered.
        """
        gone = [*self._latest.values(), *self._proposals.values()]
        gone += [request for request in self._under_way if request.propose]
        self._of_objects.clear()
        self._latest.clear()
        self._closer.clear()
        self._latest_closer.clear()
        self._proposals.clear()
        self.drag_preview = None
        return gone

    def move(self, previous: ImageInWork, image: ImageInWork) -> None:
        """Have what waits answered on fresh pixels of the same objects."""
        for key, request in list(self._of_objects.items()):
            if request.image is previous:
                moved = dataclasses.replace(request, image=image)
                self._of_objects[key] = self._latest[key] = moved
        for request in list(self._closer.values()):
            if request.image is previous:
                self.look_closer(dataclasses.replace(request, image=image))
        self.drag_preview = None
        for number, request in list(self._proposals.items()):
            if request.image is previous:
                self._proposals[number] = dataclasses.replace(request, image=image)

    def take(self, request: Request) -> None:
        """Have one of those that wait be the one in progress."""
        if request is self.drag_preview:
            self.drag_preview = None
            return
        self._under_way.append(request)
        if request.propose:
            self._proposals.pop(id(request.image.document))
        elif request.rounds:
            self._closer.pop(_key(request))
        else:
            self._of_objects.pop(_key(request))

    def end(self, request: Request) -> None:
        """Take note that what came of a request is dealt with, in the window."""
        self._under_way = [one for one in self._under_way if one is not request]

    def settle(self, request: Request) -> bool:
        """Whether an answer counts: not where it was asked anew, or cancelled."""
        self.end(request)
        key = _key(request)
        latest = self._latest_closer if request.rounds else self._latest
        if latest.get(key) is not request:
            return False
        del latest[key]
        return True


def _key(request: Request) -> _Key:
    assert request.object_id is not None
    return id(request.image.document), request.object_id


def _asks_the_same(request: Request, other: Request | None) -> bool:
    return (
        other is not None
        and other.image is request.image
        and other.object_id == request.object_id
        and other.revision == request.revision
        and other.ips == request.ips
        and other.local == request.local
        and not other.propose
        and not other.drag_preview
        and not other.rounds
    )
