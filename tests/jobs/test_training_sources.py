"""Labelled planes of stacks are trained on and compared, wherever they come from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_promise.data.pairs import Pair
from napari_promise.jobs.training import TrainingJob, TrainingOrder
from napari_promise.jobs.training_sources import LaterSource, PairsSource, survey
from napari_promise.project import Project
from napari_promise.training.config import TrainConfig
from napari_promise.training.split import split
from tests.data.stacks import save_dicom, save_nifti, scan
from tests.jobs.contexts import Context
from tests.project.people import Person


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    """Six NIfTI stacks and a multi-frame DICOM file, each annotated and done."""
    folder, truths = tmp_path / "set", {}
    for number in range(6):
        pixels, labels = scan(number)
        truths[f"{number}.nii.gz"] = labels
        save_nifti(folder / f"{number}.nii.gz", pixels)
    pixels, truths["x.dcm"] = scan(6)
    save_dicom(folder / "x.dcm", pixels.clip(0))
    project = Project.open(folder)
    for key, labels in truths.items():
        person = Person(project, key)
        person.labels[...] = labels
        person.save(state="done")
    yield project
    project.close()


def test_what_was_done_on_stacks_is_trained_on_plane_by_plane(
    project: Project, micro_sam: Any, tmp_path: Path
) -> None:
    source = LaterSource("set", project.learning.training_pairs)
    found = survey(source)
    assert (found.images, found.objects, found.groups) == (21, 21, 7)
    assert "0.nii.gz, plane 1" in found.names
    assert "x.dcm, plane 3" in found.names
    ended: list[Any] = []
    changes = {"views": 1, "apm_epochs": 1, "ips_epochs": 1, "points": 6}
    changes |= {"cache": tmp_path / "views"}
    messages: list[str] = []
    job = TrainingJob(
        source,
        TrainingOrder("mine", changes=changes),
        on_update=lambda update: messages.append(update.message),
        on_ended=ended.append,
        on_failed=pytest.fail,
    )
    while job.step(Context(micro_sam)):  # type: ignore[arg-type]
        pass
    (outcome,) = ended
    assert "21 images" in outcome.adapter.info.trained_on
    assert not any("set/" in message for message in messages)  # none left out


def test_what_is_held_out_shares_no_stack_with_what_is_trained_on(
    project: Project,
) -> None:
    source = PairsSource(project.learning.training_pairs())
    pairs = [f.pair for f in source.images(None) if f]
    assert all(pairs)
    training, held_out = split(TrainConfig(pairs=tuple(pairs)))  # type: ignore[arg-type]
    assert held_out
    assert not {p.image for p in training} & {p.image for p in held_out}


def test_an_empty_mask_of_one_plane_still_counts_as_an_image(tmp_path: Path) -> None:
    image = save_nifti(tmp_path / "a.nii", np.ones((1, 8, 8), np.int16))
    mask = save_nifti(tmp_path / "m.nii", np.zeros((1, 8, 8), np.uint8))
    found = survey(PairsSource((Pair(image, mask),)))
    assert (found.images, found.objects) == (1, 0)
    assert found.names == ("a.nii",)
