"""A program that is killed loses a moment of work, and keeps nobody out afterwards."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from napari_promise.project import Project, ProjectInUseError
from napari_promise.project.lock import ProjectLock
from scripts.checks import kill_project

ROOT = Path(__file__).resolve().parents[2]

_HOLD = """
import sys, time
from napari_promise.project import Project
project = Project.open(sys.argv[1])
project.set_state(project.keys[0], "skipped")
print("open", flush=True)
time.sleep(60)
"""


@pytest.fixture
def other_window(folder: Path) -> Iterator[Callable[[], subprocess.Popen[str]]]:
    """Open the folder in another process, which is killed at the end."""
    started: list[subprocess.Popen[str]] = []

    def start() -> subprocess.Popen[str]:
        child = subprocess.Popen(
            [sys.executable, "-c", _HOLD, str(folder)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        started.append(child)
        assert child.stdout is not None
        assert child.stdout.readline() == "open\n"
        return child

    yield start
    for child in started:
        child.kill()
        child.wait()
        child.stdout.close()


def test_a_project_opens_again_after_its_program_was_killed(folder, other_window):
    child = other_window()
    with pytest.raises(ProjectInUseError, match=f"process {child.pid}"):
        Project.open(folder)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    with Project.open(folder) as project:
        assert project.items[0].state == "skipped"
        assert project.notes == ()


@pytest.mark.parametrize("seed", [1, 2])
def test_a_kill_while_annotating_leaves_work_that_there_was(folder, seed, monkeypatch):
    """How old the edits are that it takes: `scripts.checks.kill_project` measures."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    row = kill_project.kill_once(folder, seed, 1.0 + 0.37 * seed)
    assert row["edits"] > 1
    assert row["lost_edits"] < row["edits"]
    assert row["whole"]
    assert row["others_whole"]
    assert row["reopened"]


def test_where_no_locks_are_known_the_living_process_in_the_file_decides(
    tmp_path, monkeypatch
):
    fcntl = pytest.importorskip("fcntl")

    def unknown(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "lockf", unknown)
    path = tmp_path / "lock"
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    holder = {"pid": ended.pid, "host": socket.gethostname()}
    path.write_text(json.dumps(holder))
    ProjectLock(path, "the folder").release()
    path.write_text(json.dumps({**holder, "pid": os.getppid()}))
    with pytest.raises(ProjectInUseError, match="delete"):
        ProjectLock(path, "the folder")


def test_a_lock_is_free_once_it_was_released(tmp_path):
    lock = ProjectLock(tmp_path / "lock", "the folder")
    with pytest.raises(ProjectInUseError, match="this napari"):
        ProjectLock(tmp_path / "lock", "the folder")
    lock.release()
    lock.release()
    ProjectLock(tmp_path / "lock", "the folder").release()
