"""The Points layer that holds the prompts: read, shown, and watched for edits.

Polarity is a feature, and colour and symbol follow it, never the other way.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas
from napari.layers import Points
from psygnal import Signal
from qtpy.QtCore import QTimer

from napari_promise.document import SOURCES
from napari_promise.widgets.layers.geometry import image_shape, placement
from napari_promise.widgets.layers.guard import Guard
from napari_promise.widgets.layers.napari_internals import is_dragging
from napari_promise.widgets.layers.table import (
    CODES,
    UNASSIGNED,
    USER,
    PointTable,
    claim_touched,
)
from napari_promise.widgets.layers.thumbnails import draw_thumbnail_later

if TYPE_CHECKING:
    from napari.layers import Image

INCLUDE, EXCLUDE = "include", "exclude"

#: Okabe and Ito's bluish green and vermillion: apart for colour-blind eyes too.
INCLUDE_COLOUR = (0.0, 0.62, 0.45)
EXCLUDE_COLOUR = (0.84, 0.37, 0.0)
_WHITE = (1.0, 1.0, 1.0, 1.0)

_SYMBOLS = {True: "disc", False: "x"}
_POLARITIES = np.array([EXCLUDE, INCLUDE], dtype=object)
_SOURCE_WORDS = np.array(SOURCES, dtype=object)
_SAYS_EXCLUDE = {"exclude", "negative", "background", "-", "0", "0.0", "false"}

#: A point is this share of the image's shorter side, within these screen pixels.
_SIZE_SHARE = 1 / 45
_SCREEN_SIZES = (9, 18)

#: Borders as a share of the point: a model's disc is a ring. A cross has thin arms
#: that a thick border would fill.
_USER_BORDER, _MODEL_BORDER = 0.15, 0.3

#: How strongly points of objects other than the active one are drawn, and points that
#: a mask of another plane brought.
_OTHERS, _PROPAGATED = 0.35, 0.5


class PointPrompts:
    """One Points layer, its features ``object, polarity, source, score``, its look.

    Parameters
    ----------
    image : Image
        The layer whose pixels the points are in; the points lie over it.

    Attributes
    ----------
    layer : Points
        The layer; adding it to a viewer and taking it out is the caller's business.
    agreed : PointTable
        The rows as last shown or reported.
    edited : Signal
        ``(before, after)`` once an edit has settled, whoever made it: mouse, keys,
        clipboard or a script.
    dragged : Signal
        ``(before, now)`` at every step of a drag; both the same when it ended where
        it began.
    """

    edited = Signal(PointTable, PointTable)
    dragged = Signal(PointTable, PointTable)

    def __init__(self, image: Image) -> None:
        ndim = image.ndim
        self.layer = Points(
            np.zeros((0, ndim)),
            ndim=ndim,
            name="ProMISe points",
            features={
                "object": np.zeros(0, dtype=np.int64),
                "polarity": np.zeros(0, dtype=object),
                "source": np.zeros(0, dtype=object),
                "score": np.zeros(0),
            },
            size=max(3.0, min(image_shape(image)[-2:]) * _SIZE_SHARE),
            canvas_size_limits=_SCREEN_SIZES,
            border_width=_USER_BORDER,
            **placement(image),
        )
        self.agreed = PointTable.empty(ndim)
        self._agreed_as_read = False
        self._foreground = UNASSIGNED
        self._next = (UNASSIGNED, True)
        self._writing = Guard()
        self._just_added = False
        self._changing = False
        self._last_step = self.agreed.data
        self._borrowed_select = False
        self._next_look: tuple[object, object] | None = None
        draw_thumbnail_later(self.layer)
        self._prepare_next()
        self._connections = (
            (self.layer.events.data, self._on_data),
            (self.layer.events.features, self._on_features),
            (self.layer.events.set_data, self._on_refreshed),
            (self.layer.events.mode, self._on_mode),
        )
        self.connect()

    def connect(self) -> None:
        """Watch the layer."""
        for emitter, handler in self._connections:
            emitter.connect(handler)
        self.layer.mouse_move_callbacks.append(self._grab_on_hover)

    def disconnect(self) -> None:
        """Stop watching the layer; it stays as it is."""
        for emitter, handler in self._connections:
            emitter.disconnect(handler)
        if self._grab_on_hover in self.layer.mouse_move_callbacks:
            self.layer.mouse_move_callbacks.remove(self._grab_on_hover)

    # -- reading and showing ------------------------------------------------------

    def read(self) -> PointTable:
        """Read the layer's rows as they are at this moment.

        Returns
        -------
        PointTable
            Copies; a feature that somebody took away is read as it was agreed on, or
            as the default of a user's point.
        """
        data = np.array(self.layer.data, dtype=float)
        features = self.layer.features
        same_rows = len(self.agreed) == len(data)

        def column(name: str, agreed: np.ndarray, default: Any) -> Any:
            if name in features:
                return features[name].array
            return agreed if same_rows else np.full(len(data), default)

        objects = column("object", self.agreed.objects, UNASSIGNED)
        polarities = _POLARITIES[self.agreed.include.astype(np.int64)]
        include = column("polarity", polarities, INCLUDE)
        sources = column("source", _SOURCE_WORDS[self.agreed.sources], SOURCES[USER])
        scores = column("score", self.agreed.scores, np.nan)
        return PointTable(
            data,
            _numbers(np.asarray(objects), np.int64, UNASSIGNED),
            _read_words(include, _POLARITIES, _as_include).astype(bool),
            _read_words(sources, _SOURCE_WORDS, _as_source).astype(np.uint8),
            _numbers(np.asarray(scores), np.float64, np.nan),
        )

    def show(self, table: PointTable, foreground: int) -> None:
        """Make the layer hold exactly these rows, as our own doing.

        Parameters
        ----------
        table : PointTable
            Rows to show. Where positions are the same already the layer's data is
            not assigned, so that selection and interaction go on undisturbed.
        foreground : int
            Object whose points are shown in full, and the others' faintly; 0 where all
            are shown alike.
        """
        self._foreground = foreground
        if table is self.agreed and self._in_drag():
            return  # napari has moved them on; they are restyled once they settle
        with self._writing:
            if table is self.agreed and self._agreed_as_read:
                self._restyle(table)
                return
            now = self.read()
            if not np.array_equal(now.data, table.data):
                self.layer.selected_data = set()
                # A copy: napari drags points in place, in the array it was given.
                self.layer.data = table.data.copy()
            if not now.same(table) or set(self.layer.features) < set(_columns(table)):
                self.layer.features = _columns(table)
                self._prepare_next()
            self._restyle(table)
        self.agreed = table
        self._agreed_as_read = False

    def set_next(self, object_id: int, include: bool) -> None:
        """Choose whose the next added point is, and what it says.

        Parameters
        ----------
        object_id : int
            The active object, or 0 where the next point begins one.
        include : bool
            Polarity of the next point.
        """
        if self._next != (object_id, include):
            self._next = (object_id, include)
            self._prepare_next()

    def _prepare_next(self) -> None:
        """Bring the layer's defaults in line with what the next point shall be.

        napari takes them from the last row whenever features are assigned, and from
        the selected points whenever some are selected.
        """
        object_id, include = self._next
        layer = self.layer
        wanted = {
            "object": object_id,
            "polarity": INCLUDE if include else EXCLUDE,
            "source": SOURCES[USER],
            "score": np.nan,
        }
        face, border = _LOOKS[int(include), USER, 0]
        with self._writing, layer.block_update_properties():
            defaults = layer.feature_defaults
            if any(
                name not in defaults or not _says(defaults[name].iloc[0], value)
                for name, value in wanted.items()
            ):
                layer.feature_defaults = wanted
            wanted_look = tuple(face), tuple(border), _SYMBOLS[include]
            if self._next_look != (wanted_look, _next_look_of(layer)):
                layer.current_face_color, layer.current_border_color, _ = wanted_look
                layer.current_symbol = _SYMBOLS[include]
                self._next_look = wanted_look, _next_look_of(layer)

    def flip_selected(self) -> int:
        """Turn the polarity of the selected points; an edit like any other.

        Returns
        -------
        int
            How many points were flipped.
        """
        rows = sorted(int(i) for i in self.layer.selected_data)
        if not rows:
            return 0
        features = self.layer.features.copy()
        include = self.read().include
        include[rows] = ~include[rows]
        features["polarity"] = _POLARITIES[include.astype(int)]
        self.layer.features = features
        return len(rows)

    def _restyle(self, table: PointTable) -> None:
        """Bring the look of every row in line with what it says; skip what is right."""
        if not len(table):
            return
        layer = self.layer
        foreground = self._foreground
        faint = np.zeros(len(table), dtype=np.int64)
        if foreground != UNASSIGNED:
            faint[table.objects != foreground] = 1
        looks = _LOOKS[table.include.astype(np.int64), table.sources, faint]
        wanted = {
            "face_color": looks[:, 0],
            "border_color": looks[:, 1],
            "border_width": np.where(
                (table.sources != USER) & table.include, _MODEL_BORDER, _USER_BORDER
            ),
        }
        with layer.block_update_properties():
            for name, value in wanted.items():
                if not _close(np.asarray(getattr(layer, name)), value):
                    setattr(layer, name, value)
            symbols = np.asarray(layer.symbol)
            kind = type(symbols[0])
            pair = np.array([kind(_SYMBOLS[False]), kind(_SYMBOLS[True])], dtype=object)
            right = pair[table.include.astype(np.int64)]
            if symbols.tolist() != right.tolist():
                layer.symbol = right

    # -- watching -----------------------------------------------------------------

    def _settle(self) -> None:
        if self._writing:
            return
        before, now = self.agreed, self.read()
        after = claim_touched(before, now)
        if after.same(before):
            return
        self.agreed = after
        self._agreed_as_read = after.same(now)
        self.edited.emit(before, after)

    def _on_data(self, event: Any) -> None:
        # Every edit is announced twice; the features fit the data only in the past
        # participle.
        action = str(getattr(event.action, "value", event.action))
        if self._writing:
            return
        self._changing = action == "changing"
        self._last_step = self.agreed.data
        if action in ("adding", "changing"):
            self._prepare_next()
        if action not in ("added", "removed", "changed"):
            return
        if action == "added":
            self._just_added = True
            # napari selects what it added only after this event.
            QTimer.singleShot(0, self._deselect_added)
        if action == "changed" and self.read().same(self.agreed):
            self.dragged.emit(self.agreed, self.agreed)
        self._settle()

    def _on_features(self, _event: Any) -> None:
        if self._in_drag():
            self._say_step()
            return
        if self._just_added and not self._writing:
            self._deselect_added()
        self._settle()

    def _in_drag(self) -> bool:
        """Whether the mouse is dragging points right now.

        napari then announces the change once, before the first step; only the end of
        the drag is an edit.
        """
        return self._changing and is_dragging(self.layer)

    def _say_step(self) -> None:
        # A step of a drag refreshes the layer, and newer naparis say after it that the
        # features are others; 0.6.0 does not. Either tells, and a step is said once.
        if self._writing or np.array_equal(self.layer.data, self._last_step):
            return
        now = claim_touched(self.agreed, self.read())
        self._last_step = now.data
        self.dragged.emit(self.agreed, now)

    def _deselect_added(self) -> None:
        # A point just placed is not "selected": the next T is meant for the next
        # point, and the next change of a default for none.
        if self._just_added:
            self._just_added = False
            self.layer.selected_data = set()

    def _on_refreshed(self, _event: Any) -> None:
        # Pasting tells nobody but the canvas, and a drag refreshes at every step;
        # a changed number of rows tells one from the other.
        if self._in_drag():
            self._say_step()
        elif not self._writing and len(self.layer.data) != len(self.agreed):
            QTimer.singleShot(0, self._settle_pasted)

    def _settle_pasted(self) -> None:
        if len(self.layer.data) != len(self.agreed):
            self._settle()

    # -- dragging a point while adding --------------------------------------------

    def _grab_on_hover(self, layer: Points, event: Any) -> None:
        """Lend napari's select mode while the cursor rests on a point.

        So a point can be dragged, or clicked and flipped, without leaving the mode in
        which a click adds a point.
        """
        if layer.mode == "pan_zoom" or not layer.editable:
            return
        on_point = self._is_on_point(np.asarray(event.position, dtype=float))
        if on_point and layer.mode == "add":
            layer.mode = "select"
            self._borrowed_select = True
        elif not on_point and self._borrowed_select and not event.modifiers:
            layer.selected_data = set()
            layer.mode = "add"

    def _is_on_point(self, position: np.ndarray) -> bool:
        """Whether a point is drawn under a position in the world.

        napari's own look-up goes by the size in the image, which grows without limit
        when one zooms in: points could not be added close to each other.
        """
        layer = self.layer
        rows = np.asarray(layer.data)
        at = np.asarray(layer.world_to_data(position), dtype=float)
        on_plane = np.all(np.rint(rows[:, :-2]) == np.rint(at[:-2]), axis=1)
        reach = _SCREEN_SIZES[1] / 2 * layer.scale_factor
        cursor = np.asarray(layer.data_to_world(at), dtype=float)
        return any(
            np.linalg.norm(np.asarray(layer.data_to_world(row)) - cursor) <= reach
            for row in rows[on_plane]
        )

    def _on_mode(self, _event: Any) -> None:
        self._borrowed_select = False


def _next_look_of(layer: Points) -> tuple[str, str, str]:
    """Return what napari says of the look of the next point."""
    symbol = str(layer.current_symbol)
    return str(layer.current_face_color), str(layer.current_border_color), symbol


def _columns(table: PointTable) -> dict[str, np.ndarray]:
    return {
        "object": table.objects,
        "polarity": _POLARITIES[table.include.astype(np.int64)],
        "source": _SOURCE_WORDS[table.sources],
        "score": np.asarray(table.scores, dtype=float),
    }


def _look(
    *, include: bool, source: int, faint: bool
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Face and border (RGBA) of a point: the user's is filled, a model's hollow."""
    colour = INCLUDE_COLOUR if include else EXCLUDE_COLOUR
    strength = _OTHERS if faint else 1.0
    if source == CODES["propagated"]:
        strength *= _PROPAGATED
    if source != USER:
        return (*_WHITE[:3], 0.25 * strength), (*colour, strength)
    return (*colour, strength), (*_WHITE[:3], strength)


