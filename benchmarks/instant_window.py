"""Time from *Done & next* to the next suggestion, in a real window.

    python -m benchmarks.instant_window --images 12

A folder of kvasir-seg images (``PROMISE_DATA``) is worked through with both docks; the
true mask is put in as each image's object, the next images are encoded before each
confirmation, as they are while a person works. Prints the medians and the slowest of:
from the confirmation to the next image on display and encoded, from there to its
suggestion, and both together.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np

from napari_promise import demo
from napari_promise.document import Region
from napari_promise.prompts import Prompts


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    from scripts.checks.annotate_session import Person, images_of

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--images", type=int, default=12)
    asked = parser.parse_args(arguments)
    with demo._screen(demo._has_display()), tempfile.TemporaryDirectory() as work:
        person = Person("instant", images_of("kvasir-seg", asked.images), Path(work))
        try:
            open_seconds, suggest_seconds = _work_through(person)
        finally:
            person.close()
    both = np.array(open_seconds) + suggest_seconds
    rows = {"open": open_seconds, "suggest": suggest_seconds, "both": both}
    told = {
        name: {
            "median": round(float(np.median(values)), 3),
            "slowest": round(float(np.max(values)), 3),
        }
        for name, values in rows.items()
    }
    print(json.dumps({"images": len(both) + 1, "seconds": told}, indent=1))


def _work_through(person: object) -> tuple[list[float], list[float]]:
    from scripts.checks.annotate_session import Person

    assert isinstance(person, Person)
    folder, until = person.folder, person._until
    folder.open_project(person._source)
    until(lambda: person._key() is not None, "opening the folder")
    project = folder.project
    assert project is not None
    opened, suggested = [], []
    for key, following in zip(project.keys, project.keys[1:], strict=False):
        until(lambda key=key: person._is_ready(key), f"opening {key}")
        until(lambda: not person.is_prefetching(), "encoding ahead")
        document, truth = person._document(), person._truths[key]
        person._suggestions().ignore()
        with document.step("draw"):
            record = document.new_object(())
            inside = np.argwhere(truth)[len(np.argwhere(truth)) // 2]
            record = document.set_prompts(
                record.id, Prompts(points=[tuple(inside)], labels=[1])
            )
            document.set_mask(
                record.id,
                Region.from_mask(truth),
                score=1.0,
                logits=None,
                revision=record.revision,
            )
        began = time.monotonic()
        folder.steps.finish.click()
        until(lambda to=following: person._is_encoded(to), f"opening {following}")
        encoded = time.monotonic()
        until(lambda to=following: person._is_ready(to), "what is suggested")
        opened.append(encoded - began)
        suggested.append(time.monotonic() - encoded)
    return opened, suggested


if __name__ == "__main__":
    main()
