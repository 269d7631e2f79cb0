"""What is asked before an export: where to, which format, the classes' names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from qtpy.QtWidgets import (
    QComboBox,
    QDialog,
    QDialogButtonBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QMessageBox,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_promise.widgets.buttons import ending
from napari_promise.widgets.words import counted


@dataclass(frozen=True)
class Format:
    """One way to write the work.

    Parameters
    ----------
    key : str
        How the exporter calls it.
    title : str
        The name shown in lists.
    suffix : str
    note : str
        What is in the file, in a sentence.
    planes : bool
        Whether it holds more than one plane.
    """

    key: str
    title: str
    suffix: str
    note: str
    planes: bool = True


FORMATS = (
    Format("tiff", "Labels · TIFF", ".tif", "Pixel value = object number."),
    Format(
        "png",
        "Labels · PNG",
        ".png",
        "Pixel value = object number, with colours for the eye.",
        planes=False,
    ),
    Format("npy", "Labels · NumPy", ".npy", "The array alone; no voxel size."),
    Format(
        "nifti",
        "Labels · NIfTI",
        ".nii.gz",
        "With voxel size, position and orientation.",
    ),
    Format(
        "dicom",
        "Labels · DICOM SEG",
        ".dcm",
        "A segmentation over the DICOM images that were opened.",
    ),
    Format(
        "coco",
        "Objects · COCO",
        ".json",
        "Run-length masks, boxes, areas and classes; objects do not overlap. Planes of "
        "a stack are named after its file, but not written. Numbers of classes are "
        "kept in categories.json beside it.",
    ),
    Format(
        "polygons",
        "Objects · COCO polygons",
        ".json",
        "As COCO, with outlines in place of masks: holes are filled.",
    ),
    Format(
        "geojson",
        "Objects · GeoJSON",
        ".geojson",
        "Outlines with their classes, as QuPath opens them: drop the file on the image "
        "there.",
    ),
    Format(
        "zarr",
        "Labels · OME-Zarr",
        ".labels.zarr",
        "A folder with every level of a pyramid, for images of any size.",
    ),
    Format(
        "csv",
        "Measurements · CSV",
        ".csv",
        "One row an object: planes, pixels, volume in ml, longest diameter in mm.",
    ),
    Format(
        "prompts",
        "Prompts · JSON",
        ".prompts.json",
        "Every prompt; “Load prompts…” replays them to the same masks.",
    ),
)


@dataclass(frozen=True)
class ExportRequest:
    """What was asked for.

    Parameters
    ----------
    format : Format
    path : Path
    overwrite : bool
        Whether replacing an existing file was agreed to.
    classes : mapping of int to str
        Class name per object.
    """

    format: Format
    path: Path
    overwrite: bool
    classes: Mapping[int, str]


class ExportDialog(QDialog):
    """Asks for format, path and class names, and before replacing a file.

    Parameters
    ----------
    stem : str
        File name to suggest, without suffix.
    folder : Path
        Folder to suggest.
    stack : bool
        Whether the image has more than one plane.
    classes : mapping of int to str
        Class name of each object.
    uncommitted : int
        How many objects are not in the labels as they stand.
    parent : QWidget, optional
    """

    def __init__(
        self,
        stem: str,
        folder: Path,
        stack: bool,
        classes: Mapping[int, str],
        uncommitted: int,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self.setWindowTitle("Export")
        self.request: ExportRequest | None = None
        self._stem, self._classes = stem, dict(classes)
        self.format = QComboBox()
        for choice in FORMATS:
            if choice.planes or not stack:
                self.format.addItem(choice.title, choice)
        self.format.setToolTip("What is written, and how.")
        self.path = QLineEdit()
        self.path.setMinimumWidth(320)
        self.path.setToolTip("The file to write. Its folder must exist.")
        self.browse = QPushButton("Browse…")
        self.browse.setAutoDefault(False)
        self.browse.setToolTip("Choose the file in a window.")
        self.note = QLabel()
        self.note.setWordWrap(True)
        self.fields = {
            name: QLineEdit(name) for name in sorted(set(self._classes.values()))
        }
        form = QFormLayout()
        form.addRow("Format", self.format)
        row = QHBoxLayout()
        row.addWidget(self.path, 1)
        row.addWidget(self.browse)
        form.addRow("File", row)
        form.addRow("", self.note)
        for name, field in self.fields.items():
            count = sum(1 for c in self._classes.values() if c == name)
            field.setPlaceholderText("no class")
            field.setToolTip("The name of this class in the file.")
            form.addRow(f"Class of {counted(count, 'object')}", field)
        if uncommitted:
            verb = "is" if uncommitted == 1 else "are"
            warning = QLabel(
                f"{counted(uncommitted, 'object')} {verb} not committed as shown: "
                "labels and COCO hold only what was committed."
            )
            warning.setWordWrap(True)
            warning.setStyleSheet("color: #e69f00;")
            form.addRow("", warning)
        buttons = ending(
            QDialogButtonBox.StandardButton.Save, QDialogButtonBox.StandardButton.Cancel
        )
        buttons.accepted.connect(self.accept)
        buttons.rejected.connect(self.reject)
        layout = QVBoxLayout(self)
        layout.addLayout(form)
        layout.addWidget(buttons)
        self._suggest(folder)
        self.format.currentIndexChanged.connect(lambda _row: self._on_format_changed())
        self.browse.clicked.connect(self._on_browse)

    def chosen_format(self) -> Format:
        """Return the format that is chosen."""
        chosen: Format = self.format.currentData()
        return chosen

    def accept(self) -> None:
        """Ask before replacing a file, then close with a request."""
        text = self.path.text().strip()
        path = Path(text).expanduser()
        if not text or not path.name:
            QMessageBox.warning(self, "Export", "Name the file to write.")
            return
        if not path.parent.is_dir():
            QMessageBox.warning(
                self,
                "Export",
                f"The folder {path.parent} does not exist; choose another.",
            )
            return
        overwrite = False
        if path.exists():
            answer = QMessageBox.question(
                self,
                "Export",
                f"{path.name} exists already. Replace it?",
                QMessageBox.StandardButton.Yes | QMessageBox.StandardButton.No,
                QMessageBox.StandardButton.No,
            )
            if answer != QMessageBox.StandardButton.Yes:
                return
            overwrite = True
        names = {name: field.text().strip() for name, field in self.fields.items()}
        classes = {number: names[name] for number, name in self._classes.items()}
        self.request = ExportRequest(self.chosen_format(), path, overwrite, classes)
        super().accept()

    def _suggest(self, folder: Path) -> None:
        chosen = self.chosen_format()
        self.path.setText(str(folder / f"{self._stem}{chosen.suffix}"))
        self.note.setText(chosen.note)

    def _on_format_changed(self) -> None:
        chosen = self.chosen_format()
        path = Path(self.path.text())
        name = path.name
        for suffix in sorted((f.suffix for f in FORMATS), key=len, reverse=True):
            if name.endswith(suffix):
                name = name[: -len(suffix)]
                break
        self.path.setText(str(path.with_name((name or self._stem) + chosen.suffix)))
        self.note.setText(chosen.note)

    def _on_browse(self) -> None:
        chosen = self.chosen_format()
        # Whether to replace a file is asked once, in accept().
        name, _ = QFileDialog.getSaveFileName(
            self,
            "Export",
            self.path.text(),
            f"{chosen.title} (*{chosen.suffix})",
            options=QFileDialog.Option.DontConfirmOverwrite,
        )
        if name:
            has_suffix = Path(name).suffix
            self.path.setText(name if has_suffix else name + chosen.suffix)
