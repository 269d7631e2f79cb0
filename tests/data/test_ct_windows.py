"""Windows of CT are found by name, and a CT by its values."""

from __future__ import annotations

import numpy as np
import pytest

from napari_promise.data.ct_windows import CT_WINDOWS, looks_like_ct, window_of


def body(air: float = -1000, tissue: float = 40, dtype: str = "i2") -> np.ndarray:
    """Return a plane of a body in air."""
    plane = np.full((100, 120), air, float)
    plane[30:70, 30:90] = tissue
    return plane.astype(dtype)


@pytest.mark.parametrize("name", ["Soft tissue", "soft-tissue", " SOFT_TISSUE "])
def test_a_window_is_found_however_it_is_written(name) -> None:
    assert window_of(name) == (-160, 240)


def test_an_unknown_window_is_refused_with_the_names_of_all() -> None:
    with pytest.raises(ValueError, match=r"'kidney' is no window.*soft tissue, lung"):
        window_of("kidney")


def test_every_window_is_named_by_its_level_and_width() -> None:
    assert all(low < high for low, high in CT_WINDOWS.values())
    low, high = CT_WINDOWS["lung"]
    assert ((low + high) / 2, high - low) == (-600, 1500)


@pytest.mark.parametrize("dtype", ["i2", "i4", "f4", "f8"])
def test_a_body_in_air_is_a_ct(dtype) -> None:
    assert looks_like_ct(body(dtype=dtype))


def test_padding_below_air_does_not_hide_a_ct() -> None:
    plane = body()
    plane[:, :20] = -2000
    assert looks_like_ct(plane)


@pytest.mark.parametrize(
    "plane",
    [
        pytest.param(body(air=0, tissue=900), id="MR"),
        pytest.param(body(air=0, tissue=200, dtype="u1"), id="photograph"),
        pytest.param(body(air=0, tissue=4000, dtype="u2"), id="microscope"),
        pytest.param(body(air=-32768, tissue=3000), id="signed detector"),
        pytest.param(np.full((9, 9), np.nan), id="nothing"),
        pytest.param(np.full((9, 9), -1000, "i2"), id="air alone"),
        pytest.param(np.zeros((0, 9), "i2"), id="empty"),
        pytest.param(np.zeros((9, 9, 3), "i2"), id="colours"),
    ],
)
def test_what_is_no_ct_is_not_taken_for_one(plane) -> None:
    assert not looks_like_ct(plane)
