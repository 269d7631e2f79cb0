"""A viewer with the dock, and a model of discs that answers in milliseconds."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from napari_promise.data.embeddings import EmbeddingCache
from napari_promise.document import Region
from napari_promise.prompts import Before, Prompts, round_logits
from napari_promise.segmentation import NoPrompterError, Segmentation
from napari_promise.session import Session, Settings

SHAPE = (90, 120)
RADIUS = 12


@dataclass
class DiscEmbedding:
    shape: tuple[int, int]
    mean: float

    def to_arrays(self) -> dict[str, np.ndarray]:
        return {"shape": np.array(self.shape), "mean": np.array(self.mean)}


@dataclass
class DiscAdapter:
    name: str
    apm: str = "heatmap"
    ips: bool = True


class DiscSegmenter:
    """Discs around points to include, less discs around points to exclude, plus boxes.

    What is fed back as logits leaves a trace: the score counts it.
    """

    __slots__ = ("__dict__", "adapter")  # all else is shared by those with another one

    model_id = "promise-tiny"
    sha256 = "0" * 64
    device = "cpu"
    adapter_sha256 = None
    sam = None

    def __init__(self) -> None:
        self.adapter: Any = None
        self.encoded = 0
        self._may_encode = threading.Event()
        self._may_encode.set()
        self.failure: str | None = None
        self.asked: list[SimpleNamespace] = []

    def with_adapter(self, adapter: Any) -> DiscSegmenter:
        other = DiscSegmenter.__new__(DiscSegmenter)
        other.__dict__ = self.__dict__
        other.adapter = adapter
        return other

    @property
    def adapter_info(self) -> Any:
        if self.adapter is None:
            return None
        return DiscAdapter(self.adapter)

    def hold(self) -> None:
        """Let encoding take until `release`, however long that is."""
        self._may_encode.clear()

    def release(self) -> None:
        self._may_encode.set()

    def encode(self, image: np.ndarray, **options: Any) -> DiscEmbedding:
        if self.failure:
            raise ValueError(self.failure)
        while not self._may_encode.wait(0.005):
            if options["cancel"]():
                raise RuntimeError("cancelled")
        self.encoded += 1
        return DiscEmbedding(image.shape[:2], float(image.mean()))

    def restore(self, arrays: Any) -> DiscEmbedding:
        rows, columns = arrays["shape"]
        return DiscEmbedding((int(rows), int(columns)), float(arrays["mean"]))

    def segment(
        self,
        emb: DiscEmbedding,
        prompts: Prompts,
        *,
        ips: bool = True,
        multimask: bool | None = None,
        local: bool = True,
        alternatives: bool = False,
    ) -> Any:
        self.asked.append(SimpleNamespace(prompts=prompts, ips=ips, local=local))
        rows, columns = np.ogrid[: emb.shape[0], : emb.shape[1]]
        mask = np.zeros(emb.shape, bool)
        if prompts.mask is not None:
            mask |= prompts.mask
        for r0, c0, r1, c1 in prompts.boxes:
            mask |= (rows >= r0) & (rows <= r1) & (columns >= c0) & (columns <= c1)
        for label in (1, 0):
            for row, column in prompts.points[prompts.labels == label]:
                disc = (rows - row) ** 2 + (columns - column) ** 2 <= RADIUS**2
                mask = mask | disc if label else mask & ~disc
        score = 0.5 + 0.25 * (prompts.logits is not None) + 0.125 * ips
        logits = round_logits(np.where(mask[::10, ::10], 4.0, -4.0))[None]
        region = Region.from_mask(mask)
        drawn = (region, region) if alternatives else ()
        return Segmentation(emb.shape, region, score, logits, alternatives=drawn)

    def segment_many(
        self, emb: DiscEmbedding, prompts: Any, **options: Any
    ) -> tuple[Segmentation, ...]:
        return tuple(self.segment(emb, each, **options) for each in prompts)

    def proposals(self, emb: DiscEmbedding) -> tuple[Prompts, ...]:
        return (self.propose(emb),)

    def propose(self, emb: DiscEmbedding) -> Prompts:
        if self.adapter is None:
            raise NoPrompterError("no adapter: choose one")
        return Prompts(
            points=[(30, 40), (34, 48), (5, 5)],
            labels=[1, 1, 0],
            scores=[0.9, 0.8, 0.7],
            before=Before(np.zeros((1, 9, 12), np.float32)),
        )


@dataclass
class Annotator:
    """A viewer, its dock, and what a person does with them."""

    viewer: Any
    widget: Any
    model: DiscSegmenter
    dispatch: Any
    qtbot: Any

    @property
    def bridge(self) -> Any:
        return self.widget.bridge

    @property
    def document(self) -> Any:
        return self.bridge.work.document

    @property
    def points(self) -> Any:
        return self.bridge.work.points.layer

    @property
    def boxes(self) -> Any:
        return self.bridge.work.boxes.layer

    @property
    def labels(self) -> Any:
        return self.bridge.work.result.layer

    @property
    def preview(self) -> np.ndarray:
        return self.bridge.work.preview.mask()

    def open(self, data: Any, **options: Any) -> Any:
        """Open an image as the viewer's reader does; the dock takes it up."""
        image = self.viewer.add_image(data, **options)
        self.until(lambda: self.bridge.work is not None)
        return image

    def until(self, condition: Callable[[], bool], timeout: int = 120_000) -> None:
        self.qtbot.waitUntil(condition, timeout=timeout)

    def settle(self) -> None:
        """Wait until every edit is answered and every timer of ours has fired."""
        self.qtbot.wait(1)
        self.until(
            lambda: all(
                r.is_answered or not r.prompts.has_target for r in self.document.objects
            )
        )
        self.qtbot.wait(1)

    def click(self, *position: float, include: bool = True) -> None:
        """Place a point as a click does, and wait for the mask."""
        self.bridge.set_include(include)
        self.points.add(position)
        self.settle()

    def drag(self, row: int, position: tuple[float, ...]) -> None:
        """Drag a point to a place, as napari's select mode does it."""
        layer = self.points
        layer.selected_data = {row}
        layer._drag_start = None
        layer._set_drag_start({row}, layer.data[row])
        layer._move({row}, position)
        layer._drag_start = None

    def dragging(self, row: int, *path: tuple[float, float]) -> Iterator[None]:
        """Drag a point with the mouse along a path; each step is one move."""
        layer = self.points
        layer.mode = "select"
        mouse = SimpleNamespace(
            type="mouse_press",
            position=tuple(layer.data_to_world(layer.data[row])),
            modifiers=(),
            view_direction=None,
            dims_displayed=[0, 1],
        )
        (handler,) = layer.mouse_drag_callbacks
        hand = handler(layer, mouse)
        next(hand)
        mouse.type = "mouse_move"
        for position in path:
            mouse.position = tuple(layer.data_to_world(position))
            next(hand)
            yield
        mouse.type = "mouse_release"
        next(hand, None)

    def press(self, key: str) -> None:
        """Press a key over the canvas, as napari hands it on."""
        canvas = self.viewer.window._qt_viewer.canvas
        # Older naparis do not say whether a key was bound.
        assert canvas._key_map_handler.press_key(key) is not False
        self.qtbot.wait(1)

    def menu_rows(self) -> list[list[str]]:
        self.qtbot.wait(1)
        shown = self.widget.objects_panel.table.model()
        return [
            [shown.index(row, column).data() for column in range(shown.columnCount())]
            for row in range(shown.rowCount())
        ]


