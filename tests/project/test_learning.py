"""What is done can be trained on, and what it cost is known."""

from __future__ import annotations

import numpy as np

from napari_promise.data.images import read_mask
from tests.project.people import Person, write_mask


def test_what_is_done_can_be_trained_on(folder, reopen):
    write_mask(folder / "masks" / "b.png")
    project = reopen()
    person = Person(project, "a.png")
    person.click(10, 20)
    person.commit()
    person.save(state="done")
    project.ledger.set_states(["c.png"], "done")
    pairs = {pair.image.name: pair for pair in project.learning.training_pairs()}
    assert np.array_equal(read_mask(pairs["a.png"].mask), person.labels)
    assert pairs["b.png"].mask == folder / "masks" / "b.png"
    assert not read_mask(pairs["c.png"].mask).any()
    assert read_mask(pairs["c.png"].mask).shape == person.labels.shape


def test_labels_to_train_on_follow_the_work(project):
    person = Person(project, "a.png")
    person.click(10, 20)
    person.commit()
    person.save(state="done")
    first = project.learning.training_pairs()[0].mask
    assert project.learning.training_pairs()[0].mask == first
    person.document.undo()
    person.save()
    second = project.learning.training_pairs()[0].mask
    assert not read_mask(second).any()
    assert not first.exists()


def test_many_labels_are_trained_on_as_they_are(project):
    person = Person(project, "a.png")
    person.labels[:] = np.arange(person.labels.size).reshape(person.labels.shape) % 300
    person.save(state="done")
    mask = read_mask(project.learning.training_pairs()[0].mask)
    assert np.array_equal(mask, person.labels)


def test_the_effort_goes_down_the_order_of_finishing(project, proposal, reopen):
    for key, clicks in (("b.png", 5), ("a.png", 2)):
        Person(project, key).save(state="done", clicks=clicks)
    project.learning.log_trained("mine")
    project.proposals.save("c.png", [proposal(5, 5, 15, 15)], 0.3, {})
    project.proposals.accept("c.png")
    effort = reopen().learning.effort()
    assert [one.key for one in effort.finished] == ["b.png", "a.png", "c.png"]
    assert effort.clicks == (5, 2, 0)
    assert effort.rolling(2) == (5, 3.5, 1)
    assert effort.untouched_share == 1
    assert effort.trained == ((2, "mine"),)
