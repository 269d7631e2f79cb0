"""Which image of a folder comes next."""

from __future__ import annotations

import pytest

from napari_promise.widgets.folder import order

ROWS = ["a", "b", "c", "d", "e"]
STATES = {"a": "done", "b": "new", "c": "skipped", "d": "proposed", "e": "new"}


class Proposals:
    """Weakest first: e, then b, then d."""

    def by_confidence(self) -> list[str]:
        return ["e", "b", "d"]

    def next_uncertain(self, after: str | None = None) -> str | None:
        waiting = self.by_confidence()
        if after in waiting:
            at = waiting.index(after)
            waiting = waiting[at + 1 :] + waiting[:at]
        return waiting[0]


@pytest.mark.parametrize(
    ("key", "expected"),
    [("b", ["d", "e"]), ("e", ["b", "d"]), (None, ["b", "d", "e"]), ("x", None)],
)
def test_what_waits_comes_from_below_a_row_and_round(key, expected) -> None:
    found = order.to_do_after(ROWS, key, STATES.__getitem__)
    assert found == (["b", "d", "e"] if expected is None else expected)


def test_the_first_that_waits_is_opened_first_or_else_the_topmost() -> None:
    assert order.first_to_do(ROWS, STATES.__getitem__) == "b"
    assert order.first_to_do(ROWS, lambda _key: "done") == "a"
    assert order.first_to_do([], lambda _key: "done") is None


def test_there_is_nothing_beyond_either_end_of_the_table() -> None:
    assert order.beside(ROWS, "a", -1) is None
    assert order.beside(ROWS, "e", +1) is None
    assert order.beside(ROWS, "b", +1) == "c"
    assert order.beside(ROWS, "hidden", +1) == "a"


def test_after_a_finished_image_the_next_row_or_the_weakest_follows() -> None:
    state_of = STATES.__getitem__
    assert order.after_finished(ROWS, "b", state_of, None) == "d"
    assert order.after_finished(ROWS, "a", state_of, Proposals()) == "e"
    assert order.after_finished(ROWS, "b", lambda _key: "done", None) is None


def test_asked_again_the_next_stronger_proposal_is_shown() -> None:
    assert order.weakest(Proposals(), "a", None) == "e"
    assert order.weakest(Proposals(), "e", "e") == "b"
    assert order.weakest(Proposals(), "e", None) == "b"


def test_the_row_below_is_encoded_whatever_comes_next() -> None:
    state_of = STATES.__getitem__
    assert order.coming(ROWS, "b", state_of, None, 1) == ["d", "c"]
    assert order.coming(ROWS, "b", state_of, Proposals(), 2) == ["e", "d", "c"]
    assert order.coming(ROWS, "e", state_of, None, 1) == ["b"]


def test_images_that_cannot_be_opened_are_passed_over() -> None:
    state_of = STATES.__getitem__
    assert order.after_finished(ROWS, "a", state_of, None, {"b"}) == "d"
    assert order.after_finished(ROWS, "a", state_of, None, {"b", "d", "e"}) is None
    assert order.after_finished(ROWS, "a", state_of, Proposals(), {"e", "b"}) == "d"
    assert order.weakest(Proposals(), "a", None, {"e"}) == "b"
    assert order.weakest(Proposals(), "a", None, {"e", "b", "d"}) is None
