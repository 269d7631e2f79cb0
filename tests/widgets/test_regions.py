"""Small objects of a large image, in the window: seen at once, then from closer by.

The model of these tests is shown few pixels, as SAM is, and answers with what hangs
together around the prompts in them: blocks in the whole image, outlines in a tile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from scipy import ndimage
from skimage.transform import resize

from napari_promise.data.embeddings import EmbeddingCache
from napari_promise.data.export import load_prompts, save_prompts
from napari_promise.document import Region, Tile
from napari_promise.prompts import Prompts, round_logits
from napari_promise.segmentation import Segmentation
from napari_promise.session import Session, Settings
from napari_promise.training.metrics import dice
from napari_promise.widgets.layers.geometry import camera_of

SIDE = 2048
SEES = 64
#: Of the discs: row, column, radius.
NUCLEI = ((300, 400, 11), (340, 436, 13), (1500, 1500, 12))


@dataclass
class Seen:
    bright: np.ndarray
    tile: tuple[int, int, int, int]
    plane: tuple[int, int]

    def to_arrays(self) -> dict[str, np.ndarray]:
        return {
            "bright": self.bright,
            "tile": np.array(self.tile),
            "plane": np.array(self.plane),
        }


class Threshold:
    """Answers with the bright pixels that hang together with the prompts."""

    model_id, sha256, device = "promise-tiny", "0" * 64, "cpu"
    adapter_sha256 = adapter_info = sam = None
    sees = SEES

    def __init__(self) -> None:
        self.encoded: list[Any] = []
        self.held = False

    def with_adapter(self, _name: Any) -> Threshold:
        return self

    def encode(self, image: Any, *, region=None, plane_shape=None, **options) -> Seen:
        while self.held and region is not None:
            if options["cancel"]():
                raise RuntimeError("cancelled")
        self.encoded.append(region)
        shape = plane_shape or image.shape[:2]
        tile = region or (0, 0, *shape)
        longest = max(tile[2] - tile[0], tile[3] - tile[1])
        size = [max(1, SEES * (tile[i + 2] - tile[i]) // longest) for i in (0, 1)]
        grey = resize(image[..., 0] / 255, size, anti_aliasing=True)
        return Seen(grey, tile, shape)

    def restore(self, arrays: Any) -> Seen:
        return Seen(
            arrays["bright"].astype(float),
            tuple(arrays["tile"].tolist()),
            tuple(arrays["plane"].tolist()),
        )

    def segment(self, emb: Seen, prompts: Prompts, **_options: Any) -> Segmentation:
        high, wide = emb.bright.shape
        step = (emb.tile[2] - emb.tile[0]) / high
        # What is dim is part of it, where little of a cell is bright.
        parts, _ = ndimage.label(emb.bright > 0.1, np.ones((3, 3)))
        mask = np.zeros(parts.shape, bool)
        places = prompts.points[prompts.labels == 1].tolist()
        places += [((b[0] + b[2]) / 2, (b[1] + b[3]) / 2) for b in prompts.boxes]
        for row, column in places:
            at = int((row - emb.tile[0]) / step), int((column - emb.tile[1]) / step)
            mask |= (parts == parts[at]) & (parts[at] > 0)
        fine = resize(
            np.where(mask, emb.bright, 0),
            (emb.tile[2] - emb.tile[0], emb.tile[3] - emb.tile[1]),
            order=1,
        )
        region = Region.from_crop(fine > 0.5, emb.tile[:2], emb.plane)
        if region is None:  # too small to be seen as anything but a block
            fine = np.kron(mask, np.ones((round(step), round(step)))) > 0
            region = Region.from_crop(fine, emb.tile[:2], emb.plane)
        logits = round_logits(np.where(mask, 4.0, -4.0))[None]
        return Segmentation(emb.plane, region, 0.9, logits)


def slide() -> np.ndarray:
    rows, columns = np.ogrid[:SIDE, :SIDE]
    image = np.zeros((SIDE, SIDE), bool)
    for row, column, radius in NUCLEI:
        image |= (rows - row) ** 2 + (columns - column) ** 2 < radius**2
    away = np.hypot(rows - 1000, columns - 700)
    image |= (away > 330) & (away < 390)  # a ring
    vessel = 1750 + 60 * np.sin(columns / 110)
    image |= (np.abs(rows - vessel) < 22) & (columns > 150) & (columns < 1900)
    return np.where(image, 255, 0).astype(np.uint8)


IMAGE = slide()


def truth(row: int, column: int) -> np.ndarray:
    parts, _ = ndimage.label(IMAGE > 0)
    return parts == parts[row, column]


@dataclass
class Bench:
    viewer: Any
    widget: Any
    model: Threshold
    qtbot: Any

    @property
    def document(self) -> Any:
        return self.widget.bridge.work.document

    @property
    def session(self) -> Any:
        return self.widget.session

    def until(self, condition: Callable[[], bool]) -> None:
        self.qtbot.waitUntil(condition, timeout=120_000)

    def until_still(self) -> None:
        """Wait until every edit is answered, and nothing is left to be looked at."""
        queue = self.session._queue

        def still() -> bool:
            return (
                all(r.is_answered for r in self.document.objects)
                and not queue._requests.closer()
                and not queue._requests._latest_closer
                and queue._task is None
            )

        self.until(still)
        self.qtbot.wait(5)
        self.until(still)

    def click(self, row: float, column: float) -> None:
        self.widget.bridge.work.points.layer.add((row, column))

    def new(self) -> None:
        self.widget.actions.new()

    def zoom_to(self, row: float, column: float, across: float) -> None:
        camera = camera_of(self.viewer)
        camera.center = (row, column)
        width = self.viewer.window._qt_viewer.canvas.size[1]
        camera.zoom = width / across


@pytest.fixture
def bench(has_screen: None, make_napari_viewer: Any, qtbot: Any) -> Iterator[Bench]:
    from napari_promise.widgets.dispatch import GuiDispatcher
    from napari_promise.widgets.prompting.dock import PromiseWidget

    viewer = make_napari_viewer(show=True)
    viewer.window._qt_window.resize(1000, 700)
    model = Threshold()
    session = Session(
        dispatch=GuiDispatcher(),
        settings=Settings(adapter=""),
        cache=EmbeddingCache(None),
        loader=lambda _name, **_options: model,
    )
    widget = PromiseWidget(viewer, session)
    viewer.window.add_dock_widget(widget, name="ProMISe", area="right")
    made = Bench(viewer, widget, model, qtbot)
    viewer.add_image(IMAGE, name="slide")
    made.until(lambda: session.status.state == "ready")
    yield made
    model.held = False
    widget.close_down()


def area(record: Any) -> int:
    return 0 if record.region is None else record.region.area


def test_a_click_is_answered_and_then_outlined(bench: Bench) -> None:
    bench.model.held = True
    bench.click(300, 400)
    bench.until(lambda: len(bench.document) == 1)
    bench.until(lambda: bench.document.active.is_answered)
    first = bench.document.active
    assert dice(first.region.mask, truth(300, 400)) < 0.7
    bench.model.held = False
    bench.until_still()
    record = bench.document.active
    assert dice(record.region.mask, truth(300, 400)) > 0.9
    shown = bench.widget.bridge.work.preview.mask()
    np.testing.assert_array_equal(shown > 0, record.region.mask)
    assert "SAM sees 128 × 128 pixels" in bench.session.status.message


def test_a_frame_shows_the_part_that_was_seen_where_that_is_wished(
    bench: Bench,
) -> None:
    frame, layers = bench.widget.desk.seen_frame, bench.viewer.layers
    bench.click(300, 400)
    bench.until(lambda: len(bench.document) == 1)
    bench.until_still()
    assert frame.layer is None
    bench.session.settings.frame = True
    bench.until(lambda: frame.layer is not None)
    assert frame.layer in layers
    r0, c0, r1, c1 = bench.document.active.tile
    (corners,) = frame.layer.data
    assert corners[:, -2:].min(axis=0).tolist() == [r0 - 0.5, c0 - 0.5]
    assert corners[:, -2:].max(axis=0).tolist() == [r1 - 0.5, c1 - 0.5]
    assert layers.selection.active is bench.widget.bridge.work.points.layer
    bench.widget.actions.undo()
    bench.until(lambda: frame.layer is None)
    bench.widget.actions.redo()
    bench.until(lambda: frame.layer is not None)
    layers.remove(frame.layer)  # that is the user's right
    bench.until_still()
    bench.session.settings.frame = False
    bench.until(lambda: frame.layer is None)
    assert not [layer for layer in layers if layer.name == "ProMISe sees"]


def test_undo_between_the_two_answers(bench: Bench) -> None:
    bench.model.held = True
    bench.click(300, 400)
    bench.until(lambda: len(bench.document) == 1)
    bench.until(lambda: bench.document.active.is_answered)
    bench.widget.actions.undo()
    bench.model.held = False
    bench.until_still()
    assert not any(area(record) for record in bench.document.objects)
    assert len(bench.widget.bridge.work.points.layer.data) == 0
    bench.widget.actions.redo()
    bench.until_still()
    assert [len(r.prompts.points) for r in bench.document.objects] == [1]
    assert area(bench.document.objects[0]) > 0


def test_undo_after_both_takes_the_click_back_in_one_step(bench: Bench) -> None:
    bench.click(300, 400)
    bench.until(lambda: len(bench.document) == 1)
    bench.until_still()
    bench.widget.actions.undo()
    assert not any(area(record) for record in bench.document.objects)
    bench.widget.actions.redo()
    bench.until_still()
    assert dice(bench.document.active.region.mask, truth(300, 400)) > 0.9


def test_zoomed_in_the_first_answer_is_sharp_and_zoomed_out_one_goes_on(
    bench: Bench,
) -> None:
    bench.zoom_to(310, 410, 220)
    bench.until(lambda: any(tile is not None for tile in bench.model.encoded))
    bench.until_still()
    bench.click(300, 400)
    bench.until(lambda: len(bench.document) == 1)
    bench.until_still()
    record = bench.document.active
    assert dice(record.region.mask, truth(300, 400)) > 0.9
    bench.viewer.reset_view()
    bench.qtbot.wait(400)
    bench.click(303, 404)
    bench.until(lambda: len(bench.document.active.prompts.points) == 2)
    bench.until_still()
    again = bench.document.active
    assert (again.id, again.tile) == (record.id, record.tile)
    assert again.prompts.before.tile == record.tile
    bench.new()
    bench.click(1500, 1500)
    bench.until(lambda: len(bench.document) == 2)
    bench.until_still()
    assert dice(bench.document.active.region.mask, truth(1500, 1500)) > 0.9


def test_two_objects_in_overlapping_tiles_are_two(bench: Bench) -> None:
    for row, column, _ in NUCLEI[:2]:
        bench.new()
        bench.click(row, column)
        bench.until_still()
    one, two = bench.document.objects
    for record, (row, column, _) in zip((one, two), NUCLEI, strict=False):
        assert dice(record.region.mask, truth(row, column)) > 0.9
    assert not (one.region.mask & two.region.mask).any()


@pytest.mark.parametrize("at", [(1000, 1060), (1750, 150)], ids=["ring", "vessel"])
@pytest.mark.parametrize("across", [220, 3000], ids=["zoomed in", "from afar"])
def test_what_is_larger_than_a_tile_is_answered_whole(
    bench: Bench, at: tuple[int, int], across: float
) -> None:
    row, column = at
    if column == 150:
        column = 400
        row = int(1750 + 60 * np.sin(column / 110))
    wanted = truth(row, column)
    bench.zoom_to(row, column, across)
    bench.qtbot.wait(400)
    bench.until_still()
    bench.click(row, column)
    bench.until(lambda: len(bench.document) == 1)
    bench.until_still()
    found = bench.document.active.region
    assert dice(found.mask, wanted) > 0.85
    parts, count = ndimage.label(found.mask)
    assert count == 1, "no seams"
    r0, c0, r1, c1 = found.bbox
    rows, columns = np.flatnonzero(wanted.any(1)), np.flatnonzero(wanted.any(0))
    true = (rows[0], columns[0], rows[-1] + 1, columns[-1] + 1)
    assert np.abs(np.subtract((r0, c0, r1, c1), true)).max() < 40, "no part is lost"


def test_replayed_prompts_give_identical_masks(bench: Bench, tmp_path: Any) -> None:
    for row, column in ((300, 400), (340, 436), (1000, 1060)):
        bench.new()
        bench.click(row, column)
        bench.until_still()
    bench.click(1000, 340)
    bench.until_still()
    before = bench.document.objects
    path = save_prompts(tmp_path / "prompts.json", before)
    for record in before:
        bench.document.remove(record.id)
    bench.zoom_to(1500, 1500, 300)
    bench.qtbot.wait(400)
    bench.session.replay(load_prompts(path).objects)
    bench.until_still()
    after = bench.document.objects
    assert [r.region for r in after] == [r.region for r in before]
    assert [r.tile for r in after] == [r.tile for r in before]
    assert any(r.tile is not None for r in after)


def test_the_tile_on_view_is_encoded_while_one_rests(bench: Bench) -> None:
    bench.zoom_to(1500, 1500, 300)
    bench.until(lambda: any(tile is not None for tile in bench.model.encoded))
    bench.until_still()
    image = bench.session._queue.image
    tile = bench.session._queue._view_tile()
    assert tile.bbox is not None
    assert bench.session._embeddings.has(image, tile)
    assert tile.bbox[0] < 1500 < tile.bbox[2]
    assert not bench.session._embeddings.has(image, Tile((), (0, 0, 64, 64)))


def test_switched_off_the_image_is_seen_whole(bench: Bench) -> None:
    bench.widget.models.open_settings()
    dialog = bench.widget.models.settings
    dialog.form.closer.value = False
    assert not bench.session.settings.closer
    bench.zoom_to(310, 410, 220)
    bench.qtbot.wait(400)
    bench.click(300, 400)
    bench.until(lambda: len(bench.document) == 1)
    bench.until_still()
    assert set(bench.model.encoded) == {None}
