"""Weights enter the package whole, small enough and with their own scores."""

from __future__ import annotations

import hashlib
import json

import pytest

from scripts.base import export_base
from scripts.base.export_base import install


def test_weights_and_record_are_installed_together(tmp_path):
    source = tmp_path / "run" / "w.safetensors"
    source.parent.mkdir()
    source.write_bytes(b"weights")
    digest = hashlib.sha256(b"weights").hexdigest()
    (source.parent / "recipe.json").write_text('{"steps": 3}')
    scores = tmp_path / "scores.json"
    scores.write_text(json.dumps({"sha256": digest, "part": "test", "scores": {}}))
    record = json.loads(install(source, tmp_path / "bundled", [scores]).read_text())
    assert record["sha256"] == digest
    assert record["recipe"] == {"steps": 3}
    assert "kvasir-seg" in record["never_trained_on"]
    names = {path.name for path in (tmp_path / "bundled").iterdir()}
    assert names == {"promise-tiny.safetensors", "promise-tiny.json"}


def test_scores_of_other_weights_are_refused(tmp_path):
    source = tmp_path / "w.safetensors"
    source.write_bytes(b"weights")
    scores = tmp_path / "scores.json"
    scores.write_text(json.dumps({"sha256": "0", "part": "test", "scores": {}}))
    with pytest.raises(ValueError, match="other weights"):
        install(source, tmp_path / "bundled", [scores])
    assert not (tmp_path / "bundled").exists()


def test_weights_too_large_for_the_wheel_are_refused(tmp_path, monkeypatch):
    monkeypatch.setitem(export_base.LARGEST, "promise-tiny", 3)
    source = tmp_path / "w.safetensors"
    source.write_bytes(b"weights")
    with pytest.raises(ValueError, match="at most 3"):
        install(source, tmp_path / "bundled")


def test_a_decoder_names_its_encoder_and_the_terms_of_all_that_it_saw(tmp_path):
    source = tmp_path / "w.safetensors"
    source.write_bytes(b"weights")
    path = install(source, tmp_path / "bundled", name="promise-medical")
    record = json.loads(path.read_text())
    assert record["encoder"]["hash"].startswith("sha256:")
    assert all(entry["licence"] for entry in record["trained_on"])
    seen = " ".join(entry["data"] for entry in record["trained_on"])
    assert "ct_heart_chd" in seen
    for stranger in ("kvasir-seg", "ct_abdomen_curvas", "octa_faz"):
        assert stranger in record["never_trained_on"]
        assert stranger not in seen
