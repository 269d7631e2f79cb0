"""The bundled adapters' own scores come onto the page, base by base."""

from __future__ import annotations

import json
import shutil

from napari_promise.model.adapters import BUNDLED, RECORD
from scripts.study import bundled


def test_a_row_says_adapter_base_set_and_scores_of_two_kinds_apart(tmp_path):
    shutil.copytree(BUNDLED / "skin", tmp_path / "skin")
    path = tmp_path / "skin" / RECORD
    record = json.loads(path.read_text())
    record["scores"]["test"]["ph2"]["automatic"]["dice"] = 0.9123
    path.write_text(json.dumps(record))
    (row,) = bundled.section(tmp_path).splitlines()[-1:]
    assert row.startswith("| skin | promise-tiny | ph2 | 24 | .912 / ")
    assert len(row.split("|")) == len(bundled.HEAD.splitlines()[-1].split("|"))


def test_adapters_that_find_many_have_a_table_of_their_own(tmp_path):
    shutil.copytree(BUNDLED / "cells", tmp_path / "cells")
    assert bundled.section(tmp_path) == bundled.HEAD
