"""Run the tests beside other Qt bindings and other naparis than the pinned ones.

    nox                          what is promised: PyQt6, PySide6 and the oldest napari
    nox -s oldest -- -m window   one of them, with arguments for pytest

`make test` runs the pinned versions; this is for what setup.cfg promises beside them.
"""

import configparser
import re
import sys

import nox

nox.options.sessions = ["pyqt6", "pyside6", "oldest"]
nox.options.reuse_existing_virtualenvs = True

#: What is tested here is a window: all else does not depend on napari or Qt.
_WINDOW = ("-m", "window")
#: The same torch everywhere; the small build for CPUs where there is a choice.
_TORCH = ("torch==2.13.0", "torchvision==0.28.0")
_SETUP = configparser.ConfigParser()
_SETUP.read("setup.cfg")


def _oldest_napari() -> str:
    required = _SETUP["options"]["install_requires"]
    found = re.search(r"^napari>=(\S+)$", required, re.MULTILINE)
    assert found, "setup.cfg names no oldest napari"
    return f"napari=={found[1]}.*" if found[1].count(".") < 2 else f"napari=={found[1]}"


def _test(session: nox.Session, *packages: str, binding: str) -> None:
    session.install(*packages, *_TORCH, "--editable", ".[tools]")
    session.run("python", "-c", "import napari; print('napari', napari.__version__)")
    session.run(
        "python",
        "-m",
        "pytest",
        "--override-ini",
        f"qt_api={binding}",
        *(session.posargs or _WINDOW),
        env={"QT_API": binding},
    )


@nox.session
def pyqt6(session: nox.Session) -> None:
    """Newest napari, PyQt6."""
    _test(session, "napari[pyqt6]", binding="pyqt6")


@nox.session
def pyside6(session: nox.Session) -> None:
    """Newest napari, PySide6.

    PySide6 6.12 gives None back once too often; before Python 3.12, where None became
    immortal, the interpreter aborts after some windows ("deallocating None").
    """
    older = ("PySide6<6.10",) if sys.version_info < (3, 12) else ()
    _test(session, "napari[pyside6]", *older, binding="pyside6")


@nox.session
def oldest(session: nox.Session) -> None:
    """Oldest napari that setup.cfg promises."""
    name = _oldest_napari()
    _test(session, name.replace("napari", "napari[pyqt6]"), binding="pyqt6")


@nox.session
def napari_main(session: nox.Session) -> None:
    """Newest commit of napari: says early what its next release will break."""
    source = "git+https://github.com/napari/napari.git"
    _test(session, f"napari[pyqt6] @ {source}", binding="pyqt6")
