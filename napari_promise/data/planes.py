"""Turn any real image plane into the uint8 RGB that SAM sees, and name its pixels.

Everything that is segmented, cached or exported passes through `to_rgb8`, so that a
click in the window, the command line and a replay see the same pixels.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from napari_promise.document import BBox

__all__ = ["digest", "digest_of_part", "robust_limits", "to_rgb8"]

#: Percentiles of the finite values that become black and white where no limits are set.
PERCENTILES = (0.1, 99.9)

#: Percentiles are read from at most about this many values, taken at a fixed stride.
_SAMPLE_SIZE = 2_000_000

#: About so many values are converted at a time: the floats of a whole plane would take
#: many times the memory of the plane.
_BLOCK = 2**20


def to_rgb8(
    image: Any,
    contrast_limits: tuple[float, float] | None = None,
    rgb: bool | None = None,
    region: BBox | None = None,
) -> npt.NDArray[np.uint8]:
    """Return the plane, or a part of it, as SAM sees it.

    Parameters
    ----------
    image : array-like, (H, W), (H, W, 1), (H, W, 3) or (H, W, 4)
        One plane of any real type: bool, integer or float, NaN and infinities
        allowed. Lazy arrays (dask, zarr, memory maps) are read here, and of them no
        more than is needed: pass the plane, not the stack.
    contrast_limits : (float, float), optional
        The values that become 0 and 255, as in a napari layer; everything between is
        mapped linearly, everything outside clipped. Without limits:

        - bool becomes 0 and 255;
        - uint8 stays as it is;
        - float RGB within 0..1 is taken as such;
        - everything else is stretched between the robust percentiles of its finite
          values (`robust_limits`), all channels together so that hues stay.
    rgb : bool, optional
        Whether the last axis holds the channels. By default it does when the array is
        3-D and that axis has length 3 or 4.
    region : (int, int, int, int), optional
        (row 0, column 0, row 1, column 1), half open, inside the plane: return this
        part alone, with the contrast of the whole plane.

    Returns
    -------
    (H, W, 3) uint8
        C-contiguous. uint8 RGB without limits is returned unchanged, bit for bit.
        NaN and infinite values are background (0). The alpha channel is
        composited on black, which is what the dark canvas shows; alpha is read in its
        type's own range (0..1 for floats), never through the contrast limits.

    Raises
    ------
    ValueError
        If the type is not real, the shape is not that of one plane, the plane is
        empty, or the limits are not finite and ascending.

    Examples
    --------
    >>> to_rgb8(np.array([[0.0, 5.0, 10.0, np.nan]]), (0, 10))[..., 0]
    array([[  0, 128, 255,   0]], dtype=uint8)
    """
    plane = _as_plane(image, rgb)
    limits = None if contrast_limits is None else _checked_limits(contrast_limits)
    pixels = np.asarray(plane) if region is None else _cut(plane, region)
    if limits is None and pixels.dtype.kind != "b" and pixels.dtype != np.uint8:
        limits = _automatic_limits(pixels if region is None else plane)
        if limits is None or limits[0] == limits[1]:
            return np.zeros((*pixels.shape[:2], 3), np.uint8)
    alpha: npt.NDArray[Any] | None = None
    if pixels.ndim == 3 and pixels.shape[2] == 4:
        pixels, alpha = pixels[..., :3], pixels[..., 3]

    mapped = _to_uint8(pixels, limits)
    if mapped.ndim == 2:
        mapped = np.repeat(mapped[..., None], 3, axis=2)
    if alpha is not None:
        opacity = _to_uint8(alpha, _full_range(alpha.dtype)).astype(np.uint16)
        mapped = ((mapped * opacity[..., None] + 127) // 255).astype(np.uint8)
    return np.ascontiguousarray(mapped)


def digest(rgb8: npt.NDArray[np.uint8]) -> str:
    """Name the pixels SAM sees: the same image always has the same digest.

    Parameters
    ----------
    rgb8 : (H, W, 3) uint8
        As returned by `to_rgb8`.

    Returns
    -------
    str
        32 hexadecimal digits of BLAKE2b over shape, type and bytes, the same on every
        platform.
    """
    array = np.ascontiguousarray(rgb8)
    state = hashlib.blake2b(f"{array.dtype.str}{array.shape}".encode(), digest_size=16)
    state.update(array.reshape(-1).view(np.uint8).data)
    return state.hexdigest()


def digest_of_part(
    rgb8: npt.NDArray[np.uint8], bbox: BBox | None, shape: tuple[int, int]
) -> str:
    """Name the pixels of a part of a plane, or of a coarser level of it.

    Parameters
    ----------
    rgb8 : (h, w, 3) uint8
    bbox : BBox or None
        Where they lie in the plane; None for all of it.
    shape : (int, int)
        Rows and columns of the plane at full resolution.

    Returns
    -------
    str
        `digest` of a whole plane at full resolution; else longer, for it says where
        they lie: their embedding does as well.
    """
    found = digest(rgb8)
    if bbox is None and rgb8.shape[:2] == tuple(shape):
        return found
    where = np.array((*(bbox or (0, 0, *shape)), *shape), np.int64).tobytes()
    return f"{found}-{hashlib.blake2b(where, digest_size=4).hexdigest()}"


def robust_limits(values: Any) -> tuple[float, float] | None:
    """Return contrast limits that one hot pixel cannot move.

    Parameters
    ----------
    values : array of a real type, any shape
        Large arrays are read at a stride; lazy ones may be given.

    Returns
    -------
    (low, high) or None
        Values actually present at the 0.1 and 99.9 percentiles of the finite values;
        never the extreme pixel of a small plane. Where these coincide (a few bright
        pixels on an even ground) the least and the greatest finite value; ``None``
        where there is no finite value at all.
    """
    values = _finite(_thinned(values))
    if values.size == 0:
        return None
    low = float(np.percentile(values, PERCENTILES[0], method="higher"))
    high = float(np.percentile(values, PERCENTILES[1], method="lower"))
    if low >= high:
        low, high = float(values.min()), float(values.max())
    return low, high


def _as_plane(image: Any, rgb: bool | None) -> Any:
    """Check type and shape; return (H, W) or (H, W, 3 | 4), lazy if it was."""
    is_array = isinstance(getattr(image, "dtype", None), np.dtype)
    array = image if is_array and hasattr(image, "__getitem__") else np.asarray(image)
    if array.dtype.kind not in "buif":
        remedy = " take its magnitude with abs()" if array.dtype.kind == "c" else ""
        raise ValueError(
            f"An image of type {array.dtype} cannot be segmented:"
            f"{remedy or ' convert it to integers or floats'} first."
        )
    if 0 in array.shape:
        raise ValueError(f"The image is empty: its shape is {array.shape}.")
    if array.ndim == 3 and array.shape[2] == 1 and not rgb:
        array = np.asarray(array)[..., 0]
    has_channels = array.ndim == 3 and array.shape[2] in (3, 4)
    if rgb is True and not has_channels:
        raise ValueError(
            f"An RGB image must be (rows, columns, 3 or 4), not {array.shape}: "
            "put the channels last."
        )
    if array.ndim == 2 or (has_channels and rgb is not False):
        return array
    if array.ndim < 2:
        raise ValueError(
            f"An image must have rows and columns; this array has the shape "
            f"{array.shape}: reshape it to (rows, columns)."
        )
    raise ValueError(
        f"An array of shape {array.shape} is not one plane: pass (rows, columns) or "
        "(rows, columns, 3 or 4), picking a plane of a stack or a channel first."
    )


def _cut(plane: Any, region: BBox) -> npt.NDArray[Any]:
    """Read a part of a plane."""
    rows, columns = plane.shape[:2]
    r0, c0, r1, c1 = region
    if not (0 <= r0 < r1 <= rows and 0 <= c0 < c1 <= columns):
        raise ValueError(
            f"the region {region} does not lie in the image of {rows} rows and "
            f"{columns} columns: give (row 0, column 0, row 1, column 1) inside it."
        )
    return np.asarray(plane[r0:r1, c0:c1])


def _checked_limits(limits: tuple[float, float]) -> tuple[float, float]:
    try:
        low, high = (float(value) for value in limits)
    except (TypeError, ValueError):
        raise ValueError(
            f"Contrast limits must be two numbers (low, high), not {limits!r}."
        ) from None
    if not (np.isfinite(low) and np.isfinite(high) and low <= high):
        raise ValueError(
            f"Contrast limits must be finite and ascending, not ({low:g}, {high:g}): "
            "set the lower one first."
        )
    return low, high


def _full_range(dtype: np.dtype[Any]) -> tuple[float, float]:
    """Return the values that mean transparent and opaque in a type."""
    if dtype.kind in "ui":
        return 0.0, float(np.iinfo(dtype).max)
    return 0.0, 1.0


def _to_uint8(
    pixels: npt.NDArray[Any], limits: tuple[float, float] | None
) -> npt.NDArray[np.uint8]:
    """Map the values between the limits, left out only where the type says them."""
    if pixels.dtype.kind == "b":
        pixels = pixels.view(np.uint8)
        limits = limits or (0.0, 1.0)
    if pixels.dtype == np.uint8 and limits in (None, (0.0, 255.0)):
        return pixels
    assert limits is not None
    low, high = limits
    mapped = np.empty(pixels.shape, np.uint8)
    if pixels.dtype.kind in "ui" and pixels.dtype.itemsize <= 2:
        # A table of every value is exact and many times faster than floats.
        info = np.iinfo(pixels.dtype)
        table = _stretch(np.arange(info.min, info.max + 1, dtype=np.float64), low, high)
        for rows in _blocks(pixels):
            mapped[rows] = table[pixels[rows].astype(np.int32) - int(info.min)]
    else:
        for rows in _blocks(pixels):
            mapped[rows] = _stretch(pixels[rows], low, high)
    return mapped


def _automatic_limits(plane: Any) -> tuple[float, float] | None:
    """Find the limits of a plane, which may be lazy, see `to_rgb8`."""
    if plane.ndim == 3 and plane.dtype.kind == "f" and _is_within_one(plane):
        return 0.0, 1.0
    return robust_limits(_thinned(plane, 3 if plane.ndim == 3 else None))


def _is_within_one(plane: Any) -> bool:
    """Tell whether there are finite values, and all of them lie within 0..1."""
    found = False
    for rows in _blocks(plane):
        values = np.asarray(plane[rows])[..., :3]
        values = values[np.isfinite(values)]
        if values.size and (values.min() < 0 or values.max() > 1):
            return False
        found = found or values.size > 0
    return found


def _blocks(pixels: Any) -> Iterator[slice]:
    """Split rows so that about `_BLOCK` values come at a time."""
    in_a_row = max(1, int(np.prod(pixels.shape[1:])))
    count = max(1, _BLOCK // in_a_row)
    for start in range(0, pixels.shape[0], count):
        yield slice(start, start + count)


def _stretch(
    values: npt.NDArray[Any], low: float, high: float
) -> npt.NDArray[np.uint8]:
    """Map low..high to 0..255, clipped and rounded; what is not finite becomes 0."""
    scaled = values.astype(np.float64)
    background = ~np.isfinite(scaled)
    # Clipping before the subtraction keeps the widest floats from overflowing.
    scaled[background] = low
    np.clip(scaled, low, high, out=scaled)
    if high == low:
        step = (values > low).astype(np.uint8) * np.uint8(255)
        step[background] = 0
        return step
    if np.isinf(high - low):
        scaled, low, high = scaled / 4, low / 4, high / 4
    scaled -= low
    scaled /= high - low
    scaled *= 255
    scaled += 0.5
    result = scaled.astype(np.uint8)
    result[background] = 0
    return result


def _thinned(values: Any, colours: int | None = None) -> npt.NDArray[Any]:
    """Take rows and columns at a stride so that about `_SAMPLE_SIZE` values remain.

    With a number of colours no more than so many of the last axis, without alpha.
    """
    counted = values.shape if colours is None else (*values.shape[:-1], colours)
    size = int(np.prod(counted))
    if size > _SAMPLE_SIZE and len(values.shape) > 1:
        stride = int(np.ceil(np.sqrt(size / _SAMPLE_SIZE)))
        values = values[::stride, ::stride]
    return np.asarray(values)[..., slice(colours)] if colours else np.asarray(values)


def _finite(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    flat = values.reshape(-1)
    return flat[np.isfinite(flat)] if values.dtype.kind == "f" else flat
