"""Images have states, an order, and a confidence learnt from what was confirmed."""

from __future__ import annotations

import json

import pytest

from napari_promise.project import Project
from tests.project.people import Person, rectangle, states, write_image

# States


def test_a_state_can_be_taken_back(project, proposal):
    project.ledger.set_states(["a.png"], "skipped")
    project.ledger.set_states(["a.png"], "new")
    assert project.item("a.png").state == "new"
    project.proposals.save("b.png", [proposal(5, 5, 15, 15)], 0.5, {})
    project.ledger.set_states(["b.png"], "skipped")
    project.ledger.set_states(["b.png"], "new")
    assert project.item("b.png").state == "proposed"
    Person(project, "c.png").save(state="done")
    project.ledger.set_states(["c.png"], "new")
    assert project.item("c.png").state == "in progress"


def test_states_survive_reopening(project, reopen):
    project.ledger.set_states(["a.png"], "skipped")
    project.ledger.set_states(["b.png"], "done")
    assert states(reopen()) == {"a.png": "skipped", "b.png": "done", "c.png": "new"}


def test_a_state_that_is_none_is_refused(project):
    with pytest.raises(ValueError, match="'finished'"):
        project.ledger.set_states(["a.png"], "finished")


def test_many_images_get_a_state_at_once_or_none_does(project, proposal, reopen):
    told: list[str] = []
    project.events.items_changed.connect(lambda: told.append("all"))
    project.ledger.set_states(["a.png", "b.png"], "skipped")
    assert told == ["all"]
    project.proposals.save("c.png", [proposal(5, 5, 15, 15)], 0.5, {})
    with pytest.raises(ValueError, match="c.png has an unconfirmed proposal"):
        project.ledger.set_states(project.keys, "done")
    assert states(reopen()) == {
        "a.png": "skipped",
        "b.png": "skipped",
        "c.png": "proposed",
    }


# Order and confidence


def test_the_weakest_come_first_and_images_without_a_proposal_last(project, proposal):
    project.proposals.save("c.png", [proposal(5, 5, 15, 15)], 0.3, {})
    project.proposals.save("b.png", [proposal(5, 5, 15, 15)], 0.8, {})
    assert project.ledger.by_confidence() == ["c.png", "b.png", "a.png"]
    assert project.ledger.next_uncertain() == "c.png"
    assert project.ledger.next_uncertain("c.png") == "b.png"
    assert project.ledger.next_uncertain("a.png") == "c.png"
    project.proposals.accept("c.png")
    assert project.ledger.next_uncertain("c.png") == "b.png"


def test_a_proposal_that_nothing_is_known_of_comes_first(project, proposal):
    project.proposals.save("c.png", [], None, {})
    project.proposals.save("b.png", [proposal(5, 5, 15, 15)], 0.1, {})
    assert project.ledger.by_confidence()[0] == "c.png"


def test_confidence_is_calibrated_on_what_was_confirmed(tmp_path, proposal):
    for number in range(12):
        write_image(tmp_path / f"{number}.png")
    with Project.open(tmp_path) as project:
        for number in range(12):
            mask = proposal(5, 5, 15, 15 + number)
            project.proposals.save(f"{number}.png", [mask], 0.9 - 0.05 * number, {})
        for number in range(10):
            person = Person(project, f"{number}.png")
            person.click(10, 10, rectangle(5, 5, 15, 15))
            person.commit()
            person.save(state="done", clicks=1)
        assert project.ledger.calibration.rank_correlation == pytest.approx(1)
        # 11 and 10 were never looked at: as weak as the weakest that was.
        expected = 2 * 10 / (10 + 19)
        assert project.item("11.png").confidence == pytest.approx(expected)
        assert project.item("0.png").confidence == pytest.approx(1)
        held_out = {"held_out": [(0.35, 0.2)] * 50}
        (project.root / "held_out.json").write_text(json.dumps(held_out))
    with Project.open(tmp_path) as project:
        assert project.item("11.png").confidence == pytest.approx(0.2, abs=0.02)
