"""Write labels as a DICOM segmentation over the images that they belong to.

highdicom is optional (``pip install 'napari-promise[dicom]'``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_promise.data.formats import dicom


def write(
    path: Path,
    labels: NDArray[Any],
    sources: Sequence[Path],
    classes: Mapping[int, str],
) -> None:
    """Write one binary segment for each object.

    Parameters
    ----------
    path : Path
    labels : ([plane,] row, column) integer
        In the planes of the images, in order of position.
    sources : sequence of Path
        Files of a series in order of position, or one file of one or many frames.
    classes : mapping of int to str
        Class of each object; the segment's label.

    Raises
    ------
    ValueError
        If highdicom is missing, nothing is labelled, or the images cannot be read; one
        line.
    """
    try:
        import highdicom
    except ImportError:
        raise ValueError(
            "DICOM segmentations need highdicom: pip install 'napari-promise[dicom]'."
        ) from None
    from highdicom.content import AlgorithmIdentificationSequence
    from highdicom.seg import SegmentationTypeValues, SegmentDescription
    from pydicom import dcmread
    from pydicom.sr.codedict import codes

    ids = [int(number) for number in np.unique(labels) if number != 0]
    if not ids:
        raise ValueError(
            "A DICOM segmentation holds at least one object: nothing is labelled yet."
        )
    images = [dcmread(source, force=True) for source in sources]
    planes = labels.reshape(-1, *labels.shape[-2:])
    if len(images) == 1 and len(planes) > 1:  # frames lie in the file in their order
        planes = planes[np.argsort(dicom.order_of_frames(images[0]))]
    numbers = np.zeros(planes.shape, np.uint8 if len(ids) < 256 else np.uint16)
    described = []
    algorithm = AlgorithmIdentificationSequence(
        name="Segment Anything, prompted",
        version="1",
        family=codes.cid7162.ArtificialIntelligence,
    )
    for number, object_id in enumerate(ids, start=1):
        numbers[planes == object_id] = number
        name = classes.get(object_id) or "object"
        described.append(
            SegmentDescription(
                segment_number=number,
                segment_label=f"{name} {object_id}"[:64],
                segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
                segmented_property_type=codes.SCT.Lesion,
                algorithm_type="SEMIAUTOMATIC",
                algorithm_identification=algorithm,
                tracking_id=f"{name} {object_id}"[:64],
                tracking_uid=highdicom.UID(),
            )
        )
    from napari_promise import __version__

    segmentation = highdicom.seg.Segmentation(
        source_images=images,
        pixel_array=numbers,
        segmentation_type=SegmentationTypeValues.BINARY,
        segment_descriptions=described,
        series_instance_uid=highdicom.UID(),
        series_number=int(images[0].get("SeriesNumber") or 0) + 100,
        sop_instance_uid=highdicom.UID(),
        instance_number=1,
        manufacturer="napari-promise",
        manufacturer_model_name="napari-promise",
        software_versions=__version__,
        device_serial_number="1",
    )
    segmentation.save_as(path)
