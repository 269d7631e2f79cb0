"""Edits are on the disk a moment later, and a disk that is full loses none."""

from __future__ import annotations

import contextlib
import errno
import os
import threading

import numpy as np
import pytest

from napari_promise.document import LabelPatch
from napari_promise.project import Autosaver, Project
from napari_promise.project import autosave as autosave_module
from tests.project.people import Person


@pytest.fixture
def saver(project, loop):
    made = Autosaver(project, loop.schedule, clock=loop.clock)
    yield made
    made.close()


@pytest.fixture
def at_work(project, saver) -> Person:
    """Somebody at a.png, watched."""
    person = Person(project, "a.png")
    saver.watch("a.png", person.document, lambda: person.labels, lambda: person.clicks)
    return person


def on_disk(project: Project) -> int:
    """Points of the first object as another program would find them."""
    stored = project.load("a.png")
    return 0 if stored is None else len(stored.objects[0].prompts.points)


def settle(saver: Autosaver, loop) -> None:
    """Let the writing thread finish, and the saver see it."""
    if saver._writing is not None:
        saver._writing.exception()
    loop.run(0.05)


def test_an_edit_is_saved_soon_after_the_last(project, saver, loop, at_work):
    at_work.click(10, 20)
    loop.run(autosave_module.QUIET - 0.01)
    assert project.load("a.png") is None
    loop.run(0.02)
    settle(saver, loop)
    assert on_disk(project) == 1
    assert not saver.is_dirty
    item = project.item("a.png")
    assert (item.state, item.clicks) == ("in progress", 1)


def test_edits_that_do_not_pause_are_saved_within_a_second(
    project, saver, loop, at_work
):
    for number in range(20):
        at_work.click(10, 10 + number)
        loop.run(0.1)
        settle(saver, loop)
        assert number - on_disk(project) < 10 if number > 8 else True
    assert on_disk(project) >= 10


def test_a_commit_is_saved_at_once(project, saver, loop, at_work):
    at_work.click(10, 20)
    at_work.commit()
    loop.run(0.001)
    settle(saver, loop)
    assert np.array_equal(project.load("a.png").labels, at_work.labels)


def test_an_undo_is_saved_too(project, saver, loop, at_work):
    at_work.click(10, 20)
    at_work.commit()
    saver.flush()
    at_work.document.undo()
    loop.run(1)
    settle(saver, loop)
    assert not project.load("a.png").labels.any()


def test_a_mask_that_comes_late_is_saved_too(project, saver, loop, at_work):
    number = at_work.click(10, 20)
    saver.flush()
    record = at_work.document.edit_prompts(
        number, points=[(10, 20), (12, 22)], labels=[1, 1]
    )
    saver.flush()
    at_work.document.set_mask(
        number,
        at_work.document.get(number).region,
        score=0.5,
        logits=None,
        revision=record.revision,
    )
    assert saver.is_dirty


def test_looking_is_no_edit(project, saver, loop, at_work):
    loop.run(5)
    saver.leave()
    assert project.item("a.png").state == "new"
    assert not list((project.root / "items").iterdir())


def test_leaving_saves_what_is_not_saved_and_stops_watching(
    project, saver, loop, at_work
):
    at_work.click(10, 20)
    saver.leave()
    assert on_disk(project) == 1
    at_work.click(11, 21)
    loop.run(5)
    assert not saver.is_dirty
    assert on_disk(project) == 1


def test_watching_the_next_image_saves_the_one_before(project, saver, loop, at_work):
    at_work.click(10, 20)
    other = Person(project, "b.png")
    saver.watch("b.png", other.document, lambda: other.labels)
    assert on_disk(project) == 1
    assert saver.key == "b.png"


def test_a_state_is_saved_though_nothing_was_edited(project, saver, at_work):
    saver.flush("done")
    assert project.item("a.png").state == "done"


def test_edits_made_while_a_file_is_written_are_saved_next(
    project, saver, loop, at_work, monkeypatch
):
    write, edited = project.write, threading.Event()

    def write_slowly(saving):
        assert edited.wait(60)
        write(saving)

    monkeypatch.setattr(project, "write", write_slowly)
    at_work.click(10, 20)
    loop.run(0.31)
    at_work.click(12, 22)
    edited.set()
    settle(saver, loop)
    loop.run(1)
    settle(saver, loop)
    assert on_disk(project) == 2
    assert not saver.is_dirty


def test_of_a_stack_every_plane_that_changed_is_saved(folder, loop):
    np.save(folder / "stack.npy", np.zeros((4, 40, 60), np.uint8))
    with Project.open(folder) as project:
        person = Person(project, "stack.npy")
        saver = Autosaver(project, loop.schedule, clock=loop.clock)
        saver.watch("stack.npy", person.document, lambda: person.labels)
        for plane in (0, 2):
            person.document.new_object((plane,))
            person.click(10, 20)
            person.commit()
            loop.run(0.01)
            settle(saver, loop)
        before = person.labels[3, :5].copy()
        person.labels[3, :5] = 7
        after = person.labels[3, :5]
        person.document.record_paint(
            [LabelPatch.from_crops((3,), (0, 0), before, after, (40, 60))]
        )
        loop.run(1)
        settle(saver, loop)
        assert np.array_equal(project.load("stack.npy").labels, person.labels)
        person.labels[1, :5] = 8  # by whom nobody knows
        saver.touch(labels=True)
        loop.run(1)
        settle(saver, loop)
        assert np.array_equal(project.load("stack.npy").labels, person.labels)
        saver.close()


