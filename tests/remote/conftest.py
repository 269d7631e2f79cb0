"""A server of one worker for all tests of a module, with certificates of its own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest


@dataclass
class Running:
    """A server in this process; its workers are others."""

    address: str
    certificate: Path
    cluster: Any


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    from napari_promise.remote.security import server_credentials
    from napari_promise.remote.serving import serving

    folder = tmp_path_factory.mktemp("certificates")
    own, client = server_credentials(folder / "server")
    with serving("127.0.0.1", 0, own, threads=1) as cluster:
        yield Running(cluster.scheduler_address, client, cluster)
