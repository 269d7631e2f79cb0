"""The adapters on this computer: the list, changes to its files, and comparisons."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from qtpy.QtWidgets import QWidget

from napari_promise.jobs.comparing import CompareJob, Tally, TallyJob
from napari_promise.jobs.training_sources import TrainingSource
from napari_promise.session import Session
from napari_promise.widgets.background import Dispatch, later
from napari_promise.widgets.layers.bridge import LayerBridge
from napari_promise.widgets.training.adapters_dialog import AdapterRow, AdaptersDialog


class AdapterLibrary:
    """Lists, renames, deletes, exports, imports and compares adapters.

    Parameters
    ----------
    session : Session
    bridge : LayerBridge
    dispatch : callable
        Brings a call into the window's thread.
    complain : callable
        Shows one line about a failure.
    window : callable
        Returns the window to open above, or None.
    labelled : callable
        Returns the labelled images to compare on, a `TrainingSource` or None.
    changed : callable
        Told the name of an adapter whose files changed.
    show_comparison : callable
        Shows a `Comparison` of two adapters on the image on display.
    """

    def __init__(
        self,
        session: Session,
        bridge: LayerBridge,
        dispatch: Dispatch,
        complain: Callable[[str], None],
        window: Callable[[], QWidget | None],
        labelled: Callable[[], TrainingSource | None],
        changed: Callable[[str], None],
        show_comparison: Callable[[Any], None],
    ) -> None:
        self._session, self._bridge = session, bridge
        self._dispatch, self._complain, self._window = dispatch, complain, window
        self._labelled, self._changed = labelled, changed
        self._show_comparison = show_comparison
        self._dialog: AdaptersDialog | None = None
        self._comparing = False

    @property
    def dialog(self) -> AdaptersDialog:
        """The list of adapters; made when first asked for."""
        if self._dialog is None:
            dialog = AdaptersDialog(self._window())
            dialog.rename_requested.connect(
                lambda name, new: self._change_files("rename", name, new)
            )
            dialog.delete_requested.connect(
                lambda name: self._change_files("remove", name)
            )
            dialog.export_requested.connect(
                lambda name, path: self._change_files(
                    "export_file", name, path, force=True
                )
            )
            dialog.import_requested.connect(
                lambda path: self._change_files("import_file", path)
            )
            dialog.compare_requested.connect(self.compare)
            dialog.compare_all_requested.connect(self.compare_on_all)
            self._dialog = dialog
        return self._dialog

    def show(self) -> None:
        """Open the list of adapters."""
        self._read_rows()
        self.dialog.show()
        self.dialog.raise_()

    def close(self) -> None:
        """Close the list."""
        dialog, self._dialog = self._dialog, None
        if dialog is not None:
            dialog.close()
            dialog.deleteLater()

    # -- files --------------------------------------------------------------------

    def _read_rows(self) -> None:
        later(
            adapter_rows, self.dialog.show_rows, self._complain, dispatch=self._dispatch
        )

    def _change_files(self, what: str, *arguments: Any, **options: Any) -> None:
        def work() -> Path:
            from napari_promise.model import adapter_files

            path: Path = getattr(adapter_files, what)(*arguments, **options)
            return path

        later(
            work,
            lambda path: self._on_files_changed(what, arguments, path),
            self._show_status,
            dispatch=self._dispatch,
        )

    def _show_status(self, line: str) -> None:
        self.dialog.status.setText(line)

    def _on_files_changed(self, what: str, arguments: Any, path: Path) -> None:
        settings = self._session.settings
        if what in ("rename", "remove") and settings.adapter == arguments[0]:
            settings.adapter = path.name if what == "rename" else ""
        said = {"rename": "Renamed", "remove": "Deleted", "export_file": "Exported to"}
        named = path if what == "export_file" else path.name
        self._show_status(f"{said.get(what, 'Imported')}: {named}")
        self._read_rows()
        self._changed(path.name)

    # -- comparing ----------------------------------------------------------------

    def compare(self, old: str, new: str) -> None:
        """Show what two adapters find on the image on display."""
        source = self._bridge.source()
        if source is None:
            self._show_status("Open an image to compare them on.")
            return
        self._session.start_job(
            CompareJob(
                source,
                self._bridge.plane,
                (old, new),
                (old, new),
                self._show_comparison,
                self._complain,
            ),
            first=True,
        )

    def compare_on_all(self, first: str, second: str) -> None:
        """Measure two adapters on the labelled images."""
        if self._comparing:
            self._show_status("Two adapters are being compared already: please wait.")
            return
        source = self._labelled()
        if source is None:
            self._show_status(
                "There are no labelled images: finish images of a folder, or choose "
                "images with masks in the training window."
            )
            return
        self._comparing = True
        self._show_status("Comparing…")
        names = (first, second)
        self._session.start_job(
            TallyJob(source, names, names, self._on_compared, self._on_not_compared)
        )

    def _on_compared(self, tally: Tally) -> None:
        self._comparing = not tally.finished
        self._show_status(tally.told())

    def _on_not_compared(self, line: str) -> None:
        self._comparing = False
        self._show_status(line)


def adapter_rows() -> list[AdapterRow]:
    """Read the records of all adapters; not in the window's thread."""
    from napari_promise.model.adapters import list_adapters

    rows = []
    for item in list_adapters():
        scores = item.info.scores
        rows.append(
            AdapterRow(
                item.info.name,
                item.info.base_model,
                item.info.class_name,
                mean_score(scores, "automatic"),
                mean_score(scores, "gt_prompted"),
                item.bundled,
                item.info.trained_on,
            )
        )
    return rows


def mean_score(scores: Any, kind: str) -> float | None:
    """Return the mean Dice of a kind over all sets in a record, however deep."""
    found: list[float] = []

    def collect(value: Any) -> None:
        if not isinstance(value, dict):
            return
        for key, inner in value.items():
            if key == kind:
                dice = inner.get("dice") if isinstance(inner, dict) else inner
                if isinstance(dice, int | float):
                    found.append(float(dice))
            else:
                collect(inner)

    collect(scores)
    return sum(found) / len(found) if found else None
