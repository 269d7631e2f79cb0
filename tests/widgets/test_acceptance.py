"""The main job with the bundled model and adapter on the sample, end to end."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from napari_promise.data.embeddings import EmbeddingCache
from napari_promise.session import Session, Settings

BUNDLED = Path(__file__).parents[2] / "napari_promise" / "model" / "bundled"
PATIENCE = 120_000

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (BUNDLED / "promise-tiny.safetensors").exists()
        or not (BUNDLED / "adapters" / "polyp" / "adapter.json").exists(),
        reason="the bundled weights are not in this checkout",
    ),
]


def _dice(mask: np.ndarray, truth: np.ndarray) -> float:
    return 2 * (mask & truth).sum() / (mask.sum() + truth.sum())


def test_the_main_job_on_the_sample(
    has_screen, make_napari_viewer, qtbot, tmp_path
) -> None:
    from napari_promise.data.samples import endoscopy_layers
    from napari_promise.widgets.dispatch import GuiDispatcher
    from napari_promise.widgets.prompting import exporting
    from napari_promise.widgets.prompting.dock import PromiseWidget
    from napari_promise.widgets.prompting.export_dialog import FORMATS, ExportRequest

    viewer = make_napari_viewer(show=True)
    (image, options, _), (truth, *_) = endoscopy_layers()
    truth = truth > 0
    viewer.add_image(image, **options)
    session = Session(
        dispatch=GuiDispatcher(),
        settings=Settings(adapter="polyp"),
        cache=EmbeddingCache(None),
    )
    failures: list[str] = []
    session.failed.connect(failures.append)
    widget = PromiseWidget(viewer, session)
    viewer.window.add_dock_widget(widget, name="ProMISe", area="right")
    try:
        qtbot.waitUntil(lambda: session.status.state == "ready", timeout=PATIENCE)
        bridge = widget.bridge
        document, points = bridge.work.document, bridge.work.points.layer
        press = viewer.window._qt_viewer.canvas._key_map_handler.press_key
        masks: list[np.ndarray] = []

        def answered() -> np.ndarray:
            qtbot.waitUntil(
                lambda: (
                    len(document) > 0 and all(r.is_answered for r in document.objects)
                ),
                timeout=PATIENCE,
            )
            qtbot.wait(1)
            return bridge.work.preview.mask().copy()

        # Auto-prompt gives points and a mask.
        press("A")
        masks.append(answered())
        record = document.active
        positive = record.prompts.points[record.prompts.labels == 1]
        rows, columns = np.rint(positive).astype(int).T
        assert truth[rows, columns].mean() >= 0.8
        assert set(points.features["source"]) == {"auto"}
        assert _dice(masks[0], truth) >= 0.85

        # One point added, one moved, one flipped, one deleted: each changes the mask.
        inside = np.argwhere(masks[0] & truth)
        edge = inside[np.argmin(inside[:, 0])] + (6, 0)
        bridge.set_include(False)
        points.add(edge)
        masks.append(answered())
        last = len(points.data) - 1
        points.selected_data = {last}
        points._set_drag_start({last}, points.data[last])
        points._move([last], inside[len(inside) // 2])
        points._drag_start = None
        masks.append(answered())
        points.selected_data = {last}
        press("T")
        masks.append(answered())
        points.selected_data = {last}
        points.remove_selected()
        masks.append(answered())
        bridge.set_include(False)
        points.add(inside[len(inside) // 2])
        masks.append(answered())
        for before, after in zip(masks, masks[1:], strict=False):
            assert not np.array_equal(before, after)

        # Undo five times gives the earlier masks back exactly; redo the later ones.
        for mask in masks[-2::-1]:
            press("Ctrl+Z")
            np.testing.assert_array_equal(bridge.work.preview.mask(), mask)

        # Commit, new object, reopen the first: identical.
        press("C")
        labels = bridge.work.result.layer
        np.testing.assert_array_equal(labels.data == 1, masks[0])
        press("N")
        points.add((20, 320))
        second = answered()
        press("C")
        assert not (second & (labels.data == 1) & ~masks[0]).any()
        widget.actions.reopen(1)
        np.testing.assert_array_equal(bridge.work.preview.mask(), masks[0])

        # A correction goes without the automatic points that the mask answers.
        bridge.set_include(False)
        points.add(edge)
        assert not np.array_equal(answered(), masks[0])
        prompts = document.get(1).prompts
        assert len(prompts.to_send().points) == 2 < len(prompts.points)
        press("C")

        # Export and replay: identical.
        snapshot = widget.actions.snapshot()
        saved = next(choice for choice in FORMATS if choice.key == "prompts")
        path = tmp_path / "prompts.json"
        exporting.write(ExportRequest(saved, path, False, {}), snapshot)
        regions = [record.region.mask for record in document.objects]
        for record in document.objects:
            widget.actions.delete(record.id)
        assert not labels.data.any()
        widget.actions.load(path)
        answered()
        replayed = [record.region.mask for record in document.objects]
        for before, after in zip(regions, replayed, strict=True):
            np.testing.assert_array_equal(after, before)
        assert failures == []
    finally:
        widget.close_down()


def test_the_demonstration_drives_itself_to_the_end(
    has_screen, tmp_path, capsys
) -> None:
    import subprocess
    import sys

    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; from napari_promise.demo import main;"
            "sys.exit(main(True, sys.argv[1]))",
            str(tmp_path),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    names = sorted(path.name for path in tmp_path.iterdir())
    assert {"demo.png", "labels.tif", "prompts.json"} <= set(names)
    assert "Dice against the true mask" in done.stdout
