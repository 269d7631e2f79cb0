"""Preferences: whole or not at all, and never in anybody's way."""

from __future__ import annotations

import json

import pytest

from napari_promise import preferences
from napari_promise.files import written_by


def test_what_was_written_is_read_again(tmp_path) -> None:
    path = tmp_path / "deep" / "preferences.json"
    preferences.write_preferences(path, {"model": "vit_b", "live": False})
    assert preferences.read_preferences(path) == {"model": "vit_b", "live": False}
    assert [p.name for p in path.parent.iterdir()] == ["preferences.json"]


def test_what_another_version_of_the_program_set_stays(tmp_path) -> None:
    path = tmp_path / "preferences.json"
    path.write_text('{"model": "vit_b", "of a later version": 7}')
    preferences.write_preferences(path, {"model": "vit_h"})
    found = preferences.read_preferences(path)
    assert found == {"model": "vit_h", "of a later version": 7}
    assert json.loads(path.read_text())["written_by"] == written_by()


@pytest.mark.parametrize("content", ["", "{", "[1]", "\udce4"])
def test_a_missing_or_damaged_file_holds_no_preferences(tmp_path, content) -> None:
    path = tmp_path / "preferences.json"
    assert preferences.read_preferences(path) == {}
    path.write_bytes(content.encode("utf-8", "surrogateescape"))
    assert preferences.read_preferences(path) == {}


def test_a_write_that_fails_leaves_the_earlier_file(tmp_path, monkeypatch) -> None:
    path = tmp_path / "preferences.json"
    preferences.write_preferences(path, {"model": "vit_b"})

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(preferences.os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        preferences.write_preferences(path, {"model": "vit_h"})
    assert preferences.read_preferences(path) == {"model": "vit_b"}
    assert len(list(tmp_path.iterdir())) == 1


def test_the_environment_can_say_where_preferences_are(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("NAPARI_PROMISE_PREFERENCES", str(tmp_path / "p.json"))
    assert preferences.default_path() == tmp_path / "p.json"
