"""The options that commands share, and what becomes of arguments that are wrong."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

ModelOption = Annotated[
    str, typer.Option("--model", "-m", help="A model's name or a checkpoint file.")
]
AdapterOption = Annotated[
    str | None, typer.Option("--adapter", "-a", help="An adapter's name or folder.")
]
DeviceOption = Annotated[
    str, typer.Option("--device", help="auto, cpu, cuda or mps.", show_default=True)
]
SkipUnpairedOption = Annotated[
    bool, typer.Option("--skip-unpaired", help="Leave out images without a mask.")
]
CloserOption = Annotated[
    bool,
    typer.Option(
        "--closer/--no-closer",
        help="With an adapter of many objects: look for small ones in enlarged tiles, "
        "and draw them from such. Without, about ten times as fast.",
    ),
]
ForceOption = Annotated[
    bool, typer.Option("--force", "-f", help="Do it again, replacing what is there.")
]

WorkersOption = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Encode in so many processes of this computer, each of one thread.",
    ),
]
SchedulerOption = Annotated[
    str | None,
    typer.Option(
        help="Encode on other computers: the address that `napari-promise serve` "
        "prints, or any dask scheduler's.",
        metavar="ADDRESS",
    ),
]
CertificateOption = Annotated[
    Path | None,
    typer.Option(help="With --scheduler tls://…, the server's client.pem."),
]


@contextlib.contextmanager
def checked_arguments() -> Iterator[None]:
    """Turn what a check of arguments raises into exit status 2."""
    try:
        yield
    except (ValueError, FileNotFoundError, NotADirectoryError) as error:
        raise typer.BadParameter(str(error)) from error
