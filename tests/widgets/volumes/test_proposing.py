"""Auto-prompting a stack in a real window: one object, votes, stop, undo."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from napari_promise.jobs.propagating import Propagate
from napari_promise.jobs.proposing_stack import ProposeStack
from tests.widgets.volumes.discs import END, PLANES, Discs, as_prompt

#: Asked one in three, planes 1, 4 and 7; the last stands beyond the object's end.
ASKED = (1, 4, 7)


@pytest.fixture
def desk(make_desk: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Any:
    """A desk with a stack on it and an adapter, which proposes a disc on any plane."""
    Discs.may_go.set()
    Discs.made.clear()
    Discs.runs.clear()
    monkeypatch.setattr(
        "napari_promise.widgets.volumes.controller.Propagate",
        functools.partial(Propagate, make=Discs, as_prompt=as_prompt),
    )
    desk = make_desk()
    rng = np.random.default_rng(0)
    desk.open(rng.integers(0, 255, (PLANES, 90, 120), dtype=np.uint8), name="stack")
    desk.until(lambda: desk.widget.session.status.state == "ready")
    desk.until(lambda: desk.widget.desk.stack_proposing.can_start)
    desk.widget.desk.stack_proposing.make = functools.partial(
        ProposeStack, make=Discs, every=3
    )
    yield desk
    Discs.may_go.set()


def finish(desk: Any) -> None:
    what = desk.widget.desk
    desk.until(
        lambda: not what.stack_proposing.is_running and not what.propagation.is_running
    )


def states(desk: Any) -> dict[int, str]:
    marks = desk.widget.volume_panel.strip.marks
    return {plane: mark.state for plane, mark in enumerate(marks)}


def test_proposals_of_some_planes_become_one_object_and_the_rest_is_filled(
    desk: Any,
) -> None:
    desk.press("Shift-A")
    finish(desk)
    records = desk.document.objects
    assert {record.label for record in records} == {records[0].label}
    found = states(desk)
    assert [plane for plane in found if found[plane] == "proposed"] == list(ASKED)
    assert [plane for plane in found if found[plane] == "none"] == [END]
    marks = desk.widget.volume_panel.strip.marks
    assert all(0 < marks[plane].confidence <= 1 for plane in range(END))


@pytest.mark.parametrize("plane", [4, 5])
def test_what_is_found_on_the_plane_on_display_is_seen_at_once(
    desk: Any, plane: int
) -> None:
    desk.viewer.dims.set_point(0, plane)
    desk.press("Shift-A")
    finish(desk)
    desk.qtbot.wait(1)
    assert desk.document.active.plane == (plane,)
    assert desk.bridge.work.preview.plane == (plane,)
    assert desk.preview.any()


def test_it_is_one_step_to_undo(desk: Any) -> None:
    desk.press("Shift-A")
    finish(desk)
    desk.press("Control-Z")
    assert not len(desk.document)


def test_a_proposal_that_the_others_speak_against_is_left_out(desk: Any) -> None:
    # Every plane is asked, also the one that the object does not reach.
    desk.widget.desk.stack_proposing.make = functools.partial(
        ProposeStack, make=Discs, every=1
    )
    desk.press("Shift-A")
    finish(desk)
    assert states(desk) == {
        plane: "proposed" if plane < END else "none" for plane in range(PLANES)
    }


def test_asked_again_it_stops_and_leaves_nothing(desk: Any) -> None:
    desk.model.hold()
    desk.press("Shift-A")
    panel = desk.widget.volume_panel
    assert panel.auto.text().startswith("Stop")
    desk.press("Shift-A")
    desk.model.release()
    desk.qtbot.wait(50)
    assert not desk.widget.desk.stack_proposing.is_running
    assert not len(desk.document)
    assert panel.auto.text().startswith("Auto-prompt")


def test_a_corrected_plane_is_the_users_and_its_neighbours_follow(desk: Any) -> None:
    desk.press("Shift-A")
    finish(desk)
    desk.viewer.dims.set_point(0, 4)
    before = len(Discs.runs)
    desk.click(4, 45, 75)
    desk.until(lambda: len(Discs.runs) > before)
    finish(desk)
    found = states(desk)
    assert found[4] == "sure"
    assert found[1] == found[7] == "proposed"


def test_the_weakest_plane_may_be_a_proposed_one(desk: Any) -> None:
    desk.press("Shift-A")
    finish(desk)
    seen = set()
    for _ in range(END):
        desk.press("Shift-W")
        seen.add(desk.viewer.dims.current_step[0])
    assert seen == set(range(END))


def test_without_an_adapter_it_is_not_offered(make_desk: Any) -> None:
    desk = make_desk(adapter="")
    desk.open(np.zeros((3, 40, 50), np.uint8), name="stack")
    desk.until(lambda: desk.widget.session.status.state == "ready")
    assert desk.widget.volume_panel.auto.isHidden()
    desk.press("Shift-A")
    assert not len(desk.document)
