"""A project of a later version is refused by name, and nothing of it is touched."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from napari_promise.document import Document
from napari_promise.files import NewerFileError, written_by
from napari_promise.project import Project
from tests.project.people import Person, items_folder

LATER = {"version": 99, "written_by": "napari-promise 9.0"}


def rewrite(path: Path, member: str, change: Callable[[Any], Any]) -> bytes:
    """Change one JSON member of a zip file; the file's bytes afterwards."""
    with zipfile.ZipFile(path) as file:
        comment = file.comment
        members = {name: file.read(name) for name in file.namelist()}
    members[member] = json.dumps(change(json.loads(members[member]))).encode()
    with zipfile.ZipFile(path, "w") as file:
        file.comment = comment
        for name, content in members.items():
            file.writestr(name, content)
    return path.read_bytes()


def everything(project: Project) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in project.root.rglob("*") if p.is_file()}


def test_every_file_of_a_project_says_who_wrote_it(project, proposal):
    Person(project, "a.png").save()
    project.proposals.save("b.png", [proposal(5, 5, 15, 15)], 0.5, {})
    project.settings.class_name = "lesion"
    head = json.loads((project.root / "index.jsonl").read_text().splitlines()[0])
    assert head["written_by"] == written_by()
    settings = json.loads((project.root / "settings.json").read_text())
    assert settings["written_by"] == written_by()
    paths = list((project.root / "items").rglob("*.zip"))
    assert len(paths) == 2
    for path in paths:
        with zipfile.ZipFile(path) as file:
            about = json.loads(file.read("item.json"))
        assert about["written_by"] == written_by()


@pytest.mark.parametrize("member", ["item.json", "history.json"])
def test_work_of_a_later_version_is_neither_set_aside_nor_salvaged(
    project, reopen, member
):
    person = Person(project, "a.png")
    person.click(10, 20)
    person.commit()
    person.save()
    person.save()
    path = items_folder(project) / "work.zip"
    whole = rewrite(path, member, lambda data: {**data, **LATER})
    with pytest.raises(NewerFileError, match="update napari-promise"):
        project.restore("a.png", Document())
    with pytest.raises(NewerFileError, match="update napari-promise"):
        project.load("a.png")
    assert path.read_bytes() == whole


def test_a_proposal_of_a_later_version_is_not_set_aside(project, proposal):
    project.proposals.save("a.png", [proposal(5, 5, 15, 15)], 0.5, {})
    path = items_folder(project) / "proposal.zip"
    whole = rewrite(path, "item.json", lambda data: {**data, **LATER})
    with pytest.raises(NewerFileError, match=r"by napari-promise 9\.0"):
        project.proposals.records("a.png")
    assert path.read_bytes() == whole


def test_a_lost_index_does_not_open_work_of_a_later_version(project, reopen):
    Person(project, "a.png").save()
    project.close()
    (project.root / "index.jsonl").unlink()
    path = items_folder(project) / "work.zip"
    rewrite(path, "item.json", lambda data: {**data, **LATER})
    before = everything(project)
    with pytest.raises(NewerFileError, match=r"work\.zip was written by"):
        reopen()
    assert everything(project) == before


def test_settings_of_a_later_version_are_refused(project, reopen):
    project.close()
    (project.root / "settings.json").write_text(json.dumps(LATER))
    with pytest.raises(NewerFileError, match=r"settings\.json"):
        reopen()
    (project.root / "settings.json").unlink()
    reopen()


def test_an_index_of_an_earlier_version_is_written_anew_with_the_first_change(
    project, reopen
):
    Person(project, "a.png").save()
    project.close()
    index = project.root / "index.jsonl"
    text = index.read_text().replace('"in progress"', '"in work"')
    lines = text.splitlines()[1:]
    head = json.dumps({"schema": "napari-promise/project", "version": 1})
    index.write_text("\n".join([head, *lines, ""]))
    project = reopen()
    assert project.notes == ()
    assert project.item("a.png").state == "in progress"
    project.ledger.set_states(["b.png"], "skipped")
    assert '"in work"' not in index.read_text()
    assert json.loads(index.read_text().splitlines()[0])["version"] == 2
