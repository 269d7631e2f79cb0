"""The model and the adapter that the arguments name: found, loaded, put together."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from napari_promise.cli.arguments import checked_arguments
from napari_promise.cli.output import progress_bar, say

if TYPE_CHECKING:
    from napari_promise.segmenter import Segmenter


def load_segmenter(
    model: str, adapter: str | None, device: str, is_prompted: bool
) -> Segmenter:
    """Load what was asked for; names that do not exist are bad arguments.

    Where nothing else prompts, the adapter must propose.
    """
    from napari_promise.model.sam import resolve_device
    from napari_promise.segmenter import Segmenter

    with checked_arguments():
        resolve_device(device)
        source = model_source(model)
        with progress_bar() as progress:
            task = progress.add_task(f"loading {model}", total=None)
            segmenter = Segmenter.load(
                source,
                adapter=None,
                device=device,
                progress=lambda done, total: progress.update(
                    task, completed=done, total=total or None
                ),
                notify=say,
            )
        segmenter.adapter = adapter
        info = segmenter.adapter_info
        if info is not None and info.apm == "none" and not is_prompted:
            raise ValueError(
                f"--adapter {adapter} proposes no points: prompt in another way."
            )
    return segmenter


def model_source(model: str) -> str | Path:
    """Return a known model's name, or the path of a checkpoint that exists."""
    from napari_promise.model.weights import MODELS

    if model in MODELS:
        return model
    if Path(model).is_file():
        return Path(model)
    raise ValueError(
        f"--model {model} is neither a file nor a known model: use one of "
        f"{', '.join(MODELS)}."
    )
