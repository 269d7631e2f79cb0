"""The sample volumes: whole, labelled, small, and laid over each other."""

from __future__ import annotations

import numpy as np
import pytest

from napari_promise.data.sample_volumes import abdomen_layers, hippocampus_layers


@pytest.mark.parametrize("make", [abdomen_layers, hippocampus_layers])
def test_the_labels_lie_over_the_volume_and_are_hidden(make) -> None:
    (image, about, kind), (labels, laid, other) = make()
    assert (kind, other) == ("image", "labels")
    assert image.shape == labels.shape
    assert np.allclose(about["scale"], laid["scale"])
    assert set(about["units"]) == {"mm"}
    assert not laid["visible"]


def test_the_liver_is_on_most_planes_and_brighter_than_fat() -> None:
    (image, _, _), (labels, _, _) = abdomen_layers()
    liver = labels == 5
    assert liver.any(axis=(1, 2)).sum() > 20
    assert 30 < image[liver].mean() < 200
    # Three-millimetre voxels of 27 cubic millimetres: a litre, about.
    assert 700 < np.count_nonzero(liver) * 27 / 1000 < 1500


def test_the_hippocampus_has_two_parts() -> None:
    _, (labels, _, _) = hippocampus_layers()
    assert set(np.unique(labels)) == {0, 1, 2}
