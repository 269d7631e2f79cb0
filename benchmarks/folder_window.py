"""How 5,000 images feel in the table: opening, scrolling, sorting, the next image.

Opens a real napari window with both docks on a generated folder (`folder_open`), the
bundled model and a beating timer in the window's thread: the longest time between two
beats while something is done is what a person feels as a jerk.

    xvfb-run -a python benchmarks/folder_window.py --images 5000 --json window.json
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from beating import Beating

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
PATIENCE = 120.0


class Desk(Beating):
    """Both docks in a window, and a timer that beats."""

    def __init__(self, work: Path) -> None:
        import napari

        from napari_promise.data.embeddings import EmbeddingCache
        from napari_promise.session import Session, Settings
        from napari_promise.widgets.dispatch import GuiDispatcher
        from napari_promise.widgets.folder.dock import FolderWidget
        from napari_promise.widgets.prompting.dock import PromiseWidget

        self.viewer = napari.Viewer(show=True)
        self.viewer.window._qt_window.resize(1600, 1000)
        self.session = Session(
            dispatch=GuiDispatcher(),
            settings=Settings(model="promise-tiny", adapter=""),
            cache=EmbeddingCache(work / "embeddings"),
        )
        self.promise = PromiseWidget(self.viewer, self.session)
        self.viewer.window.add_dock_widget(self.promise, name="ProMISe", area="right")
        self.folder = FolderWidget(self.viewer)
        self.viewer.window.add_dock_widget(
            self.folder, name="ProMISe: annotate folder", area="left"
        )
        super().__init__(PATIENCE)

    def close(self) -> None:
        """Close docks and window."""
        self.stop()
        self.folder.close_down()
        self.promise.close_down()
        self.viewer.close()

    def felt(self, act: Callable[[], object], seconds: float = 0.1) -> float:
        """Milliseconds of the longest stall by `act` and what comes of it so soon."""
        return super().felt(act, seconds)

    def is_ready(self, key: str | None = None) -> bool:
        """Whether this image, or any, is on display and can be clicked into."""
        work = self.folder.work
        return (
            work is not None
            and work.key is not None
            and work.key == work.wanted == (key or work.key)
            and self.promise.bridge.work is work.work
            and self.session.status.state == "ready"
        )


def measure(folder: Path, work: Path) -> dict[str, Any]:
    """Open the folder in a window and use it as a person does."""
    from folder_open import resident

    desk = Desk(work)
    desk.rest(2)
    before, began = resident(), time.monotonic()
    desk.folder.open_project(folder)
    desk.until(lambda: desk.folder.table.model.rowCount() > 0)
    rows_s = time.monotonic() - began
    model, view = desk.folder.table.model, desk.folder.table.view
    desk.until(desk.is_ready)
    found: dict[str, Any] = {
        "images": model.rowCount(),
        "rows_s": rows_s,
        "first_image_s": time.monotonic() - began,
    }
    desk.rest(2)
    found["memory_mb"] = resident() - before

    bar = view.verticalScrollBar()
    rng = np.random.default_rng(0)
    jumps = rng.integers(0, bar.maximum(), 60)
    found["jump"] = told([desk.felt(lambda v=int(v): bar.setValue(v)) for v in jumps])
    start = int(jumps[0])
    steps = range(start, min(start + 300, bar.maximum()), 3)
    bar.setValue(start)
    found["wheel"] = told([desk.felt(lambda v=v: bar.setValue(v), 0.01) for v in steps])
    found["filter"] = told(
        [desk.felt(lambda t=text: model.filter(t, None)) for text in ("99", "7", "")]
    )
    found["sort"] = told(
        [desk.felt(lambda c=column: model.sort(c)) for column in (1, 3, 0)]
    )

    shown, ready, stalls = [], [], []
    for _ in range(20):
        desk.rest(1)  # a person looks at it; the next one is encoded meanwhile
        key = desk.folder.work.key
        following = model.order[model.row_of(key) + 1]
        asked = time.monotonic()
        desk.begin()
        desk.folder.next()
        desk.until(lambda k=following: desk.folder.work.key == k)
        shown.append(1e3 * (time.monotonic() - asked))
        desk.until(lambda k=following: desk.is_ready(k))
        ready.append(1e3 * (time.monotonic() - asked))
        stalls.append(desk.longest())
    found["next_shown"], found["next_ready"] = told(shown), told(ready)
    found["next_stall"] = told(stalls)
    found["memory_in_use_mb"] = resident() - before
    desk.close()
    return found


def told(milliseconds: list[float]) -> dict[str, float]:
    """Return median and largest."""
    return {"median_ms": float(np.median(milliseconds)), "max_ms": max(milliseconds)}


def main() -> None:
    """Run the benchmark and print a table."""
    from folder_open import generate

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--json", type=Path, help="also write the figures here")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as base:
        folder = Path(base) / "images"
        generate(folder, arguments.images)
        figures = measure(folder, Path(base))
    print(
        f"{figures['images']} images: rows after {figures['rows_s']:.2f} s, the first "
        f"image after {figures['first_image_s']:.2f} s; {figures['memory_mb']:.0f} MB, "
        f"{figures['memory_in_use_mb']:.0f} MB after use"
    )
    for what, times in figures.items():
        if isinstance(times, dict):
            print(
                f"  {what:<12} {times['median_ms']:8.1f} ms median "
                f"{times['max_ms']:8.1f} ms at most"
            )
    print(f"load {os.getloadavg()[0]:.1f}")
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
