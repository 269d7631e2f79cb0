"""A window that is killed in the middle of a propagation, and the work afterwards."""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_promise.document import is_propagated
from napari_promise.jobs.propagating import Propagate
from tests.widgets.volumes.discs import END, PLANES, Discs, as_prompt
from tests.widgets.volumes.window_to_kill import ENOUGH, START

ROOT = Path(__file__).resolve().parents[3]
PATIENCE = 300.0


@pytest.fixture
def killed(has_screen: None, tmp_path: Path) -> Path:
    """The folder of a stack whose window was killed while it propagated."""
    folder = tmp_path / "stacks"
    folder.mkdir()
    rng = np.random.default_rng(0)
    stack = rng.integers(0, 255, (PLANES, 90, 120), dtype=np.uint8)
    np.save(folder / "stack.npy", stack)
    saved = tmp_path / "saved"
    command = [sys.executable, "-m", "tests.widgets.volumes.window_to_kill"]
    child = subprocess.Popen(
        [*command, str(folder), str(saved)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    begun = time.monotonic()
    try:
        while not saved.exists():
            assert child.poll() is None, "the window ended by itself"
            assert time.monotonic() - begun < PATIENCE, "nothing was saved"
            time.sleep(0.05)
    finally:
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
    return folder


def test_what_was_found_is_there_again_and_the_rest_is_found(
    killed: Path, make_desk: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari_promise.widgets.folder.dock import FolderWidget

    Discs.may_go.set()
    monkeypatch.setattr(
        "napari_promise.widgets.volumes.controller.Propagate",
        functools.partial(Propagate, make=Discs, as_prompt=as_prompt),
    )
    desk = make_desk(adapter="")
    folder = FolderWidget(desk.viewer)
    desk.viewer.window.add_dock_widget(folder, name="folder", area="left")
    try:
        folder.open_project(killed)
        desk.until(lambda: folder.work is not None and folder.work.key is not None)
        desk.until(lambda: len(desk.document) == 1 + ENOUGH)
        drawn = [r for r in desk.document.objects if not is_propagated(r)]
        assert [record.plane for record in drawn] == [(START,)]
        assert {record.label for record in desk.document.objects} == {drawn[0].label}
        assert all(record.region is not None for record in desk.document.objects)
        desk.until(lambda: desk.widget.session.status.state == "ready")
        desk.press("P")
        desk.until(lambda: len(desk.document) == END)
        desk.until(lambda: not desk.widget.desk.propagation.is_running)
    finally:
        folder.close_down()
