"""Small scans with a bright ball in some of their planes, to train and measure on."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np

SHAPE = (5, 40, 48)


def scan(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return a stack and its labels (plane, row, column)."""
    rng = np.random.default_rng(seed)
    plane, row, column = np.indices(SHAPE)
    at = rng.integers((14, 14), (26, 34))
    labels = (row - at[0]) ** 2 + (column - at[1]) ** 2 < (10 - 3 * abs(plane - 2)) ** 2
    labels &= np.abs(plane - 2) < 2
    pixels = rng.normal(200, 20, SHAPE) + 700 * labels
    return pixels.astype(np.int16), labels.astype(np.uint8)


def save_nifti(path: Path, array: np.ndarray) -> Path:
    """Write (plane, row, column) as NIfTI with a voxel size of (4, 2, 1.5) mm."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file = nibabel.Nifti1Image(array.T, np.diag([1.5, 2, 4, 1]))
    file.header.set_xyzt_units("mm")
    nibabel.save(file, path)
    return path


def save_dicom(path: Path, array: np.ndarray, **fields: object) -> Path:
    """Write one plane, or the frames of a multi-frame file, as uint16.

    Parameters
    ----------
    path : Path
    array : ([frame,] row, column) integer
    **fields
        Of the data set, such as ``ImagePositionPatient``.
    """
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    path.parent.mkdir(parents=True, exist_ok=True)
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = (
        "1.2.840.10008.5.1.4.1.1.2"
    )
    data.SOPInstanceUID = generate_uid()
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
    data.SeriesInstanceUID = "1.2.3"
    data.PhotometricInterpretation = "MONOCHROME2"
    data.SamplesPerPixel = 1
    data.BitsAllocated = data.BitsStored = 16
    data.HighBit, data.PixelRepresentation = 15, 0
    *frames, data.Rows, data.Columns = array.shape
    if frames:
        data.NumberOfFrames = frames[0]
    data.PixelSpacing = [2.0, 1.5]
    for name, value in fields.items():
        setattr(data, name, value)
    data.PixelData = np.ascontiguousarray(array, "<u2").tobytes()
    data.save_as(path, enforce_file_format=True)
    return path
