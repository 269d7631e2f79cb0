"""Prompts come back exactly, and what is no prompts file is refused by name."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from napari_promise.data.prompts_file import SavedObject, load_prompts, save_prompts
from napari_promise.prompts import Before, Prompts


@pytest.fixture
def objects(rng) -> list[SavedObject]:
    logits = rng.normal(size=(1, 64, 64)).astype(np.float32) * 10
    auto = Prompts(
        points=[(10.25, 20.0), (30, 5), (1, 2)],
        labels=[1, 0, 1],
        boxes=[(0, 0, 40.5, 50)],
        before=Before(logits, answered=[False, True, False]),
        scores=[0.9, 0.1, np.nan],
    )
    drawn = Prompts(mask=rng.random((33, 47)) > 0.5)
    return [
        SavedObject(
            3, auto, (2,), "polyp", ("auto", "auto", "user"), 0.93, True, logits / 2
        ),
        SavedObject(7, drawn, (0,)),
    ]


def test_prompts_come_back_exactly(tmp_path, objects):
    path = save_prompts(
        tmp_path / "prompts.json",
        objects,
        image={"name": "frame_012", "digest": "ab" * 16},
        metadata={"model": {"name": "promise-tiny"}},
    )
    loaded = load_prompts(path)
    assert loaded.image == {"name": "frame_012", "digest": "ab" * 16}
    assert loaded.provenance["model"]["name"] == "promise-tiny"
    for before, after in zip(objects, loaded.objects, strict=True):
        assert after.prompts == before.prompts
        for name in ("id", "plane", "class_name", "sources", "score", "committed"):
            assert getattr(after, name) == getattr(before, name)
    used = Before(objects[0].coarse).logits
    assert np.array_equal(loaded.objects[0].coarse, used)
    assert loaded.objects[1].coarse is None


def test_a_prompts_file_of_0_1_is_read():
    path = Path(__file__).parents[1] / "fixtures" / "v0_1_prompts.json"
    loaded = load_prompts(path)
    first, second, third = loaded.objects
    assert [o.id for o in loaded.objects] == [o.label for o in loaded.objects]
    assert first.sources == ("auto", "auto", "auto", "user")
    assert first.prompts.answered.tolist() == [False, True, True, False]
    assert first.prompts.added.tolist() == [False, False, False, True]
    assert first.prompts.before.tile is None
    assert first.coarse.shape == first.prompts.logits.shape == (1, 8, 8)
    assert (second.plane, second.prompts.boxes.tolist()) == ((1,), [[2, 2, 9, 9.5]])
    assert second.prompts.mask.sum() == 25
    assert third.prompts.points.tolist() == [[12, 20], [13, 21]]
    # What is written of them today, 0.1 can read.
    data = [Prompts.to_json(o.prompts) for o in loaded.objects]
    assert data == [o["prompts"] for o in json.loads(path.read_text())["objects"]]


def test_labels_tiles_and_sources_of_their_own_come_back(tmp_path, objects):
    path = save_prompts(tmp_path / "plain.json", objects)
    assert json.loads(path.read_text())["version"] == 1
    tiled = Before(np.zeros((1, 4, 4)), tile=(0, 0, 9, 9))
    shared = [
        replace(objects[1], label=3),
        replace(objects[0], sources=("propagated",) * 3),
        replace(objects[1], prompts=Prompts(before=tiled)),
    ]
    for number, record in enumerate(shared):
        path = save_prompts(tmp_path / f"{number}.json", [record])
        assert json.loads(path.read_text())["version"] == 2
        (loaded,) = load_prompts(path).objects
        assert (loaded.id, loaded.label) == (record.id, record.label)
        assert loaded.sources == record.sources
        assert loaded.prompts == record.prompts


def test_a_later_prompts_file_is_refused_with_the_version_that_wrote_it(tmp_path):
    path = save_prompts(tmp_path / "p.json", [])
    later = {
        **json.loads(path.read_text()),
        "version": 3,
        "written_by": "napari-promise 0.9",
    }
    path.write_text(json.dumps(later))
    with pytest.raises(ValueError, match=r"p\.json.*written by napari-promise 0\.9"):
        load_prompts(path)


def test_a_documents_records_can_be_saved_as_they_are(tmp_path):
    from napari_promise.document import Document

    document = Document()
    number = document.new_object((1,), class_name="polyp")
    number = getattr(number, "id", number)
    document.set_prompts(number, Prompts(points=[(3, 4)], labels=[1]), ["user"])
    loaded = load_prompts(save_prompts(tmp_path / "p.json", document.objects))
    (record,) = loaded.objects
    assert record.prompts.points.tolist() == [[3, 4]]
    assert (record.id, record.plane, record.class_name) == (number, (1,), "polyp")
    assert record.sources == ("user",)


def test_the_prompts_file_is_plain_json_for_other_programs(tmp_path, objects):
    path = save_prompts(tmp_path / "prompts.json", objects)
    data = json.loads(path.read_text())
    assert data["schema"] == "napari-promise/prompts"
    assert data["version"] == 1
    assert data["objects"][0]["prompts"]["points"][0] == [10.25, 20.0]
    assert data["objects"][0]["class"] == "polyp"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("not json", "cannot be read as JSON"),
        (b"\xff\xfe\x00", "cannot be read as JSON"),
        ("[1, 2]", "is no prompts file"),
        ('{"images": [], "annotations": []}', "is no prompts file"),
        ('{"schema": "napari-promise/prompts", "version": 3}', "update napari-promise"),
        ('{"schema": "napari-promise/prompts", "version": 1}', "is damaged"),
        (
            '{"schema": "napari-promise/prompts", "version": 1, "objects": '
            '[{"id": 1, "prompts": {"points": [[1, 2, 3]]}}]}',
            "is damaged",
        ),
    ],
)
def test_what_is_no_prompts_file_is_refused_by_name(tmp_path, content, message):
    path = tmp_path / "prompts.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=message) as error:
        load_prompts(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
