"""The package as it is installed and discovered: metadata, manifest, import, wheel."""

from __future__ import annotations

import ast
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from configparser import ConfigParser
from pathlib import Path

import pytest
import yaml
from npe2 import PluginManager, PluginManifest

import napari_promise

ROOT = Path(__file__).resolve().parents[1]
MANIFEST = ROOT / "napari_promise" / "napari.yaml"
#: Heavy packages, and every one that opens a window or loads a model.
HEAVY = ("torch", "torchvision", "napari", "qtpy", "PyQt6", "numpy", "segment_anything")


def _python(code: str) -> str:
    """Run `code` in a Python of its own; what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


# --- discovery ----------------------------------------------------------------------


def test_the_manifest_passes_npe2s_validation_and_every_command_can_be_imported() -> (
    None
):
    manifest = PluginManifest.from_file(MANIFEST)
    manifest.validate_imports()


_SAMPLES = ("endoscopy", "stack", "abdomen", "hippocampus", "nuclei", "retina")


def test_napari_finds_the_plugin_with_its_docks_and_its_samples() -> None:
    manager = PluginManager()
    manager.discover()
    manifest = manager.get_manifest("napari-promise")
    assert manifest.display_name == "ProMISe"
    widgets = [widget.display_name for widget in manifest.contributions.widgets]
    assert widgets == ["ProMISe", "ProMISe: annotate folder"]
    samples = {sample.key for sample in manifest.contributions.sample_data}
    assert samples == set(_SAMPLES)


@pytest.mark.parametrize("key", _SAMPLES)
def test_a_sample_opens_in_a_viewer_as_napari_opens_it(key) -> None:
    from napari.components import ViewerModel

    manager = PluginManager()
    manager.discover()
    manager.activate("napari-promise")
    manifest = manager.get_manifest("napari-promise")
    (sample,) = [s for s in manifest.contributions.sample_data if s.key == key]
    viewer = ViewerModel()
    for data, options, kind in sample.open(_registry=manager.commands):
        getattr(viewer, f"add_{kind}")(data, **options)
    assert viewer.layers[0].visible
    assert all(not layer.visible for layer in viewer.layers[1:])


def test_the_command_line_is_an_entry_point() -> None:
    scripts = importlib.metadata.entry_points(group="console_scripts")
    (script,) = [s for s in scripts if s.name == "napari-promise"]
    assert script.value == "napari_promise.cli:main"
    assert callable(script.load())


def test_versions_agree_and_the_changelog_speaks_of_this_one() -> None:
    version = napari_promise.__version__
    assert importlib.metadata.version("napari-promise") == version
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(rf"^## {re.escape(version)}\b", changelog, re.MULTILINE)


# --- import -------------------------------------------------------------------------


def test_importing_the_package_loads_nothing_heavy() -> None:
    answer = _python(
        "import sys, json; import napari_promise; print(json.dumps([*sys.modules]))"
    )
    assert not set(HEAVY) & set(json.loads(answer))


def test_the_public_names_arrive_when_asked_for() -> None:
    assert set(napari_promise.__all__) <= set(dir(napari_promise))
    for name in napari_promise.__all__:
        assert getattr(napari_promise, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'segmentor'"):
        napari_promise.segmentor  # noqa: B018


def test_prompts_need_no_torch_and_no_window() -> None:
    modules = json.loads(
        _python(
            "import sys, json; from napari_promise import Prompts;"
            "import napari_promise.document, napari_promise.data.samples;"
            "print(json.dumps(sorted(sys.modules)))"
        )
    )
    assert not (set(HEAVY) - {"numpy"}) & set(modules)


@pytest.mark.slow
def test_the_samples_open_without_napari() -> None:
    modules = json.loads(
        _python(
            "import sys, json; from napari_promise.data import samples;"
            "samples.endoscopy_layers(); print(json.dumps(sorted(sys.modules)))"
        )
    )
    assert not {"torch", "napari", "qtpy"} & set(modules)


# --- wheel --------------------------------------------------------------------------


def test_metadata_is_in_setup_cfg_alone_and_names_no_qt_binding() -> None:
    assert not re.search(
        r"^\[project\b", (ROOT / "pyproject.toml").read_text("utf-8"), re.MULTILINE
    )
    config = ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    needed = config["options"]["install_requires"].lower()
    assert not re.search(r"pyqt|pyside", needed)
    assert "Framework :: napari" in config["metadata"]["classifiers"]


#: Distributions whose modules have another name.
_MODULES = {"pillow": "PIL", "scikit-image": "skimage"}
#: Modules that come with an extra under another name.
_WITH_EXTRAS = {"distributed"}
#: tifffile opens compressed files with it, and imports it by itself.
_UNSEEN = {"imagecodecs"}
#: Parts of napari's own interface: its key codes, and the tables of its features.
_OF_NAPARI = {"app_model", "pandas"}


def _required(*sections: tuple[str, str]) -> set[str]:
    """Modules that setup.cfg asks for under these options."""
    config = ConfigParser(interpolation=None)
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    lines = "\n".join(config[section][option] for section, option in sections)
    names = re.findall(r"^([A-Za-z][\w-]*)", lines, re.MULTILINE)
    return {_MODULES.get(name, name).replace("-", "_") for name in names}


def _imported() -> set[str]:
    """Modules of others that the package imports somewhere, by their first name."""
    names = set()
    for path in (ROOT / "napari_promise").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                names.add(node.module.split(".")[0])
    return names - sys.stdlib_module_names - {"napari_promise"}


def test_nothing_is_required_that_nothing_imports() -> None:
    assert not _required(("options", "install_requires")) - _imported() - _UNSEEN


def test_nothing_is_imported_that_is_not_required_or_an_extra() -> None:
    required = _required(
        ("options", "install_requires"),
        ("options.extras_require", "dicom"),
        ("options.extras_require", "metrics"),
        ("options.extras_require", "remote"),
    )
    assert not _imported() - required - _OF_NAPARI - _WITH_EXTRAS


def _nox_sessions() -> set[str]:
    tree = ast.parse((ROOT / "noxfile.py").read_text(encoding="utf-8"))
    return {
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef)
        and any(ast.unparse(made) == "nox.session" for made in node.decorator_list)
    }


def test_the_workflow_runs_sessions_of_the_noxfile_on_pythons_that_are_promised() -> (
    None
):
    path = ROOT / ".github" / "workflows" / "test.yml"
    jobs = yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"]
    matrix = jobs["matrix"]["strategy"]["matrix"]
    alone = matrix["include"]
    sessions = {*matrix["session"], *(job["session"] for job in alone)}
    pythons = {*matrix["python"], *(job["python"] for job in alone)}
    config = ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    promised = re.findall(
        r"^Programming Language :: Python :: (3\.\d+)$",
        config["metadata"]["classifiers"],
        re.MULTILINE,
    )
    assert sessions == _nox_sessions()
    assert pythons == set(promised)
    assert config["options"]["python_requires"] == f">={promised[0]}"


@pytest.fixture(scope="module")
def wheel_names(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Names of the files in a wheel built from this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    # From a copy: a build in place would pick up what an earlier one left in build/.
    source = folder / "source"
    caches = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "napari_promise", source / "napari_promise", ignore=caches)
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE", "MANIFEST.in"):
        shutil.copy(ROOT / name, source)
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation"]
        + ["--no-index", "--quiet", "--wheel-dir", str(folder), str(source)],
        check=True,
        env=os.environ | {"PIP_DISABLE_PIP_VERSION_CHECK": "1"},
    )
    (wheel,) = folder.glob("napari_promise-*-py3-none-any.whl")
    assert wheel.stat().st_size < 60e6, "small enough to install over a slow line"
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "napari_promise/napari.yaml",
        "napari_promise/py.typed",
        "napari_promise/data/samples.py",
        "napari_promise/data/nuclei.png",
        "napari_promise/data/nuclei_labels.png",
        "napari_promise/model/bundled/promise-tiny.safetensors",
        "napari_promise/model/bundled/promise-medical.safetensors",
        "napari_promise/model/bundled/promise-medical.json",
        "napari_promise/model/bundled/adapters/polyp/adapter.safetensors",
        "napari_promise/model/bundled/adapters/polyp/adapter.json",
    ],
)
def test_the_wheel_carries(name, wheel_names) -> None:
    assert name in wheel_names


def test_the_wheel_carries_every_module_and_nothing_that_is_not_the_package(
    wheel_names,
) -> None:
    package = ROOT / "napari_promise"
    modules = {p.relative_to(ROOT).as_posix() for p in package.rglob("*.py")}
    assert modules <= wheel_names
    tops = {name.split("/")[0] for name in wheel_names}
    assert tops == {
        "napari_promise",
        f"napari_promise-{napari_promise.__version__}.dist-info",
    }
