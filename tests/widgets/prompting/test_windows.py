"""The dock offers the windows of CT where an image has Hounsfield units."""

from __future__ import annotations

import numpy as np
import pytest

from napari_promise.data.ct_windows import CT_WINDOWS


@pytest.fixture
def ct():
    """Three planes of a body in air, as a CT has them."""
    volume = np.full((3, 90, 120), -1000, np.int16)
    volume[:, 20:70, 20:100] = 40
    return volume


def test_a_window_is_chosen_by_its_name(make_desk, ct) -> None:
    desk = make_desk()
    image = desk.open(ct)
    strip = desk.widget.window_strip
    assert not strip.isHidden()
    at = list(CT_WINDOWS).index("lung")
    strip.choice.setCurrentIndex(at)
    strip.choice.activated.emit(at)
    assert tuple(image.contrast_limits) == CT_WINDOWS["lung"]


def test_the_window_follows_the_contrast_limits_of_the_layer(make_desk, ct) -> None:
    desk = make_desk()
    image = desk.open(ct)
    strip = desk.widget.window_strip
    image.contrast_limits_range = (-2000, 2000)
    image.contrast_limits = CT_WINDOWS["bone"]
    assert strip.choice.currentText().startswith("bone")
    image.contrast_limits = (-37, 512)
    assert strip.choice.currentText() == "contrast limits as they are"


def test_choosing_what_is_set_by_hand_changes_nothing(make_desk, ct) -> None:
    desk = make_desk()
    image = desk.open(ct)
    strip, before = desk.widget.window_strip, tuple(image.contrast_limits)
    strip.choice.setCurrentIndex(strip.choice.count() - 1)
    strip.choice.activated.emit(strip.choice.count() - 1)
    assert tuple(image.contrast_limits) == before


def test_other_images_are_offered_none(make_desk, ct) -> None:
    desk = make_desk()
    desk.open(ct)
    desk.bridge.open(desk.open(np.zeros((90, 120), np.uint8)))
    assert desk.widget.window_strip.isHidden()