#: Every look there is, by polarity, source and faintness: (2, sources, 2, 2, RGBA).
_LOOKS = np.array(
    [
        [
            [
                _look(include=include, source=source, faint=faint)
                for faint in (False, True)
            ]
            for source in range(len(SOURCES))
        ]
        for include in (False, True)
    ]
)


def _says(now: Any, wanted: Any) -> bool:
    return bool(now == wanted) or (now != now and wanted != wanted)  # NaN is no number


def _close(now: np.ndarray, wanted: np.ndarray) -> bool:
    return now.shape == wanted.shape and bool((np.abs(now - wanted) < 1e-5).all())


def _read_words(
    values: Any, words: np.ndarray, read: Callable[[Any], int]
) -> np.ndarray:
    """Index of every value among some words; what is none of them is read otherwise."""
    if not len(values):
        return np.zeros(0, dtype=np.int64)
    codes, distinct = pandas.factorize(values, use_na_sentinel=False)
    known = words.tolist()
    meant = [known.index(v) if v in known else read(v) for v in distinct.tolist()]
    return np.array(meant, dtype=np.int64)[codes]


def _as_include(value: Any) -> int:
    return int(str(value).strip().lower() not in _SAYS_EXCLUDE)


def _as_source(value: Any) -> int:
    """Code of a source; True and False are read as "a model's" and "the user's"."""
    return CODES["auto"] if str(value) == "True" else USER


def _numbers(values: np.ndarray, kind: type[np.generic], default: float) -> np.ndarray:
    """Read a column of numbers; what is none counts as the default."""
    if values.dtype.kind in "iuf" and np.can_cast(values.dtype, kind, "safe"):
        return values.astype(kind)

    def read(value: Any) -> Any:
        try:
            return kind(value).item()
        except (TypeError, ValueError, OverflowError):
            return default

    return np.array([read(value) for value in values.tolist()], dtype=kind)
