"""The model and the adapter that the arguments name: found, loaded, put together."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from napari_promise.cli.arguments import checked_arguments
from napari_promise.cli.output import progress_bar, say

if TYPE_CHECKING:
    from napari_promise.segmenter import Segmenter


@dataclass(frozen=True)
class Elsewhere:
    """Where images are encoded, if it is not in this process.

    Attributes
    ----------
    context : typer.Context
        Of the command: when it ends, what was started is closed.
    workers : int or None
        Processes on this computer.
    scheduler : str or None
        An address.
    certificate : pathlib.Path or None
    """

    context: typer.Context
    workers: int | None = None
    scheduler: str | None = None
    certificate: Path | None = None

    def __bool__(self) -> bool:
        return self.workers is not None or self.scheduler is not None

    def connect(self, model: str, device: str) -> Segmenter:
        """Return a segmenter that encodes there and decodes here.

        Raises
        ------
        ValueError, PermissionError, ConnectionError
            See `Segmenter.connect`.
        """
        from napari_promise.remote.encoder import Server, find_server
        from napari_promise.remote.serving import local_workers
        from napari_promise.segmenter import Segmenter

        if self.workers is not None and self.scheduler is not None:
            raise ValueError(
                "--workers and --scheduler are two places to encode: leave one out."
            )
        server: Server
        if self.workers is not None:
            server, _ = self.context.with_resource(
                local_workers(self.workers, device=device)
            )
        else:
            server = find_server(str(self.scheduler), self.certificate)
        segmenter = Segmenter.on_server(
            server, model, device=device, notify=say, waiting=say
        )
        self.context.call_on_close(segmenter.close)
        return segmenter


def load_segmenter(
    model: str,
    adapter: str | None,
    device: str,
    is_prompted: bool,
    elsewhere: Elsewhere | None = None,
) -> Segmenter:
    """Load what was asked for; names that do not exist are bad arguments.

    Where nothing else prompts, the adapter must propose.
    """
    from napari_promise.model.sam import resolve_device
    from napari_promise.segmenter import Segmenter

    with checked_arguments():
        resolve_device(device)
        with progress_bar() as progress:
            task = progress.add_task(f"loading {model}", total=None)
            if elsewhere:
                segmenter = elsewhere.connect(model, device)
            else:
                segmenter = Segmenter.load(
                    model_source(model),
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
