"""The window that asks which other computer is to encode, and tries it."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtCore import QSize, Signal
from qtpy.QtGui import QCloseEvent
from qtpy.QtWidgets import (
    QCheckBox,
    QDialog,
    QDialogButtonBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_promise.widgets.background import later
from napari_promise.widgets.buttons import ending
from napari_promise.widgets.dispatch import GuiDispatcher


class RemoteDialog(QDialog):
    """Address and certificate of a computer that encodes.

    Parameters
    ----------
    parent : QWidget, optional

    Attributes
    ----------
    connect_requested : Signal(str, str, bool)
        Address, certificate's path, and whether plain connections are allowed.
    """

    connect_requested = Signal(str, str, bool)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle("Encode on another computer")
        self._dispatch = GuiDispatcher(self)
        about = QLabel(
            "Images are encoded there, masks are drawn here. Run "
            "<code>napari-promise serve</code> on the other computer: it prints the "
            "address, and writes the certificate to copy to this one."
        )
        about.setWordWrap(True)
        self.address = QLineEdit()
        self.address.setPlaceholderText("tls://192.168.1.20:8786")
        self.address.setToolTip("As `napari-promise serve` prints it.")
        self.certificate = QLineEdit()
        self.certificate.setPlaceholderText("client.pem")
        self.certificate.setToolTip(
            "The file client.pem from that computer. Whoever has it can run programs "
            "there: keep it as you keep a password."
        )
        self.browse = QPushButton("Browse…")
        self.browse.setAutoDefault(False)
        self.plain = QCheckBox("allow tcp:// without encryption")
        self.plain.setToolTip(
            "Anybody on the network could read your images, and run programs there. "
            "Only where the network is yours alone."
        )
        self.test = QPushButton("Test")
        self.test.setToolTip("Find out whether that computer lets you in.")
        self.test.setAutoDefault(False)
        self.result = QLabel()
        self.result.setWordWrap(True)
        self.result.setMinimumHeight(3 * self.result.fontMetrics().height())
        files = QHBoxLayout()
        files.addWidget(self.certificate, 1)
        files.addWidget(self.browse)
        rows = QFormLayout()
        rows.addRow("Address", self.address)
        rows.addRow("Certificate", files)
        rows.addRow("", self.plain)
        rows.addRow(self.test, self.result)
        buttons = ending(
            QDialogButtonBox.StandardButton.Ok, QDialogButtonBox.StandardButton.Cancel
        )
        self.connect_button = buttons.button(QDialogButtonBox.StandardButton.Ok)
        assert self.connect_button is not None
        self.connect_button.setText("Connect")
        layout = QVBoxLayout(self)
        layout.addWidget(about)
        layout.addLayout(rows)
        layout.addWidget(buttons)
        self.browse.clicked.connect(self._choose_file)
        self.test.clicked.connect(self.try_it)
        buttons.accepted.connect(self._on_accepted)
        buttons.rejected.connect(self.close)

    def sizeHint(self) -> QSize:
        """Wide enough for an address and a path."""
        return super().sizeHint().expandedTo(QSize(460, 0))

    def show_values(self, address: str, certificate: str, plain: bool) -> None:
        """Show what was used last."""
        self.address.setText(address)
        self.certificate.setText(certificate)
        self.plain.setChecked(plain)
        self.result.clear()

    def try_it(self) -> None:
        """Knock there, and say in one line what came of it."""
        address, certificate, plain = self._values()
        self.test.setEnabled(False)
        self.result.setText("trying…")

        def knock() -> str:
            from napari_promise.remote.encoder import find_server

            return str(find_server(address, certificate, plain=plain).address)

        later(
            knock,
            lambda found: self._show(f"{found} lets you in."),
            self._show,
            dispatch=self._dispatch,
        )

    def closeEvent(self, event: QCloseEvent | None) -> None:
        """Forget what was being tried."""
        self.test.setEnabled(True)
        super().closeEvent(event)

    def _show(self, line: str) -> None:
        self.test.setEnabled(True)
        self.result.setText(line)

    def _values(self) -> tuple[str, str, bool]:
        certificate = self.certificate.text().strip()
        return self.address.text(), certificate, self.plain.isChecked()

    def _choose_file(self) -> None:
        name, _ = QFileDialog.getOpenFileName(
            self,
            "The certificate, client.pem",
            str(Path(self.certificate.text() or Path.cwd()).parent),
            "Certificates (*.pem)",
        )
        if name:
            self.certificate.setText(name)

    def _on_accepted(self) -> None:
        """Refuse what cannot be an address before anything else is changed."""
        from napari_promise.remote.security import checked_address, require_extra

        text, certificate, plain = self._values()
        try:
            require_extra()
            address = checked_address(text, plain=plain)
            if address.scheme == "tls" and not certificate:
                raise ValueError("choose the certificate, client.pem from there.")
        except ValueError as error:
            self._show(str(error))
            return
        self.connect_requested.emit(str(address), certificate, plain)
        self.close()
