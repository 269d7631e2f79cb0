"""What every test stands on: a screen, folders of its own, one thread, real images.

Runs before torch, Qt and napari are imported, so that what it sets in the environment
holds for all of them.
"""

from __future__ import annotations

import gc
import os
import shutil
import subprocess
import sys
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any

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
#: Who asks for one of these, itself or through another fixture, opens a window.
_WINDOWS = {"has_screen", "make_napari_viewer", "qapp", "qtbot"}
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
    # with pytest-xdist the workers open the windows, this process only listens
    distributes = config.getoption("numprocesses", None)
    server = None if distributes else _start_screen()
    if server is not None:

        def stop() -> None:
            server.terminate()
            server.wait()

        config.add_cleanup(stop)
    config.add_cleanup(lambda: shutil.rmtree(_HOME, ignore_errors=True))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test that opens a window, so that nobody has to think of it."""
    for item in items:
        if not _WINDOWS.isdisjoint(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.window)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Any:
    """Collect what a window leaves where it was made, and before anything else runs.

    A canvas of napari leaves an OpenGL context, timers and widgets to the garbage. The
    next test may have threads, and Python collects in any of them: to destroy those
    there, while Qt handles events here, ends the worker.
    """
    result = yield
    if item.get_closest_marker("window"):
        gc.collect()
    return result


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
    # napari's fixture collects garbage around every window, to see what stays of it:
    # what is imported is not looked through again each time.
    for name in ("napari.qt", "torch"):
        import_module(name)
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def promise_data() -> Path:
    """Folder of the real image sets; skips the test where it is missing."""
    folder = Path(os.environ.get("PROMISE_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no image sets in {folder}; name their folder with PROMISE_DATA")
    return folder


def build_micro_sam() -> Any:
    """Build a frozen SAM of segment_anything's own classes, 64 pixels, random weights.

    Its embedding is (32, 8, 8), its low-resolution masks 32 x 32, its levels three
    times (32, 8, 8). Always with the same weights.
    """
    import torch

    from napari_promise.model import sam as models

    # isort: split
    from segment_anything.modeling import (
        ImageEncoderViT,
        MaskDecoder,
        PromptEncoder,
        Sam,
        TwoWayTransformer,
    )

    with torch.random.fork_rng():
        torch.manual_seed(0)
        sam = Sam(
            image_encoder=ImageEncoderViT(
                img_size=64,
                patch_size=8,
                embed_dim=32,
                depth=4,
                num_heads=2,
                out_chans=32,
            ),
            prompt_encoder=PromptEncoder(
                embed_dim=32,
                image_embedding_size=(8, 8),
                input_image_size=(64, 64),
                mask_in_chans=8,
            ),
            mask_decoder=MaskDecoder(
                transformer=TwoWayTransformer(
                    depth=2, embedding_dim=32, mlp_dim=64, num_heads=2
                ),
                transformer_dim=32,
                iou_head_hidden_dim=32,
            ),
        )
    models.freeze(sam)
    sam.model_id, sam.sha256 = "micro", "0" * 64
    return sam


@pytest.fixture
def micro_sam() -> Any:
    """See `build_micro_sam`; built anew for each test."""
    return build_micro_sam()
