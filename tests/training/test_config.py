from __future__ import annotations

from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import Any

import pytest

from napari_promise.data.pairs import Pair
from napari_promise.training.config import TrainConfig

PAIRS = tuple(Pair(Path(f"{i}.png"), Path(f"{i}-mask.png")) for i in range(4))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"apm": "magic"}, "'magic' is unknown: use heatmap"),
        ({"apm": "none", "ips": False}, "nothing to train"),
        ({"points": 0}, "points must be 1 to 64, got 0"),
        ({"held_out_share": 0.9}, "held_out_share must be 0.05 to 0.5, got 0.9"),
        ({"views": 0}, "views must be at least 1, got 0"),
        ({"apm_rate": -1.0}, "apm_rate must lie between 0 and 1, got -1.0"),
        ({"pairs": PAIRS[:1]}, "at least 2 image pairs, got 1"),
        ({"held_out": PAIRS[:1]}, "0.png is both trained on and held out"),
    ],
)
def test_a_bad_value_is_named_before_anything_starts(
    changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        TrainConfig(**{"pairs": PAIRS, **changes})


def test_a_config_is_frozen() -> None:
    config = TrainConfig(pairs=PAIRS)
    with pytest.raises(FrozenInstanceError):
        config.seed = 1  # type: ignore[misc]
