"""Every shortcut is for one act."""

from __future__ import annotations

from collections import Counter

from napari_promise.widgets.keys import SHORTCUTS


def test_no_two_acts_share_a_key() -> None:
    keys = Counter(int(shortcut.keys) for shortcut in SHORTCUTS.values())
    assert [key for key, count in keys.items() if count > 1] == []
