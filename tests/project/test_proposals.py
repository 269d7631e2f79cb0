"""A model's proposal is no work until a person loads or accepts it."""

from __future__ import annotations

import numpy as np
import pytest

from napari_promise.document import Document
from tests.project.people import Person, items_folder, rectangle


def test_a_proposal_is_no_work_until_a_person_takes_it_up(project, proposal):
    details = {"score": 0.8, "adapter": "mine"}
    project.proposals.save("a.png", [proposal(5, 5, 15, 15)], 0.5, details)
    assert project.proposals.details("a.png") == details
    assert project.proposals.details("b.png") is None
    assert (project.item("a.png").state, project.item("a.png").objects) == (
        "proposed",
        1,
    )
    assert project.load("a.png") is None
    assert project.learning.training_pairs() == ()
    person = Person(project, "a.png")
    assert len(person.document) == 0
    (number,) = project.proposals.load_into("a.png", person.document)
    record = person.document.get(number)
    assert record.region == rectangle(5, 5, 15, 15)
    assert record.sources == ("auto",)
    assert record.is_answered
    assert not record.committed
    assert person.document.undo()
    assert len(person.document) == 0


@pytest.mark.parametrize("state", ["in progress", "done", "skipped"])
def test_a_proposal_never_replaces_what_a_person_did(project, proposal, state):
    Person(project, "a.png").save(state=state)
    with pytest.raises(ValueError, match=f"a.png is {state}"):
        project.proposals.save("a.png", [proposal(5, 5, 15, 15)], 0.5, {})


def test_a_proposal_is_not_confirmed_by_a_state(project, proposal):
    project.proposals.save("a.png", [proposal(5, 5, 15, 15)], 0.5, {})
    with pytest.raises(ValueError, match="accept it"):
        project.ledger.set_states(["a.png"], "done")


def test_a_proposal_can_be_accepted_as_it_is(project, proposal, reopen):
    both = [proposal(5, 5, 15, 15), proposal(20, 20, 30, 40)]
    project.proposals.save("a.png", both, 0.5, {})
    project.proposals.accept("a.png")
    item = project.item("a.png")
    assert (item.state, item.objects, item.untouched) == ("done", 2, True)
    labels = reopen().load("a.png").labels
    assert set(np.unique(labels)) == {0, 1, 2}
    with pytest.raises(ValueError, match="only what is proposed"):
        project.proposals.accept("b.png")


def test_a_proposal_that_was_corrected_is_not_untouched(project, proposal):
    project.proposals.save("a.png", [proposal(5, 5, 15, 15)], 0.5, {})
    person = Person(project, "a.png")
    project.proposals.load_into("a.png", person.document)
    person.click(20, 20, rectangle(5, 5, 15, 25))
    person.commit()
    person.save(state="done", clicks=1)
    assert project.item("a.png").untouched is False


def test_a_damaged_proposal_is_named_and_does_not_keep_from_working(
    project, proposal, reopen
):
    project.proposals.save("a.png", [proposal(5, 5, 15, 15)], 0.5, {})
    path = items_folder(project) / "proposal.zip"
    path.write_bytes(path.read_bytes()[:100])
    project = reopen()
    with pytest.raises(ValueError, match="propose again"):
        project.proposals.load_into("a.png", Document())
    Person(project, "a.png").save(state="done")
    assert project.item("a.png").untouched is None