@pytest.fixture
def picture() -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.integers(0, 255, SHAPE, dtype=np.uint8)


@pytest.fixture
def make_desk(
    has_screen: None, make_napari_viewer: Any, qtbot: Any
) -> Iterator[Callable[..., Annotator]]:
    from napari_promise.widgets.dispatch import GuiDispatcher
    from napari_promise.widgets.prompting.dock import PromiseWidget

    desks: list[Annotator] = []

    def make(
        *,
        show: bool = False,
        adapter: str = "discs",
        loader: Any = None,
        **settings: Any,
    ) -> Annotator:
        viewer = make_napari_viewer(show=show)
        model = DiscSegmenter()
        dispatch = GuiDispatcher()
        session = Session(
            dispatch=dispatch,
            settings=Settings(adapter=adapter, **settings),
            cache=EmbeddingCache(None),
            loader=loader or (lambda name, **_options: model),
        )
        widget = PromiseWidget(viewer, session)
        viewer.window.add_dock_widget(widget, name="ProMISe", area="right")
        desks.append(Annotator(viewer, widget, model, dispatch, qtbot))
        return desks[-1]

    yield make
    for desk in desks:
        desk.widget.close_down()
        desk.dispatch.close()


@pytest.fixture
def desk(make_desk: Callable[..., Annotator], picture: np.ndarray) -> Annotator:
    """A desk with a grey image on it, encoded."""
    desk = make_desk()
    desk.open(picture, name="picture")
    desk.until(lambda: desk.widget.session.status.state == "ready")
    return desk
