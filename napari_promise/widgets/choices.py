"""Combo boxes that report only what the user chose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from qtpy.QtCore import QSignalBlocker, Qt, Signal
from qtpy.QtWidgets import QComboBox, QSizePolicy, QWidget


@dataclass(frozen=True)
class Choice:
    """One entry of a combo box.

    Parameters
    ----------
    value : object
        What is reported when it is chosen.
    text : str
        What is shown.
    tooltip : str
        What it is, in a sentence or two.
    """

    value: Any
    text: str
    tooltip: str = ""


class ChoiceBox(QComboBox):
    """A combo box of `Choice` that reports only what the user chose.

    Parameters
    ----------
    tooltip : str
    parent : QWidget, optional
    """

    chosen = Signal(object)

    def __init__(self, tooltip: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._tooltip = tooltip
        self._choices: tuple[Choice, ...] = ()
        self.setToolTip(tooltip)
        # Long names are cut short rather than widening the dock.
        self.setSizeAdjustPolicy(
            QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        self.setMinimumContentsLength(8)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        # A wheel or a letter meant for the canvas must not choose another model.
        self.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.activated.connect(self._on_activated)

    def show_choices(self, choices: Sequence[Choice], current: Any) -> None:
        """Show these entries with one of them chosen; None for no entry.

        Parameters
        ----------
        choices : sequence of Choice
        current : object
            Value of the entry to show as chosen.
        """
        self._choices = tuple(choices)
        row_chosen = -1
        with QSignalBlocker(self):
            self.clear()
            for row, choice in enumerate(self._choices):
                self.addItem(choice.text)
                self.setItemData(row, choice.tooltip, Qt.ItemDataRole.ToolTipRole)
                if choice.value is current or choice.value == current:
                    row_chosen = row
            self.setCurrentIndex(row_chosen)
        detail = self._choices[row_chosen].tooltip if row_chosen >= 0 else ""
        self.setToolTip(f"{self._tooltip}<br><br>{detail}" if detail else self._tooltip)

    def value(self) -> Any:
        """Value of the entry shown as chosen, or None."""
        row = self.currentIndex()
        return self._choices[row].value if 0 <= row < len(self._choices) else None

    def _on_activated(self, row: int) -> None:
        self.chosen.emit(self._choices[row].value)
