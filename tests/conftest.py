"""What every test stands on: a screen, folders of its own, one thread, real images.

Runs before torch, Qt and napari are imported, so that what it sets in the environment
holds for all of them. Knows nothing of the package under test.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SCREEN = "1366x768x24"  # the smallest screen the dock promises to be comfortable on

# A test may neither read what the person running it has configured, nor leave anything
# behind: every program's cache, data and settings live in a folder that goes away.
_HOME = Path(tempfile.mkdtemp(prefix="napari-promise-tests-"))
_USER_FOLDERS = {
    "HOME": "",
    "USERPROFILE": "",
    "XDG_CACHE_HOME": ".cache",
    "XDG_CONFIG_HOME": ".config",
    "XDG_DATA_HOME": ".local/share",
    "XDG_STATE_HOME": ".local/state",
}
for _name, _folder in _USER_FOLDERS.items():
    os.environ[_name] = str(_HOME / _folder)
# Two cores, several workers: threads that fight cost more than they give.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Nothing here needs a network; a library that tries is told so at once.
os.environ["HF_HUB_OFFLINE"] = "1"


def _start_screen() -> subprocess.Popen[bytes] | None:
    """Start Xvfb on a free display and point Qt at it; None where there is none."""
    if not sys.platform.startswith("linux") or shutil.which("Xvfb") is None:
        return None
    reader, writer = os.pipe()
    server = subprocess.Popen(
        ["Xvfb", "-displayfd", str(writer), "-screen", "0", SCREEN]
        + ["-nolisten", "tcp", "-noreset"],
        pass_fds=[writer],
        stderr=subprocess.DEVNULL,
    )
    os.close(writer)
    with os.fdopen(reader) as answer:
        number = answer.readline().strip()  # returns when the server is ready, or died
    if not number:
        server.wait()
        return None
    os.environ["DISPLAY"] = f":{number}"
    os.environ["QT_QPA_PLATFORM"] = "xcb"
    os.environ.pop("WAYLAND_DISPLAY", None)
    os.environ["LIBGL_ALWAYS_SOFTWARE"] = "1"
    return server


def pytest_configure(config: pytest.Config) -> None:
    """Give the run a screen of its own, so that no window jumps at the developer."""
    server = _start_screen()
    if server is not None:

        def stop() -> None:
            server.terminate()
            server.wait()

        config.add_cleanup(stop)
    config.add_cleanup(lambda: shutil.rmtree(_HOME, ignore_errors=True))


@pytest.fixture(autouse=True)
def user_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Cache, data and settings folders of this test alone; their common parent."""
    home = tmp_path / "home"
    for name, folder in _USER_FOLDERS.items():
        monkeypatch.setenv(name, str(home / folder))
    return home


@pytest.fixture(scope="session")
def has_screen() -> None:
    """Skip where no window can be opened."""
    if sys.platform.startswith("linux") and not os.environ.get("DISPLAY"):
        pytest.skip("no display, and Xvfb is not installed")


@pytest.fixture(scope="session")
def promise_data() -> Path:
    """Folder of the real image sets; skips the test where it is missing."""
    folder = Path(os.environ.get("PROMISE_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no image sets in {folder}; name their folder with PROMISE_DATA")
    return folder
