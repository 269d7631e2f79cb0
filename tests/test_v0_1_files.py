"""Files that version 0.1 wrote open unchanged, with what was in them.

They were made with that version's own code by ``scripts/checks/make_v0_1_fixtures.py``,
and ``expected.json`` is how that version saw them.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_promise.document import Document
from napari_promise.project import Project
from scripts.checks import make_v0_1_fixtures as made

FIXTURES = Path(__file__).parent / "fixtures" / "v0_1"
EXPECTED = json.loads((FIXTURES / "expected.json").read_text(encoding="utf-8"))
WORK = EXPECTED["project"]["work"]
#: What states are called since.
WORDS = {"in work": "in progress"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a copy of the folder, which the tests may write to."""
    return Path(shutil.copytree(FIXTURES / "project", tmp_path / "project"))


@pytest.fixture
def project(folder: Path) -> Iterator[Project]:
    with Project.open(folder) as opened:
        assert opened.notes == ()
        noted: list[str] = []
        opened.events.noted.connect(noted.append)
        yield opened
        assert noted == []


@pytest.fixture(scope="module")
def tiny() -> Any:
    from napari_promise.segmenter import Segmenter

    return Segmenter.load("promise-tiny", device="cpu")


def restored(project: Project, key: str) -> tuple[Document, np.ndarray]:
    document = Document()
    labels = project.restore(key, document)
    assert labels is not None
    document.events.labels_patched.connect(lambda patch: patch.apply(labels))
    return document, labels


# Projects


def test_a_project_of_0_1_shows_the_same_table(project):
    expected = EXPECTED["project"]
    rows = {
        item.key: [
            item.state,
            item.objects,
            None if item.confidence is None else round(item.confidence, 6),
            item.by,
            item.clicks,
            item.untouched,
        ]
        for item in project.items
    }
    assert rows == {
        key: [WORDS.get(state, state), *others]
        for key, (state, *others) in expected["items"].items()
    }
    assert project.reopen_key == expected["reopen"]
    settings = project.settings
    assert (settings.user, settings.class_name) == ("reader", "lesion")
    assert (settings.retrain_every, settings.order) == (10, "confidence")


@pytest.mark.parametrize("key", WORK)
def test_work_of_0_1_has_its_objects_its_labels_and_its_whole_history(project, key):
    assert made.describe(*restored(project, key)) == WORK[key]


@pytest.mark.parametrize("key", WORK)
def test_work_of_0_1_is_the_same_after_it_was_saved_again(project, folder, key):
    document, labels = restored(project, key)
    document.set_class(document.objects[0].id, "other")
    document.undo()
    project.save(key, document, labels)
    project.close()
    with Project.open(folder) as again:
        found = made.describe(*restored(again, key))
    assert found == WORK[key]


def test_proposals_of_0_1_are_there_with_their_details(project):
    expected = EXPECTED["project"]
    records = project.proposals.records("d.png") or ()
    assert [made.describe_object(record) for record in records] == expected["proposal"]
    assert project.proposals.details("d.png") == expected["details"]
    document = Document()
    project.proposals.load_into("d.png", document)
    assert [record.class_name for record in document.objects] == ["cyst", "cyst"]
    stored = project.load("e.png")
    assert stored is not None
    assert made.digest(stored.labels) == expected["accepted"]


def test_a_project_of_0_1_goes_on_learning(project):
    expected = EXPECTED["project"]
    assert project.ledger.by_confidence() == expected["order"]
    assert round(project.ledger.calibration(0.5), 6) == expected["calibrated"]
    effort = project.learning.effort()
    assert [[f.key, f.clicks, f.untouched] for f in effort.finished] == (
        expected["finished"]
    )
    assert [list(entry) for entry in effort.trained] == expected["trained"]
    pairs = project.learning.training_pairs()
    assert sorted(pair.image.name for pair in pairs) == expected["pairs"]


def test_a_damaged_file_of_0_1_gives_way_to_the_one_saved_before(folder):
    (item,) = (folder / ".promise" / "items").glob("a.png-*")
    (item / "work.zip").write_bytes(b"torn")
    with Project.open(folder) as project:
        noted: list[str] = []
        project.events.noted.connect(noted.append)
        document, labels = restored(project, "a.png")
    assert len(noted) == 1
    assert [record.id for record in document.objects] == [1]
    assert np.unique(labels).tolist() == [0, 1]


