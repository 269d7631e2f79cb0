"""What waits, and what counts as asked already."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from napari_promise.document import Tile
from napari_promise.prompts import Prompts
from napari_promise.session.requests import Request, Requests

IMAGE: Any = SimpleNamespace(document=object())


def request(revision: int = 1, **changes: Any) -> Request:
    asked = {"ips": True, "local": True, **changes}
    prompts = Prompts(points=[(revision, 2)])
    return Request(IMAGE, Tile(), 1, revision, prompts, **asked)


@pytest.mark.parametrize("under_way", [False, True])
def test_the_same_is_not_asked_twice(under_way) -> None:
    requests, first = Requests(), request()
    requests.add(first)
    if under_way:
        requests.take(first)
    assert requests.has_like(request())
    assert requests.settle(first)


@pytest.mark.parametrize(
    "other", [request(2), request(ips=False), request(local=False)]
)
def test_another_question_is_not_alike(other) -> None:
    requests = Requests()
    requests.add(request())
    assert not requests.has_like(other)


def test_a_drag_preview_under_way_answers_nobody() -> None:
    requests, preview = Requests(), request(drag_preview=3)
    requests.drag_preview = preview
    requests.take(preview)
    assert not requests.has_like(request())


def test_what_was_taken_back_gives_way_to_what_is_under_way() -> None:
    requests, first, second = Requests(), request(), request(2)
    requests.add(first)
    requests.take(first)
    requests.add(second)
    assert requests.has_like(request()), "undone: the first counts again"
    assert requests.waiting() == []
    assert not requests.settle(second)
    assert requests.settle(first)


@pytest.mark.parametrize("dealt", ["settle", "end"])
def test_what_was_dealt_with_is_no_longer_under_way(dealt) -> None:
    requests, first = Requests(), request()
    requests.add(first)
    requests.take(first)
    getattr(requests, dealt)(first)
    assert not requests.has_like(request())


def test_auto_prompts_under_way_for_an_object_are_no_answer_to_its_prompts() -> None:
    requests, proposal = Requests(), request(propose=True)
    requests.propose(proposal)
    requests.take(proposal)
    assert not requests.has_like(request())


def test_auto_prompts_under_way_are_given_up_with_all_else() -> None:
    requests, proposal = Requests(), request(propose=True)
    requests.propose(proposal)
    requests.take(proposal)
    assert requests.clear() == [proposal]
