"""`napari-promise demo`: the options of the demonstration, handed to it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def demo(
    auto: Annotated[
        bool | None,
        typer.Option(
            "--auto/--no-auto",
            help="Auto-prompt, click, commit and export by itself, then close; by "
            "default only where there is no display.",
        ),
    ] = None,
    sample: Annotated[
        str,
        typer.Option(
            help="endoscopy: one polyp; cells: many nuclei; volume: a liver in CT."
        ),
    ] = "endoscopy",
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Where --auto leaves its files.")
    ] = Path("demo"),
) -> None:
    """Open napari on a sample image, ready to click."""
    from napari_promise import demo as demonstration

    status = demonstration.main(auto=auto, out=output, sample=sample)
    if status:
        raise typer.Exit(int(status))
