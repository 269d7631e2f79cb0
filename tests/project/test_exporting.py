"""What is confirmed in a project can be read by other programs, every mask exact."""

from __future__ import annotations

import contextlib
import csv
import errno
import json
import os
from pathlib import Path

import nibabel
import numpy as np
import pytest
import tifffile
from PIL import Image
from pycocotools.coco import COCO

from napari_promise.document import Document
from napari_promise.project import FORMATS, Project, export_project
from tests.data.test_round_trips import save_scan
from tests.project.people import SHAPE, Person, rectangle, write_image, write_mask

AFFINE = np.array(
    [[0.0, -1.5, 0.0, 3.0], [2.0, 0.0, 0.0, 4.0], [0.0, 0.0, 3.0, 5.0], [0, 0, 0, 1]]
)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def finish(project: Project, key: str, *places: tuple[int, int]) -> Person:
    person = Person(project, key)
    for row, column in places:
        person.new()
        person.click(row, column)
        person.commit()
    person.save(state="done", clicks=len(places))
    return person


def names(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*.*"))


def coco_of(path: Path) -> COCO:
    with contextlib.redirect_stdout(None):
        return COCO(path)


def table(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_everything_is_written_and_named(project, out):
    finish(project, "a.png", (10, 20))
    written = export_project(project, out)
    assert [p.relative_to(out).as_posix() for p in written] == [
        "masks/a.png",
        "annotations.json",
        "categories.json",
        "prompts.csv",
        "images.csv",
        "provenance.json",
    ]
    assert names(out) == sorted(p.relative_to(out).as_posix() for p in written)


def test_only_what_a_person_confirmed_is_written(project, out, proposal):
    finish(project, "a.png", (10, 20))
    project.proposals.save("b.png", [proposal(5, 5, 15, 15)], 0.5, {})
    Person(project, "c.png").save()
    export_project(project, out, ["masks"])
    assert names(out / "masks") == ["a.png"]
    export_project(project, out / "more", ["masks"], states=("done", "in progress"))
    assert names(out / "more" / "masks") == ["a.png", "c.png"]
    with pytest.raises(ValueError, match="proposed"):
        export_project(project, out, ["masks"], states=("proposed",))


def test_coco_gives_every_mask_of_every_image_back(project, out):
    people = {
        "a.png": finish(project, "a.png", (10, 20), (30, 40)),
        "b.png": finish(project, "b.png", (15, 15)),
    }
    project.ledger.set_states(["c.png"], "done")
    export_project(project, out, ["coco"], metadata={"model": "tiny"})
    coco = coco_of(out / "annotations.json")
    assert [i["file_name"] for i in coco.loadImgs(coco.getImgIds())] == [
        "a.png",
        "b.png",
        "c.png",
    ]
    seen = 0
    for image in coco.loadImgs(coco.getImgIds()):
        for annotation in coco.loadAnns(coco.getAnnIds(imgIds=[image["id"]])):
            labels = people[image["file_name"]].labels
            mask = coco.annToMask(annotation).astype(bool)
            assert np.array_equal(mask, labels == annotation["object_id"])
            assert annotation["score"] == 0.9
            seen += 1
    assert seen == 3
    assert coco.dataset["info"]["provenance"] == {"model": "tiny"}


def test_masks_that_were_taken_in_are_written_too(folder, reopen, out):
    mask = write_mask(folder / "masks" / "b.png")
    export_project(reopen(), out)
    there = np.asarray(Image.open(mask))
    assert np.array_equal(np.asarray(Image.open(out / "masks" / "b.png")), there)
    assert len(coco_of(out / "annotations.json").anns) == 2


def test_more_ids_than_a_byte_holds_come_back(project, out):
    person = Person(project, "a.png")
    person.labels[:] = np.arange(person.labels.size).reshape(person.labels.shape)
    person.save(state="done")
    export_project(project, out, ["masks"])
    back = np.asarray(Image.open(out / "masks" / "a.png"))
    assert np.array_equal(back, person.labels)


def test_a_scan_keeps_its_place_in_the_world(tmp_path, out):
    source = tmp_path / "scans"
    source.mkdir()
    volume = np.zeros((SHAPE[1], SHAPE[0], 5), np.float32)
    nibabel.save(nibabel.Nifti1Image(volume, AFFINE), source / "scan.nii.gz")
    with Project.open(source) as project:
        person = Person(project, "scan.nii.gz")
        person.document.new_object((2,))
        person.click(10, 20, rectangle(5, 5, 20, 30))
        person.commit()
        person.save(state="done")
        export_project(project, out)
    file = nibabel.load(out / "nifti" / "scan.nii.gz")
    assert np.allclose(file.affine, AFFINE)
    assert np.array_equal(np.asarray(file.dataobj).T, person.labels)
    assert np.array_equal(tifffile.imread(out / "masks" / "scan.tif"), person.labels)
    coco = coco_of(out / "annotations.json")
    (annotation,) = coco.loadAnns(coco.getAnnIds())
    image = coco.loadImgs([annotation["image_id"]])[0]
    assert (image["file_name"], image["plane"]) == ("planes/scan_0002.png", [2])
    assert (out / image["file_name"]).is_file()  # export names files that exist


@pytest.mark.parametrize("codes", [(1, 2), (1, 0), (0, 0)])
def test_a_scan_comes_out_with_the_header_it_came_with(tmp_path, out, codes):
    source = tmp_path / "scans"
    source.mkdir()
    save_scan(source / "scan.nii.gz", (40, 50, 3), codes=codes)
    with Project.open(source) as project:
        labels = np.ones(project.read_image("scan.nii.gz").shape, np.uint16)
        project.save("scan.nii.gz", Document(), labels, state="done")
        export_project(project, out, ("nifti",))
    before = nibabel.load(source / "scan.nii.gz")
    after = nibabel.load(out / "nifti" / "scan.nii.gz")
    assert np.array_equal(after.affine, before.affine)
    assert after.header.get_zooms() == before.header.get_zooms()
    assert after.header.get_xyzt_units() == before.header.get_xyzt_units()
    for name in ("qform_code", "sform_code"):
        assert after.header[name] == before.header[name]


def test_equal_names_do_not_write_over_each_other(tmp_path, out):
    source = tmp_path / "set"
    for name in ("x/scan.png", "y/scan.png", "y/scan.jpg", "y/Scan.tif"):
        write_image(source / name)
    with Project.open(source) as project:
        for key in project.keys:
            project.ledger.set_states([key], "done")
        export_project(project, out, ["masks"])
    assert names(out / "masks") == [
        "x/scan.png",
        "y/Scan.tif.png",
        "y/scan.jpg.png",
        "y/scan.png.png",
    ]


def test_images_from_elsewhere_stay_inside_the_export(tmp_path, out):
    away = write_image(tmp_path / "away" / "a.png")
    (tmp_path / "home").mkdir()
    with Project.open(tmp_path / "home", images=[away]) as project:
        assert project.keys == ("../away/a.png",)
        finish(project, "../away/a.png", (10, 20))
        export_project(project, out, ["masks"])
    assert names(out) == ["masks/_/away/a.png"]


def test_prompts_and_states_are_tables(project, out):
    person = Person(project, "a.png")
    number = person.click(10.5, 20.25)
    person.document.edit_prompts(number, boxes=[(1, 2, 30, 40)])
    person.commit()
    person.save(state="done", clicks=2)
    export_project(project, out, ["csv"])
    point, box = table(out / "prompts.csv")
    assert (point["kind"], point["row"], point["column"]) == ("point", "10.5", "20.25")
    assert (point["label"], point["source"], point["image"]) == ("1", "user", "a.png")
    assert (box["kind"], box["row_end"], box["column_end"]) == ("box", "30.0", "40.0")
    (row,) = table(out / "images.csv")
    assert (row["state"], row["clicks"], row["objects"]) == ("done", "2", "1")


def test_the_provenance_says_what_was_written_and_with_what_effort(project, out):
    finish(project, "a.png", (10, 20), (30, 40))
    project.settings.adapter = "mine"
    export_project(project, out, ["provenance"], metadata={"model": "tiny"})
    record = json.loads((out / "provenance.json").read_text())
    assert record["model"] == "tiny"
    about = record["project"]
    assert (about["adapter"], about["images"]) == ("mine", ["a.png"])
    assert about["effort"]["mean_clicks"] == 2
    assert about["states"] == {"done": 1, "new": 2}


def test_nothing_is_written_where_anything_would_be_overwritten(project, out):
    finish(project, "a.png", (10, 20))
    finish(project, "b.png", (10, 20))
    out.mkdir()
    (out / "prompts.csv").write_text("mine")
    with pytest.raises(FileExistsError, match=r"prompts\.csv exists? already"):
        export_project(project, out)
    assert names(out) == ["prompts.csv"]
    export_project(project, out, overwrite=True)
    assert (out / "prompts.csv").read_text() != "mine"
    with pytest.raises(FileExistsError, match="and 5 more files"):
        export_project(project, out)


def test_progress_is_told_and_cancelling_stops_between_images(project, out):
    for key in project.keys:
        finish(project, key, (10, 20))
    told: list[tuple[int, int]] = []
    export_project(project, out, progress=lambda *at: told.append(at))
    assert told == [(0, 3), (1, 3), (2, 3), (3, 3)]
    answers = iter([False, True])
    written = export_project(project, out / "part", cancel=lambda: next(answers))
    assert [p.name for p in written] == ["a.png"]
    assert names(out / "part") == ["masks/a.png"]


def test_an_image_that_cannot_be_read_is_left_out_by_name(folder, project, out):
    finish(project, "a.png", (10, 20))
    project.ledger.set_states(["b.png"], "done")
    (folder / "b.png").write_bytes(b"no image any more")
    notes: list[str] = []
    project.events.noted.connect(notes.append)
    export_project(project, out)
    assert names(out / "masks") == ["a.png"]
    assert "b.png was left out" in notes[0]
    record = json.loads((out / "provenance.json").read_text())
    assert record["project"]["left_out"] == ["b.png"]


def test_a_full_disk_leaves_no_half_written_file(project, out, monkeypatch):
    finish(project, "a.png", (10, 20))

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="free disk space"):
        export_project(project, out)
    assert names(out) == []


def test_what_cannot_be_exported_is_refused(project, out):
    with pytest.raises(ValueError, match="no image is done yet"):
        export_project(project, out)
    finish(project, "a.png", (10, 20))
    for formats in ([], ["yolo"]):
        with pytest.raises(ValueError, match=", ".join(FORMATS)):
            export_project(project, out, formats)
