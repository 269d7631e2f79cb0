"""What made a result is said, and nothing of the machine that made it."""

import json
from pathlib import Path

from napari_promise.data.provenance import provenance


def test_provenance_says_what_made_the_result_and_nothing_of_the_machine():
    record = provenance(
        model="promise-tiny",
        model_sha256="ab" * 32,
        adapter={"name": "polyp", "version": 1, "path": Path("/home/someone/polyp")},
        adapter_sha256="cd" * 32,
        ips=True,
        image={"name": "frame"},
        overlap="keep",
    )
    assert record["model"] == {"name": "promise-tiny", "sha256": "ab" * 32}
    assert record["adapter"] == {"name": "polyp", "version": 1, "sha256": "cd" * 32}
    assert record["settings"] == {"overlap": "keep", "ips": True}
    assert record["software"].keys() >= {"napari-promise", "torch", "numpy"}
    assert record["created"].endswith("+00:00")
    assert "someone" not in json.dumps(record)
