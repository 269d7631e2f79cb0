from __future__ import annotations

import errno
import json
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from napari_promise.model import adapter_files
from napari_promise.model.adapter_files import (
    export_file,
    free_name,
    import_file,
    install,
    remove,
    rename,
)
from napari_promise.model.adapters import (
    RECORD,
    TENSORS,
    Adapter,
    AdapterInfo,
    list_adapters,
    load_adapter,
)
from napari_promise.model.auto_prompt import HeatmapAPM
from napari_promise.model.pattern_shift import PatternEmbedding


def _adapter(name: str = "toy", seed: int = 0) -> Adapter:
    torch.manual_seed(seed)
    info = AdapterInfo(name, "micro", "0" * 64, points=6)
    return Adapter(info, HeatmapAPM([32, 32, 32], width=16), PatternEmbedding(32))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "adapters"
    monkeypatch.setenv("NAPARI_PROMISE_ADAPTERS", str(folder))
    return folder


def _own() -> list[str]:
    return [item.info.name for item in list_adapters() if not item.bundled]


def _zip(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return path


@pytest.fixture
def whole(home: Path, tmp_path: Path) -> dict[str, bytes]:
    """What the file of a sound adapter holds; the adapter itself is gone again."""
    folder = install(_adapter())
    members = {name: (folder / name).read_bytes() for name in (RECORD, TENSORS)}
    remove("toy")
    return members


def test_an_adapter_travels_as_one_file(home: Path, tmp_path: Path) -> None:
    adapter = _adapter()
    install(adapter)
    path = export_file("toy", tmp_path)
    assert path.name == "toy.promise-adapter"
    with zipfile.ZipFile(path) as file:
        assert sorted(file.namelist()) == [RECORD, TENSORS]
    remove("toy")
    assert _own() == []
    loaded = load_adapter(import_file(path))
    for name, value in adapter.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value.half().float())


def test_a_name_that_is_taken_is_refused_and_kept(home: Path) -> None:
    install(_adapter())
    before = (home / "toy" / TENSORS).read_bytes()
    with pytest.raises(ValueError, match="already"):
        install(_adapter(seed=1))
    assert (home / "toy" / TENSORS).read_bytes() == before
    install(_adapter(seed=1), force=True)
    assert (home / "toy" / TENSORS).read_bytes() != before
    assert free_name("toy") == "toy-2"


def test_renaming_moves_it_and_bundled_ones_stay(home: Path) -> None:
    install(_adapter())
    rename("toy", "tumour")
    assert _own() == ["tumour"]
    with pytest.raises(ValueError, match="bundled"):
        rename("polyp", "mine")
    with pytest.raises(ValueError, match="bundled"):
        remove("polyp")
    with pytest.raises(ValueError, match="already"):
        rename("tumour", "polyp")


def test_a_full_disk_leaves_the_earlier_adapter_and_nothing_else(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(_adapter())
    before = (home / "toy" / TENSORS).read_bytes()

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(adapter_files, "save_adapter", full)
    with pytest.raises(OSError, match="free disk space"):
        install(_adapter(seed=1), force=True)
    assert (home / "toy" / TENSORS).read_bytes() == before
    assert os.listdir(home) == ["toy"]


class _Evil:
    def __reduce__(self) -> Any:
        return os.mkdir, ("pwned",)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({TENSORS: pickle.dumps(_Evil())}, "safetensors"),
        ({TENSORS: b""}, "safetensors"),
        ({RECORD: b"{"}, "damaged"),
        ({RECORD: b"\xff\xfe"}, "damaged"),
        ({RECORD: b"[" * 100_000}, "damaged"),
        ({"../../evil.py": b"x"}, "nothing else"),
        ({"/etc/evil": b"x"}, "nothing else"),
        ({"extra.txt": b"x"}, "nothing else"),
        ({RECORD: b" " * (2 << 20)}, "no adapter"),
    ],
)
def test_a_malicious_or_broken_file_is_refused_and_leaves_nothing(
    home: Path,
    tmp_path: Path,
    whole: dict[str, bytes],
    change: dict[str, bytes],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    path = _zip(tmp_path / "x.promise-adapter", whole | change)
    with pytest.raises(ValueError, match=message):
        import_file(path)
    assert _own() == []
    assert not (tmp_path / "pwned").exists()
    assert not list(tmp_path.rglob("evil*"))


@pytest.mark.parametrize(
    "change",
    [
        {"name": "../../escape"},
        {"name": 7},
        {"points": 8},
        {"points": 10**12},
        {"modules": {"apm": {"level_channels": [32] * 5000}}},
        {"base_model": "promise-tiny"},
        {"modules": {"apm": {"width": 10**9}}},
        {"modules": []},
        {"scores": "0.99"},
        {"surprise": 1},
        {"format": 99},
    ],
)
def test_a_tampered_record_is_refused(
    home: Path, tmp_path: Path, whole: dict[str, bytes], change: dict[str, Any]
) -> None:
    record = json.loads(whole[RECORD]) | change
    members = whole | {RECORD: json.dumps(record).encode()}
    path = _zip(tmp_path / "x.promise-adapter", members)
    with pytest.raises(ValueError, match=r"x\.promise-adapter"):
        import_file(path)
    assert _own() == []


def test_a_bomb_is_not_unpacked(
    home: Path,
    tmp_path: Path,
    whole: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(adapter_files, "LIMITS", {RECORD: 2**20, TENSORS: 2**20})
    path = _zip(tmp_path / "x.promise-adapter", whole | {TENSORS: bytes(8 << 20)})
    with pytest.raises(ValueError, match="more than 1 MB"):
        import_file(path)


def test_a_file_that_is_no_zip_is_named(home: Path, tmp_path: Path) -> None:
    path = tmp_path / "x.promise-adapter"
    path.write_bytes(b"nonsense")
    with pytest.raises(ValueError, match="get it again"):
        import_file(path)
    with pytest.raises(ValueError, match="does not exist"):
        import_file(tmp_path / "y.promise-adapter")


def test_names_in_an_adapter_file_are_told_in_one_line(tmp_path):
    path = tmp_path / "a.promise-adapter"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a\nb" + "c" * 500, b"")
    with pytest.raises(ValueError, match="nothing else, not") as caught:
        adapter_files.read_file(path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300 + len(str(path))
