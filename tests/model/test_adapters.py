from __future__ import annotations

import json
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from napari_promise.files import NewerFileError
from napari_promise.model import adapters
from napari_promise.model.adapters import (
    Adapter,
    AdapterInfo,
    check_free,
    list_adapters,
    load_adapter,
    save_adapter,
)
from napari_promise.model.auto_prompt import HeatmapAPM
from napari_promise.model.pattern_shift import PatternEmbedding
from napari_promise.model.point_prompters import CrossAPM, ResNetAPM


def _adapter(name: str = "toy", **changes: Any) -> Adapter:
    torch.manual_seed(0)
    info = AdapterInfo(name, "micro", "0" * 64, points=6, **changes)
    ips = PatternEmbedding(32)
    torch.nn.init.normal_(ips.lin2.weight, std=0.1)
    apm = HeatmapAPM([32, 32, 32], width=16) if info.apm != "none" else None
    return Adapter(info, apm, ips if info.ips else None)


@pytest.fixture
def user_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NAPARI_PROMISE_ADAPTERS", str(tmp_path / "adapters"))
    return tmp_path / "adapters"


@pytest.mark.parametrize("changes", [{}, {"apm": "none"}, {"ips": False}])
def test_what_is_saved_comes_back(
    tmp_path: Path, micro_sam: Any, changes: dict[str, Any]
) -> None:
    adapter = _adapter(scores={"val": {"automatic": 0.5}}, **changes)
    folder = save_adapter(adapter, tmp_path / "toy")
    loaded = load_adapter(folder, micro_sam)
    saved = adapter.state_dict()
    assert loaded.state_dict().keys() == saved.keys()
    for name, value in loaded.state_dict().items():
        assert torch.equal(value, saved[name].half().float())
    assert loaded.info.scores == {"val": {"automatic": 0.5}}
    assert loaded.info.slot_labels == (1, 1, 1, 0, 0, 0)
    assert not loaded.training
    assert sorted(path.name for path in folder.iterdir()) == [
        "adapter.json",
        "adapter.safetensors",
    ]


@pytest.mark.parametrize("kind", ["resnet", "cross"])
@pytest.mark.parametrize("precision", [torch.float16, torch.float32])
def test_the_papers_prompters_come_back_with_their_statistics(
    tmp_path: Path, micro_sam: Any, kind: str, precision: torch.dtype
) -> None:
    torch.manual_seed(0)
    apm = ResNetAPM([32], 5, 64, width=4) if kind == "resnet" else CrossAPM([32] * 2, 5)
    for name, buffer in apm.named_buffers():
        if name.endswith("running_var"):
            buffer.fill_(1e6)  # more than float16 holds
        elif name.endswith("num_batches_tracked"):
            buffer.fill_(123_456)
    info = AdapterInfo(
        "toy", "micro", "0" * 64, kind, 5, ips=False, mask_choice="paper"
    )
    adapter = Adapter(info, apm, precision=precision)
    folder = save_adapter(adapter, tmp_path / "toy")
    loaded = load_adapter(folder, micro_sam)
    assert type(loaded.apm) is type(apm)
    assert loaded.info.mask_choice == "paper"
    assert loaded.precision == precision
    for name, value in apm.named_parameters():
        stored = value.to(precision).float()
        assert torch.equal(loaded.state_dict()[f"apm.{name}"], stored)
    for name, value in apm.named_buffers():
        assert torch.equal(loaded.state_dict()[f"apm.{name}"], value)
    again = save_adapter(loaded, tmp_path / "again")
    for file in folder.iterdir():
        assert file.read_bytes() == (again / file.name).read_bytes()


def test_a_record_from_before_mask_choices_is_read(
    tmp_path: Path, micro_sam: Any
) -> None:
    record = save_adapter(_adapter(), tmp_path / "toy") / "adapter.json"
    values = json.loads(record.read_text())
    del values["mask_choice"]
    record.write_text(json.dumps(values))
    assert load_adapter(tmp_path / "toy", micro_sam).info.mask_choice == "default"


def test_a_record_and_a_prompter_of_other_points_are_refused(
    tmp_path: Path, micro_sam: Any
) -> None:
    info = AdapterInfo("toy", "micro", "0" * 64, "resnet", 5, ips=False)
    apm = ResNetAPM([32], 6, 64, width=4)
    folder = save_adapter(Adapter(info, apm), tmp_path / "toy")
    with pytest.raises(ValueError, match="toy.*5 points"):
        load_adapter(folder, micro_sam)


def test_another_base_is_refused_with_both_names(
    tmp_path: Path, micro_sam: Any
) -> None:
    folder = save_adapter(_adapter(), tmp_path / "toy")
    micro_sam.model_id, micro_sam.sha256 = "vit_b", "f" * 64
    with pytest.raises(ValueError, match=r"micro \(000000000000\).*vit_b"):
        load_adapter(folder, micro_sam)


