"""Files are written whole or not at all; a time is said in words."""

from __future__ import annotations

import contextlib

import pytest

from napari_promise.files import duration, parse_json, save_json, whole_file
from tests.folders import left_in


def test_what_json_cannot_hold_leaves_no_file(tmp_path):
    with pytest.raises((ValueError, TypeError)):
        save_json(tmp_path / "a.json", {"score": float("nan")})
    with pytest.raises(TypeError, match="cannot be written as JSON"):
        save_json(tmp_path / "a.json", {"thing": object()})
    assert left_in(tmp_path) == []


def test_a_file_that_appears_meanwhile_is_not_overwritten(tmp_path):
    path = tmp_path / "a.txt"
    with contextlib.ExitStack() as stack:
        temporary = stack.enter_context(whole_file(path))
        temporary.write_text("mine")
        path.write_text("theirs")
        with pytest.raises(FileExistsError):
            stack.close()
    assert path.read_text() == "theirs"
    assert left_in(tmp_path) == ["a.txt"]


def test_a_link_keeps_pointing_at_the_file_that_is_replaced(tmp_path):
    (tmp_path / "target.txt").write_text("earlier")
    (tmp_path / "link.txt").symlink_to(tmp_path / "target.txt")
    with whole_file(tmp_path / "link.txt", overwrite=True) as temporary:
        temporary.write_text("later")
    assert (tmp_path / "link.txt").is_symlink()
    assert (tmp_path / "target.txt").read_text() == "later"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.2, "1 s"),
        (89, "89 s"),
        (130, "2 min"),
        (8000, "2 h 13 min"),
        (7200, "2 h 00 min"),
    ],
)
def test_a_time_is_said_as_a_person_would(seconds, words):
    assert duration(seconds) == words


def test_json_nested_without_end_is_a_value_error():
    with pytest.raises(ValueError, match="too deep"):
        parse_json("[" * 200_000 + "]" * 200_000)