def test_prompts_in_a_project_of_0_1_replay_to_the_same_mask(project, tiny):
    document, _ = restored(project, "b.png")
    (record,) = document.objects
    embedding = tiny.encode(made.picture(1))
    answer = tiny.segment(embedding, record.prompts)
    assert np.array_equal(answer.mask, record.region.mask)


# Prompts and adapters


def test_a_prompts_file_of_0_1_replays_to_the_same_masks(tiny):
    from napari_promise.data.export import load_prompts

    expected = EXPECTED["prompts"]
    found = load_prompts(FIXTURES / "a.prompts.json")
    assert found.image["name"] == "a.png"
    assert found.provenance["model"]["sha256"] == expected["model_sha256"]
    embedding = tiny.encode(made.picture(0))
    objects = [
        {
            "id": one.id,
            "class": one.class_name,
            "points": one.prompts.points.tolist(),
            "labels": one.prompts.labels.tolist(),
            "boxes": one.prompts.boxes.tolist(),
            "sources": list(one.sources),
            "score": one.score,
            "mask": made.digest(tiny.segment(embedding, one.prompts).mask),
        }
        for one in found.objects
    ]
    assert objects == expected["objects"]


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_an_adapter_of_0_1_proposes_the_same(tiny, tmp_path, monkeypatch, kind):
    from napari_promise.model.adapter_files import import_file
    from napari_promise.segmenter import Segmenter

    expected = EXPECTED["adapter"]
    monkeypatch.setenv("NAPARI_PROMISE_ADAPTERS", str(tmp_path))
    source = FIXTURES / "adapter"
    if kind == "file":
        source = import_file(FIXTURES / "small.promise-adapter")
    segmenter = Segmenter(tiny.sam)
    segmenter.adapter = source
    info = segmenter.adapter_info
    assert info is not None
    assert (info.name, info.class_name) == (expected["name"], expected["class"])
    assert segmenter.adapter_sha256 == expected["sha256"]
    embedding = segmenter.encode(made.picture(0))
    found = segmenter.propose(embedding)
    assert found.points.tolist() == expected["points"]
    assert found.labels.tolist() == expected["labels"]
    assert made.digest(segmenter.segment(embedding, found).mask) == expected["mask"]


# Caches and settings


def test_an_embedding_that_0_1_cached_is_used(micro_sam, tmp_path):
    from napari_promise.data.embeddings import EmbeddingCache
    from napari_promise.prompts import Prompts
    from napari_promise.segmenter import Segmenter

    expected = EXPECTED["caches"]
    folder = shutil.copytree(FIXTURES / "embeddings", tmp_path / "embeddings")
    cache = EmbeddingCache(folder, memory_bytes=0, disk_bytes=10**7)
    arrays = cache.get(tuple(expected["embedding_key"]))
    assert arrays is not None
    micro = Segmenter(micro_sam)
    mask = micro.segment(micro.restore(arrays), Prompts([(24, 30)])).mask
    assert made.digest(mask) == expected["embedding_mask"]


def test_a_view_that_0_1_cached_is_used(tmp_path):
    from napari_promise.training.view_cache import ViewCache, view_key

    name = view_key("1" * 64, "plain", "2" * 64, 64, 1)
    assert name == EXPECTED["caches"]["view"]
    cache = ViewCache(Path(shutil.copytree(FIXTURES / "views", tmp_path / "views")))
    assert cache.has(name, ["image"])
    (image,) = cache.read(name, "image")
    assert image.flatten().tolist() == [n / 8 for n in range(32)]
    target = cache.target(name, "3" * 64)
    assert target is not None
    assert target.truth.sum() == 200
    assert target.share.reshape(-1).tolist() == list(range(64))


def test_a_run_that_0_1_began_goes_on():
    from napari_promise.training.run_state import RunState

    state = RunState(FIXTURES / "run", "of this run").load()
    assert state is not None
    assert (state["epoch"], state["scores"]) == (3, {"automatic": 0.5})
    assert state["weights"].tolist() == [0, 1, 2, 3]


def test_preferences_of_0_1_count():
    from napari_promise.preferences import read_preferences
    from napari_promise.session.settings import Settings

    values = read_preferences(FIXTURES / "preferences.json")
    assert values == EXPECTED["caches"]["preferences"]
    settings = Settings.from_preferences(values)
    assert (settings.adapter, settings.live, settings.overlap) == (
        "polyp",
        False,
        "overwrite",
    )
    assert settings.cache_quota_mb == 1234
