"""Makes sessions with a stand-in, and sees to it that their workers end."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.session.bench import Bench


@pytest.fixture
def make(tmp_path) -> Iterator[Callable[..., Bench]]:
    made: list[Bench] = []

    def build(**options) -> Bench:
        made.append(Bench(tmp_path, **options))
        return made[-1]

    yield build
    for bench in made:
        for model in bench.models.values():
            gates = (model.encoding, model.segmenting, model.proposing)
            for gate in (*gates, *model.slow.values()):
                gate.open.set()
        bench.loading.open.set()
        bench.session.close()
        thread = bench.session._worker._thread
        assert not thread.is_alive(), "the worker outlived its session"
