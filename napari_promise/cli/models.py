"""`napari-promise models`: the models that are known, and their files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_promise.cli.arguments import checked_arguments
from napari_promise.cli.output import print_table, progress_bar, say

if TYPE_CHECKING:
    from rich.progress import Progress

app = typer.Typer(help="The models, and their files.")


@app.callback()
def _models(context: typer.Context) -> None:
    """List the models, or manage their files."""
    if context.invoked_subcommand is None:
        models_list()


@app.command("list")
def models_list() -> None:
    """List the models, and where each file is or belongs."""
    from napari_promise.model.weights import cache_dir, list_models

    print_table(
        ("model", "size", "here", "about", "licence", "file"),
        [
            (
                entry.info.name,
                f"{entry.info.size / 1e6:.0f} MB",
                "yes" if entry.available else "no",
                entry.info.about,
                entry.info.licence,
                str(entry.path or cache_dir() / entry.info.file),
            )
            for entry in list_models()
        ],
    )


@app.command("info")
def models_info(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="By default all that travel in this package."),
    ] = None,
) -> None:
    """Say what models are, their terms, and what they were trained on."""
    from napari_promise.model.weights import BUNDLED, MODELS, trained_on

    # The weights that draw outlines between planes are no model that one chooses.
    shipped = {path.stem for path in BUNDLED.glob("*.safetensors")}
    with checked_arguments():
        for name in names or ():
            if name not in {*MODELS, *shipped}:
                raise ValueError(
                    f"{name} is no known model: use one of {', '.join(MODELS)}."
                )
    for name in names or sorted(shipped):
        print(name)
        info = MODELS.get(name)
        if info is not None:
            print(f"  {info.about}")
            print(f"  terms: {info.licence}")
            print(f"  from: {info.source}")
        for terms, data in trained_on(name).items():
            print(f"  trained on, {terms}: {'; '.join(data)}")


@app.command("download")
def models_download(
    names: Annotated[list[str], typer.Argument(help="Models to download.")],
) -> None:
    """Download models into the user's cache, each verified by its hash."""
    from napari_promise.model.weights import MODELS, fetch

    with checked_arguments():
        for name in names:
            if name not in MODELS:
                raise ValueError(
                    f"{name} is no known model: use one of {', '.join(MODELS)}."
                )
    for name in names:
        with progress_bar() as progress:
            task = progress.add_task(name, total=None)
            path = fetch(name, progress=_download_to(progress, task))
        print(f"{name}: {path}")


def _download_to(progress: Progress, task: Any) -> Callable[[int, int], None]:
    def update(done: int, total: int) -> None:
        progress.update(task, completed=done, total=total or None)

    return update


@app.command("verify")
def models_verify(
    names: Annotated[
        list[str] | None, typer.Argument(help="By default all that are here.")
    ] = None,
) -> None:
    """Compute the hashes of the models' files anew."""
    from napari_promise.model.weights import MODELS, list_models, verify

    with checked_arguments():
        for name in names or ():
            if name not in MODELS:
                raise ValueError(
                    f"{name} is no known model: use one of {', '.join(MODELS)}."
                )
    failed = False
    for name in names or [e.info.name for e in list_models() if e.available]:
        try:
            print(f"{name}: {verify(name)} is right")
        except ValueError as error:
            failed = True
            say(str(error))
    if failed:
        raise typer.Exit(1)


@app.command("import")
def models_import(
    file: Annotated[Path, typer.Argument(help="A checkpoint got in another way.")],
) -> None:
    """Take a checkpoint that was downloaded elsewhere; its hash says which it is."""
    from napari_promise.model.weights import import_file

    with checked_arguments():
        if not file.is_file():
            raise ValueError(f"{file} is no file: check the name.")
    info = import_file(file)
    print(f"{info.name}: imported")
