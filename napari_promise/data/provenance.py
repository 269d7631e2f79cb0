"""Say what made a result: model, adapter, settings, versions, date.

Nothing is said about the machine.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from importlib import metadata as distributions
from typing import Any

from napari_promise.files import as_plain, utc_now

__all__ = ["provenance"]

_RECORDED_PACKAGES = (
    "napari-promise",
    "napari",
    "numpy",
    "scikit-image",
    "segment-anything",
    "timm",
    "torch",
)


def provenance(
    *,
    model: str,
    model_sha256: str,
    adapter: Any | None = None,
    adapter_sha256: str | None = None,
    ips: bool | None = None,
    image: Mapping[str, Any] | None = None,
    **settings: Any,
) -> dict[str, Any]:
    """Say what made a result: enough to make it again, nothing about the machine.

    Parameters
    ----------
    model, model_sha256 : str
        The model's id and the hash of its weights.
    adapter : mapping or dataclass, optional
        What ``adapter.json`` says; paths are left out.
    adapter_sha256 : str, optional
        The hash of the adapter's weights.
    ips : bool, optional
        Whether Incremental Pattern Shifting was on.
    image : mapping, optional
        The image's name and digest.
    **settings
        Anything else that shapes the result.

    Returns
    -------
    dict
        Plain data with the keys ``model``, ``adapter``, ``software``, ``created``
        (UTC), and ``image`` and ``settings`` where given.
    """
    software: dict[str, str] = {}
    for name in _RECORDED_PACKAGES:
        with contextlib.suppress(distributions.PackageNotFoundError):
            software[name] = distributions.version(name)
    record: dict[str, Any] = {
        "model": {"name": model, "sha256": model_sha256},
        "adapter": None,
        "software": software,
        "created": utc_now(),
    }
    if adapter is not None:
        described = as_plain(adapter)
        record["adapter"] = {
            **{k: v for k, v in described.items() if not isinstance(v, os.PathLike)},
            "sha256": adapter_sha256,
        }
    if ips is not None:
        settings["ips"] = bool(ips)
    if image is not None:
        record["image"] = dict(image)
    if settings:
        record["settings"] = settings
    return record
