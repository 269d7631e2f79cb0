"""Sample volumes of real patients, with labels: an abdominal CT, a hippocampus in MR.

Where they come from and under which terms stands in `sample_data/README.md`. They lie
beside this file as NIfTI, and are opened as any NIfTI file is.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from napari_promise.data.ct_windows import SOFT_TISSUE
from napari_promise.data.images import read_image, read_mask

__all__ = ["ABDOMEN", "HIPPOCAMPUS", "abdomen_layers", "hippocampus_layers"]

#: ``(data, keyword arguments of the layer, type of the layer)``, as napari takes them.
LayerData = tuple[Any, dict[str, Any], str]

_HERE = Path(__file__).parent
ABDOMEN = _HERE / "abdomen_ct.nii.gz"
HIPPOCAMPUS = _HERE / "hippocampus_mr.nii.gz"


def abdomen_layers() -> list[LayerData]:
    """Layers of a CT of 30 planes, and the labels of seven organs, hidden.

    1 spleen, 2 and 3 right and left kidney, 4 gallbladder, 5 liver, 6 stomach,
    52 aorta.
    """
    return _layers(ABDOMEN, "abdomen", contrast_limits=SOFT_TISSUE)


def hippocampus_layers() -> list[LayerData]:
    """Layers of an MR volume cut around a hippocampus, and its labels, hidden.

    1 its anterior part, 2 its posterior part, both drawn by a person.
    """
    return _layers(HIPPOCAMPUS, "hippocampus")


def _layers(path: Path, name: str, **options: Any) -> list[LayerData]:
    image = read_image(path)
    shown = {**image.layer_options, "name": name, **options}
    laid = {k: v for k, v in shown.items() if k in ("scale", "units", "translate")}
    labels = read_mask(path.with_name(path.name.replace(".nii", "_labels.nii")))
    hidden = {"name": f"{name}, true labels", "visible": False, "opacity": 0.5}
    return [(image.array, shown, "image"), (labels, {**laid, **hidden}, "labels")]
