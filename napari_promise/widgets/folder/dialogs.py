"""Windows of the folder dock: what to export and where, and the calibration."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from qtpy.QtCore import Qt
from qtpy.QtGui import QImage, QPixmap
from qtpy.QtWidgets import (
    QCheckBox,
    QDialog,
    QDialogButtonBox,
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QMessageBox,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from napari_promise.project import Calibration, Format, State
from napari_promise.project.confidence import draw_calibration

#: Formats with their names and what they hold.
_FORMATS: tuple[tuple[Format, str, str], ...] = (
    ("masks", "Masks", "One image a file, pixel value = object, in masks/."),
    ("coco", "COCO", "annotations.json: run-length masks, boxes, classes."),
    ("nifti", "NIfTI", "Of stacks, with voxel size and place, in nifti/."),
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
    done, in_work : int
        How many images there are.
    parent : QWidget, optional

    Attributes
    ----------
    request : FolderExport or None
        After it was accepted.
    """

    def __init__(
        self, folder: Path, done: int, in_work: int, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self.setWindowTitle("Export the folder")
        self.request: FolderExport | None = None
        self.formats: dict[Format, QCheckBox] = {}
        layout = QVBoxLayout(self)
        images = "image is" if done == 1 else "images are"
        layout.addWidget(QLabel(f"{done} {images} done and will be written as:"))
        for name, title, note in _FORMATS:
            box = QCheckBox(f"{title}: {note}")
            box.setChecked(True)
            box.setToolTip(note)
            self.formats[name] = box
            layout.addWidget(box)
        self.in_work = QCheckBox(f"also the {in_work} in progress")
        self.in_work.setToolTip(
            "What was committed on images that nobody called done yet. Proposals that "
            "nobody confirmed are never written."
        )
        self.in_work.setVisible(in_work > 0)
        layout.addWidget(self.in_work)
        self.folder = QLineEdit(str(folder))
        self.folder.setMinimumWidth(340)
        self.folder.setToolTip("The folder to write into; made where it is missing.")
        browse = QToolButton()
        browse.setText("…")
        browse.setToolTip("Choose the folder in a window.")
        browse.clicked.connect(self._on_browse)
        row = QHBoxLayout()
        row.addWidget(QLabel("Into"))
        row.addWidget(self.folder, 1)
        row.addWidget(browse)
        layout.addLayout(row)
        buttons = QDialogButtonBox(
            QDialogButtonBox.StandardButton.Save
            | QDialogButtonBox.StandardButton.Cancel
        )
        buttons.accepted.connect(self.accept)
        buttons.rejected.connect(self.reject)
        layout.addWidget(buttons)

    def accept(self) -> None:
        """Ask before files may be replaced, then close with a request."""
        text = self.folder.text().strip()
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
        if self.in_work.isChecked():
            states = ("done", "in progress")
        self.request = FolderExport(folder, formats, states, overwrite)
        super().accept()

    def _on_browse(self) -> None:
        name = QFileDialog.getExistingDirectory(self, "Export into", self.folder.text())
        if name:
            self.folder.setText(name)


class CalibrationDialog(QDialog):
    """What the confidence of proposals was worth.

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
        self.plot.setToolTip("Dots: images. Line: the Dice to be expected.")
        self.text = QLabel(
            "Each dot is an image: the confidence of its proposal and the Dice of the "
            "proposal with what you confirmed. The line is what the table shows.<br>"
            f"Mean error {calibration.error_before:.2f} before, "
            f"{calibration.error_after:.2f} after calibration."
        )
        self.text.setWordWrap(True)
        self.text.setTextFormat(Qt.TextFormat.RichText)
        layout = QVBoxLayout(self)
        layout.addWidget(self.plot)
        layout.addWidget(self.text)
