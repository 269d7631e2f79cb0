"""Windows of the folder dock: what to export and where, and the calibration."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from magicgui.widgets import FileEdit
from qtpy.QtCore import Qt
from qtpy.QtGui import QImage, QPixmap
from qtpy.QtWidgets import (
    QCheckBox,
    QDialog,
    QDialogButtonBox,
    QHBoxLayout,
    QLabel,
    QMessageBox,
    QVBoxLayout,
    QWidget,
)

from napari_promise.project import Calibration, Format, State
from napari_promise.project.confidence import draw_calibration
from napari_promise.widgets.buttons import ending
from napari_promise.widgets.folder.states import IN_PROGRESS
from napari_promise.widgets.words import counted

#: Formats with their names and what they hold.
_FORMATS: tuple[tuple[Format, str, str], ...] = (
    ("masks", "Masks", "one file per image in masks/, pixel value = object number."),
    ("coco", "COCO", "annotations.json: run-length masks, boxes, classes."),
    ("nifti", "NIfTI", "stacks with voxel size and position, in nifti/."),
    ("dicom", "DICOM SEG", "segmentations over DICOM images, in dicom/."),
    ("csv", "Tables", "prompts.csv: every point and box; images.csv: states, clicks."),
    (
        "provenance",
        "Provenance",
        "provenance.json: which model and adapter, who, when.",
    ),
)


@dataclass(frozen=True)
class FolderExport:
    """What was asked for.

    Attributes
    ----------
    folder : Path
    formats : tuple of Format
    states : tuple of State
    overwrite : bool
        Whether replacing files was agreed to.
    """

    folder: Path
    formats: tuple[Format, ...]
    states: tuple[State, ...]
    overwrite: bool


class FolderExportDialog(QDialog):
    """Asks what to write and where, and before anything is replaced.

    Parameters
    ----------
    folder : Path
        To suggest.
    done, in_progress : int
        How many images there are.
    parent : QWidget, optional

    Attributes
    ----------
    request : FolderExport or None
        After it was accepted.
    """

    def __init__(
        self, folder: Path, done: int, in_progress: int, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self.setWindowTitle("Export the folder")
        self.request: FolderExport | None = None
        self.formats: dict[Format, QCheckBox] = {}
        layout = QVBoxLayout(self)
        verb = "is" if done == 1 else "are"
        layout.addWidget(
            QLabel(f"{counted(done, 'image')} {verb} done and will be written as:")
        )
        for name, title, note in _FORMATS:
            box = QCheckBox(f"{title}: {note}")
            box.setChecked(True)
            box.setToolTip(note)
            self.formats[name] = box
            layout.addWidget(box)
        self.in_progress = QCheckBox(f"also the {in_progress} in progress")
        self.in_progress.setToolTip(
            "The committed objects of images that are not done yet. Unconfirmed "
            "proposals are never written."
        )
        self.in_progress.setVisible(in_progress > 0)
        layout.addWidget(self.in_progress)
        self.folder = FileEdit(
            mode="d",
            value=folder,
            tooltip="The folder to write into; created if it is missing.",
        )
        self.folder.choose_btn.text = "Browse…"
        self.folder.choose_btn.tooltip = "Choose the folder in a window."
        self.folder.native.setMinimumWidth(380)
        row = QHBoxLayout()
        row.addWidget(QLabel("Into"))
        row.addWidget(self.folder.native, 1)
        layout.addLayout(row)
        buttons = ending(
            QDialogButtonBox.StandardButton.Save, QDialogButtonBox.StandardButton.Cancel
        )
        buttons.accepted.connect(self.accept)
        buttons.rejected.connect(self.reject)
        layout.addWidget(buttons)

    def accept(self) -> None:
        """Ask before files may be replaced, then close with a request."""
        text = self.folder.line_edit.value.strip()
        formats = tuple(name for name, box in self.formats.items() if box.isChecked())
        folder = Path(text).expanduser()
        if not text or not formats:
            what = "Choose a format." if text else "Name the folder to write into."
            QMessageBox.warning(self, "Export", what)
            return
        if folder.exists() and not folder.is_dir():
            QMessageBox.warning(self, "Export", f"{folder} is a file; choose a folder.")
            return
        overwrite = False
        if folder.is_dir() and any(folder.iterdir()):
            answer = QMessageBox.question(
                self,
                "Export",
                f"{folder.name} is not empty. Replace files of the same names?",
                QMessageBox.StandardButton.Yes | QMessageBox.StandardButton.No,
                QMessageBox.StandardButton.No,
            )
            if answer != QMessageBox.StandardButton.Yes:
                return
            overwrite = True
        states: tuple[State, ...] = ("done",)
        if self.in_progress.isChecked():
            states = ("done", IN_PROGRESS)
        self.request = FolderExport(folder, formats, states, overwrite)
        super().accept()


class CalibrationDialog(QDialog):
    """How well the confidence of proposals predicted their quality.

    Parameters
    ----------
    calibration : Calibration
    parent : QWidget, optional
    """

    def __init__(self, calibration: Calibration, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle("Calibration of the confidence")
        picture = np.ascontiguousarray(draw_calibration(calibration).convert("RGB"))
        height, width = picture.shape[:2]
        image = QImage(
            picture.tobytes(), width, height, 3 * width, QImage.Format.Format_RGB888
        )
        self.plot = QLabel()
        self.plot.setPixmap(QPixmap.fromImage(image))
        self.plot.setToolTip("Dots: images. Line: the expected Dice.")
        self.text = QLabel(
            "Each dot is an image: the confidence of its proposal, and the Dice of the "
            "proposal with what you confirmed. The line is what the table shows.<br>"
            f"Mean error {calibration.error_before:.2f} before, "
            f"{calibration.error_after:.2f} after calibration."
        )
        self.text.setWordWrap(True)
        self.text.setTextFormat(Qt.TextFormat.RichText)
        layout = QVBoxLayout(self)
        layout.addWidget(self.plot)
        layout.addWidget(self.text)
