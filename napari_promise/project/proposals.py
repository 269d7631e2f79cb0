"""What a model proposes for images, kept apart from what people do to them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from napari_promise.document import Document, MaskLogits, ObjectRecord, Snapshot, Source
from napari_promise.files import utc_now
from napari_promise.project.confidence import raw_confidence
from napari_promise.project.items import State
from napari_promise.project.ledger import Ledger
from napari_promise.project.store import ItemStores
from napari_promise.proposing import ProposedObject

__all__ = ["Proposals", "put_into", "record_of"]


class _Save(Protocol):
    def __call__(
        self,
        key: str,
        document: Document,
        labels: NDArray[Any] | None,
        *,
        state: State | None = None,
    ) -> None: ...


class Proposals:
    """The proposals of a project.

    Parameters
    ----------
    ledger : Ledger
    stores : ItemStores
    save : callable
        `Project.save`.
    shape_of : callable
        Returns the shape of an image by its key; reads it.
    """

    def __init__(
        self,
        ledger: Ledger,
        stores: ItemStores,
        save: _Save,
        shape_of: Callable[[str], tuple[int, ...]],
    ) -> None:
        self._ledger = ledger
        self._stores = stores
        self._save = save
        self._shape_of = shape_of

    def save(
        self,
        key: str,
        objects: Sequence[ProposedObject],
        confidence: float | None,
        details: Mapping[str, Any],
    ) -> None:
        """Keep what a model proposes, in place of an earlier proposal.

        Parameters
        ----------
        key : str
        objects : sequence of ProposedObject
            None at all is a proposal too: nothing is there.
        confidence : float or None
            In [0, 1], before calibration; None: from the details, see
            `confidence.raw_confidence`.
        details : mapping
            What the confidence was made of, plain data.

        Raises
        ------
        ValueError
            If the image is in progress, done or skipped: the user is ahead.
        OSError
            If it cannot be written.
        """
        ledger = self._ledger
        ledger.check(key)
        with ledger.disk:
            ledger.check_writable(key)
            before = ledger.entry(key)
            if before.state not in ("new", "proposed"):
                raise ValueError(
                    f"{key} is {before.state}: propose for images that nobody worked "
                    "on."
                )
            records = tuple(
                record_of(number, proposed)
                for number, proposed in enumerate(objects, start=1)
            )
            raw = raw_confidence(details) if confidence is None else confidence
            raw = None if raw is None else float(np.clip(raw, 0, 1))
            when = utc_now()
            about = {"key": key, "confidence": raw, "details": dict(details)}
            self._stores.of(key).write_proposal(
                {**about, "when": when}, Snapshot(records, highest_id=len(records))
            )
            entry = before.replace(
                state="proposed",
                objects=len(records),
                proposed=len(records),
                raw=raw,
                when=when,
            )
            ledger.put({key: entry})
        ledger.tell(key)

    def records(self, key: str) -> tuple[ObjectRecord, ...] | None:
        """Return what is proposed for an image, None without a proposal.

        Raises
        ------
        ValueError
            If it is damaged.
        """
        found = self._read(key)
        return None if found is None else found[1].records

    def details(self, key: str) -> dict[str, Any] | None:
        """Return the details that a proposal was saved with, None without one.

        Raises
        ------
        ValueError
            If it is damaged.
        """
        found = self._read(key)
        return None if found is None else dict(found[0].get("details") or {})

    def load_into(self, key: str, document: Document) -> tuple[int, ...]:
        """Put what is proposed into a document as objects that are not committed.

        One step of its history.

        Returns
        -------
        tuple of int
            The objects' ids; empty without a proposal.

        Raises
        ------
        ValueError
            If the proposal is damaged.
        """
        return put_into(document, self.records(key) or ())

    def accept(self, key: str) -> None:
        """Confirm a proposal as it is, without opening the image.

        Raises
        ------
        ValueError
            If there is no proposal that waits for the user, or the image or the
            proposal cannot be read.
        OSError
            If it cannot be saved.
        """
        ledger = self._ledger
        ledger.check(key)
        with ledger.disk:
            state = ledger.entry(key).state
            if state != "proposed":
                raise ValueError(
                    f"{key} is {state}: only what is proposed can be accepted."
                )
            labels = np.zeros(self._shape_of(key), np.uint16)
            document = Document()
            document.events.labels_patched.connect(lambda patch: patch.apply(labels))
            for object_id in self.load_into(key, document):
                record = document.get(object_id)
                if record.region is not None:
                    document.commit(object_id, labels[record.plane])
            self._save(key, document, labels, state="done")

    def _read(self, key: str) -> tuple[dict[str, Any], Snapshot] | None:
        self._ledger.check(key)
        with self._ledger.disk:
            return self._stores.of(key).read_proposal()


def record_of(number: int, proposed: ProposedObject) -> ObjectRecord:
    """Return a proposed object as the record that is kept of it."""
    sources = proposed.sources
    if sources is None:
        automatic: list[Source] = ["auto"] * len(proposed.prompts.points)
        sources = tuple(automatic)
    return ObjectRecord(
        number,
        tuple(proposed.plane),
        proposed.class_name,
        proposed.prompts,
        sources,
        region=proposed.region,
        score=proposed.score,
        logits=None if proposed.logits is None else MaskLogits(proposed.logits),
        answered=proposed.prompts,
        answered_revision=0,
        coarse=proposed.coarse,
        tile=proposed.tile,
    )


def put_into(document: Document, records: Iterable[ObjectRecord]) -> tuple[int, ...]:
    """Put proposed objects into a document, not committed, as one step of its history.

    Parameters
    ----------
    document : Document
    records : iterable of ObjectRecord
        As `record_of` made them; their ids are not kept.

    Returns
    -------
    tuple of int
        The objects' ids.
    """
    ids = []
    with document.step("load proposal"):
        for proposed in records:
            record = document.add_saved(
                dataclasses.replace(proposed, id=document.next_id, label=0)
            )
            if proposed.region is not None:
                document.set_mask(
                    record.id,
                    proposed.region,
                    score=np.nan if proposed.score is None else proposed.score,
                    logits=None if proposed.logits is None else proposed.logits.array,
                    revision=record.revision,
                    tile=proposed.tile,
                )
            ids.append(record.id)
    return tuple(ids)
