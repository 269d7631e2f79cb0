"""The table of objects by itself, without a viewer."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from qtpy.QtCore import QEvent, QObject

from napari_promise.widgets.prompting.objects_panel import ObjectRow, ObjectsPanel

ROW = ObjectRow(1, (1, 0, 0, 1), "", None, 1, 0, 0, False, (), False, False)


class Painted(QObject):
    """Counts how often a widget is painted."""

    def __init__(self, widget: QObject) -> None:
        super().__init__()
        self.count = 0
        widget.installEventFilter(self)

    def eventFilter(self, _watched: QObject | None, event: QEvent | None) -> bool:
        self.count += event is not None and event.type() == QEvent.Type.Paint
        return False


@pytest.fixture
def panel(has_screen: None, qtbot: Any) -> ObjectsPanel:
    panel = ObjectsPanel()
    qtbot.addWidget(panel)
    panel.resize(320, 250)
    panel.show_rows([ROW], 1)
    with qtbot.waitExposed(panel, timeout=120_000):
        panel.show()
    qtbot.wait(50)
    return panel


def widths(panel: ObjectsPanel) -> list[int]:
    return [panel.table.columnWidth(column) for column in range(5)]


def test_a_score_that_changes_repaints_no_heading(panel, qtbot) -> None:
    rows = Painted(panel.table.viewport())
    headings = Painted(panel.table.horizontalHeader().viewport())
    for score in (0.5, 0.25):
        panel.show_rows([replace(ROW, score=score)], 1)
        qtbot.waitUntil(lambda: rows.count > 0, timeout=120_000)
        qtbot.wait(20)
        rows.count = 0
    assert panel.table.item(0, 2).text() == "0.25"
    assert headings.count == 0


def test_columns_grow_and_shrink_with_what_they_hold(panel) -> None:
    narrow = widths(panel)
    panel.show_rows([replace(ROW, included=12, excluded=11, boxes=2)], 1)
    wide = widths(panel)
    assert wide[3] > narrow[3]
    assert wide[1] < narrow[1]
    assert narrow[4] == 0
    panel.show_rows([replace(ROW, plane=(3, 120))], 1)
    assert widths(panel)[4] > 0
    panel.show_rows([ROW], 1)
    assert widths(panel) == narrow


def test_rows_come_and_go(panel) -> None:
    panel.show_rows([], None)
    assert panel.table.rowCount() == 0
    assert not panel.delete.isEnabled()
    named = replace(ROW, object_id=2, class_name="polyp", committed=True)
    panel.show_rows([ROW, named], 2)
    texts = [[panel.table.item(r, c).text() for c in range(2)] for r in range(2)]
    assert texts == [["1", ""], ["2", "polyp"]]
    assert panel.chosen() == 2
    assert "committed" in panel.table.item(1, 0).toolTip()
