"""The buttons to prompt, correct, commit and undo."""

from __future__ import annotations

from functools import partial

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QButtonGroup,
    QCheckBox,
    QHBoxLayout,
    QLabel,
    QVBoxLayout,
    QWidget,
)

from napari_promise.widgets.buttons import KeyButton, PolarityButton, show_checked
from napari_promise.widgets.keys import SHORTCUTS

_AUTO = (
    "Let the adapter place its points on this plane and segment. Drag, delete or flip "
    "its points as you like; points you placed yourself stay."
)
_NO_AUTO = "Choose an adapter above first: stock Segment Anything places no points."


class PromptPanel(QWidget):
    """The buttons that prompt, correct, commit and undo, in rows.

    Parameters
    ----------
    parent : QWidget, optional

    Attributes
    ----------
    auto_requested, flip_requested, mask_requested, clear_requested : Signal
    segment_requested, undo_requested, redo_requested : Signal
    commit_requested, new_requested : Signal
    include_chosen : Signal(bool)
        What the next point says.
    tool_requested : Signal(str)
        The tool whose button was pressed; pressed while in use, to put it down.
    live_toggled, local_toggled : Signal(bool)
    """

    auto_requested = Signal()
    include_chosen = Signal(bool)
    flip_requested = Signal()
    tool_requested = Signal(str)
    mask_requested = Signal()
    clear_requested = Signal()
    live_toggled = Signal(bool)
    local_toggled = Signal(bool)
    segment_requested = Signal()
    undo_requested = Signal()
    redo_requested = Signal()
    commit_requested = Signal()
    new_requested = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        key = SHORTCUTS
        self.auto = KeyButton("Auto-prompt", key["auto"].shown, _AUTO)
        self.include = PolarityButton(
            "● include",
            "#00a47a",
            "The next click says: this belongs to the object (disc).",
        )
        self.exclude = PolarityButton(
            "✕ exclude",
            "#e06a10",
            "The next click says: this does not belong to the object (cross).",
        )
        self.include.setChecked(True)
        self._polarity = QButtonGroup(self)
        self._polarity.addButton(self.include, 1)
        self._polarity.addButton(self.exclude, 0)
        self.flip = KeyButton(
            "Flip",
            key["polarity"].shown,
            "Flip the selected points between include and exclude; with none selected, "
            "switch what the next click says.",
        )
        self.box = KeyButton(
            "Box",
            key["box"].shown,
            "Draw a box around the object, then go on clicking.",
        )
        self.scribble = KeyButton(
            "Scribble",
            key["scribble"].shown,
            "Draw a line through the object, or with “exclude” through what is too "
            "much. Goes on until you press it again.",
        )
        self.lasso = KeyButton(
            "Lasso",
            key["lasso"].shown,
            "Draw a line around the object; once there is a mask, around what it "
            "misses, or with “exclude” around what is too much.",
        )
        self.tools = {
            "box": self.box,
            "scribble": self.scribble,
            "lasso": self.lasso,
        }
        for button in self.tools.values():
            button.setCheckable(True)
        self.mask = KeyButton(
            "From mask",
            key["mask"].shown,
            "Take the label selected in a Labels layer as the mask to start from: "
            "select that layer and its label first.",
        )
        self.clear = KeyButton(
            "Clear",
            "",
            "Remove all prompts and the preview of this object. Undo brings them back; "
            "what was committed stays.",
        )
        self.live = QCheckBox("live")
        self.live.setToolTip(
            "Segment again after every edit. Off: edits wait for “Segment”."
        )
        self.live.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.local = QCheckBox("local")
        self.local.setToolTip(
            "Each click changes the mask locally; clicks far from its edge change "
            "more. If the new mask is entirely different, it replaces the old one. "
            "Off: every click redraws the whole mask, as plain Segment Anything does."
        )
        self.local.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.segment = KeyButton(
            "Segment",
            key["segment"].shown,
            "Segment the object with its prompts as they are now.",
        )
        self.undo = KeyButton("Undo", key["undo"].shown, "")
        self.redo = KeyButton("Redo", key["redo"].shown, "")
        self.commit = KeyButton(
            "Commit object",
            key["commit"].shown,
            "Write the object into the labels layer; pixels you painted there stay. "
            "You can reopen it at any time.",
        )
        self.new = KeyButton(
            "New object",
            key["new"].shown,
            "Start another object. One that is not committed stays in the table.",
        )
        self.hint = QLabel()
        self.hint.setWordWrap(True)
        # Else a label that wraps asks for the height it would have if very narrow.
        self.hint.setMinimumSize(1, self.hint.fontMetrics().height())
        self.hint.setStyleSheet("font-style: italic;")
        self.hint.hide()

        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(5)
        layout.addWidget(self.auto)
        layout.addLayout(_row(self.include, self.exclude, None, self.flip))
        for row, stretches in (
            (_row(*self.tools.values()), (2, 3, 2)),
            (_row(self.mask, self.clear), (3, 2)),
        ):
            for index, stretch in enumerate(stretches):
                row.setStretch(index, stretch)
            layout.addLayout(row)
        segment = _row(self.live, self.local, self.segment)
        segment.setStretch(2, 1)
        layout.addLayout(segment)
        for pair in ((self.undo, self.redo), (self.commit, self.new)):
            row = _row(*pair)
            row.setStretch(0, 1)
            row.setStretch(1, 1)
            layout.addLayout(row)
        layout.addWidget(self.hint)

        self.auto.clicked.connect(self.auto_requested)
        self._polarity.idClicked.connect(
            lambda number: self.include_chosen.emit(bool(number))
        )
        self.flip.clicked.connect(self.flip_requested)
        for tool, button in self.tools.items():
            button.clicked.connect(partial(self._on_tool_clicked, tool))
        self.mask.clicked.connect(self.mask_requested)
        self.clear.clicked.connect(self.clear_requested)
        self.live.toggled.connect(self._on_live_toggled)
        self.local.toggled.connect(self.local_toggled)
        self.segment.clicked.connect(self.segment_requested)
        self.undo.clicked.connect(self.undo_requested)
        self.redo.clicked.connect(self.redo_requested)
        self.commit.clicked.connect(self.commit_requested)
        self.new.clicked.connect(self.new_requested)
        self.show_live(True)
        self.show_history("", "")

    def show_include(self, include: bool) -> None:
        """Show what the next point says."""
        (self.include if include else self.exclude).setChecked(True)

    def show_tool(self, tool: str) -> None:
        """Show what a click and drag makes: "point", or one of `tools`."""
        for name, button in self.tools.items():
            show_checked(button, name == tool)

    def show_live(self, live: bool) -> None:
        """Show whether edits are answered at once."""
        show_checked(self.live, live)
        self.segment.setEnabled(not live)

    def show_local(self, on: bool) -> None:
        """Show whether corrections stay local."""
        show_checked(self.local, on)

    def show_history(self, undo: str, redo: str) -> None:
        """Show what would be undone and redone; empty strings for nothing."""
        for button, verb, name in (
            (self.undo, "Undo", undo),
            (self.redo, "Redo", redo),
        ):
            button.setEnabled(bool(name))
            button.explain(f"{verb}: {name}" if name else f"Nothing to {verb.lower()}.")

    def show_available(self, *, image: bool, adapter: bool, mask: bool) -> None:
        """Enable what can be done.

        Parameters
        ----------
        image : bool
            Whether there is an image to work on.
        adapter : bool
            Whether an adapter that places points is chosen.
        mask : bool
            Whether the active object has a mask to commit.
        """
        self.auto.setEnabled(image and adapter)
        self.auto.explain(_AUTO if adapter else _NO_AUTO)
        tools: tuple[QWidget, ...] = (
            self.include,
            self.exclude,
            self.flip,
            *self.tools.values(),
            self.mask,
            self.clear,
            self.new,
        )
        for widget in tools:
            widget.setEnabled(image)
        self.commit.setEnabled(image and mask)
        self.segment.setEnabled(image and not self.live.isChecked())

    def show_hint(self, text: str) -> None:
        """Show one line on what to do next; empty hides it."""
        self.hint.setText(text)
        self.hint.setVisible(bool(text))

    def _on_tool_clicked(self, tool: str, _checked: bool) -> None:
        self.tool_requested.emit(tool)

    def _on_live_toggled(self, live: bool) -> None:
        self.segment.setEnabled(not live)
        self.live_toggled.emit(live)


def _row(*widgets: QWidget | None) -> QHBoxLayout:
    row = QHBoxLayout()
    row.setContentsMargins(0, 0, 0, 0)
    row.setSpacing(5)
    for widget in widgets:
        if widget is None:
            row.addStretch(1)
        else:
            row.addWidget(widget)
    return row