def full(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_is_told_once_and_tried_again_until_there_is_room(
    project, saver, loop, at_work, monkeypatch
):
    told: list[str] = []
    saver.events.failed.connect(told.append)
    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        for _ in range(30):
            at_work.click(10, 20)
            loop.run(0.5)
            settle(saver, loop)
        assert len(told) == 1
        assert told[0].startswith("Cannot write")
        assert "free disk space" in told[0]
        assert saver.is_dirty
    loop.run(6)
    settle(saver, loop)
    assert not saver.is_dirty
    assert on_disk(project) == 30


def test_on_a_full_disk_an_image_is_not_left_unsaved(
    project, saver, loop, at_work, monkeypatch
):
    at_work.click(10, 20)
    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        with pytest.raises(OSError, match="free disk space"):
            saver.leave()
        assert saver.key == "a.png"
        assert saver.is_dirty
    saver.leave()
    assert on_disk(project) == 1


def test_project_and_saver_tell_in_the_thread_that_edits(project, saver, loop, at_work):
    import threading

    threads: list[object] = []
    project.events.item_changed.connect(
        lambda _key: threads.append(threading.current_thread())
    )
    saver.events.saved.connect(lambda _key: threads.append(threading.current_thread()))
    at_work.click(10, 20)
    loop.run(1)
    settle(saver, loop)
    assert threads == [threading.main_thread()] * 2


def state_of(document, labels) -> tuple[object, ...]:
    objects = [
        (r.id, r.class_name, r.prompts.points.tolist(), r.region, r.committed)
        for r in document.objects
    ]
    return objects, labels.tolist(), document.undo_name, document.redo_name


@pytest.mark.parametrize("seed", range(6))
def test_whatever_happens_what_is_saved_in_the_end_is_what_is_in_memory(
    project, saver, loop, at_work, monkeypatch, seed
):
    """Edits of all kinds, disks that fail, listeners that fail, states, images left."""
    rng = np.random.default_rng(seed)
    person, write = at_work, project.write
    faults = [OSError(errno.EIO, "broken"), MemoryError(), RuntimeError("a fault")]

    def fail(saving):
        if rng.random() < 0.3:
            raise faults[rng.integers(len(faults))]
        write(saving)
        if rng.random() < 0.1:  # it was written, and then something failed
            raise faults[rng.integers(len(faults))]

    def complain(_key):
        if rng.random() < 0.2:
            raise ValueError("a listener's own fault")

    monkeypatch.setattr(project, "write", fail)
    saver.events.saved.connect(complain)
    for _ in range(60):
        kind = rng.choice(["click", "click", "commit", "undo", "redo", "paint", "look"])
        active = person.document.active
        if kind == "click":
            person.click(*rng.integers(6, 34, 2))
        elif kind == "commit" and active is not None and active.region is not None:
            person.commit()
            person.document.active_id = None
        elif kind == "paint":
            at = int(rng.integers(0, 30))
            there = person.labels[at : at + 3, at : at + 3]
            values = np.full((3, 3), rng.integers(1, 9))
            patch = LabelPatch.from_crops((), (at, at), there, values, (40, 60))
            if patch is not None:
                patch.apply(person.labels)
                person.document.record_paint([patch])
        elif kind in ("undo", "redo"):
            getattr(person.document, str(kind))()
        with contextlib.suppress(Exception):
            loop.run(float(rng.exponential(0.3)))
        with contextlib.suppress(Exception):
            settle(saver, loop)
        if rng.random() < 0.05:
            with contextlib.suppress(Exception):
                saver.flush("done")
    monkeypatch.setattr(project, "write", write)
    for _ in range(200):  # nothing more is done: it comes to rest by itself
        with contextlib.suppress(Exception):
            loop.run(1)
            settle(saver, loop)
    assert not saver.is_dirty
    again = Person(project, "a.png")
    assert state_of(again.document, again.labels) == (
        state_of(person.document, person.labels)
    )


def test_work_on_an_image_whose_file_is_gone_is_saved_for_its_return(
    folder, project, saver, loop, at_work, reopen
):
    at_work.click(10, 20)
    at_work.commit()
    pixels = (folder / "a.png").read_bytes()
    (folder / "a.png").unlink()
    project.refresh()
    loop.run(1)
    settle(saver, loop)
    at_work.click(30, 40)
    saver.leave()
    (folder / "a.png").write_bytes(pixels)
    again = Person(reopen(), "a.png")
    assert state_of(again.document, again.labels) == (
        state_of(at_work.document, at_work.labels)
    )
