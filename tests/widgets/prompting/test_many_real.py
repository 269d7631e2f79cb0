"""Two hundred nuclei with the bundled model and its adapter of many objects."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from napari_promise.data.export import save_prompts
from napari_promise.session.model_in_use import load_model

ROWS, COLUMNS, APART = 12, 17, 40
PLACES = [(24 + APART * r, 24 + APART * c) for r in range(ROWS) for c in range(COLUMNS)]
SHAPE = (APART * ROWS + 60, APART * COLUMNS)

#: Two hundred masks are computed twice: on a busy machine that takes its time.
pytestmark = [pytest.mark.long, pytest.mark.timeout(2400)]


def nuclei() -> np.ndarray:
    """Bright blobs of several sizes, blurred and noisy, as under fluorescence."""
    rng = np.random.default_rng(0)
    rows, columns = np.indices(SHAPE)
    image = np.zeros(SHAPE)
    for row, column in PLACES:
        high, wide = rng.uniform(7, 10, 2)
        inside = ((rows - row) / high) ** 2 + ((columns - column) / wide) ** 2 < 1
        image[inside] = rng.uniform(80, 150)
    image = ndimage.gaussian_filter(image, 1.2) + rng.normal(8, 2, SHAPE)
    return image.clip(0, 255).astype(np.uint8)


@pytest.fixture
def real(make_desk: Any) -> Any:
    return open_on(make_desk)


def open_on(make_desk: Any) -> Any:
    desk = make_desk(loader=load_model, adapter="cells", model="promise-tiny")
    desk.open(nuclei(), contrast_limits=(0, 255))
    desk.until(lambda: desk.widget.session.status.state == "ready")
    return desk


def test_two_hundred_proposals_are_corrected_accepted_undone_redone_and_replayed(
    real: Any, make_desk: Any, tmp_path: Path
) -> None:
    document, many = real.document, real.widget.desk.many
    real.press("A")
    real.until(lambda: many.is_running)
    real.until(lambda: not many.is_running)
    proposed = len(document)
    assert proposed >= 0.9 * len(PLACES)
    assert document.undo_name == "auto-prompt"

    deleted = [record.id for record in document.objects[:5]]
    for object_id in deleted:
        row, column = document.get(object_id).prompts.points[0]
        real.click(row + 3, column + 3)
        assert document.active_id == object_id
        real.press("Delete")
    assert len(document) == proposed - 5

    for number in range(5):
        real.press("N")
        real.click(SHAPE[0] - 30, 40 + 90 * number)
    assert len(document) == proposed

    for record in document.objects[20:25]:
        (row,) = np.flatnonzero(real.points.features["object"] == record.id)
        real.drag(int(row), tuple(real.points.data[row] + 2))
        real.settle()
        assert document.get(record.id).prompts.points[0] == pytest.approx(
            record.prompts.points[0] + 2
        )

    review = real.widget.objects_panel.review
    document.active_id = None
    for floor in (80, 30, 0):
        review.slider.setValue(floor)
        real.qtbot.wait(1)
    review.accept.click()
    real.qtbot.wait(1)
    masked = [record for record in document.objects if record.region is not None]
    assert all(record.committed for record in masked)
    assert len(masked) >= proposed - 5
    labels = real.labels.data.copy()
    path = tmp_path / "prompts.json"
    save_prompts(path, masked)

    steps = 0
    while document.can_undo:
        real.press("Ctrl+Z")
        steps += 1
    assert len(document) == 0
    assert not real.labels.data.any()
    for _ in range(steps):
        real.press("Ctrl+Shift+Z")
    np.testing.assert_array_equal(real.labels.data, labels)

    again = open_on(make_desk)
    again.widget.actions.load(path)
    again.until(
        lambda: all(record.is_answered for record in again.document.objects),
        timeout=1_000_000,
    )
    again.settle()
    again.document.active_id = None
    again.qtbot.wait(1)
    again.widget.objects_panel.review.accept.click()
    again.qtbot.wait(1)
    np.testing.assert_array_equal(again.labels.data, labels)
