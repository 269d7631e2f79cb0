"""A folder teaches as its images are done, and what it taught is taken back exactly."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from napari_promise.document import Document
from napari_promise.jobs import instant
from napari_promise.jobs.instant import Better, Compare, Keep, Suggest, Suggestion
from napari_promise.jobs.prefetching import ImageCache
from napari_promise.model.adapters import load_adapter
from napari_promise.project import Project
from napari_promise.segmenter import Segmenter

SHAPE = (40, 60)


class Context:
    """What a job is handed, with a segmenter that encodes."""

    def __init__(self, segmenter: Segmenter) -> None:
        self.segmenter = segmenter

    def embedding(self, source: Any, _tile: Any) -> tuple[Any, str]:
        return self.segmenter.encode(source.array), ""

    def must_give_way(self) -> bool:
        return False

    def deliver(self, call: Any) -> None:
        call()


def square(number: int) -> np.ndarray:
    mask = np.zeros(SHAPE, bool)
    mask[8 : 8 + 18, 4 + 6 * number : 24 + 6 * number] = True
    return mask


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    folder = tmp_path / "squares"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(5):
        pixels = rng.integers(0, 40, (*SHAPE, 3))
        pixels[square(number)] += 180
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number}.png")
    with Project.open(folder) as opened:
        yield opened


@pytest.fixture
def context(micro_sam: Any) -> Context:
    return Context(Segmenter(micro_sam))


@pytest.fixture
def tutor(project: Project) -> instant.Tutor:
    return instant.Tutor(project, ImageCache(project))


def done(project: Project, number: int, labels: np.ndarray | None = None) -> None:
    found = square(number).astype(np.uint16) if labels is None else labels
    project.save(f"{number}.png", Document(), found, state="done")


def suggestion(tutor: instant.Tutor, context: Context, key: str) -> Suggestion:
    told: list[Suggestion] = []
    job = Suggest(tutor, key, told.append)
    while job.step(context):  # type: ignore[arg-type]
        pass
    (found,) = told
    return found


def drawn(tutor: instant.Tutor, context: Context) -> bytes:
    """What would be drawn now, after learning what is missing."""
    suggestion(tutor, context, "4.png")
    adapter = tutor.adapter(context)  # type: ignore[arg-type]
    assert adapter is not None
    weight: bytes = adapter.apm.weight.numpy().tobytes()  # type: ignore[union-attr]
    return weight


def test_nothing_is_suggested_before_an_image_is_done(
    tutor: instant.Tutor, context: Context
) -> None:
    found = suggestion(tutor, context, "4.png")
    assert (found.objects, found.learnt) == ((), 0)


def test_what_is_done_is_learnt_and_what_is_taken_back_is_forgotten(
    project: Project, tutor: instant.Tutor, context: Context
) -> None:
    done(project, 0)
    first = drawn(tutor, context)
    done(project, 1)
    second = drawn(tutor, context)
    assert tutor.learnt == 2
    assert second != first
    project.ledger.set_states(["1.png"], "new")
    assert drawn(tutor, context) == first
    project.ledger.set_states(["1.png"], "done")
    assert drawn(tutor, context) == second


def test_an_image_that_is_reopened_teaches_nothing_until_it_is_confirmed(
    project: Project, tutor: instant.Tutor, context: Context
) -> None:
    done(project, 0)
    first = drawn(tutor, context)
    done(project, 1)
    second = drawn(tutor, context)
    tutor.reopen("1.png")
    assert drawn(tutor, context) == first
    tutor.confirm("1.png")
    assert drawn(tutor, context) == second


def test_an_image_that_was_changed_is_learnt_anew(
    project: Project, tutor: instant.Tutor, context: Context
) -> None:
    done(project, 0)
    before = drawn(tutor, context)
    done(project, 0, np.flip(square(0), 1).astype(np.uint16))
    assert drawn(tutor, context) != before
    done(project, 0)
    assert drawn(tutor, context) == before


def test_only_untouched_images_get_a_suggestion(
    project: Project, tutor: instant.Tutor, context: Context
) -> None:
    done(project, 0)
    done(project, 1)
    assert suggestion(tutor, context, "1.png").objects == ()
    found = suggestion(tutor, context, "2.png")
    assert (found.learnt, found.by) == (2, instant.NAME)


def test_images_with_several_objects_teach_to_look_for_several(
    project: Project, tutor: instant.Tutor, context: Context
) -> None:
    done(project, 0)
    suggestion(tutor, context, "4.png")
    adapter = tutor.adapter(context)  # type: ignore[arg-type]
    assert not adapter.apm.many  # type: ignore[union-attr]
    two = square(1).astype(np.uint16)
    two[30:, :5] = 2
    for number in (1, 2, 3):
        done(project, number, two)
    suggestion(tutor, context, "4.png")
    adapter = tutor.adapter(context)  # type: ignore[arg-type]
    assert adapter.apm.many  # type: ignore[union-attr]


def test_another_model_begins_anew(
    project: Project, tutor: instant.Tutor, context: Context, micro_sam: Any
) -> None:
    done(project, 0)
    before = drawn(tutor, context)
    micro_sam.sha256 = "1" * 64
    assert tutor.missing(context) == ["0.png"]  # type: ignore[arg-type]
    assert drawn(tutor, context) == before


def test_what_was_learnt_is_kept_as_an_adapter(
    project: Project, tutor: instant.Tutor, context: Context
) -> None:
    done(project, 0)
    names: list[str] = []
    for _ in range(2):
        job = Keep(tutor, "mine", names.append, pytest.fail)
        while job.step(context):  # type: ignore[arg-type]
            pass
    assert names == ["mine", "mine-2"]
    kept = load_adapter("mine", context.segmenter.sam)
    assert kept.info.trained_on == "1 image: squares"
    assert kept.apm.weight.numpy().tobytes() == drawn(tutor, context)  # type: ignore[union-attr]


def test_two_adapters_are_compared_on_images_that_neither_learnt_from(
    project: Project, tutor: instant.Tutor, context: Context
) -> None:
    for number in range(3):
        done(project, number)
    job = Keep(tutor, "trained", lambda _name: None, pytest.fail)
    while job.step(context):  # type: ignore[arg-type]
        pass
    told: list[Better | None] = []
    compare = Compare(tutor, "trained", ["2.png"], told.append)
    while compare.step(context):  # type: ignore[arg-type]
        pass
    (found,) = told
    assert found is not None
    assert (found.name, found.images) == ("trained", 1)
    assert 0 <= found.instant <= 1


def test_the_better_of_two_is_told_in_a_line() -> None:
    better = Better("polyps-10", 0.71, 0.552, 2)
    assert better.winner == "trained"
    assert better.told() == (
        "polyps-10 makes the suggestions from now on (automatic Dice on 2 images that "
        "neither learnt from: polyps-10 0.71, instant 0.55)."
    )
    assert Better("p", 0.5, 0.6, 1).told().startswith("Instant suggestions stay in use")


def test_where_a_trained_adapter_was_found_better_it_suggests(
    project: Project, tutor: instant.Tutor, context: Context
) -> None:
    done(project, 0)
    job = Keep(tutor, "trained", lambda _name: None, pytest.fail)
    while job.step(context):  # type: ignore[arg-type]
        pass
    context.segmenter = context.segmenter.with_adapter("trained")
    assert suggestion(tutor, context, "4.png").by == instant.NAME
    project.settings.suggester = "trained"
    assert suggestion(tutor, context, "4.png").by == "trained"
