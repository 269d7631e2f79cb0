"""Another model or adapter is put to use, or that in use stays."""

from __future__ import annotations

import numpy as np

from tests.session.bench import SHAPE, StandIn


def test_another_model_keeps_what_is_committed_and_encodes_again(make) -> None:
    models = {"promise-tiny": StandIn("a"), "vit_b": StandIn("b")}
    bench = make(models=models)
    bench.open()
    object_id = bench.new_object().id
    bench.click(object_id, (3, 4))
    bench.until_answered(object_id)
    bench.session.commit(object_id, np.zeros(SHAPE, int))
    written = bench.document.get(object_id).written
    bench.session.settings.model = "vit_b"
    bench.until(lambda: bench.session.model_id == "b" and len(bench.planes) == 2)
    assert models["vit_b"].encoded == [1]
    assert bench.document.get(object_id).written == written


def test_a_model_that_cannot_be_loaded_leaves_the_one_in_use(make) -> None:
    bench = make()
    bench.open()
    bench.session.settings.model = "missing"
    bench.until(lambda: bool(bench.failures))
    assert bench.session.settings.model == "promise-tiny"
    assert bench.failures == ["no model 'missing': give another"]
    object_id = bench.new_object().id
    bench.click(object_id, (3, 4))
    bench.until_answered(object_id)
    assert bench.loads == ["promise-tiny", "missing"]


def test_without_a_model_the_next_click_tries_to_load_it_again(make) -> None:
    bench = make(models={})
    bench.models = {}
    bench.open(wait=False)
    bench.until(lambda: len(bench.failures) == 1)
    assert bench.session.status.state == "error"
    bench.models["promise-tiny"] = StandIn()
    object_id = bench.new_object().id
    bench.click(object_id, (3, 4))
    bench.until_answered(object_id)


def test_an_adapter_of_another_model_is_left_out_with_a_word(make) -> None:
    bench = make(adapter="of another model")
    bench.open()
    bench.until(lambda: bench.session.settings.adapter == "")
    assert "choose another" in bench.failures[0]
    assert bench.session.status.state == "ready"


def test_an_adapter_whose_files_changed_is_read_again(make) -> None:
    bench = make(adapter="polyp")
    bench.open()
    told = []
    bench.session.adapter_changed.connect(told.append)
    bench.session.reload_adapter()
    bench.until(lambda: bool(told))
    assert told[0].name == "polyp"
