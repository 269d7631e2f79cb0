"""A folder of images is opened in a moment, and the work on each survives."""

from __future__ import annotations

import errno
import json
import os
import shutil
import unicodedata
from pathlib import Path

import numpy as np
import pytest

from napari_promise.data.images import read_mask
from napari_promise.document import Document
from napari_promise.files import NewerFileError
from napari_promise.project import Project, ProjectInUseError
from tests.project.people import (
    Person,
    items_folder,
    rectangle,
    states,
    write_image,
    write_mask,
)

# Opening


def test_the_images_of_a_folder_are_new_in_a_new_project(project):
    assert states(project) == {"a.png": "new", "b.png": "new", "c.png": "new"}
    assert project.notes == ()


def test_opening_reads_no_image(folder, monkeypatch, reopen):
    write_mask(folder / "masks" / "a.png")

    def fail(*_: object) -> None:
        raise AssertionError("an image was read")

    monkeypatch.setattr("napari_promise.project.project.read_image", fail)
    monkeypatch.setattr("napari_promise.project.project.understand_mask", fail)
    assert len(reopen().items) == 3


def test_a_folder_without_images_is_refused_and_nothing_is_made_in_it(tmp_path):
    with pytest.raises(ValueError, match=r"holds no image"):
        Project.open(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_does_not_exist_is_refused(tmp_path):
    with pytest.raises(ValueError, match="does not exist"):
        Project.open(tmp_path / "nowhere")


def test_a_second_window_is_refused_until_the_first_is_closed(folder, project):
    with pytest.raises(ProjectInUseError, match="open in another window"):
        Project.open(folder)
    project.close()
    Project.open(folder).close()


def test_a_folder_that_cannot_be_written_asks_for_another_place(
    folder, tmp_path, monkeypatch
):
    mkdir = Path.mkdir

    def refuse(path: Path, *args: object, **options: object) -> None:
        if folder in path.parents:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        mkdir(path, *args, **options)

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(PermissionError, match="choose another folder"):
        Project.open(folder)
    with Project.open(folder, root=tmp_path / "elsewhere") as project:
        Person(project, "a.png").save(state="done")
    with Project.open(folder, root=tmp_path / "elsewhere") as project:
        assert project.item("a.png").state == "done"
    assert not (folder / ".promise").exists()


def test_a_project_of_a_later_version_is_left_alone(folder, project, reopen):
    person = Person(project, "a.png")
    person.save()
    project.close()
    index = project.root / "index.jsonl"
    head, _, lines = index.read_text().partition("\n")
    stamp = {"version": 99, "written_by": "napari-promise 9.0"}
    later = json.dumps({**json.loads(head), **stamp}) + "\n" + lines
    index.write_text(later)
    with pytest.raises(NewerFileError, match=r"by napari-promise 9\.0.*update"):
        reopen()
    assert index.read_text() == later


def test_a_table_brings_groups_and_masks(folder):
    write_mask(folder / "truth.tif")
    table = folder / "set.csv"
    table.write_text("image,mask,group\nc.png,truth.tif,patient 2\na.png,,patient 1\n")
    with Project.open(table) as project:
        assert states(project) == {"c.png": "done", "a.png": "new"}
        assert project.item("a.png").group == "patient 1"
        (pair,) = project.learning.training_pairs()
        assert (pair.mask, pair.group) == (folder / "truth.tif", "patient 2")
        Person(project, "a.png").save(state="done")
    with Project.open(table) as project:
        assert project.item("a.png").state == "done"
    with Project.open(folder) as project:  # another project
        assert project.item("a.png").state == "new"


def test_a_list_is_a_part_of_its_folders_project(folder):
    with Project.open(folder, images=[folder / "c.png", folder / "a.png"]) as project:
        assert project.keys == ("c.png", "a.png")
        Person(project, "a.png").save(state="done")
    with Project.open(folder) as project:
        assert project.item("a.png").state == "done"


# Masks that are there already


def test_a_mask_of_the_same_stem_is_taken_in_as_confirmed_labels(folder, reopen):
    write_mask(folder / "masks" / "b.png")
    project = reopen()
    assert states(project) == {"a.png": "new", "b.png": "done", "c.png": "new"}
    assert project.item("b.png").objects is None
    person = Person(project, "b.png")
    assert np.array_equal(person.labels, read_mask(folder / "masks" / "b.png"))
    assert [r.id for r in person.document.objects] == [1, 2]
    assert all(r.committed for r in person.document.objects)
    assert project.item("b.png").objects == 2
    assert person.document.next_id == 3


def test_an_object_of_a_taken_in_mask_can_be_removed(folder, reopen):
    write_mask(folder / "masks" / "b.png")
    person = Person(reopen(), "b.png")
    person.document.remove(1, person.labels)
    assert set(np.unique(person.labels)) == {0, 2}


def test_work_wins_over_a_mask_that_was_there_already(folder, reopen):
    write_mask(folder / "masks" / "b.png")
    person = Person(reopen(), "b.png")
    person.document.remove(1, person.labels)
    person.save()
    again = Person(reopen(), "b.png")
    assert set(np.unique(again.labels)) == {0, 2}
    assert again.project.item("b.png").objects == 1


def test_a_mask_of_another_shape_is_left_out_with_a_note(folder, reopen):
    write_mask(folder / "masks" / "b.png", np.ones((3, 4), np.uint8))
    project = reopen()
    notes: list[str] = []
    project.events.noted.connect(notes.append)
    assert project.restore("b.png", Document()) is None
    assert "has the shape (3, 4)" in notes[0]


# Saving and restoring


def test_work_comes_back_with_prompts_labels_and_state(project, reopen):
    person = Person(project, "a.png")
    person.click(10.25, 20.5)
    person.commit()
    person.save(state="done", clicks=3)
    again = Person(reopen(), "a.png")
    assert np.array_equal(again.labels, person.labels)
    (before,), (after,) = person.document.objects, again.document.objects
    assert after.prompts == before.prompts
    assert after.region == before.region
    assert np.array_equal(after.logits.array, before.logits.array)
    assert after.is_answered
    item = again.project.item("a.png")
    assert (item.state, item.objects, item.clicks) == ("done", 1, 3)
    assert item.when


def test_undo_after_reopening_gives_the_earlier_masks_back_exactly(project, reopen):
    person = Person(project, "a.png")
    seen = []
    for row in (8, 20, 30):
        person.click(row, 20)
        person.commit()
        seen.append((person.labels.copy(), person.document.objects))
    person.save()
    again = Person(reopen(), "a.png")
    for labels, objects in reversed(seen):
        assert np.array_equal(again.labels, labels)
        (now,), (then,) = again.document.objects, objects
        assert (now.region, now.written) == (then.region, then.written)
        assert now.prompts == then.prompts
        assert np.array_equal(now.logits.array, then.logits.array)
        assert again.document.undo()  # the commit
        assert again.document.undo()  # the click with its mask
    assert not again.labels.any()
    while again.document.redo():
        pass
    assert np.array_equal(again.labels, person.labels)


def test_what_was_undone_can_be_redone_after_reopening(project, reopen):
    person = Person(project, "a.png")
    person.click(10, 20)
    person.commit()
    person.document.undo()
    person.save()
    again = Person(reopen(), "a.png")
    assert not again.labels.any()
    assert again.document.redo_name == "commit"
    again.document.redo()
    assert again.labels[10, 20] == 1


def test_saving_again_after_reopening_writes_no_array_twice(project, reopen):
    person = Person(project, "a.png")
    for column in range(10, 40, 10):
        person.click(10, column)
        person.commit()
    person.save()
    (pack,) = items_folder(project).glob("pack-*.bin")
    size = pack.stat().st_size
    again = Person(reopen(), "a.png")
    again.save()
    assert pack.stat().st_size == size


def test_an_old_pack_is_left_behind_when_most_of_it_is_out_of_use(
    project, reopen, monkeypatch
):
    monkeypatch.setattr("napari_promise.project.store._PACK_SLACK", 2_000)
    person = Person(project, "a.png")
    for _ in range(20):
        person.click(10, 20)
        person.save()
        person.document.undo()  # and the next click takes it out of the history
    person.click(10, 20)
    person.commit()
    for _ in range(3):
        person.save()
    packs = list(items_folder(project).glob("pack-*.bin"))
    assert len(packs) <= 2
    assert sum(pack.stat().st_size for pack in packs) < 10_000
    again = Person(reopen(), "a.png")
    assert np.array_equal(again.labels, person.labels)
    assert again.document.undo_name == "commit"


def test_a_restored_object_can_be_worked_on(project, reopen):
    person = Person(project, "a.png")
    number = person.click(10, 20)
    person.commit()
    person.save()
    again = Person(reopen(), "a.png")
    again.document.active_id = number
    assert again.click(25, 40, rectangle(6, 16, 30, 45)) == number
    record = again.document.get(number)
    assert len(record.prompts.points) == 2
    # The earlier mask's logits go with the new click, as without a break.
    earlier = person.document.get(number).logits.array
    assert np.array_equal(record.prompts.logits, earlier)


def test_pixels_painted_by_hand_come_back(project, reopen):
    person = Person(project, "a.png")
    person.labels[3:5, 3:5] = 7
    person.save()
    assert (Person(reopen(), "a.png").labels[3:5, 3:5] == 7).all()


def test_the_image_that_was_open_last_is_named_on_reopening(project, reopen):
    assert project.reopen_key is None
    for key in ("a.png", "c.png"):
        Person(project, key)
    assert reopen().reopen_key == "c.png"


def test_saving_without_a_state_keeps_what_is_done_and_begins_anything_else(project):
    person = Person(project, "a.png")
    person.save()
    assert project.item("a.png").state == "in progress"
    person.save(state="done")
    person.save()
    assert project.item("a.png").state == "done"


def test_saving_without_labels_keeps_those_that_were_saved(project):
    person = Person(project, "a.png")
    person.click(10, 20)
    person.commit()
    person.save()
    project.save("a.png", person.document, None)
    assert np.array_equal(project.load("a.png").labels, person.labels)


def test_saving_tells_which_row_changed(project):
    told: list[str] = []
    project.events.item_changed.connect(told.append)
    Person(project, "b.png").save()
    assert told == ["b.png"]


def test_equal_names_in_different_folders_are_different_images(tmp_path):
    for name in ("x", "y"):
        write_image(tmp_path / name / "scan.png")
    with Project.open(tmp_path) as project:
        person = Person(project, "x/scan.png")
        person.click(10, 20)
        person.commit()
        person.save(state="done")
        assert states(project) == {"x/scan.png": "done", "y/scan.png": "new"}
        assert project.load("y/scan.png") is None


@pytest.mark.parametrize("name", ["Bild Ärzte.png", "图像.png", "a'b&c#d.png"])
def test_any_name_works(tmp_path, name):
    write_image(tmp_path / name)
    key = unicodedata.normalize("NFC", name)
    with Project.open(tmp_path) as project:
        person = Person(project, key)
        person.click(10, 20)
        person.commit()
        person.save(state="done")
        project.thumbnail(key)
    with Project.open(tmp_path) as project:
        assert project.item(key).state == "done"
        assert project.load(key).labels.any()


def test_an_accent_written_in_two_ways_is_the_same_image(tmp_path):
    composed = unicodedata.normalize("NFC", "é.png")
    apart = unicodedata.normalize("NFD", "é.png")
    write_image(tmp_path / composed)
    with Project.open(tmp_path) as project:
        Person(project, composed).save(state="done")
    os.rename(tmp_path / composed, tmp_path / apart)  # as another system unpacks it
    with Project.open(tmp_path) as project:
        assert project.item(composed).state == "done"


def test_work_is_not_laid_over_an_image_of_another_shape(project):
    person = Person(project, "a.png")
    person.click(10, 20)
    person.commit()
    person.save()
    with pytest.raises(ValueError, match=r"\(40, 60\) and is \(50, 60\) now"):
        project.restore("a.png", Document(), (50, 60))
    project.restore("a.png", Document(), (40, 60))


# Images that come and go


def test_images_that_appear_are_noticed(folder, project):
    write_image(folder / "d.png")
    told: list[bool] = []
    project.events.items_changed.connect(lambda: told.append(True))
    assert project.refresh() == (1, 0)
    assert project.item("d.png").state == "new"
    assert told == [True]


def test_the_work_on_an_image_that_is_gone_waits_for_its_return(
    folder, project, reopen
):
    person = Person(project, "b.png")
    person.click(10, 20)
    person.commit()
    person.save(state="done")
    shutil.move(folder / "b.png", folder.parent / "b.png")
    project = reopen()
    assert list(states(project)) == ["a.png", "c.png"]
    shutil.move(folder.parent / "b.png", folder / "b.png")
    project = reopen()
    assert project.item("b.png").state == "done"
    assert np.array_equal(project.load("b.png").labels, person.labels)


def test_an_unknown_image_is_named(project):
    with pytest.raises(ValueError, match=r"z\.png is no image"):
        project.item("z.png")


# Damage


def test_a_damaged_item_gives_its_last_whole_version_and_says_so(project, reopen):
    person = Person(project, "a.png")
    person.click(10, 20)
    person.commit()
    person.save()
    good = person.labels.copy()
    person.new()
    person.click(30, 40)
    person.commit()
    person.save()
    path = items_folder(project) / "work.zip"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    project = reopen()
    notes: list[str] = []
    project.events.noted.connect(notes.append)
    again = Person(project, "a.png")
    assert np.array_equal(again.labels, good)
    assert len(again.document) == 1
    assert "work.zip is damaged" in notes[0]
    (aside,) = path.parent.glob("work.zip.damaged-*")
    assert aside.read_bytes() == whole[: len(whole) // 2]


@pytest.mark.parametrize("damage", [b"", b"\0" * 5000, b"PK\3\4 nonsense"])
def test_an_item_beyond_repair_is_named_and_the_others_open(
    project, reopen, damage, person
):
    for key in ("a.png", "b.png"):
        someone = person(key)
        someone.click(10, 20)
        someone.commit()
        someone.save(state="done")
    (spoilt,) = (project.root / "items").glob("a.png-*")
    (spoilt / "work.zip").write_bytes(damage)
    project = reopen()
    notes: list[str] = []
    project.events.noted.connect(notes.append)
    assert project.load("a.png") is None
    assert len(notes) == 1
    assert project.load("b.png").labels.any()


def test_a_flipped_bit_in_the_labels_is_noticed(project, reopen):
    person = Person(project, "a.png")
    person.click(10, 20)
    person.commit()
    person.save()
    person.save()
    path = items_folder(project) / "work.zip"
    data = bytearray(path.read_bytes())
    at = data.index(b"labels/") if b"labels/" in data else data.index(b"labels.npy")
    data[at + 60] ^= 0xFF
    path.write_bytes(bytes(data))
    project = reopen()
    notes: list[str] = []
    project.events.noted.connect(notes.append)
    assert np.array_equal(Person(project, "a.png").labels, person.labels)
    assert len(notes) == 1


def test_a_lost_history_leaves_labels_points_and_boxes(project, reopen):
    person = Person(project, "a.png")
    number = person.click(10, 20)
    person.document.edit_prompts(number, boxes=[(5, 6, 20, 30)])
    person.commit()
    person.save()
    (pack,) = items_folder(project).glob("pack-*.bin")
    pack.unlink()
    project = reopen()
    notes: list[str] = []
    project.events.noted.connect(notes.append)
    again = Person(project, "a.png")
    assert "history of a.png is lost" in notes[0]
    assert np.array_equal(again.labels, person.labels)
    (record,) = again.document.objects
    assert record.prompts.points.tolist() == [[10, 20]]
    assert record.prompts.boxes.tolist() == [[5, 6, 20, 30]]
    assert record.written == person.document.get(number).written
    again.save()
    assert len(Person(reopen(), "a.png").document) == 1


def test_a_line_that_a_crash_cut_off_is_passed_over(project, reopen):
    project.ledger.set_states(["a.png"], "done")
    project.ledger.set_states(["b.png"], "done")
    project.close()
    index = project.root / "index.jsonl"
    lines = index.read_bytes().splitlines(keepends=True)
    assert b"closed" in lines[-1]
    index.write_bytes(b"".join(lines[:-2]) + lines[-2][:20])
    project = reopen()
    assert states(project)["a.png"] == "done"
    assert project.notes == ()
    project.ledger.set_states(["c.png"], "skipped")
    assert states(reopen())["c.png"] == "skipped"


@pytest.mark.parametrize("damage", [None, b"", b"\xff\xfe nonsense\n\0\0\n", b"{}\n"])
def test_a_lost_index_is_made_anew_from_the_images_own_folders(project, reopen, damage):
    person = Person(project, "a.png")
    person.click(10, 20)
    person.commit()
    person.save(state="done", clicks=4)
    project.close()
    index = project.root / "index.jsonl"
    if damage is None:
        index.unlink()
    else:
        index.write_bytes(damage)
    project = reopen()
    item = project.item("a.png")
    assert (item.state, item.clicks, item.objects) == ("done", 4, 1)
    assert len(project.notes) == (damage is not None)
    if damage is not None:
        assert list(project.root.glob("index.jsonl.damaged-*"))
    assert reopen().notes == ()
    assert Person(reopen(), "a.png").labels.any()


def test_work_that_was_saved_right_before_a_crash_is_found(project, reopen):
    person = Person(project, "a.png")
    person.click(10, 20)
    person.commit()
    index = project.root / "index.jsonl"
    before = index.read_bytes()
    person.save()
    project.close()
    index.write_bytes(before)  # the crash came before the index's line
    item = reopen().item("a.png")
    assert (item.state, item.objects) == ("in progress", 1)
    # And it is kept, though the index was not told by a save.
    assert reopen().item("a.png").state == "in progress"


def test_the_index_does_not_grow_without_end(project, reopen):
    for _ in range(150):
        project.ledger.set_states(["a.png"], "done")
        project.ledger.set_states(["a.png"], "skipped")
    project = reopen()
    project.ledger.set_states(["b.png"], "done")
    project.close()
    lines = (project.root / "index.jsonl").read_text().splitlines()
    assert len(lines) < 10
    assert states(reopen()) == {"a.png": "skipped", "b.png": "done", "c.png": "new"}


# A disk that is full, a folder that may not be written


def full(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("call", ["os.fsync", "os.replace"])
def test_on_a_full_disk_the_earlier_work_stays(project, reopen, monkeypatch, call):
    person = Person(project, "a.png")
    person.click(10, 20)
    person.commit()
    person.save()
    before = person.labels.copy()
    person.new()
    person.click(30, 40)
    person.commit()
    with monkeypatch.context() as patch:
        patch.setattr(call, full)
        with pytest.raises(OSError, match="free disk space") as raised:
            person.save()
    assert raised.value.errno in (None, errno.ENOSPC)
    stored = project.load("a.png")
    assert np.array_equal(stored.labels, before)
    assert len(stored.objects) == 1
    person.save()  # and when there is room again, all is well
    again = Person(reopen(), "a.png")
    assert np.array_equal(again.labels, person.labels)
    again.document.undo()
    assert again.labels[30, 40] == 0
    left = [p.name for p in items_folder(project).iterdir() if "writing" in p.name]
    assert left == []


def test_an_image_can_be_looked_at_where_nothing_can_be_written(project, monkeypatch):
    person = Person(project, "a.png")
    person.click(10, 20)
    person.commit()
    person.save()
    monkeypatch.setattr("os.fsync", full)
    assert Person(project, "a.png").labels.any()


def test_after_closing_nothing_is_saved_by_accident(project):
    person = Person(project, "a.png")
    project.close()
    before = (project.root / "index.jsonl").read_bytes()
    with pytest.raises(ValueError, match="was closed"):
        person.save()
    project.restore("b.png", Document())  # by a thread that comes late
    assert (project.root / "index.jsonl").read_bytes() == before


# Pictures


def test_a_thumbnail_is_drawn_once_and_anew_when_the_image_changes(
    folder, project, monkeypatch
):
    first = project.thumbnail("a.png", 32)
    assert first.shape == (21, 32, 3)
    with monkeypatch.context() as patch:
        patch.setattr("napari_promise.project.project.thumbnail", full)
        assert np.array_equal(project.thumbnail("a.png", 32), first)
    write_image(folder / "a.png", seed=9)
    os.utime(folder / "a.png", ns=(1, 1))
    assert not np.array_equal(project.thumbnail("a.png", 32), first)


def test_settings_are_kept(project, reopen):
    project.settings.retrain_every = 10
    project.settings.order = "confidence"
    again = reopen().settings
    assert (again.retrain_every, again.order) == (10, "confidence")


def test_damaged_settings_are_those_of_a_new_project(project, reopen):
    project.close()
    (project.root / "settings.json").write_text('{"retrain_every": "many"')
    assert reopen().settings.retrain_every == 0
