"""What the program says, and where: results to stdout, all else in lines to stderr."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.progress import Progress

    from napari_promise.data.pairs import ImagePair


def say(message: str) -> None:
    """Write one line to stderr."""
    print(" ".join(str(message).split()), file=sys.stderr, flush=True)


def say_masks(pairs: Iterable[ImagePair]) -> None:
    """Say how the masks of a set were understood, and what looks wrong with them."""
    from napari_promise.data.mask_survey import survey_masks

    found = survey_masks(pairs)
    if found.shares:  # of masks that cannot be read, who reads them says why
        say(found.line() + ".")
    for line in found.warnings():
        say(line)


def fail(message: str, status: int) -> int:
    """Say why the program ends, and return the status it ends with."""
    # typer puts "Invalid value: " before what this module says in full.
    say(f"napari-promise: {message.removeprefix('Invalid value: ')}")
    return status


def progress_bar() -> Progress:
    """Return a progress bar on stderr, invisible where nobody looks."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
        redirect_stdout=False,
    )


def print_table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    """Print a table; plain columns separated by tabs where no person reads it."""
    if not sys.stdout.isatty():
        for row in (header, *rows):
            print("\t".join(row))
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(*header, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*map(escape, row))
    Console().print(table)
