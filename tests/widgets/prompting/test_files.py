"""What is exported, and that it comes back."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from qtpy.QtWidgets import QMessageBox

from napari_promise.widgets.prompting.export_dialog import (
    FORMATS,
    ExportDialog,
    ExportRequest,
)

BY_KEY = {choice.key: choice for choice in FORMATS}


def _write(desk, key: str, path: Path, **options) -> None:
    snapshot = desk.widget.actions.snapshot()
    classes = {record.id: record.class_name for record in snapshot.objects}
    request = ExportRequest(BY_KEY[key], path, options.get("overwrite", False), classes)
    desk.widget.files.write(request, snapshot).join(30)


def test_exported_prompts_replay_to_identical_masks(desk, tmp_path) -> None:
    desk.click(30, 40)
    desk.click(40, 50)
    desk.press("C")
    desk.press("A")
    desk.until(lambda: len(desk.document) == 2)
    desk.settle()
    desk.click(60, 90, include=False)
    path = tmp_path / "work.prompts.json"
    _write(desk, "prompts", path)
    regions = [r.region.mask for r in desk.document.objects]
    scores = [r.score for r in desk.document.objects]
    sources = [r.sources for r in desk.document.objects]
    desk.widget.actions.delete(1)
    desk.widget.actions.delete(2)
    desk.widget.actions.load(path)
    desk.settle()
    for record, mask, score, source in zip(
        desk.document.objects, regions, scores, sources, strict=True
    ):
        np.testing.assert_array_equal(record.region.mask, mask)
        assert record.score == score
        assert record.sources == source


def test_labels_are_written_with_scale_and_classes_and_never_over_a_file(
    make_desk, picture, tmp_path
) -> None:
    import nibabel
    import tifffile

    desk = make_desk()
    desk.open(np.stack([picture] * 2), scale=(3, 0.5, 0.7), name="ct")
    desk.click(0, 30, 40)
    desk.widget.actions.set_class(1, "polyp")
    desk.press("C")
    for key in ("tiff", "npy", "nifti", "coco", "prompts"):
        _write(desk, key, tmp_path / f"out{BY_KEY[key].suffix}")
    np.testing.assert_array_equal(
        tifffile.imread(tmp_path / "out.tif"), desk.labels.data
    )
    nifti = nibabel.load(tmp_path / "out.nii.gz")
    np.testing.assert_allclose(nifti.header.get_zooms()[:3], (0.7, 0.5, 3), rtol=1e-5)
    coco = json.loads((tmp_path / "out.json").read_text())
    assert [c["name"] for c in coco["categories"]] == ["polyp"]
    before = (tmp_path / "out.tif").read_bytes()
    desk.click(0, 60, 90)
    desk.press("C")
    _write(desk, "tiff", tmp_path / "out.tif")
    assert (tmp_path / "out.tif").read_bytes() == before
    _write(desk, "tiff", tmp_path / "out.tif", overwrite=True)
    assert (tmp_path / "out.tif").read_bytes() != before


def test_a_file_that_holds_no_prompts_is_refused_in_one_line(
    desk, tmp_path, monkeypatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(desk.widget.actions, "_tell", said.append)
    path = tmp_path / "other.json"
    path.write_text('{"hello": 1}')
    desk.widget.actions.load(path)
    assert len(said) == 1
    assert "other.json" in said[0]
    assert len(desk.document) == 0


@pytest.mark.parametrize("answer", ["Yes", "No"])
def test_the_dialog_asks_before_a_file_is_replaced(
    has_screen, qtbot, tmp_path, monkeypatch, answer
) -> None:
    there = tmp_path / "scan.tif"
    there.write_text("mine")
    asked: list[str] = []
    button = getattr(QMessageBox.StandardButton, answer)
    monkeypatch.setattr(
        QMessageBox, "question", lambda *args: asked.append(args[2]) or button
    )
    dialog = ExportDialog("scan", tmp_path, False, {1: "polyp", 2: ""}, 1)
    qtbot.addWidget(dialog)
    assert dialog.path.text() == str(there)
    dialog.fields["polyp"].setText("adenoma")
    dialog.accept()
    assert "scan.tif" in asked[0]
    if answer == "No":
        assert dialog.request is None
        return
    assert dialog.request is not None
    assert dialog.request.overwrite
    assert dialog.request.classes == {1: "adenoma", 2: ""}


def test_the_dialog_follows_the_format_and_offers_no_png_for_a_stack(
    has_screen, qtbot, tmp_path
) -> None:
    dialog = ExportDialog("scan", tmp_path, True, {}, 0)
    qtbot.addWidget(dialog)
    offered = [dialog.format.itemData(row).key for row in range(dialog.format.count())]
    assert "png" not in offered
    dialog.format.setCurrentIndex(offered.index("nifti"))
    assert dialog.path.text().endswith("scan.nii.gz")
    dialog.format.setCurrentIndex(offered.index("prompts"))
    assert dialog.path.text().endswith("scan.prompts.json")
