"""Models are listed, downloaded, verified and imported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from napari_promise.model import weights
from napari_promise.model.weights import BUNDLED, MODELS
from tests.cli.running import one_line, run


def test_models_are_listed_with_and_without_the_word_list(capsys) -> None:
    assert run("models") == 0
    listed = capsys.readouterr().out
    assert run("models", "list") == 0
    assert capsys.readouterr().out == listed
    names = [line.split("\t")[0] for line in listed.splitlines()[1:]]
    assert names == [entry.info.name for entry in weights.list_models()]
    assert sorted(names) == sorted(MODELS)
    assert all(MODELS[name].about in listed for name in names)


def test_every_weight_of_the_package_says_its_data_and_their_terms(capsys) -> None:
    assert run("models", "info") == 0
    told = capsys.readouterr().out
    shipped = {path.stem for path in BUNDLED.glob("*.safetensors")}
    assert shipped >= {"promise-tiny", "promise-medical", "outline"}
    for name in shipped:
        found = weights.trained_on(name)
        assert found
        for terms, data in found.items():
            assert f"trained on, {terms}: " in told
            assert all(one in told for one in data)


def test_a_model_of_elsewhere_says_where_it_comes_from(capsys) -> None:
    assert run("models", "info", "vit_b") == 0
    told = capsys.readouterr().out
    assert MODELS["vit_b"].source in told
    assert "trained on" not in told
    assert run("models", "info", "vit_x") == 2
    assert "vit_x" in one_line(capsys)


def test_a_model_is_downloaded_by_name(capsys, monkeypatch, tmp_path) -> None:
    asked = []

    def fetch(name: str, progress: Any = None, cancel: Any = None) -> Path:
        asked.append(name)
        progress(5, 10)
        return tmp_path / name

    monkeypatch.setattr(weights, "fetch", fetch)
    assert run("models", "download", "vit_t") == 0
    assert asked == ["vit_t"]
    assert str(tmp_path / "vit_t") in capsys.readouterr().out


def test_a_download_that_fails_is_one_line_and_status_1(capsys, monkeypatch) -> None:
    def fetch(name: str, **kwargs: Any) -> Path:
        raise weights.FetchError("no network: put sam.pth into the cache")

    monkeypatch.setattr(weights, "fetch", fetch)
    assert run("models", "download", "vit_b") == 1
    assert "no network" in one_line(capsys)


def test_a_model_that_is_not_here_cannot_be_verified(capsys) -> None:
    assert run("models", "verify", "vit_h") == 1
    assert "vit_h" in one_line(capsys)


def test_a_file_that_is_no_known_model_is_not_imported(picture, capsys) -> None:
    assert run("models", "import", picture) == 1
    assert "frame.png" in one_line(capsys)
