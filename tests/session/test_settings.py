"""What the user sets is kept and followed."""

from __future__ import annotations

import json

import numpy as np

from napari_promise.session import Session, Settings
from tests.session.bench import SHAPE


def test_settings_are_there_again_in_the_next_session(make, tmp_path) -> None:
    bench = make()
    bench.session.settings.overlap = "overwrite"
    bench.session.settings.cache_quota_mb = 77
    bench.session.close()
    saved = json.loads((tmp_path / "preferences.json").read_text())
    assert Settings.from_preferences(saved) == bench.session.settings


def test_a_new_user_starts_with_what_is_offered_first_and_keeps_a_choice(
    tmp_path, monkeypatch
) -> None:
    path = tmp_path / "preferences.json"
    monkeypatch.setattr("napari_promise.session.session.offered_first", lambda: "best")
    session = Session(preferences_path=path)
    assert session.settings.model == "best"
    session.close()
    path.write_text(json.dumps({"model": "promise-tiny"}))
    session = Session(preferences_path=path)
    assert session.settings.model == "promise-tiny"
    session.close()


def test_preferences_that_do_not_fit_are_left_out() -> None:
    settings = Settings.from_preferences(
        {"overlap": "both", "live": "yes", "cache_quota_mb": True, "ips": False, "x": 1}
    )
    assert settings == Settings(ips=False)


def test_committing_follows_the_overlap_policy_that_is_set(make) -> None:
    bench = make(overlap="overwrite")
    bench.open()
    labels = np.zeros(SHAPE, int)
    bench.document.events.labels_patched.connect(lambda patch: patch.apply(labels))
    for _ in range(2):
        object_id = bench.new_object().id
        bench.click(object_id, (3, 4))
        bench.until_answered(object_id)
        bench.session.commit(object_id, labels)
    assert set(np.unique(labels)) == {0, 2}