def test_a_malicious_pickle_is_not_loaded(tmp_path: Path, micro_sam: Any) -> None:
    witness = tmp_path / "witness"

    class Malicious:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (witness,))

    folder = save_adapter(_adapter(), tmp_path / "toy")
    content = pickle.dumps(Malicious())
    (folder / "adapter.safetensors").write_bytes(content)
    with pytest.raises(ValueError, match="no safetensors"):
        load_adapter(folder, micro_sam)
    (folder / "adapter.safetensors").unlink()
    (folder / "adapter.pt").write_bytes(content)
    with pytest.raises(ValueError, match="other formats are not read"):
        load_adapter(folder, micro_sam)
    assert not witness.exists()


def test_an_adapter_of_a_later_version_is_refused_with_its_writer(
    tmp_path: Path, micro_sam: Any
) -> None:
    folder = save_adapter(_adapter(), tmp_path / "toy")
    record = folder / "adapter.json"
    later = {"format": 99, "written_by": "napari-promise 9.0", "surprise": 1}
    record.write_text(json.dumps({**json.loads(record.read_text()), **later}))
    with pytest.raises(NewerFileError, match=r"by napari-promise 9\.0.*update"):
        load_adapter(folder, micro_sam)


def test_an_adapter_that_cannot_be_read_is_not_replaced_unasked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NAPARI_PROMISE_ADAPTERS", str(tmp_path))
    record = save_adapter(_adapter(), tmp_path / "toy") / "adapter.json"
    record.write_text(json.dumps({**json.loads(record.read_text()), "format": 99}))
    with pytest.raises(ValueError, match="cannot be read"):
        check_free("toy")
    assert check_free("toy", force=True) == tmp_path / "toy"


def test_damage_is_named(tmp_path: Path, micro_sam: Any) -> None:
    folder = save_adapter(_adapter(), tmp_path / "toy")
    tensors, record = folder / "adapter.safetensors", folder / "adapter.json"
    whole = tensors.read_bytes()
    tensors.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="damaged"):
        load_adapter(folder, micro_sam)
    tensors.write_bytes(whole)
    values = json.loads(record.read_text())
    for broken in (
        {**values, "surprise": 1},
        {**values, "format": 99},
        {**values, "slot_labels": [0, 1]},
        {**values, "apm": "magic"},
        {**values, "mask_choice": "best"},
        {key: value for key, value in values.items() if key != "points"},
        {**values, "modules": {"ips": {"channels": 7}, "apm": {}}},
    ):
        record.write_text(json.dumps(broken))
        with pytest.raises(ValueError, match="toy"):
            load_adapter(folder, micro_sam)
    record.write_text("{")
    with pytest.raises(ValueError, match="damaged"):
        load_adapter(folder, micro_sam)
    with pytest.raises(ValueError, match="no adapter"):
        load_adapter(tmp_path / "missing", micro_sam)


def test_the_users_adapters_are_listed_and_found_by_name(
    user_dir: Path, micro_sam: Any
) -> None:
    save_adapter(_adapter("mine"), user_dir / "mine")
    (user_dir / "broken").mkdir()
    (user_dir / "broken" / "adapter.json").write_text("{")
    mine = [item for item in list_adapters() if not item.bundled]
    assert [item.info.name for item in mine] == ["mine"]
    assert load_adapter("mine", micro_sam).info.name == "mine"


def test_a_name_that_could_leave_its_folder_is_refused() -> None:
    for name in ("../evil", "a/b", "", "..", "a b"):
        with pytest.raises(ValueError, match="name"):
            AdapterInfo(name, "micro", "0" * 64)


def test_nothing_is_left_of_a_write_that_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(adapters.os, "replace", refuse)
    with pytest.raises(OSError, match="disk full"):
        save_adapter(_adapter(), tmp_path / "toy")
    assert not list((tmp_path / "toy").iterdir())


def test_one_bundled_name_stands_for_the_same_on_every_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, micro_sam: Any
) -> None:
    monkeypatch.setattr(adapters, "BUNDLED", tmp_path)
    monkeypatch.setattr(micro_sam, "model_id", "other", raising=False)
    quick = _adapter("toy")
    quick.info = replace(quick.info, base_sha256="1" * 64)
    save_adapter(quick, adapters.bundled_folder("toy", "promise-tiny"))
    with pytest.raises(ValueError, match="trained on"):
        load_adapter("toy", micro_sam)
    save_adapter(_adapter("toy"), adapters.bundled_folder("toy", "other"))
    assert load_adapter("toy", micro_sam).info.base_sha256 == micro_sam.sha256
    assert load_adapter("toy").info.base_sha256 == "1" * 64
    assert [item.info.name for item in list_adapters()].count("toy") == 2
