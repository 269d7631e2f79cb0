"""The encoder in another process: open, click, lose it, go on here."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_promise.data.embeddings import EmbeddingCache
from napari_promise.session import Session, Settings

pytest.importorskip("distributed", reason="the extra 'remote' is not installed")
pytest.importorskip("cryptography", reason="the extra 'remote' is not installed")

pytestmark = pytest.mark.long

PATIENCE = 600_000
ROOT = Path(__file__).parents[2]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, str, Any]]:
    """`napari-promise serve` as a person starts it; address, certificate, a killer."""
    command = [sys.executable, "-m", "napari_promise.cli", "serve", "--port", "0"]
    command += ["--host", "127.0.0.1", "--certificates", str(tmp_path / "own")]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )

    def kill() -> None:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    assert process.stdout is not None
    address = process.stdout.readline().removeprefix("address: ").strip()
    certificate = process.stdout.readline().removeprefix("certificate: ").strip()
    yield address, certificate, kill
    kill()


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.skipif(sys.platform == "win32", reason="kills a group of processes")
def test_open_click_lose_the_other_computer_and_go_on_here(
    has_screen: None, make_napari_viewer: Any, qtbot: Any, server: Any
) -> None:
    from napari_promise.widgets.dispatch import GuiDispatcher
    from napari_promise.widgets.prompting.dock import PromiseWidget

    address, certificate, kill = server
    viewer = make_napari_viewer()
    session = Session(
        dispatch=GuiDispatcher(), settings=Settings(), cache=EmbeddingCache(None)
    )
    told: list[str] = []
    session.notified.connect(told.append)
    widget = PromiseWidget(viewer, session)
    viewer.window.add_dock_widget(widget, name="ProMISe", area="right")

    def until(condition: Any) -> None:
        qtbot.waitUntil(condition, timeout=PATIENCE)

    def click(row: float, column: float) -> None:
        before = session.document.active
        revision = before.revision if before is not None else -1
        widget.bridge.work.points.layer.add((row, column))
        until(lambda: session.document.active.is_answered)
        assert session.document.active.revision != revision

    try:
        dialog = widget.models.remote
        widget.models.open_remote()
        dialog.address.setText(address)
        dialog.certificate.setText(certificate)
        dialog.test.click()
        until(lambda: dialog.result.text() == f"{address} lets you in.")
        dialog.connect_button.click()
        assert session.settings.device == session.settings.remote == address
        assert not widget.model_panel.remote.isHidden()

        rng = np.random.default_rng(0)
        viewer.add_image(rng.integers(0, 255, (60, 80), np.uint8), name="first")
        until(lambda: session.status.state == "ready")
        assert "encodes on 127.0.0.1" in session.status.message
        click(30, 40)

        kill()
        click(20, 50)  # what is encoded stays usable
        viewer.add_image(rng.integers(0, 255, (60, 80), np.uint8), name="second")
        widget.bridge.open(viewer.layers[-1])
        until(lambda: session.status.state == "waiting")
        until(lambda: any("is lost" in line for line in told))
        until(lambda: "next try in" in session.status.message)

        widget.model_panel.local.click()
        until(lambda: session.status.state == "ready")
        assert "encodes on" not in session.status.message
        assert widget.model_panel.remote.isHidden()
        click(30, 40)
    finally:
        widget.close_down()


def test_what_is_not_safe_is_said_in_the_window_and_changes_nothing(
    make_desk: Any,
) -> None:
    desk = make_desk()
    models = desk.widget.models
    models.open_remote()
    dialog = models.remote
    for address, said in (
        ("tcp://192.0.2.1:8786", "without encryption"),
        ("tls://192.0.2.1:8786", "choose the certificate"),
        ("http://x", "tls://"),
    ):
        dialog.address.setText(address)
        dialog.connect_button.click()
        assert said in dialog.result.text()
        assert desk.widget.session.settings.device == "auto"
    dialog.close()
