"""The table of objects by itself, without a viewer."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from qtpy.QtCore import QEvent, QObject, Qt

from napari_promise.widgets.prompting.objects_panel import ObjectsPanel
from napari_promise.widgets.prompting.objects_table import ObjectRow

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


def cell(panel: ObjectsPanel, row: int, column: int) -> str:
    return panel.table.model().index(row, column).data()


def shown_ids(panel: ObjectsPanel) -> list[int]:
    return [int(cell(panel, r, 0)) for r in range(panel.table.model().rowCount())]


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
    assert cell(panel, 0, 2) == "0.25"
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
    assert panel.table.model().rowCount() == 0
    assert not panel.delete.isEnabled()
    named = replace(ROW, object_id=2, class_name="polyp", committed=True)
    panel.show_rows([ROW, named], 2)
    texts = [[cell(panel, r, c) for c in range(2)] for r in range(2)]
    assert texts == [["1", ""], ["2", "polyp"]]
    assert panel.chosen() == 2
    assert "committed" in panel.table.model().index(1, 0).data(
        Qt.ItemDataRole.ToolTipRole
    )


def many(count: int) -> list[ObjectRow]:
    return [
        replace(
            ROW,
            object_id=i,
            class_name="nucleus" if i % 2 else "debris",
            score=(i * 37 % count) / count,
            size=i,
        )
        for i in range(1, count + 1)
    ]


def test_a_filter_asks_for_class_score_and_size_at_once(panel) -> None:
    rows = many(100)
    panel.show_rows(rows, None)
    assert panel.filter.isVisible()
    panel.filter.setText("nucleus score<0.5 size>=40")
    wanted = [
        row.object_id
        for row in rows
        if row.class_name == "nucleus" and row.score < 0.5 and row.size >= 40
    ]
    assert 0 < len(wanted) < 100
    assert shown_ids(panel) == wanted
    assert panel.title.text() == f"Objects ({len(wanted)} of 100)"


def test_a_few_objects_need_no_filter(panel) -> None:
    panel.show_rows(many(3), None)
    assert panel.filter.isHidden()


def test_a_heading_sorts_numbers_as_numbers(panel) -> None:
    rows = many(30)
    panel.show_rows(rows, None)
    panel.table.sortByColumn(0, Qt.SortOrder.DescendingOrder)
    assert shown_ids(panel) == list(range(30, 0, -1))
    panel.table.sortByColumn(2, Qt.SortOrder.AscendingOrder)
    by_score = sorted(rows, key=lambda row: row.score)
    assert shown_ids(panel) == [row.object_id for row in by_score]


def test_a_row_chosen_in_a_sorted_table_opens_its_own_object(panel, qtbot) -> None:
    panel.show_rows(many(30), None)
    panel.table.sortByColumn(0, Qt.SortOrder.DescendingOrder)
    with qtbot.waitSignal(panel.row_chosen) as told:
        panel.table.selectRow(1)
    assert told.args == [29]


def test_an_active_object_that_is_filtered_out_comes_back_with_its_row(
    panel, qtbot
) -> None:
    panel.show_rows(many(30), 4)
    opened = []
    panel.row_chosen.connect(opened.append)
    panel.filter.setText("nucleus")
    assert panel.chosen() is None
    panel.filter.clear()
    assert panel.chosen() == 4
    assert opened == []


def test_a_class_named_in_a_sorted_table_is_its_own_objects(panel, qtbot) -> None:
    panel.show_rows(many(30), None)
    panel.table.sortByColumn(0, Qt.SortOrder.DescendingOrder)
    shown = panel.table.model()
    with qtbot.waitSignal(panel.class_edited) as told:
        shown.setData(shown.index(0, 1), " gland ")
    assert told.args == [30, "gland"]


def test_of_five_thousand_rows_only_those_on_display_are_asked_for(
    panel, qtbot, monkeypatch
) -> None:
    asked = set()
    text = ObjectRow.text
    monkeypatch.setattr(
        ObjectRow,
        "text",
        lambda row, column: asked.add(row.object_id) or text(row, column),
    )
    panel.show_rows(many(5000), 2500)
    qtbot.wait(50)
    assert 2500 in asked
    assert len(asked) < 1500  # on display, and what the columns' width is taken from
