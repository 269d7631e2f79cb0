"""Windows of CT: which Hounsfield units are shown black and white for which tissue.

The names and values are those of the buttons of radiological workstations. What SAM
sees of a scan is what the window shows, so that a nodule that is black in a window for
soft tissue cannot be segmented before another one is chosen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["CT_WINDOWS", "SOFT_TISSUE", "looks_like_ct", "window_of"]

#: Black to white, in Hounsfield units.
SOFT_TISSUE = (-160.0, 240.0)
#: By name; level and width are written beside each, as workstations show them.
CT_WINDOWS: dict[str, tuple[float, float]] = {
    "soft tissue": SOFT_TISSUE,  # level 40, width 400
    "lung": (-1350.0, 150.0),  # level -600, width 1500
    "bone": (-500.0, 1300.0),  # level 400, width 1800
    "brain": (0.0, 80.0),  # level 40, width 80
    "liver": (-15.0, 135.0),  # level 60, width 150
    "mediastinum": (-125.0, 225.0),  # level 50, width 350
    "angiography": (0.0, 600.0),  # level 300, width 600
}
#: Air is -1000, so a plane of a body in air reaches below the first; the couch, skin
#: and muscle lie above the second.
_AIR, _TISSUE = -800, 20


def window_of(name: str) -> tuple[float, float]:
    """Return the window of a name, in Hounsfield units, black to white.

    Parameters
    ----------
    name : str
        One of `CT_WINDOWS`; capitals, hyphens and underscores do not matter.

    Raises
    ------
    ValueError
        If there is none of that name; names them all.
    """
    plain = name.strip().lower().replace("-", " ").replace("_", " ")
    if plain not in CT_WINDOWS:
        raise ValueError(
            f"{name!r} is no window of CT: choose {', '.join(CT_WINDOWS)}, or give "
            "two numbers, low,high."
        )
    return CT_WINDOWS[plain]


def looks_like_ct(plane: npt.NDArray[Any]) -> bool:
    """Say whether the values of a plane are Hounsfield units.

    Parameters
    ----------
    plane : (row, column)
        As it is stored, rescaled where its file says so.

    Returns
    -------
    bool
        Where the plane has air as well as tissue. No other kind of image that people
        annotate has values around -1000: MR, X-ray and microscopes count from 0.
    """
    import numpy as np  # names of windows are wanted where starting has to be quick

    if plane.ndim != 2 or not plane.size or plane.dtype.kind not in "if":
        return False
    if plane.dtype.itemsize < 2:
        return False
    step = max(1, int(np.sqrt(plane.size / 40_000)))
    seen = plane[::step, ::step]
    seen = seen[np.isfinite(seen)]
    if not seen.size:
        return False
    low, high = np.percentile(seen, (1, 99))
    return bool(-4096 <= low <= _AIR and _TISSUE <= high <= 32_767)
