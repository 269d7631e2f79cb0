"""Jobs that work through a folder: proposals, and the embeddings of the next images."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from napari_promise import many_tiles
from napari_promise.data import planes
from napari_promise.document import Document, Region, Tile
from napari_promise.jobs.prefetching import ImageCache, Prefetch
from napari_promise.jobs.proposing import Propose, ProposeProgress
from napari_promise.project import Project
from napari_promise.prompts import Prompts
from napari_promise.segmentation import NoPrompterError, Segmentation

SHAPE = (40, 60)


class SquareSegmenter:
    """Finds a square where the image is bright, nothing where it is dark."""

    def __init__(self) -> None:
        self.fails = ""

    def propose(self, emb: Any) -> Prompts:
        if self.fails:
            raise NoPrompterError(self.fails)
        if emb.mean < 50:
            return Prompts(points=[(1, 1)], labels=[0])
        return Prompts(points=[(10, 10), (12, 30), (35, 55)], labels=[1, 1, 0])

    def proposals(self, emb: Any) -> tuple[Prompts, ...]:
        found = self.propose(emb)
        return (found,) if (found.labels == 1).any() else ()

    def segment_many(
        self, emb: Any, prompts: Any, *, ips: bool, **_: Any
    ) -> tuple[Segmentation, ...]:
        return tuple(self.segment(ips) for _ in prompts)

    def segment(self, ips: bool) -> Segmentation:
        mask = np.zeros(SHAPE, bool)
        mask[5:20, 5:20] = True
        wide = mask.copy()
        wide[5:20, 5:40] = True  # the best of stock SAM's three is another mask
        logits = np.where(mask[::4, ::4], 4.0, -4.0).astype(np.float32)[None]
        region = Region.from_mask(mask)
        alternatives = (region, Region.from_mask(wide))
        score = 0.9 + 0.2 * ips
        return Segmentation(SHAPE, region, score, logits, alternatives=alternatives)


class Bench:
    """A worker's bench without a worker."""

    def __init__(self, segmenter: Any = None) -> None:
        self.segmenter = segmenter or SquareSegmenter()
        self.asked: list[str] = []
        self.waits = False
        self.stopped = False

    def embedding(self, source: Any, tile: Tile) -> tuple[Any, str]:
        if self.stopped:
            self.waits = True
            raise RuntimeError("cancelled")
        self.asked.append(source.name)
        pixels = source.plane_pixels(tile.plane)
        rgb = planes.to_rgb8(pixels, source.contrast_limits, source.rgb)
        seen = SimpleNamespace(mean=float(rgb.mean()), tile=tile.bbox)
        return seen, planes.digest(rgb)

    def feed(self, views: Any) -> None:
        """Nobody else encodes."""

    def must_give_way(self) -> bool:
        return self.waits

    def deliver(self, call: Callable[[], None]) -> None:
        call()


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    """Three bright pictures and a dark one."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number, grey in enumerate((200, 210, 10, 220)):
        pixels = np.full(SHAPE, grey, np.uint8)
        pixels[0, 0] = number
        Image.fromarray(pixels).save(folder / f"p{number}.png")
    with Project.open(folder) as opened:
        yield opened


def run(job: Any, bench: Bench, most: int = 100) -> None:
    for _ in range(most):
        if not job.step(bench):
            return
    raise AssertionError("the job does not end")


def states(project: Project) -> list[str]:
    return [item.state for item in project.items]


def proposing(project: Project, told: list[ProposeProgress], **options: Any) -> Propose:
    options.setdefault("adapter", "squares")
    return Propose(
        project, project.keys, project.read_image, tell=told.append, **options
    )


def test_everything_new_is_proposed_for_and_progress_is_told(project: Project) -> None:
    told: list[ProposeProgress] = []
    run(proposing(project, told), Bench())
    assert states(project) == ["proposed"] * 4
    assert [item.objects for item in project.items] == [1, 1, 0, 1]
    assert [one.done for one in told] == [1, 2, 3, 4, 4]
    assert told[-1].finished
    assert told[-1].proposed == 3
    assert told[1].seconds_left is not None


class ManySegmenter(SquareSegmenter):
    """Finds two squares of 4 pixels, and draws them where it is shown their part."""

    finds_many = True

    def proposals(self, emb: Any, **_: Any) -> tuple[Prompts, ...]:
        return tuple(
            Prompts(points=[at], scores=[0.8], boxes=[(at[0] - 2, at[1] - 2, *far)])
            for at, far in (((8, 8), (10, 10)), ((30, 50), (32, 52)))
        )

    def segment_many(
        self, emb: Any, prompts: Any, **_: Any
    ) -> tuple[Segmentation, ...]:
        found = []
        for each in prompts:
            r0, c0 = each.boxes[0, :2].astype(int).tolist()
            region = Region.from_crop(np.ones((4, 4), bool), (r0, c0), SHAPE)
            logits = np.zeros((1, 10, 10), np.float32)
            found.append(
                Segmentation(
                    *(SHAPE, region, 0.9, logits),
                    alternatives=(region, region),
                    tile=emb.tile,
                )
            )
        return tuple(found)


@pytest.mark.parametrize("closer", [True, False])
def test_many_small_objects_are_drawn_from_tiles_where_that_is_wished(
    project: Project, monkeypatch: pytest.MonkeyPatch, closer: bool
) -> None:
    monkeypatch.setattr(many_tiles, "_LEAST_TILE", 16)
    bench = Bench(ManySegmenter())
    run(proposing(project, [], closer=closer), bench)
    (one, other) = project.proposals.records("p0.png")
    if closer:
        assert one.tile != other.tile
        for record in (one, other):
            r0, c0, r1, c1 = record.tile
            assert (r1 - r0, c1 - c0) == (32, 32)
            assert r0 <= record.region.bbox[0] < record.region.bbox[2] <= r1
            assert c0 <= record.region.bbox[1] < record.region.bbox[3] <= c1
    else:
        assert {one.tile, other.tile} == {None}


def test_a_proposal_says_how_far_it_can_be_trusted(project: Project) -> None:
    run(proposing(project, []), Bench())
    known = project.proposals.details("p0.png")
    assert known is not None
    assert known["adapter"] == "squares"
    assert known["score"] == [1.0]  # never above it
    assert known["points"] == [pytest.approx(2 / 3)]
    # One of the two other masks is as large as 15 x 35 pixels.
    assert known["tokens"] == [pytest.approx((1 + 15 / 35) / 2)]
    assert 0 < (project.item("p0.png").confidence or 0) < 1


def test_what_a_person_did_is_never_proposed_over(project: Project) -> None:
    document = Document()
    project.save("p1.png", document, np.ones(SHAPE, np.uint16), state="done")
    project.ledger.set_states(["p3.png"], "skipped")
    told: list[ProposeProgress] = []
    run(proposing(project, told), Bench())
    assert states(project) == ["proposed", "done", "proposed", "skipped"]
    assert told[-1].left_out == 2


def test_an_image_that_was_finished_while_it_was_computed_stays_as_it_is(
    project: Project,
) -> None:
    bench = Bench()
    segment = bench.segmenter.segment

    def finishing(*args: Any, **options: Any) -> Any:
        if project.item("p0.png").state == "new":
            project.save("p0.png", Document(), np.zeros(SHAPE, np.uint16), state="done")
        return segment(*args, **options)

    bench.segmenter.segment = finishing
    run(proposing(project, []), bench)
    assert states(project)[0] == "done"


def test_a_step_that_was_stopped_comes_again(project: Project) -> None:
    bench, told = Bench(), []
    job = proposing(project, told)
    bench.stopped = True
    with pytest.raises(RuntimeError):
        job.step(bench)
    bench.stopped = bench.waits = False
    run(job, bench)
    assert states(project) == ["proposed"] * 4
    assert told[-1].left_out == 0


def test_it_gives_way_at_once_when_somebody_waits(project: Project) -> None:
    bench = Bench()
    bench.waits = True
    assert proposing(project, []).step(bench)
    assert not bench.asked


def test_a_file_that_vanished_is_left_out_and_named(project: Project) -> None:
    project.item("p1.png").path.unlink()
    told: list[ProposeProgress] = []
    run(proposing(project, told), Bench())
    assert states(project) == ["proposed", "new", "proposed", "proposed"]
    assert told[-1].left_out == 1
    assert "p1.png" in told[-1].message


def test_without_an_adapter_it_ends_at_once_with_the_reason(project: Project) -> None:
    segmenter, told = SquareSegmenter(), []
    segmenter.fails = "auto-prompting needs an adapter: choose one."
    job, bench = proposing(project, told), Bench(segmenter)
    with pytest.raises(ValueError) as caught:
        job.step(bench)
    job.fail(bench, caught.value)
    assert told[-1].finished
    assert told[-1].done == 0
    assert "choose one" in told[-1].message
    assert states(project) == ["new"] * 4


def test_a_full_disk_ends_it(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(project.proposals, "save", full)
    with pytest.raises(OSError, match="No space"):
        run(proposing(project, []), Bench())


def test_another_adapter_is_compared_with_the_one_before(project: Project) -> None:
    run(proposing(project, []), Bench())
    run(proposing(project, [], adapter="others"), Bench())
    known = project.proposals.details("p0.png")
    assert known is not None
    assert known["adapters"] == [1.0]


def test_every_plane_of_a_stack_is_proposed_for(tmp_path: Path) -> None:
    import tifffile

    stack = np.full((3, *SHAPE), 220, np.uint8)
    stack[1] = 5
    folder = tmp_path / "stacks"
    folder.mkdir()
    tifffile.imwrite(folder / "s.tif", stack, photometric="minisblack")
    with Project.open(folder) as project:
        run(proposing(project, []), Bench())
        records = project.proposals.records("s.tif")
    assert records is not None
    assert [record.plane for record in records] == [(0,), (2,)]


def test_prefetched_images_are_encoded_in_order_and_read_once(
    project: Project,
) -> None:
    cache, bench = ImageCache(project), Bench()
    run(Prefetch(cache, ["p2.png", "p0.png"]), bench)
    assert bench.asked == ["p2", "p0"]
    assert cache.get("p2.png") is cache.get("p2.png")


def test_prefetching_passes_over_what_cannot_be_read(project: Project) -> None:
    project.item("p1.png").path.write_bytes(b"no picture")
    project.item("p2.png").path.unlink()
    bench = Bench()
    run(Prefetch(ImageCache(project), ["p1.png", "p2.png", "p3.png"]), bench)
    assert bench.asked == ["p3"]


def test_a_file_that_changed_is_read_again(project: Project) -> None:
    cache = ImageCache(project)
    before = cache.get("p0.png")
    Image.fromarray(np.zeros((7, 9), np.uint8)).save(project.item("p0.png").path)
    assert cache.get("p0.png").array.shape == (7, 9)
    assert before.array.shape == SHAPE
